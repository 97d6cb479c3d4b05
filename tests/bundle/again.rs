//! The same range gives the same bytes: asked twice, after a restart, and from a projection that was built anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness::bundle::export::{ExportAsk, With, bundle_path, export};
use fastness::clock::{Clock, SystemClock};
use fastness::disk::OsDisk;
use fastness::domain::TenantName;
use fastness::domain::command::{Command, StartRun};
use fastness::domain::event::Actor;
use fastness::engine::{Handle, ManualEngine, Setup, Trusted};
use fastness::journal::Options;
use fastness::output::Output;
use fastness::store::Store;
use fastness::trust::KeyFolder;

use super::fixture::decompress;
use crate::simulation::deeds::plain_job;
use crate::simulation::packs;
use crate::support::random::Random;

/// Commands of a ledger: more events than a frame holds.
const ROUNDS: usize = 60;

fn setup(dir: &Path) -> Setup {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let mut random = |bytes: &mut [u8]| clock.fill_random(bytes);
    let keys = KeyFolder::open_or_create(&OsDisk, &dir.join("keys"), &mut random).unwrap();
    Setup {
        dir: dir.to_owned(),
        disk: Arc::new(OsDisk),
        clock,
        keys: Arc::new(keys),
        trusted: Trusted::Yes,
        journal: Options::default(),
    }
}

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

/// Runs and jobs, some of them cancelled, with a snapshot behind them.
fn live(dir: &Path) -> u64 {
    let (mut engine, _) = ManualEngine::open(setup(dir)).unwrap();
    let mut random = Random::new(5);
    let mut told = |tenant: &TenantName, command| engine.submit(tenant, &Actor::system("test"), command);
    told(&TenantName::system(), Command::CreateTenant { name: acme() })
        .unwrap()
        .unwrap();
    for round in 0..ROUNDS {
        let job = told(&acme(), Command::SubmitJob(Box::new(plain_job())))
            .unwrap()
            .unwrap();
        if let (fastness::domain::command::Reply::Job(job), 0) = (job, round % 3) {
            let reason = "enough".to_owned();
            told(&acme(), Command::CancelJob { job: job.id, reason })
                .unwrap()
                .unwrap();
        }
        told(&acme(), packs::register(&packs::random(&mut random)))
            .unwrap()
            .unwrap();
        for pack in packs::NAMES {
            let run = Command::StartRun(Box::new(StartRun {
                pack: pack.parse().unwrap(),
                version: None,
                inputs: Default::default(),
                correlation_id: None,
                idempotency: None,
            }));
            // Not every name is registered yet.
            let _ = told(&acme(), run).unwrap();
        }
    }
    engine.archive().unwrap();
    engine.snapshot().unwrap();
    engine.flush().unwrap();
    engine.ledger(&acme()).unwrap().size()
}

/// Each range as the file and the tar within it.
fn exported(dir: &Path, ranges: &[(u64, u64)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (engine, _) = Handle::start(setup(dir)).unwrap();
    let output = Output::open(dir.join("output"), Arc::new(OsDisk)).unwrap();
    let files = ranges.iter().map(|(from, to)| {
        let ask = ExportAsk {
            tenant: acme(),
            from: *from,
            to: Some(*to),
            with: vec![With::Artifacts, With::Logs],
            showing: fastness::bundle::disclosures::Showing::Nothing,
        };
        let exported = export(&engine, &output, &ask).unwrap();
        let path = bundle_path(dir, exported.id);
        let file = std::fs::read(&path).unwrap();
        // Nothing of it may be used again.
        std::fs::remove_dir_all(dir.join("bundles")).unwrap();
        (file.clone(), decompress(&file))
    });
    let files = files.collect();
    engine.stop().unwrap();
    files
}

fn remove_projection(dir: &Path) {
    Store::discard(&OsDisk, &dir.join("state.redb")).unwrap();
}

#[test]
fn a_range_gives_the_same_bytes_again_after_a_restart_and_from_a_projection_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    let size = live(&dir);
    assert!(size > 600, "{size}");
    let ranges = [
        (0, size),
        (0, 256),
        (137, size - 91),
        (256, 512),
        (size - 1, size),
    ];
    let first = exported(&dir, &ranges);
    for (bundle, (from, to)) in first.iter().zip(ranges) {
        let history = super::fixture::Parts::of(&bundle.0)
            .member("history.jsonl")
            .clone();
        let events = history.iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(events, to - from);
    }
    let twice: Vec<_> = ranges.iter().flat_map(|range| [*range, *range]).collect();
    let snapshots: PathBuf = dir.join("snapshots");
    assert!(std::fs::read_dir(&snapshots).unwrap().count() > 0);
    let again = exported(&dir, &twice);
    remove_projection(&dir);
    let from_snapshot = exported(&dir, &twice);
    remove_projection(&dir);
    std::fs::remove_dir_all(&snapshots).unwrap();
    let from_ledgers = exported(&dir, &twice);
    for (what, bundles) in [
        ("after a restart", again),
        ("from a snapshot", from_snapshot),
        ("from the ledgers", from_ledgers),
    ] {
        for (index, bundle) in bundles.iter().enumerate() {
            let (file, tar) = &first[index / 2];
            let range = ranges[index / 2];
            assert!(bundle.1 == *tar, "{what}: the tar of {range:?} differs");
            assert!(bundle.0 == *file, "{what}: the file of {range:?} differs");
        }
    }
}
