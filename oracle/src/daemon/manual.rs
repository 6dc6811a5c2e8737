//! What shells and readers of the manual are told of a command line: completions and man pages, made from its own help.

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// What `shell` is to read so that it completes this program, on standard output.
///
/// # Errors
/// When that cannot be written; a reader that has gone is none.
pub fn completions(mut program: Command, shell: Shell) -> anyhow::Result<()> {
    let (name, mut script) = (program.get_name().to_owned(), Vec::new());
    clap_complete::generate(shell, &mut program, name, &mut script);
    match std::io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done.context("write to standard output"),
    }
}

/// A page for the program and for each of its commands, in `folder`, which is made where there is none; how many.
///
/// # Errors
/// When they cannot be written.
pub fn man_pages(program: Command, folder: &Path) -> anyhow::Result<usize> {
    let about = || format!("folder {} for the manual", folder.display());
    std::fs::create_dir_all(folder).with_context(about)?;
    let name = program.get_name().to_owned();
    clap_mangen::generate_to(program, folder).with_context(about)?;
    let pages = std::fs::read_dir(folder).with_context(about)?.filter_map(Result::ok);
    let is_ours = |file: &str| file.starts_with(&name) && file.ends_with(".1");
    Ok(pages.filter(|page| page.file_name().to_str().is_some_and(is_ours)).count())
}
