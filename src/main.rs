//! Calls `cli`, and turns the error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(verb) if verb == fastness::runner::STEP_VERB => fastness::runner::step_main(),
        _ => ExitCode::SUCCESS,
    }
}
