//! A program this process starts: its output in a log file, and killed when it is let go.

use super::wait::{until, PATIENCE};
use anyhow::Context;
use rustix::process::{kill_process, Pid};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a program can be told by the system.
pub use rustix::process::Signal;

/// How to start a program.
#[derive(Clone, Debug)]
pub struct Start {
    /// What it is called in messages and in its log's name.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables, beside those of this process.
    pub env: Vec<(String, String)>,
    /// Where its output is appended.
    pub log: PathBuf,
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    /// `None` once it is let go. Behind a lock so that looking whether it runs needs no more than a look.
    child: Mutex<Option<Child>>,
    id: u32,
    log: PathBuf,
    /// Where in the log this run begins.
    log_start: u64,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be run or its log cannot be written.
    pub fn start(start: &Start) -> anyhow::Result<Program> {
        let log = open_log(&start.log)?;
        let log_start = log.metadata()?.len();
        let child = Command::new(&start.program)
            .args(&start.args)
            // A panic shows where it was; an error says what it is and needs no such list.
            .env("RUST_LIB_BACKTRACE", "0")
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("run {}", start.program.display()))?;
        let id = child.id();
        Ok(Program { name: start.name.clone(), child: Mutex::new(Some(child)), id, log: start.log.clone(), log_start })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it fails, with the end of what it said.
    pub async fn run(start: &Start) -> anyhow::Result<()> {
        let program = Program::start(start)?;
        let status = program.ended().await?;
        anyhow::ensure!(status.success(), "{} ended with {status}: {}", program.name, program.last_words());
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, once it has.
    pub fn exit(&self) -> Option<ExitStatus> {
        self.child().as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn ended(&self) -> anyhow::Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        until(&what, PATIENCE, || std::future::ready(self.exit().ok_or_else(|| "it runs".to_string()))).await
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended, or the system refuses.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Held until the signal is sent: a process that nobody has waited for keeps its number.
        let child = self.child();
        let child = child.as_ref().with_context(|| format!("{} is not ours any more", self.name))?;
        kill_process(Pid::from_child(child), signal)
            .with_context(|| format!("send signal {} to {}", signal.as_raw(), self.name))
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(self) -> anyhow::Result<()> {
        if self.exit().is_none() {
            self.signal(Signal::TERM)?;
        }
        self.ended().await.map(drop)
    }

    /// Ends it as a power cut would.
    pub fn kill(self) {
        drop(self);
    }

    /// Lets it run on when this process ends.
    pub fn leave(self) {
        // A child handle that is dropped without being killed lets the process run.
        drop(self.child().take());
    }

    /// What it has said since it was started.
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(usize::MAX);
        String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
    }

    /// The end of that.
    pub fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join(" | ")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = self.child().as_mut() {
            // Nothing can be done about a process that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("open log {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::test_kill_process;

    fn shell(folder: &Path, script: &str) -> Start {
        Start {
            name: "a shell".into(),
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![("GREETING".into(), "hello".into())],
            log: folder.join("log"),
        }
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        Program::run(&shell(folder.path(), "echo first")).await.unwrap();
        let failing = shell(folder.path(), "echo $GREETING; echo world >&2; exit 3");
        let error = Program::run(&failing).await.unwrap_err().to_string();
        assert!(error.contains("hello | world") && error.contains('3') && !error.contains("first"), "{error}");
    }

    #[tokio::test]
    async fn a_program_stops_when_told_and_dies_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let start = shell(folder.path(), "echo up; exec sleep 1000");
        let program = Program::start(&start).unwrap();
        until("it to be up", PATIENCE, || async {
            program.said().contains("up").then_some(()).ok_or("not yet".into())
        })
        .await
        .unwrap();
        program.stop().await.unwrap();
        let program = Program::start(&start).unwrap();
        let id = Pid::from_raw(program.id().try_into().unwrap()).unwrap();
        test_kill_process(id).unwrap();
        program.kill();
        assert!(test_kill_process(id).is_err(), "it is gone, and so is its number");
    }
}
