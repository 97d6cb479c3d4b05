//! `fastness verify`: checks a bundle offline, with nothing but two public keys, and names what is wrong with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::exit::{Exit, Failure};
use super::meter::Meter;
use super::print::{self, Format};
use super::read;
use super::style::{Look, paint, shown};
use crate::bundle::import::{Keys, opener};
use crate::bundle::manifest::Predicate;
use crate::bundle::replay::{ScratchFolder, ScratchReplay};
use crate::bundle::{Check, Options, Outcome, Replay, Report, Status, peek, verify};
use crate::clock::{Clock, SystemClock};

/// What to verify, and with which keys.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundle
    file: PathBuf,
    #[command(flatten)]
    keys: KeyFiles,
    /// Fail when the state before the bundle is not there to replay from
    #[arg(long)]
    require_replay: bool,
}

/// The public keys of the enclave that made a bundle.
#[derive(Debug, Clone, Args)]
pub struct KeyFiles {
    /// SPKI PEM of the key that signs its checkpoints
    #[arg(long, value_name = "PEM", requires = "export_key")]
    log_key: Option<PathBuf>,
    /// SPKI PEM of the key that signs its bundles
    #[arg(long, value_name = "PEM", requires = "log_key")]
    export_key: Option<PathBuf>,
}

impl KeyFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Usage: names the file.
    pub fn read(&self) -> Result<Option<Keys>> {
        let (Some(log), Some(export)) = (&self.log_key, &self.export_key) else {
            return Ok(None);
        };
        Ok(Some(Keys {
            log: read::public_key(log)?,
            export: read::public_key(export)?,
        }))
    }
}

/// Prints the checklist.
///
/// # Errors
/// When there is no verdict.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let keys = arguments.keys.read()?;
    let outcome = check(&arguments.file, keys.as_ref(), arguments.require_replay)?;
    let report = &outcome.report;
    if format.is_json() {
        print::json(report)?;
    } else {
        let predicate = outcome.statement.as_ref().map(|statement| &statement.predicate);
        print_report(&arguments.file, predicate, report)?;
    }
    if keys.is_none() {
        print::say("no keys were given; with --log-key and --export-key a bundle can be trusted");
    }
    Ok(exit_of(report))
}

/// The exit code of a report.
pub fn exit_of(report: &Report) -> Exit {
    if report.exit_code == 0 {
        Exit::Good
    } else {
        Exit::Refused(report.exit_code)
    }
}

/// Verifies a file, with a replay when it begins at the first event.
///
/// # Errors
/// When there is no verdict: the file cannot be read, or the scratch folder cannot be written.
pub fn check(file: &Path, keys: Option<&Keys>, require_replay: bool) -> Result<Outcome> {
    let meter = Meter::of(file);
    let open = meter.opener(file);
    let mut replay = match look(file)? {
        Ok(predicate) if predicate.first == 0 => Some(scratch(&predicate)?),
        Ok(_) | Err(_) => None,
    };
    let options = Options {
        log_key: keys.map(|keys| keys.log),
        export_key: keys.map(|keys| keys.export),
        held: None,
        replay: replay.as_mut().map(|replay| replay as &mut dyn Replay),
        require_replay,
    };
    verify(&open, options).with_context(|| file.display().to_string())
}

/// What a bundle says of itself, from its first member alone; nothing of it is trusted. One whose manifest cannot be read
/// gives its report.
///
/// # Errors
/// Usage: the file cannot be read.
pub fn look(file: &Path) -> Result<Result<Predicate, Box<Report>>> {
    let place = || file.display().to_string();
    std::fs::File::open(file).map_err(|error| Failure::usage(format!("cannot read {}: {error}", place())))?;
    match peek(&opener(file)).with_context(place)? {
        Some(statement) => Ok(Ok(statement.predicate)),
        None => {
            let outcome = verify(&opener(file), Options::none()).with_context(place)?;
            Ok(Err(Box::new(outcome.report)))
        }
    }
}

/// An empty state machine for the ledger of a bundle, in the system's folder for temporary files.
///
/// # Errors
/// When it cannot be made.
pub fn scratch(predicate: &Predicate) -> Result<ScratchReplay> {
    let parent = std::env::temp_dir();
    let entropy = SystemClock::default().entropy();
    let folder = ScratchFolder::new(&parent, entropy)
        .with_context(|| format!("making a scratch folder in {}", parent.display()))?;
    Ok(ScratchReplay::new(
        folder,
        predicate.tenant.clone(),
        predicate.first,
    )?)
}

fn print_report(file: &Path, predicate: Option<&Predicate>, report: &Report) -> Result<()> {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    print::line(paint(Look::Bold, shown(&name)))?;
    if let Some(predicate) = predicate {
        let Predicate {
            origin, first, size, ..
        } = predicate;
        print::line(format_args!(
            "  {}, events {first} to {}",
            shown(origin),
            size.saturating_sub(1)
        ))?;
    }
    for check in &report.checks {
        print::line(check_line(check))?;
    }
    let verdict = match report.first_failure() {
        None => paint(Look::Green, "  good".to_owned()),
        Some(failure) => paint(
            Look::Red,
            format!(
                "  refused, exit code {}: {}",
                report.exit_code,
                failure_words(failure)
            ),
        ),
    };
    print::line(verdict)?;
    match report.first_failure().and_then(|failure| failure.meaning) {
        Some(meaning) => print::line(format_args!("  this means: {meaning}")),
        None => Ok(()),
    }
}

/// One row of a checklist.
pub fn check_line(check: &Check) -> String {
    let (glyph, look) = match check.status {
        Status::Ok => ("✓", Look::Green),
        Status::Failed => ("✗", Look::Red),
        Status::Skipped => ("–", Look::Dim),
    };
    let (n, name, rest) = (check.n, check.name, details(check));
    let head = format!("  {} {n:2} {name}", paint(look, glyph));
    if rest.is_empty() {
        return head;
    }
    let said = if check.status == Status::Failed {
        Look::Red
    } else {
        Look::Dim
    };
    format!(
        "{head}{:width$} {}",
        "",
        paint(said, rest),
        width = 20usize.saturating_sub(name.len())
    )
}

/// Member, line, event and what was found, as far as they are known.
fn details(check: &Check) -> String {
    let parts = [
        check.member.clone(),
        check.line.map(|line| format!("line {line}")),
        check.seq.map(|seq| format!("event {seq}")),
        check.detail.clone(),
    ];
    let known: Vec<String> = parts
        .into_iter()
        .flatten()
        .map(|part| shown(&part).into_owned())
        .collect();
    known.join(", ")
}

fn failure_words(check: &Check) -> String {
    let words = details(check);
    if words.is_empty() {
        check.name.to_owned()
    } else {
        words
    }
}
