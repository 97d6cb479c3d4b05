//! `fastness verify`: checks a bundle offline, with nothing but two public keys or the fingerprint of a root of trust, and names what is wrong with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::exit::{Exit, Failure};
use super::meter::Meter;
use super::print::{self, Format};
use super::replay_bundle::{refuse, verify_after};
use super::style::{Look, paint, shown};
use super::{extract, read};
use crate::bundle::import::{Keys, opener};
use crate::bundle::manifest::Predicate;
use crate::bundle::order;
use crate::bundle::replay::{ScratchFolder, ScratchReplay};
use crate::bundle::{
    Anchor, Check, Later, Options, Outcome, Replay, Report, Status, peek, verify, verify_later,
};
use crate::clock::{Clock, SystemClock};
use crate::domain::TenantName;
use crate::limits;
use crate::trust::Fingerprint;

/// Told in the help.
pub const EXIT_CODES: &str = "Exit codes: 0 good, 1 no verdict (a read failed, a disk is full), 2 usage, or no such file, 10 tampered, 11 incomplete, 12 signed by a key that is not trusted, \
    13 a fork or an older state, 14 malformed.";

/// What to verify, and with which keys.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundle; with --proof, an event as it was extracted
    file: PathBuf,
    #[command(flatten)]
    basis: BasisFiles,
    /// The proof that stands beside an event
    #[arg(long, value_name = "FILE", conflicts_with_all = ["require_replay", "export_key", "root", "fingerprint"])]
    proof: Option<PathBuf>,
    /// A bundle that this one must extend; given again for each one between them, in order
    #[arg(long, value_name = "BUNDLE", conflicts_with = "proof")]
    after: Vec<PathBuf>,
    /// SPKI PEM of the key that signs a hub's work orders, for a file that is one
    #[arg(long, value_name = "PEM", conflicts_with_all = ["log_key", "export_key", "root", "fingerprint"])]
    orders_key: Option<PathBuf>,
    /// A file of disclosures that came after the bundle, again for each file, at most 64: each belongs to an event of the bundle
    /// and gives no field a second value
    #[arg(long, value_name = "FILE", conflicts_with_all = ["proof", "after", "orders_key"])]
    disclosures: Vec<PathBuf>,
    /// Fail when the state before the bundle is not there to replay from
    #[arg(long)]
    require_replay: bool,
}

/// The public keys of the enclave that made a bundle.
#[derive(Debug, Clone, Args)]
pub struct KeyFiles {
    /// SPKI PEM of the key that signs its checkpoints
    #[arg(long, value_name = "PEM")]
    log_key: Option<PathBuf>,
    /// SPKI PEM of the key that signs its bundles
    #[arg(long, value_name = "PEM", requires = "log_key")]
    export_key: Option<PathBuf>,
}

/// What the trust in a bundle rests on: keys, or a root of trust that leads to them.
#[derive(Debug, Clone, Args)]
pub struct BasisFiles {
    #[command(flatten)]
    keys: KeyFiles,
    /// A root of trust that people vouched for, signed by enough of its own root keys, instead of keys
    #[arg(long, value_name = "FILE", conflicts_with_all = ["log_key", "export_key"])]
    root: Option<PathBuf>,
    /// Fingerprint of a root of trust, as people compared it, instead of keys
    #[arg(long, conflicts_with_all = ["log_key", "export_key", "root"])]
    fingerprint: Option<Fingerprint>,
}

/// What the trust in a bundle rests on.
#[derive(Debug, Clone, Default)]
pub struct Basis {
    /// The keys of its enclave.
    pub keys: Option<Keys>,
    /// A root of trust that leads to them.
    pub anchor: Option<Anchor>,
}

impl Basis {
    /// Keys that were given by hand.
    pub fn of(keys: Keys) -> Self {
        Basis {
            keys: Some(keys),
            anchor: None,
        }
    }

    /// True when there is nothing to go by.
    pub fn is_none(&self) -> bool {
        self.keys.is_none() && self.anchor.is_none()
    }
}

impl BasisFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Usage: names the file. A root of trust that is none (14), or that too few of its own people signed (12).
    pub fn read(&self) -> Result<Basis> {
        let anchor = match (&self.root, self.fingerprint) {
            (Some(path), _) => Some(Anchor::Root(Box::new(read::vouched_root(path)?))),
            (None, fingerprint) => fingerprint.map(Anchor::Fingerprint),
        };
        Ok(Basis {
            keys: self.keys.read()?,
            anchor,
        })
    }
}

impl KeyFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Usage: names the file.
    pub fn read(&self) -> Result<Option<Keys>> {
        let (log, export) = match (&self.log_key, &self.export_key) {
            (Some(log), Some(export)) => (log, export),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(Failure::usage("--log-key needs --export-key beside it").into()),
            (None, Some(_)) => return Err(Failure::usage("--export-key needs --log-key beside it").into()),
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
    if let Some(proof) = &arguments.proof {
        let log_key = arguments.basis.keys.log_key.as_deref();
        return extract::verify(&arguments.file, proof, log_key, format);
    }
    let basis = arguments.basis.read()?;
    if is_order(&arguments.file)? {
        return run_order(&arguments, format);
    }
    if arguments.orders_key.is_some() {
        return Err(Failure::usage("this is no work order: --orders-key is for work orders").into());
    }
    if !arguments.after.is_empty() {
        if basis.is_none() {
            let message = "--after needs --log-key and --export-key, or --fingerprint or --root";
            return Err(Failure::usage(message).into());
        }
        return match verify_after(&arguments.after, &arguments.file, &basis)? {
            Ok((predicate, report)) => told(&arguments.file, Some(&predicate), &report, format),
            Err(refused) => refuse(&refused, format),
        };
    }
    if arguments.disclosures.len() > limits::DISCLOSURE_FILES_MAX {
        let message = format!(
            "--disclosures may be given {} times at most",
            limits::DISCLOSURE_FILES_MAX
        );
        return Err(Failure::usage(message).into());
    }
    let mut outcome = check(&arguments.file, &basis, arguments.require_replay)?;
    let later = later(&arguments.file, &arguments.disclosures, &mut outcome)?;
    let predicate = outcome.statement.as_ref().map(|statement| &statement.predicate);
    let exit = told(&arguments.file, predicate, &outcome.report, format)?;
    if let Some(count) = later {
        print::say(format_args!("{count} disclosures belong to events of the bundle"));
    }
    if basis.is_none() {
        print::say(
            "no keys were given; with --log-key and --export-key, or --fingerprint or --root, a bundle can be trusted",
        );
    }
    Ok(exit)
}

fn told(file: &Path, predicate: Option<&Predicate>, report: &Report, format: Format) -> Result<Exit> {
    if format.is_json() {
        print::json(report)?;
    } else {
        print_report(file, predicate, report)?;
    }
    Ok(exit_of(report))
}

/// Whether a file is meant to be a work order, or the cancellation of one.
///
/// # Errors
/// Usage: the file cannot be read.
pub fn is_order(file: &Path) -> Result<bool> {
    std::fs::File::open(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    order::verify::is_order(&opener(file)).with_context(|| file.display().to_string())
}

/// Checks a work order: what can be known of it without the enclave that it is for.
fn run_order(arguments: &Arguments, format: Format) -> Result<Exit> {
    let key = arguments
        .orders_key
        .as_deref()
        .map(read::public_key)
        .transpose()?;
    let options = order::verify::Options {
        orders_key: key,
        ..order::verify::Options::default()
    };
    let file = &arguments.file;
    let outcome =
        order::verify::verify(&opener(file), &options).with_context(|| file.display().to_string())?;
    if format.is_json() {
        print::json(&outcome.report)?;
    } else {
        let told = outcome.statement.map(|statement| {
            let for_whom: Vec<_> = statement.enclaves().iter().map(ToString::to_string).collect();
            format!(
                "work order {} of {}, for {}",
                statement.order_id(),
                statement.hub(),
                for_whom.join(", ")
            )
        });
        print_checks(file, told.as_deref(), &outcome.report)?;
    }
    if key.is_none() {
        print::say("no key was given; with --orders-key a work order can be trusted");
    }
    Ok(exit_of(&outcome.report))
}

/// Holds files of disclosures that came later against a bundle whose history is sound. Gives how many disclosures belong to it;
/// none when there are no files, or something is wrong, which the report says then.
fn later(bundle: &Path, files: &[PathBuf], outcome: &mut Outcome) -> Result<Option<u64>> {
    let statement = outcome.statement.as_ref();
    let (Some(first), false) = (statement.map(|one| one.predicate.first), files.is_empty()) else {
        return Ok(None);
    };
    let open = |file: &PathBuf| {
        let cannot = |error| Failure::usage(format!("cannot read {}: {error}", file.display()));
        let opened = std::fs::File::open(file).map_err(cannot)?;
        if opened.metadata().map_err(cannot)?.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", file.display())));
        }
        Ok(opened)
    };
    let mut opened = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let named = files.iter().zip(&mut opened).map(|(file, content)| Later {
        name: file.display().to_string(),
        content,
    });
    let count = verify_later(&opener(bundle), first, named.collect(), &mut outcome.report)
        .with_context(|| bundle.display().to_string())?;
    Ok(outcome.report.ok.then_some(count))
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
pub fn check(file: &Path, basis: &Basis, require_replay: bool) -> Result<Outcome> {
    let meter = Meter::of(file);
    let open = meter.opener(file);
    let mut replay = match look(file)? {
        Ok(predicate) if predicate.first == 0 => Some(scratch(&predicate)?),
        Ok(_) | Err(_) => None,
    };
    let options = Options {
        log_key: basis.keys.as_ref().map(|keys| keys.log),
        export_key: basis.keys.as_ref().map(|keys| keys.export),
        anchor: basis.anchor.clone(),
        held: None,
        replay: replay.as_mut().map(|replay| replay as &mut dyn Replay),
        require_replay,
        require_signature: false,
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
    empty(&predicate.tenant, predicate.first)
}

/// The same, for a tenant: only what events from `first` on name is told of.
///
/// # Errors
/// When it cannot be made.
pub fn empty(tenant: &TenantName, first: u64) -> Result<ScratchReplay> {
    let parent = std::env::temp_dir();
    let entropy = SystemClock::default().entropy();
    let folder = ScratchFolder::new(&parent, entropy)
        .with_context(|| format!("making a scratch folder in {}", parent.display()))?;
    Ok(ScratchReplay::new(folder, tenant.clone(), first)?)
}

fn print_report(file: &Path, predicate: Option<&Predicate>, report: &Report) -> Result<()> {
    let told = predicate.map(|predicate| {
        let Predicate {
            origin, first, size, ..
        } = predicate;
        format!("{origin}, events {first} to {}", size.saturating_sub(1))
    });
    print_checks(file, told.as_deref(), report)
}

fn print_checks(file: &Path, told: Option<&str>, report: &Report) -> Result<()> {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
    print::line(paint(Look::Bold, shown(&name)))?;
    if let Some(told) = told {
        print::line(format_args!("  {}", shown(told)))?;
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
