//! `fastness completions`: what a shell needs to complete our command line.

use anyhow::Result;
use clap::Command;
use clap_complete::{Shell, generate};

use super::exit::Exit;
use super::print;

/// Prints the script for `shell`.
///
/// # Errors
/// What standard output said.
pub fn run(shell: Shell, mut command: Command) -> Result<Exit> {
    let mut script = Vec::new();
    generate(shell, &mut command, "fastness", &mut script);
    print::bytes(&script)?;
    Ok(Exit::Good)
}
