//! The command line: one file per verb.
//!
//! It promises that data goes to standard output and messages to standard error, that exit codes mean what they always
//! meant, and that nothing is asked of a person. Verbs that talk to a server go through `client` and so through `egress`.
//!
//! Reading order: this table; `exit`, `print`, `client`; then any verb.

mod again;
mod cancel;
mod canon;
mod change;
mod client;
mod completions;
mod demo;
mod diagnostic;
mod disclose;
mod dlq;
pub mod doctor;
mod event_line;
mod events;
mod exit;
mod export;
mod extract;
mod follow;
mod gate;
mod hash;
mod import;
mod import_answer;
mod init;
mod job;
mod key;
mod key_change;
mod ledger;
mod listing;
mod logs;
mod meter;
mod pack;
mod pack_diff;
mod pause;
mod print;
mod problem;
mod progress;
mod read;
mod redaction;
mod replay_bundle;
mod replay_show;
mod run;
mod run_view;
mod secret;
mod serve;
mod sse;
mod style;
mod target;
mod tenant;
mod token;
mod trust;
mod verify;
mod version;
mod wait;
mod watch;
mod webhook;
mod work_order;
mod work_order_view;
mod worker;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use self::exit::{Exit, exit_of};
use self::print::Format;
use crate::{app, runner};

/// A job orchestrator for hosts behind an air gap.
#[derive(Debug, Parser)]
#[command(
    name = "fastness",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 good, 1 the job or run failed, 2 usage, 3 not found, 4 denied, 5 conflict, \
    6 unreachable, 7 busy or full, 9 cannot start, 10 to 14 verification, 124 timeout, 130 interrupted."
)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
    /// Form of the data on standard output
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Format,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a data folder with its keys
    Init(init::Arguments),
    /// Run the server
    Serve(serve::Arguments),
    /// See it work: two enclaves, a run, a bundle, its verification and replay
    ///
    /// The pack that it runs reads this host: it hashes /usr/bin and looks for set-uid programs below /. It changes nothing.
    Demo(demo::Arguments),
    /// Check pack files, register packs, look at them
    #[command(subcommand)]
    Pack(pack::Verb),
    /// Start a run of a pack
    Run(run::Arguments),
    /// Submit, show, list, cancel jobs
    #[command(subcommand)]
    Job(job::Verb),
    /// Print what the steps of a run, or a job, wrote
    Logs(logs::Arguments),
    /// Print the events of the ledger
    Events(events::Arguments),
    /// Show what happens, live
    Watch(watch::Arguments),
    /// Wait until a run or a job has ended
    Wait(wait::Arguments),
    /// Cancel a run or a job
    Cancel(cancel::Arguments),
    /// Let nothing more of a run start; what runs goes on
    Pause(pause::OfRun),
    /// Let a paused run go on
    Resume(pause::OfRun),
    /// Let a held job go on
    Schedule(again::OfJob),
    /// Try a job again that is out of retries
    Retry(again::OfJob),
    /// Do a job again, or a run or a part of it
    Replay(again::OfAny),
    /// Dead letters: jobs that are out of retries
    #[command(subcommand)]
    Dlq(dlq::Verb),
    /// List workers, drain one
    #[command(subcommand)]
    Worker(worker::Verb),
    /// Answer a run that waits for persons
    #[command(subcommand)]
    Gate(gate::Verb),
    /// Write a signed bundle of the ledger
    Export(export::Arguments),
    /// Verify a bundle, offline
    #[command(after_help = verify::EXIT_CODES)]
    Verify(verify::Arguments),
    /// Take in a bundle as a read-only tenant, or a work order to be run here; approve, reject, list imports
    Import(import::Arguments),
    /// Work orders: issue, approve, start, cancel, see how far they are
    #[command(subcommand)]
    WorkOrder(work_order::Verb),
    /// Rebuild the state of a ledger from its bundles, offline
    ReplayBundle(replay_bundle::Arguments),
    /// Checkpoints, proofs, a check of the whole ledger
    #[command(subcommand)]
    Ledger(ledger::Verb),
    /// Make keys, show public keys, replace and revoke keys of the enclave
    #[command(subcommand)]
    Key(key::Verb),
    /// Roots of trust: draft, sign, accept, show; pins of others
    #[command(subcommand)]
    Trust(trust::Verb),
    /// Make, list, revoke tokens
    #[command(subcommand)]
    Token(token::Verb),
    /// Set, list, delete secrets
    #[command(subcommand)]
    Secret(secret::Verb),
    /// Name fields that are redacted, or shown by an export
    #[command(subcommand)]
    Redaction(redaction::Verb),
    /// Show the values of redacted fields, or write them to a file
    #[command(subcommand)]
    Disclose(disclose::Verb),
    /// End the values of redacted fields, for good
    #[command(subcommand)]
    Erase(disclose::Ended),
    /// Send events to addresses outside
    #[command(subcommand)]
    Webhook(webhook::Verb),
    /// Make and list tenants
    #[command(subcommand)]
    Tenant(tenant::Verb),
    /// Bring the JSON on standard input into canonical form
    Canon,
    /// Print the leaf hash of the JSON on standard input
    Hash,
    /// Examine a data folder, or ask a server how it is
    Doctor(doctor::Arguments),
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
    // A child that looks whether a projection can be opened; a damaged one may abort it.
    if let [_, verb, path] = arguments.as_slice()
        && verb == app::PROBE_VERB
    {
        return if app::probe_store(Path::new(path)).is_ok() {
            Exit::Good.into()
        } else {
            Exit::Failed.into()
        };
    }
    let line = match Line::try_parse_from(arguments) {
        Ok(line) => line,
        Err(told) => {
            // Help and version are told the same way, and are no errors.
            let _ = told.print();
            return if told.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Good.into()
            };
        }
    };
    let exit = run(line).unwrap_or_else(|error| {
        let exit = exit_of(&error);
        if exit != Exit::Good {
            print::say(format_args!(
                "{} {}",
                style::paint(style::Look::Red, "error:"),
                exit::told(&error)
            ));
        }
        exit
    });
    exit.into()
}

fn run(line: Line) -> anyhow::Result<Exit> {
    let format = line.output;
    match line.verb {
        Verb::Init(arguments) => init::run(arguments, format),
        Verb::Serve(arguments) => serve::run(arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Pack(verb) => pack::run(verb, format),
        Verb::Run(arguments) => run::run(arguments, format),
        Verb::Job(verb) => job::run(verb, format),
        Verb::Logs(arguments) => logs::run(arguments, format),
        Verb::Events(arguments) => events::run(arguments, format),
        Verb::Watch(arguments) => watch::run(arguments, format),
        Verb::Wait(arguments) => wait::run(arguments, format),
        Verb::Cancel(arguments) => cancel::run(arguments, format),
        Verb::Pause(arguments) => pause::pause(arguments, format),
        Verb::Resume(arguments) => pause::resume(arguments, format),
        Verb::Schedule(arguments) => again::schedule(arguments, format),
        Verb::Retry(arguments) => again::retry(arguments, format),
        Verb::Replay(arguments) => again::replay(arguments, format),
        Verb::Dlq(verb) => dlq::run(verb, format),
        Verb::Worker(verb) => worker::run(verb, format),
        Verb::Gate(verb) => gate::run(verb, format),
        Verb::Export(arguments) => export::run(arguments, format),
        Verb::Verify(arguments) => verify::run(arguments, format),
        Verb::Import(arguments) => import::run(arguments, format),
        Verb::WorkOrder(verb) => work_order::run(verb, format),
        Verb::ReplayBundle(arguments) => replay_bundle::run(arguments, format),
        Verb::Ledger(verb) => ledger::run(verb, format),
        Verb::Key(verb) => key::run(verb, format),
        Verb::Trust(verb) => trust::run(verb, format),
        Verb::Token(verb) => token::run(verb, format),
        Verb::Secret(verb) => secret::run(verb, format),
        Verb::Redaction(verb) => redaction::run(verb, format),
        Verb::Disclose(verb) => disclose::run(verb, format),
        Verb::Erase(verb) => disclose::erase(verb, format),
        Verb::Webhook(verb) => webhook::run(verb, format),
        Verb::Tenant(verb) => tenant::run(verb, format),
        Verb::Doctor(arguments) => doctor::run(arguments, format),
        Verb::Canon => canon::run(),
        Verb::Hash => hash::run(),
        Verb::Version => version::run(format),
        Verb::Completions { shell } => completions::run(shell, Line::command()),
    }
}
