//! One changed byte: the folder is opened, everything is read, and what came of it is named.

use std::path::Path;
use std::sync::Arc;

use fastness::cli::doctor::{Status, examine};
use fastness::clock::ManualClock;
use fastness::disk::Disk;
use fastness::domain::command::Command;
use fastness::domain::event::Actor;
use fastness::engine::{ManualEngine, Report, Setup, StartError, Trusted};
use fastness::journal::Options;
use fastness::store::Store;

use super::folder::{DATA, Folder, Kind, Place};
use super::truth::Truth;
use crate::crash::check::guarded;
use crate::simulation::deeds::plain_job;
use crate::simulation::world::keys;
use crate::support::sim_disk::SimDisk;

pub const OPTIONS: Options = Options {
    segment_bytes: 64 << 10,
    spares_max: 1,
};

/// The commit block in front of a `tail` and behind it.
const TAIL_BLOCK_BYTES: u64 = 2_092;

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The start refuses, and names file and offset.
    NamedByStart,
    /// Who reads is refused, by file and offset; everything else is served.
    NamedByReader,
    /// The projection was thrown away and folded anew.
    Rebuilt,
    /// The last batch was taken for torn; nothing else was.
    CutLast,
    /// The snapshot was not used.
    PassedOver,
    /// Everything is there.
    Harmless,
}

/// Plays one change through.
pub fn play(folder: &Folder, place: &Place, with_doctor: bool) -> Result<Outcome, String> {
    let disk = folder.disk.fork();
    if place.kind == Kind::Snapshot {
        // Only who builds anew reads one.
        Store::discard(&disk, &Path::new(DATA).join("state.redb")).unwrap();
    }
    disk.flip_byte(&place.path, place.offset, place.mask);
    let examined = disk.fork();
    let outcome = guarded(|| open_and_read(folder, place, &disk))?;
    check_allowed(folder, place, outcome)?;
    if with_doctor {
        guarded(|| doctor(place, examined, outcome))?;
    }
    Ok(outcome)
}

fn open_and_read(folder: &Folder, place: &Place, disk: &SimDisk) -> Result<Outcome, String> {
    let (mut engine, report) = match open(disk, Trusted::Yes) {
        Ok(opened) => opened,
        Err(error) => {
            check_named(&error.to_string(), place)?;
            return Ok(Outcome::NamedByStart);
        }
    };
    // The last batch is gone, unless history had it.
    let was_cut = report.cut.is_some();
    let held: usize = engine
        .tenants()
        .map_err(|error| error.to_string())?
        .iter()
        .map(|tenant| engine.ledger(tenant).map_or(0, |ledger| ledger.size() as usize))
        .sum();
    let all: usize = folder.truth.events.values().map(Vec::len).sum();
    let truth = if was_cut && held < all {
        &folder.before_last
    } else {
        &folder.truth
    };
    let refused = truth.check_ledgers(&engine)?;
    let unread = truth.check_projection(&engine)?;
    for error in refused.iter().chain(&unread) {
        check_named(error, place)?;
    }
    if let Some((file, offset)) = &report.cut {
        if *file != place.path || *offset > place.offset {
            return Err(format!("cut {} at {offset}", file.display()));
        }
        live_on(&mut engine, disk)?;
        return Ok(Outcome::CutLast);
    }
    if unread.is_some() {
        // What the writer does when a reader reports damage.
        drop(engine);
        let (engine, _) = open(disk, Trusted::No).map_err(|error| error.to_string())?;
        if truth.check_projection(&engine)?.is_some() {
            return Err("the projection built anew cannot be read".to_owned());
        }
        return Ok(Outcome::NamedByReader);
    }
    Ok(told(folder, place, &report, refused.is_empty()))
}

fn told(folder: &Folder, place: &Place, report: &Report, is_whole: bool) -> Outcome {
    match place.kind {
        _ if !is_whole => Outcome::NamedByReader,
        Kind::Snapshot if report.folded > folder.folded_from_snapshot => Outcome::PassedOver,
        Kind::Snapshot => Outcome::Harmless,
        _ if report.rebuilt.is_some() => Outcome::Rebuilt,
        _ => Outcome::Harmless,
    }
}

/// After a cut, life goes on: what is acknowledged from then on is there after the next start.
fn live_on(engine: &mut ManualEngine, disk: &SimDisk) -> Result<(), String> {
    for tenant in ["acme", "zeta"] {
        let command = Command::SubmitJob(Box::new(plain_job()));
        let done = engine.submit(&tenant.parse().unwrap(), &Actor::system("test"), command);
        done.map_err(|fatal| fatal.to_string())?
            .map_err(|rejection| rejection.to_string())?;
    }
    let truth = Truth::of(engine);
    let trusted = [Trusted::Yes, Trusted::No];
    for trusted in trusted {
        let (engine, _) = open(&disk.fork(), trusted).map_err(|error| format!("after a cut: {error}"))?;
        let refused = truth.check_ledgers(&engine)?;
        if !refused.is_empty() || truth.check_projection(&engine)?.is_some() {
            return Err(format!("after a cut: {refused:?}"));
        }
    }
    Ok(())
}

/// Damage that nobody finds must be where nothing counts.
fn check_allowed(folder: &Folder, place: &Place, outcome: Outcome) -> Result<(), String> {
    let covered = folder.covered.iter().find(|covered| covered.path == place.path);
    let is_newest = folder.covered.last().is_some_and(|last| last.path == place.path);
    let allowed = match (place.kind, outcome) {
        (Kind::Segment, Outcome::CutLast) => {
            is_newest && covered.is_some_and(|covered| covered.is_last(place.offset))
        }
        (Kind::Segment, Outcome::Harmless) => covered.is_some_and(|covered| !covered.counts(place.offset)),
        (Kind::Segment, _) => covered.is_some_and(|covered| covered.counts(place.offset)),
        // It has two blocks, each of which suffices.
        (Kind::Tail, outcome) => {
            let within = TAIL_BLOCK_BYTES..folder.len_of(&place.path) - TAIL_BLOCK_BYTES;
            (outcome == Outcome::Harmless) != within.contains(&place.offset)
        }
        _ => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(format!("{outcome:?} is wrong there"))
    }
}

/// The damaged file, and an offset that is not behind the damage.
fn check_named(error: &str, place: &Place) -> Result<(), String> {
    let complaint = || Err(format!("not named: {error}"));
    let projection = Path::new(DATA).join("state.redb");
    // Of a block and its checksum nobody can say which of the two is wrong.
    let is_sum = place.kind == Kind::Sums && error.contains(projection.to_str().unwrap());
    if !is_sum && !error.contains(&*place.path.to_string_lossy()) {
        return complaint();
    }
    let words: Vec<&str> = error.split([' ', ':', ',']).collect();
    let offset = words
        .windows(2)
        .find(|pair| pair[0] == "offset" || pair[0] == "byte")
        .and_then(|pair| pair[1].parse::<u64>().ok());
    match offset {
        Some(offset) if is_sum || offset <= place.offset => Ok(()),
        // A few words, of which each counts.
        None if matches!(place.kind, Kind::Checkpoint | Kind::Floor) => Ok(()),
        _ => complaint(),
    }
}

/// Whoever asks `doctor` hears the same, of the same file.
fn doctor(place: &Place, disk: SimDisk, outcome: Outcome) -> Result<(), String> {
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let findings = examine::all(&disk, Path::new(DATA), &|_| true);
    let damaged: Vec<_> = findings
        .iter()
        .filter(|finding| finding.status == Status::Damaged && finding.name != "keys")
        .collect();
    let projection = Path::new(DATA).join("state.redb");
    let names = |file: &Path| {
        damaged
            .iter()
            .any(|finding| finding.file.as_deref() == Some(file))
    };
    let agrees = match (place.kind, outcome) {
        (Kind::Projection | Kind::Sums, Outcome::NamedByReader | Outcome::Rebuilt) => {
            names(&place.path) || names(&projection)
        }
        (_, Outcome::NamedByStart | Outcome::NamedByReader) => names(&place.path),
        (_, Outcome::CutLast) => {
            damaged.is_empty()
                && findings
                    .iter()
                    .any(|finding| finding.detail.contains("a torn batch"))
        }
        (_, Outcome::Harmless | Outcome::PassedOver | Outcome::Rebuilt) => damaged.is_empty(),
    };
    if agrees {
        Ok(())
    } else {
        Err(format!("after {outcome:?} doctor says {damaged:#?}"))
    }
}

pub fn open(disk: &SimDisk, trusted: Trusted) -> Result<(ManualEngine, Report), StartError> {
    ManualEngine::open(Setup {
        dir: DATA.into(),
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::new(1_769_860_800_000, 1)),
        keys: keys(),
        trusted,
        journal: OPTIONS,
    })
}
