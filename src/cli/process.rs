//! The process around a command: its threads, and its end.

use hypothec_oracle::screen;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

/// How long the end waits for what still reads or writes: a disk that does not answer would keep it for ever, and whatever
/// counts was on disk before anything left.
const LAST: Duration = Duration::from_secs(5);

/// Runs a command to its end, and waits for nothing that hangs beside it.
pub fn to_its_end(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::tell(format_args!("hypothec: the program could not start its threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(command);
    runtime.shutdown_timeout(LAST);
    screen::drain();
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_command_ends_though_something_beside_it_waits_for_a_disk_that_never_answers() {
        let (answers, disk) = mpsc::channel::<()>();
        let (says, ended) = mpsc::channel();
        let process = std::thread::spawn(move || {
            to_its_end(async move {
                tokio::task::spawn_blocking(move || disk.recv());
                ExitCode::SUCCESS
            });
            says.send(()).unwrap();
        });
        ended.recv_timeout(LAST * 6).unwrap();
        process.join().unwrap();
        drop(answers);
    }
}
