//! A failure at any step of archiving or of making keys: nothing is lost, nothing is mixed, and the next start goes on.

use std::sync::Arc;

use fastness::domain::Seq;
use fastness::ledger::{LedgerError, TenantLedger};
use fastness::trust::{KeyFolder, TrustError};

use super::failing_disk::FailingDisk;
use super::{check_all, event, open, push};

/// Ends of the archive, step by step: within a frame, at its end, over several files.
const STEPS: [u64; 6] = [100, 256, 300, 1_500, 1_536, 1_700];

/// Pushes and archives until a failure; gives the end of the last archiving that was acknowledged.
fn run(ledger: &TenantLedger) -> Result<u64, (u64, LedgerError)> {
    let mut acknowledged = ledger.archived();
    for end in STEPS {
        push(ledger, ledger.size(), end.max(ledger.size()));
        ledger.archive(end).map_err(|error| (acknowledged, error))?;
        acknowledged = acknowledged.max(end);
    }
    Ok(acknowledged)
}

#[test]
fn a_failure_at_any_step_of_archiving_loses_and_mixes_nothing() {
    for changes in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let failing = Arc::new(FailingDisk::after(changes));
        let ledger = open(failing.clone(), dir.path()).unwrap();
        let result = run(&ledger);
        let acknowledged = match &result {
            Ok(end) => *end,
            Err((end, LedgerError::Io { .. })) => *end,
            Err((_, other)) => panic!("after {changes} changes: {other}"),
        };
        // The process that met the failure still reads everything, and writes nothing.
        check_all(&ledger, ledger.size());
        if result.is_err() {
            assert!(matches!(
                ledger.archive(ledger.size()),
                Err(LedgerError::Stopped { .. })
            ));
        }
        drop(ledger);

        let again = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
        let archived = again.archived();
        assert!(
            archived >= acknowledged && (archived == 0 || STEPS.contains(&archived)),
            "after {changes} changes: {archived}, acknowledged {acknowledged}"
        );
        check_all(&again, archived);
        assert_eq!(run(&again).unwrap(), 1_700);
        check_all(&open(Arc::new(FailingDisk::never()), dir.path()).unwrap(), 1_700);
        if result.is_ok() {
            assert!(changes > 40, "{changes} changes: the steps are not exercised");
            return;
        }
    }
}

#[test]
fn what_a_crash_left_behind_the_commit_is_never_read_and_cut_away() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    push(&ledger, 0, 600);
    ledger.archive(600).unwrap();
    let history = dir.path().join("acme/history");
    let names: Vec<_> = std::fs::read_dir(&history)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let newest = names
        .iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "frames"))
        .max()
        .unwrap();
    let committed = std::fs::read(newest).unwrap();
    let torn = [committed.as_slice(), &committed[..50]].concat();
    std::fs::write(newest, torn).unwrap();
    let stray = history.join("00000000000000002560.frames");
    std::fs::write(&stray, &committed).unwrap();
    std::fs::write(history.join("tail.new"), "torn").unwrap();
    std::fs::write(dir.path().join("acme/tiles/9"), "torn").unwrap();

    let again = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    check_all(&again, 600);
    push(&again, 600, 601);
    again.archive(601).unwrap();
    assert_eq!(std::fs::read(newest).unwrap(), committed);
    assert!(!stray.exists());
    check_all(&again, 601);
}

#[test]
fn a_data_file_shorter_than_committed_is_damage_and_not_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    push(&ledger, 0, 700);
    ledger.archive(700).unwrap();
    let path = dir.path().join("acme/history/00000000000000000000.frames");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let again = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    assert_eq!(
        again.event(Seq(600)).unwrap(),
        event(600),
        "the tail is not touched"
    );
    assert_eq!(again.event(Seq(10)).unwrap(), event(10), "nor is the first frame");
    let refused = again.event(Seq(300));
    assert!(matches!(refused, Err(LedgerError::Damaged { path: named, .. }) if named == path));
    push(&again, 700, 800);
    let refused = again.archive(800);
    assert!(matches!(refused, Err(LedgerError::Damaged { path: named, .. }) if named == path));
    assert_eq!(std::fs::read(&path).unwrap().len(), bytes.len() - 1);
}

#[test]
fn data_files_without_a_tail_are_damage_and_not_an_empty_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    push(&ledger, 0, 300);
    ledger.archive(300).unwrap();
    let tail = dir.path().join("acme/history/tail");
    std::fs::remove_file(&tail).unwrap();
    let refused = open(Arc::new(FailingDisk::never()), dir.path());
    assert!(matches!(refused, Err(LedgerError::Damaged { path, .. }) if path == tail));
}

#[test]
fn a_failure_at_any_step_of_making_keys_leaves_a_folder_that_the_next_start_completes() {
    for changes in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("keys");
        let failing = FailingDisk::after(changes);
        let mut fill = 0;
        let mut random = |bytes: &mut [u8]| {
            fill += 1;
            bytes.fill(fill);
        };
        let first = KeyFolder::open_or_create(&failing, &dir, &mut random);
        let again = KeyFolder::open_or_create(&FailingDisk::never(), &dir, &mut random).unwrap();
        let last = KeyFolder::open_or_create(&FailingDisk::never(), &dir, &mut random).unwrap();
        assert_eq!(again.log().public(), last.log().public());
        assert_eq!(again.export().public(), last.export().public());
        match first {
            Ok(first) => {
                assert!(!failing.has_failed() && changes > 15);
                assert_eq!(first.log().public(), again.log().public());
                return;
            }
            Err(TrustError::Io { .. }) => assert!(failing.has_failed()),
            Err(other) => panic!("after {changes} changes: {other}"),
        }
    }
}
