//! The oracle as a program of its own; all of it is in the library.

use hypothec_oracle::foreign::printable;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sled=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match hypothec_oracle::daemon::main(std::env::args_os()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What others said was cleaned where it was heard; nothing that was missed reaches the terminal.
            eprintln!("hypothec-oracle: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
