//! The command line: one file per verb.
//!
//! It promises that data goes to standard output and messages to standard error, that exit codes mean what they always
//! meant, and that nothing is asked of a person. Verbs that talk to a server go through `client` and so through `egress`.
//!
//! Reading order: this table; `exit`, `print`, `client`; then any verb.

mod canon;
mod client;
mod completions;
mod diagnostic;
mod exit;
mod hash;
mod key;
mod listing;
mod pack;
mod print;
mod problem;
mod read;
mod replay_bundle;
mod style;
mod verify;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::exit::{Exit, exit_of};
use self::print::Format;
use crate::runner;

/// A job orchestrator for hosts behind an air gap.
#[derive(Debug, Parser)]
#[command(name = "fastness", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 good, 1 the job or run failed, 2 usage, 3 not found, 4 denied, 5 conflict, \
    6 unreachable, 7 busy or full, 9 cannot start, 10 to 14 verification, 124 timeout, 130 interrupted.")]
struct Line {
    #[command(subcommand)]
    verb: Verb,
    /// Form of the data on standard output
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Output")]
    output: Format,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Check pack files, register packs, look at them
    #[command(subcommand)]
    Pack(pack::Verb),
    /// Verify a bundle, offline
    Verify(verify::Arguments),
    /// Rebuild the state of a ledger from its bundles, offline
    ReplayBundle(replay_bundle::Arguments),
    /// Make keys, show public keys
    #[command(subcommand)]
    Key(key::Verb),
    /// Bring the JSON on standard input into canonical form
    Canon,
    /// Print the leaf hash of the JSON on standard input
    Hash,
    /// Print the version
    Version,
    /// Print what a shell needs to complete this command line
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// Runs the command line `arguments`, of which the first is the program's name, and ends with its exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The small process around each step: nothing else of the command line is wanted there.
    if arguments.get(1).is_some_and(|verb| verb == runner::STEP_VERB) {
        return runner::step_main();
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(told) => {
            // Help and version are told the same way, and are no errors.
            let _ = told.print();
            return if told.use_stderr() { Exit::Usage.into() } else { Exit::Good.into() };
        }
    };
    let exit = run(line).unwrap_or_else(|error| {
        let exit = exit_of(&error);
        if exit != Exit::Good {
            print::say(format_args!("{} {error:#}", style::paint(style::Look::Red, "error:")));
        }
        exit
    });
    exit.into()
}

fn run(line: Line) -> anyhow::Result<Exit> {
    let format = line.output;
    match line.verb {
        Verb::Pack(verb) => pack::run(verb, format),
        Verb::Verify(arguments) => verify::run(arguments, format),
        Verb::ReplayBundle(arguments) => replay_bundle::run(arguments, format),
        Verb::Key(verb) => key::run(verb, format),
        Verb::Canon => canon::run(),
        Verb::Hash => hash::run(),
        Verb::Version => version::run(format),
        Verb::Completions { shell } => completions::run(shell, Line::command()),
    }
}
