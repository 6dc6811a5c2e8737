//! The program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypothec::cli::to_its_end(hypothec::cli::main())
}
