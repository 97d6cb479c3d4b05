//! Calls `cli`, which turns whatever happens into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    fastness::cli::main(std::env::args_os())
}
