//! The command line as a whole: parse, dispatch, exit code.

use super::client::{Client, Refused};
use super::confirm::NotDone;
use super::out::{tell, Out};
use super::{
    backup, borrow, demo, events, init, loan, manual, node, oracle, peer, policy, quote, requests, restore, status,
    wallet,
};
use crate::api::views::{ErrorCode, ErrorView};
use clap::{Args, CommandFactory, Parser, Subcommand};
use hypothec_oracle::daemon::usage;
use hypothec_oracle::room;
use hypothec_oracle::screen;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Heading of what every command takes.
const EVERYWHERE: &str = "Everywhere";

const EXAMPLES: &str = "\
A first loan, as a borrower:
  hypothec init --network signet              make a data folder; write the words down
  hypothec node                               run the node; leave it running
  hypothec wallet address                     send the collateral there
  hypothec oracle add http://127.0.0.1:3939   trust a price oracle
  hypothec quote --lender <pubkey@host:port> --principal 50000 --collateral 1 --term 90
  hypothec borrow <quote>
  hypothec loan show <loan>
  hypothec loan repay <loan>

Everything on one machine, in a minute:
  hypothec demo";

/// Bitcoin-backed loans between two peers, with no custodian.
#[derive(Debug, Parser)]
#[command(name = "hypothec", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// The exit code of a command that has said all there is to say.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub(super) struct Ends(pub u8);

/// Which node, and who reads the answer.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The node's data folder [default: ~/.hypothec]
    #[arg(long, global = true, value_name = "DIR", env = "HYPOTHEC_DATA", hide_env_values = true, help_heading = EVERYWHERE)]
    data: Option<PathBuf>,
    /// Answer with JSON, for programs
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
}

impl Place {
    /// The data folder.
    pub(super) fn data(&self) -> anyhow::Result<PathBuf> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
            Some(home) => Ok(PathBuf::from(home).join(".hypothec")),
            None => anyhow::bail!("data: there is no HOME to look in; name the folder with --data DIR"),
        }
    }

    /// The data folder that this command names, whatever the environment says.
    pub(super) fn named(&self) -> Option<PathBuf> {
        self.data.clone().filter(|data| std::env::var_os("HYPOTHEC_DATA").is_none_or(|said| data.as_os_str() != said))
    }

    /// The node that runs on it.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::open(&self.data()?)?.quiet(self.json))
    }

    /// Where to say what was done.
    pub(super) fn out(&self) -> Out {
        Out::new(self.json)
    }

    /// `hypothec` with the same data folder, for saying what to do next.
    pub(super) fn again(&self) -> String {
        match (&self.data, std::env::var_os("HYPOTHEC_DATA")) {
            (Some(data), None) => format!("hypothec --data {}", word(&data.display().to_string())),
            _ => "hypothec".to_owned(),
        }
    }
}

/// As one word of a shell.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~+:@%".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Node(node::Node),
    Status(status::Status),
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    #[command(subcommand)]
    Peer(peer::Peer),
    #[command(subcommand)]
    Oracle(oracle::Oracle),
    #[command(subcommand)]
    Policy(policy::Policy),
    Requests(requests::Requests),
    Approve(requests::Approve),
    Decline(requests::Decline),
    Quote(quote::Quote),
    Borrow(borrow::Borrow),
    #[command(subcommand)]
    Loan(loan::Loan),
    Events(events::Events),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Demo(demo::Demo),
    Completions(manual::Completions),
    Man(manual::Man),
    /// Run a price oracle: the program `hypothec-oracle`
    #[command(
        disable_help_flag = true,
        after_help = "Example:\n  hypothec oracle-daemon init --data ~/.hypothec-oracle\n  hypothec oracle-daemon help"
    )]
    OracleDaemon {
        /// What hypothec-oracle would be given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Parses the command line, does what it says, and tells errors on standard error.
pub async fn main() -> ExitCode {
    let Cli { place, command } = match usage::read::<Cli>(std::env::args_os()) {
        Ok(line) => line,
        Err(error) => return misread(&error),
    };
    match run(&place, command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Ends>() => {
            error.downcast_ref::<Ends>().map_or(ExitCode::FAILURE, |Ends(code)| ExitCode::from(*code))
        }
        Err(error) => {
            complain(&place, &error);
            match error.is::<NotDone>() {
                true => ExitCode::from(NotDone::CODE),
                false => ExitCode::FAILURE,
            }
        }
    }
}

/// A line that cannot be read: as clap says it, or as JSON where JSON was asked for. Help and version are no errors.
fn misread(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !std::env::args_os().any(|word| word == "--json") {
        return ExitCode::from(u8::try_from(usage::tell(error)).unwrap_or(2));
    }
    let said = usage::said(error, &error.render().to_string(), usize::MAX);
    // The complaint goes to the first empty line: what is missing is named below it.
    let lines = said.lines().skip_while(|line| line.trim().is_empty()).take_while(|line| !line.trim().is_empty());
    let message = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let message = message.trim_start_matches("error: ").to_owned();
    let view = ErrorView { code: ErrorCode::Usage.word().into(), message };
    screen::tell(format_args!("{}", serde_json::to_string(&view).unwrap_or(view.message)));
    ExitCode::from(2)
}

async fn run(place: &Place, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init(init) => init.run(place),
        Command::Node(node) => node.run(place).await,
        Command::Status(status) => status.run(place).await,
        Command::Wallet(wallet) => wallet.run(place).await,
        Command::Peer(peer) => peer.run(place).await,
        Command::Oracle(oracle) => oracle.run(place).await,
        Command::Policy(policy) => policy.run(place).await,
        Command::Requests(requests) => requests.run(place).await,
        Command::Approve(approve) => approve.run(place).await,
        Command::Decline(decline) => decline.run(place).await,
        Command::Quote(quote) => quote.run(place).await,
        Command::Borrow(borrow) => borrow.run(place).await,
        Command::Loan(loan) => loan.run(place).await,
        Command::Events(events) => events.run(place).await,
        Command::Backup(backup) => backup.run(place).await,
        Command::Restore(restore) => restore.run(place),
        Command::Demo(demo) => demo.run(place).await,
        Command::Completions(completions) => completions.run(Cli::command()),
        Command::Man(man) => man.run(place, Cli::command()),
        Command::OracleDaemon { args } => {
            node::log_to_stderr();
            let name = OsString::from("hypothec-oracle");
            hypothec_oracle::daemon::main(std::iter::once(name).chain(args)).await
        }
    }
}

fn complain(place: &Place, error: &anyhow::Error) {
    if !place.json {
        tell(&format!("hypothec: {}", room::chain(error, None)));
        return;
    }
    let view = match error.downcast_ref::<Refused>() {
        Some(Refused(view)) => view.clone(),
        // The line lacks a word, `--yes`, as one that cannot be read does.
        None if error.is::<NotDone>() => {
            ErrorView { code: ErrorCode::Usage.word().into(), message: room::chain(error, None) }
        }
        None => ErrorView { code: ErrorCode::Failed.word().into(), message: room::chain(error, None) },
    };
    screen::tell(format_args!("{}", serde_json::to_string(&view).unwrap_or(view.message)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_and_complaints_fit_the_screen_and_are_in_plain_words_for_every_command_and_wrong_value() {
        for width in [80, 50] {
            let said = usage::everything_said(&Cli::command(), width);
            assert!(said.len() > 400, "{}", said.len());
            for text in said {
                let bare = |line: &str| line.trim().trim_end_matches(" \\").to_owned();
                let long = text.lines().find(|line| line.chars().count() > width && bare(line).contains(' '));
                assert_eq!(long, None, "at {width}:\n{text}");
                assert_eq!(usage::broken_early(&text, width), None, "at {width}:\n{text}");
                assert_eq!(usage::library_words(&text), None, "{text}");
            }
        }
    }

    #[test]
    fn a_path_with_spaces_can_be_pasted_into_a_shell() {
        assert_eq!(
            (word("/a/b-c"), word("my node"), word("it's")),
            ("/a/b-c".into(), "'my node'".into(), "'it'\\''s'".into())
        );
    }
}
