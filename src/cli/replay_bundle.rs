//! `fastness replay-bundle`: rebuilds the state of a ledger from its bundles alone, offline, and prints its digest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::verify::{KeyFiles, check_line, exit_of, look, scratch};
use crate::bundle::import::{Keys, opener};
use crate::bundle::manifest::Predicate;
use crate::bundle::replay::ScratchReplay;
use crate::bundle::{Held, HeldTip, Options, Outcome, Report, Status, verify};
use crate::domain::{Digest, TenantName};

/// Which bundles.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundles of one ledger, from its first event on, in order
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    keys: KeyFiles,
}

/// What came out of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    bundles: Vec<Part>,
    origin: String,
    root: Digest,
    size: u64,
    /// SHA-256 over the complete state.
    pub state_digest: Digest,
    tenant: TenantName,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    file: String,
    first: u64,
    size: u64,
    tar_sha256: Digest,
}

/// Prints the digest of the state.
///
/// # Errors
/// Usage; a bundle that is refused ends with the code of its report.
pub fn run(arguments: Arguments, format: Format) -> Result<Exit> {
    let keys = arguments.keys.read()?;
    let keys = keys.ok_or_else(|| Failure::usage("replaying needs --log-key and --export-key"))?;
    match replay(&arguments.files, &keys)? {
        Ok(replayed) => tell(replayed, format),
        Err(refused) => refuse(&refused, format),
    }
}

/// A bundle that was not accepted.
#[derive(Debug)]
pub struct RefusedBundle {
    file: PathBuf,
    report: Report,
}

/// Replays bundles in order.
///
/// # Errors
/// Usage; no verdict. A bundle that is refused is given back with its report.
pub fn replay(files: &[PathBuf], keys: &Keys) -> Result<Result<Replayed, RefusedBundle>> {
    let mut chain: Option<Chain> = None;
    for file in files {
        let added = match &mut chain {
            None => Chain::begin(file, keys)?.map(|begun| chain = Some(begun)),
            Some(chain) => chain.add(file, keys)?,
        };
        if let Err(report) = added {
            return Ok(Err(RefusedBundle {
                file: file.clone(),
                report: *report,
            }));
        }
    }
    let chain = chain.ok_or_else(|| Failure::usage("no bundle was given"))?;
    chain.end().map(Ok)
}

/// What was replayed so far.
struct Chain {
    replay: ScratchReplay,
    last: Predicate,
    parts: Vec<Part>,
}

impl Chain {
    /// Begins with a bundle; a refused one gives its report.
    fn begin(file: &Path, keys: &Keys) -> Result<Result<Chain, Box<Report>>> {
        let predicate = match look(file)? {
            Ok(predicate) => predicate,
            Err(report) => return Ok(Err(report)),
        };
        if predicate.first != 0 {
            return Err(out_of_order(file, &predicate, 0));
        }
        let mut chain = Chain {
            replay: scratch(&predicate)?,
            last: predicate,
            parts: Vec::new(),
        };
        let added = chain.take(file, keys, None)?;
        Ok(added.map(|()| chain))
    }

    /// Goes on with the next bundle of the same ledger.
    fn add(&mut self, file: &Path, keys: &Keys) -> Result<Result<(), Box<Report>>> {
        let predicate = match look(file)? {
            Ok(predicate) => predicate,
            Err(report) => return Ok(Err(report)),
        };
        if predicate.first != self.last.size || predicate.origin != self.last.origin {
            return Err(out_of_order(file, &predicate, self.last.size));
        }
        self.replay.continue_at(predicate.first);
        let tip = HeldTip {
            size: self.last.size,
            root: self.last.root,
            trust_version: self.last.trust_version,
        };
        let held = Behind {
            origin: self.last.origin.clone(),
            tip,
        };
        self.last = predicate;
        self.take(file, keys, Some(&held))
    }

    /// Verifies a bundle against what was replayed before it.
    fn take(&mut self, file: &Path, keys: &Keys, held: Option<&dyn Held>) -> Result<Result<(), Box<Report>>> {
        let options = Options {
            log_key: Some(keys.log),
            export_key: Some(keys.export),
            held,
            replay: Some(&mut self.replay),
            require_replay: true,
        };
        let outcome = verify(&opener(file), options).with_context(|| file.display().to_string())?;
        let Outcome {
            report,
            tar_sha256: Some(tar_sha256),
            ..
        } = outcome
        else {
            return Ok(Err(Box::new(outcome.report)));
        };
        if !report.ok {
            return Ok(Err(Box::new(report)));
        }
        let (first, size) = (self.last.first, self.last.size);
        self.parts.push(Part {
            file: file.display().to_string(),
            first,
            size,
            tar_sha256,
        });
        Ok(Ok(()))
    }
}

impl Chain {
    fn end(mut self) -> Result<Replayed> {
        let state_digest = self.replay.state_digest().map_err(anyhow::Error::msg)?;
        Ok(Replayed {
            bundles: self.parts,
            origin: self.last.origin,
            root: self.last.root,
            size: self.last.size,
            state_digest,
            tenant: self.last.tenant,
        })
    }
}

/// The bundle before, as what is held.
struct Behind {
    origin: String,
    tip: HeldTip,
}

impl Held for Behind {
    fn tip(&self, origin: &str) -> Result<Option<HeldTip>, String> {
        Ok((origin == self.origin).then_some(self.tip))
    }

    fn root_at(&self, origin: &str, size: u64) -> Result<Option<Digest>, String> {
        let known = origin == self.origin && size == self.tip.size;
        Ok(known.then_some(self.tip.root))
    }
}

fn out_of_order(file: &Path, predicate: &Predicate, expected: u64) -> anyhow::Error {
    let Predicate { origin, first, .. } = predicate;
    let message = format!(
        "{} begins at event {first} of {origin}; a bundle that begins at event {expected} of the same ledger is needed here",
        file.display()
    );
    // Something is missing; the bundle itself may be sound.
    Failure::new(Exit::Refused(11), message).into()
}

fn refuse(refused: &RefusedBundle, format: Format) -> Result<Exit> {
    let RefusedBundle { file, report } = refused;
    if format.is_json() {
        print::json(report)?;
    }
    print::say(format_args!("{} is refused:", file.display()));
    for check in report
        .checks
        .iter()
        .filter(|check| check.status == Status::Failed)
    {
        print::say(check_line(check));
    }
    if let Some(meaning) = report.first_failure().and_then(|failure| failure.meaning) {
        print::say(format_args!("  this means: {meaning}"));
    }
    Ok(exit_of(report))
}

fn tell(replayed: Replayed, format: Format) -> Result<Exit> {
    if format.is_json() {
        print::json(&replayed)?;
        return Ok(Exit::Good);
    }
    print::facts(&[
        ("origin", replayed.origin),
        ("events", replayed.size.to_string()),
        ("root", replayed.root.to_string()),
        ("state", replayed.state_digest.to_string()),
    ])?;
    Ok(Exit::Good)
}
