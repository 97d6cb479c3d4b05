//! The same range gives the same bytes: asked twice, after a restart, and from a projection that was built anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fastness::bundle::disclosures::Showing;
use fastness::bundle::export::{ExportAsk, With, bundle_path, export};
use fastness::clock::{Clock, SystemClock};
use fastness::disk::OsDisk;
use fastness::domain::command::{Command, StartRun};
use fastness::domain::event::Actor;
use fastness::domain::{Digest, TenantName};
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

fn ask((from, to): (u64, u64)) -> ExportAsk {
    ExportAsk {
        tenant: acme(),
        from,
        to: Some(to),
        with: vec![With::Artifacts, With::Logs],
        showing: Showing::Nothing,
    }
}

/// Each range as the file and the tar within it.
fn exported(dir: &Path, ranges: &[(u64, u64)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (engine, _) = Handle::start(setup(dir)).unwrap();
    let output = Output::open(dir.join("output"), Arc::new(OsDisk)).unwrap();
    let files = ranges.iter().map(|(from, to)| {
        let ready = export(&engine, &output, &ask((*from, *to))).unwrap();
        let exported = ready.keep(&engine).unwrap();
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

/// Exports `range` so often with this data folder; jobs are submitted meanwhile. The digests of the tars.
fn digests(dir: &Path, range: (u64, u64), times: usize) -> Vec<Digest> {
    let (engine, _) = Handle::start(setup(dir)).unwrap();
    let output = Output::open(dir.join("output"), Arc::new(OsDisk)).unwrap();
    let over = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let submitted = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut submitted = 0;
            while !over.load(Ordering::Relaxed) {
                let command = Command::SubmitJob(Box::new(plain_job()));
                let told = runtime.block_on(engine.submit(&acme(), &Actor::system("test"), command));
                told.unwrap();
                submitted += 1;
            }
            submitted
        });
        let found: Vec<Digest> = (0..times)
            .map(|_| {
                let ready = export(&engine, &output, &ask(range)).unwrap();
                let exported = ready.keep(&engine).unwrap();
                let tar = decompress(&std::fs::read(bundle_path(dir, exported.id)).unwrap());
                assert_eq!(Digest::of(&tar), exported.tar_sha256);
                std::fs::remove_dir_all(dir.join("bundles")).unwrap();
                exported.tar_sha256
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        assert!(submitted.join().unwrap() > 0, "nothing went on meanwhile");
        found
    });
    engine.stop().unwrap();
    found
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn a_hundred_exports_of_a_range_are_one_archive_while_jobs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, copy) = (folder.path().join("data"), folder.path().join("copy"));
    std::fs::create_dir(&dir).unwrap();
    let size = live(&dir);
    // Not all of it: what the range touched goes on behind its end.
    let range = (137, size - 91);
    let mut all = digests(&dir, range, 20);
    for _ in 0..6 {
        all.extend(digests(&dir, range, 5));
    }
    copy_folder(&dir, &copy);
    all.extend(digests(&copy, range, 20));
    remove_projection(&dir);
    all.extend(digests(&dir, range, 15));
    remove_projection(&dir);
    std::fs::remove_dir_all(dir.join("snapshots")).unwrap();
    all.extend(digests(&dir, range, 15));
    assert_eq!(all.len(), 100);
    let first = all[0];
    let differ = all.iter().position(|digest| *digest != first);
    assert_eq!(differ, None, "{all:?}");
}
