//! `fastness replay-bundle`: rebuilds the state of a ledger from its bundles alone, offline, and prints its digest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::print::{self, Format};
use super::replay_show as show;
use super::verify::{Basis, BasisFiles, check_line, empty, exit_of, look, scratch};
use crate::bundle::import::{foreign_tenant, opener};
use crate::bundle::manifest::Predicate;
use crate::bundle::replay::ScratchReplay;
use crate::bundle::{Held, HeldTip, Options, Outcome, Replay, Report, Status, each_event, verify};
use crate::config::loopback;
use crate::domain::payload::BundleImported;
use crate::domain::{Digest, TenantName, leaf_hash};
use crate::ledger::Frontier;

/// Which bundles.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The bundles of one ledger, from its first event on, in order
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    basis: BasisFiles,
    /// The state behind this event; behind the last when not given
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// Show the replayed state: a read-only console and interface on this machine, with a token of its own
    #[arg(long)]
    serve: bool,
    /// Where to show it; port 0 picks a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0",
        requires = "serve"
    )]
    listen: String,
}

/// What came out of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replayed {
    bundles: Vec<Part>,
    origin: String,
    root: Digest,
    /// How many events.
    pub size: u64,
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
    let basis = arguments.basis.read()?;
    if basis.is_none() {
        let message = "replaying needs --log-key and --export-key, or --fingerprint or --root";
        return Err(Failure::usage(message).into());
    }
    let listen = arguments
        .serve
        .then(|| loopback(&arguments.listen))
        .transpose()
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut replayed = match replay(&arguments.files, &basis)? {
        Ok(replayed) => replayed,
        Err(refused) => return refuse(&refused, format),
    };
    let end = replayed.size;
    if let Some(at) = arguments.at {
        if at >= end {
            let message = format!(
                "the bundles hold the events 0 to {}, there is no {at}",
                end.saturating_sub(1)
            );
            return Err(Failure::usage(message).into());
        }
        replayed = replayed.at(&arguments.files, at + 1)?;
    }
    match listen {
        None => tell(replayed, format),
        Some(listen) => show::serve(replayed, &arguments.files, listen, format),
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
pub fn replay(files: &[PathBuf], basis: &Basis) -> Result<Result<Replayed, RefusedBundle>> {
    let mut chain: Option<Chain> = None;
    for file in files {
        let added = match &mut chain {
            None => Chain::begin(file, basis, From::Start)?.map(|begun| chain = Some(begun)),
            Some(chain) => chain.add(file, basis)?.map(drop),
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

/// Verifies a bundle against those that it follows, in order: that it extends them, and, where they go back to the first
/// event, that history leads to its state.
///
/// # Errors
/// Usage; no verdict; bundles that do not follow one another. One of the earlier bundles that is refused is given back.
pub fn verify_after(
    after: &[PathBuf],
    file: &Path,
    basis: &Basis,
) -> Result<Result<(Predicate, Report), RefusedBundle>> {
    let mut chain: Option<Chain> = None;
    for earlier in after {
        let added = match &mut chain {
            None => Chain::begin(earlier, basis, From::Anywhere)?.map(|begun| chain = Some(begun)),
            Some(chain) => chain.add(earlier, basis)?.map(drop),
        };
        if let Err(report) = added {
            let file = earlier.clone();
            return Ok(Err(RefusedBundle {
                file,
                report: *report,
            }));
        }
    }
    let mut chain = chain.ok_or_else(|| Failure::usage("after which bundle?"))?;
    let judged = chain.add(file, basis)?;
    let report = judged.unwrap_or_else(|refused| *refused);
    Ok(Ok((chain.last, report)))
}

/// Where a chain of bundles may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// With the first event, so that the state can be replayed.
    Start,
    /// Anywhere.
    Anywhere,
}

/// What was replayed so far.
struct Chain {
    /// None where the chain does not begin with the first event.
    replay: Option<ScratchReplay>,
    last: Predicate,
    parts: Vec<Part>,
}

impl Chain {
    /// Begins with a bundle; a refused one gives its report.
    fn begin(file: &Path, basis: &Basis, from: From) -> Result<Result<Chain, Box<Report>>> {
        let predicate = match look(file)? {
            Ok(predicate) => predicate,
            Err(report) => return Ok(Err(report)),
        };
        if predicate.first != 0 && from == From::Start {
            return Err(out_of_order(file, &predicate, 0));
        }
        let replay = (predicate.first == 0).then(|| scratch(&predicate)).transpose()?;
        let mut chain = Chain {
            replay,
            last: predicate,
            parts: Vec::new(),
        };
        let added = chain.take(file, basis, None)?;
        Ok(added.map(|_| chain))
    }

    /// Goes on with the next bundle of the same ledger; gives the report on it.
    fn add(&mut self, file: &Path, basis: &Basis) -> Result<Result<Report, Box<Report>>> {
        let predicate = match look(file)? {
            Ok(predicate) => predicate,
            Err(report) => return Ok(Err(report)),
        };
        if predicate.first != self.last.size || predicate.origin != self.last.origin {
            return Err(out_of_order(file, &predicate, self.last.size));
        }
        if let Some(replay) = &mut self.replay {
            replay.continue_at(predicate.first);
        }
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
        self.take(file, basis, Some(&held))
    }

    /// Verifies a bundle against what was replayed before it.
    fn take(
        &mut self,
        file: &Path,
        basis: &Basis,
        held: Option<&dyn Held>,
    ) -> Result<Result<Report, Box<Report>>> {
        let options = Options {
            log_key: basis.keys.as_ref().map(|keys| keys.log),
            export_key: basis.keys.as_ref().map(|keys| keys.export),
            anchor: basis.anchor.clone(),
            held,
            require_replay: self.replay.is_some(),
            require_signature: false,
            replay: self.replay.as_mut().map(|replay| replay as &mut dyn Replay),
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
        Ok(Ok(report))
    }
}

impl Replayed {
    /// The state at an earlier size, from the same bundles, which are verified.
    fn at(self, files: &[PathBuf], size: u64) -> Result<Self> {
        let mut replay = empty(&self.tenant, 0)?;
        let mut tree = Frontier::default();
        for file in files {
            let visited = each_event(file, |line| {
                if tree.size() == size {
                    return Ok(false);
                }
                replay
                    .event(tree.size(), line)
                    .map_err(|error| error.to_string())?;
                tree.push(leaf_hash(line));
                Ok(true)
            });
            visited
                .map_err(anyhow::Error::msg)
                .with_context(|| file.display().to_string())?;
        }
        Ok(Replayed {
            root: tree.root(),
            size,
            state_digest: replay.state_digest()?,
            ..self
        })
    }

    /// What an import of its bundles would record, beside their files.
    pub fn as_imported(&self, files: &[PathBuf]) -> Result<Vec<(PathBuf, BundleImported)>> {
        let tenant = foreign_tenant(&self.origin, &self.tenant)
            .ok_or_else(|| Failure::new(Exit::Refused(14), format!("{:?} is no origin", self.origin)))?;
        let bundles = files.iter().zip(&self.bundles).map(|(file, part)| {
            let imported = BundleImported {
                first: part.first,
                origin: self.origin.clone(),
                root: self.root,
                size: part.size,
                tar_sha256: part.tar_sha256,
                tenant: tenant.clone(),
                trust_version: None,
            };
            (file.clone(), imported)
        });
        Ok(bundles.collect())
    }
}

impl Chain {
    fn end(mut self) -> Result<Replayed> {
        let replay = self.replay.as_mut();
        let replay =
            replay.ok_or_else(|| anyhow::anyhow!("the bundles do not begin with the first event"))?;
        let state_digest = replay.state_digest()?;
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

/// Tells why a bundle is refused.
///
/// # Errors
/// What standard output said.
pub fn refuse(refused: &RefusedBundle, format: Format) -> Result<Exit> {
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
