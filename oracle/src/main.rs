//! The oracle as a program of its own; all of it is in the library.

use hypothec_oracle::daemon::usage;
use hypothec_oracle::foreign::printable;
use hypothec_oracle::{logging, screen};
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::util::SubscriberInitExt;

#[tokio::main]
async fn main() -> ExitCode {
    let _ = logging::to(screen::log, std::io::stderr().is_terminal()).try_init();
    let code = match hypothec_oracle::daemon::main(std::env::args_os()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What others said was cleaned where it was heard; nothing that was missed reaches the terminal.
            usage::hint(&format!("hypothec-oracle: {}", printable(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    };
    screen::drain();
    code
}
