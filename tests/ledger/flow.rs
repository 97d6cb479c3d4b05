//! Pushing, archiving, reading and proving, across restarts and threads.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use fastness::disk::{Access, Disk, DiskFile, OsDisk};
use fastness::domain::{Seq, TenantName, leaf_hash};
use fastness::ledger::{
    Checkpoint, EventProof, LedgerError, Ledgers, Origin, Pushed, TreeHead, verify_consistency,
    verify_inclusion,
};
use fastness::limits;
use fastness::trust::{EnclaveId, PrivateKey};

use super::{Choices, check_all, disk, event, open, push, root};

#[test]
fn events_stay_readable_while_they_move_from_memory_to_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(disk(), dir.path()).unwrap();
    check_all(&ledger, 0);
    let mut size = 0;
    for (add, archived) in [
        (1, 0),
        (0, 1),
        (254, 255),
        (1, 256),
        (300, 400),
        (1_500, 2_056),
        (3, 2_058),
    ] {
        push(&ledger, size, size + add);
        size += add;
        check_all(&ledger, size);
        ledger.archive(archived).unwrap();
        assert_eq!(ledger.archived(), archived);
        check_all(&ledger, size);
    }
    ledger.archive(10).unwrap();
    assert_eq!(ledger.archived(), 2_058, "what is archived stays archived");
    let files = std::fs::read_dir(dir.path().join("acme/history"))
        .unwrap()
        .count();
    assert!(files > 5, "{files} files: a new one is begun when one is full");
}

#[test]
fn a_restart_takes_the_journals_records_again_and_skips_the_archived() {
    let dir = tempfile::tempdir().unwrap();
    {
        let ledger = open(disk(), dir.path()).unwrap();
        push(&ledger, 0, 1_000);
        ledger.archive(700).unwrap();
    }
    let ledger = open(disk(), dir.path()).unwrap();
    assert_eq!((ledger.archived(), ledger.size()), (700, 700));
    check_all(&ledger, 700);
    for seq in 500..1_000 {
        let expected = if seq < 700 {
            Pushed::Archived
        } else {
            Pushed::Appended
        };
        let bytes = event(seq);
        let leaf = leaf_hash(&bytes);
        assert_eq!(ledger.push(Seq(seq), bytes, leaf).unwrap(), expected);
    }
    check_all(&ledger, 1_000);
    ledger.archive(1_000).unwrap();
    check_all(&open(disk(), dir.path()).unwrap(), 1_000);
}

#[test]
fn gaps_repetitions_and_oversized_events_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(disk(), dir.path()).unwrap();
    push(&ledger, 0, 3);
    for seq in [2, 4] {
        let refused = ledger.push(Seq(seq), event(seq), leaf_hash(&event(seq)));
        assert!(matches!(
            refused,
            Err(LedgerError::NotContiguous { expected: 3, found }) if found == seq
        ));
    }
    for (len, fits) in [
        (limits::EVENT_BYTES_MAX + 1, false),
        (limits::EVENT_BYTES_MAX, true),
    ] {
        let bytes = bytes::Bytes::from(vec![b'x'; len]);
        let leaf = leaf_hash(&bytes);
        assert_eq!(ledger.push(Seq(3), bytes, leaf).is_ok(), fits, "{len}");
    }
    ledger.archive(4).unwrap();
    assert_eq!(ledger.event(Seq(3)).unwrap().len(), limits::EVENT_BYTES_MAX);
    assert!(matches!(
        ledger.archive(5),
        Err(LedgerError::BeyondEnd { seq: 5, end: 4 })
    ));
    assert!(matches!(ledger.event(Seq(4)), Err(LedgerError::BeyondEnd { .. })));
    assert!(ledger.event(Seq(u64::MAX)).is_err());
    assert!(ledger.leaf(Seq(u64::MAX)).is_err());
    assert!(ledger.root_at(5).is_err());
    assert!(ledger.inclusion_proof(Seq(4), 4).is_err());
    assert!(ledger.consistency_proof(3, 2).is_err());
    ledger
        .archive(4)
        .expect("a refused call does not stop the archive");
}

#[test]
fn a_scan_ends_where_told_and_when_the_visitor_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(disk(), dir.path()).unwrap();
    push(&ledger, 0, 900);
    ledger.archive(600).unwrap();
    for (from, to) in [
        (0, 0),
        (0, 900),
        (255, 257),
        (511, 601),
        (599, 600),
        (600, 601),
        (650, 899),
    ] {
        let mut seen = Vec::new();
        let visit = &mut |seq: Seq, _: &bytes::Bytes| {
            seen.push(seq.0);
            ControlFlow::Continue(())
        };
        ledger.scan(Seq(from), Seq(to), visit).unwrap();
        assert_eq!(seen, (from..to).collect::<Vec<_>>());
        let mut count = 0;
        let visit = &mut |_: Seq, _: &bytes::Bytes| {
            count += 1;
            if count == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        ledger.scan(Seq(from), Seq(to), visit).unwrap();
        assert_eq!(count, (to - from).min(2));
    }
}

#[test]
fn proofs_hold_wherever_the_archive_ends() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(disk(), dir.path()).unwrap();
    push(&ledger, 0, 1_400);
    let seed = 11;
    let mut choices = Choices(seed);
    for archived in [0, 100, 256, 700, 1_024, 1_399, 1_400] {
        ledger.archive(archived).unwrap();
        for _ in 0..60 {
            let to = 1 + choices.below(1_400);
            let from = choices.below(to + 1);
            let seq = choices.below(to);
            let head = |size| TreeHead {
                size,
                root: ledger.root_at(size).unwrap(),
            };
            let proof = ledger.inclusion_proof(Seq(seq), to).unwrap();
            let leaf = leaf_hash(&event(seq));
            assert_eq!(
                verify_inclusion(&leaf, seq, to, &proof, &head(to).root),
                Ok(()),
                "seed {seed}: {seq} in {to}"
            );
            let proof = ledger.consistency_proof(from, to).unwrap();
            assert_eq!(
                verify_consistency(head(from), head(to), &proof),
                Ok(()),
                "seed {seed}: {from} in {to}"
            );
        }
    }
}

#[test]
fn pushing_archiving_and_reading_go_on_at_once() {
    const SIZE: u64 = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(disk(), dir.path()).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| push(&ledger, 0, SIZE));
        scope.spawn(|| {
            while ledger.archived() < SIZE {
                ledger.archive(ledger.size()).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        for seed in 0..2 {
            let (ledger, done) = (&ledger, &done);
            scope.spawn(move || {
                let mut choices = Choices(seed);
                while !done.load(Ordering::Acquire) {
                    let size = ledger.size();
                    if size == 0 {
                        thread::yield_now();
                        continue;
                    }
                    // Half of the reads near the end, where the archive moves.
                    let near = choices.below(2) * size.saturating_sub(600);
                    let seq = near + choices.below(size - near);
                    assert_eq!(ledger.event(Seq(seq)).unwrap(), event(seq), "seed {seed}");
                    let head = ledger.head();
                    let proof = ledger.inclusion_proof(Seq(seq), head.size).unwrap();
                    let leaf = leaf_hash(&event(seq));
                    assert_eq!(
                        verify_inclusion(&leaf, seq, head.size, &proof, &head.root),
                        Ok(()),
                        "seed {seed}: {seq} in {}",
                        head.size
                    );
                }
            });
        }
    });
    check_all(&ledger, SIZE);
}

/// Does something once, just before somebody opens the tail for reading.
#[derive(Debug)]
struct Interrupted {
    meanwhile: Mutex<Option<mpsc::SyncSender<mpsc::SyncSender<()>>>>,
}

impl Disk for Interrupted {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        // The lock is let go before waiting: what is done meanwhile opens the tail too.
        let meanwhile = match access {
            Access::Read if path.ends_with("tail") => self.meanwhile.lock().unwrap().take(),
            Access::Read | Access::Write | Access::Create | Access::CreateNew => None,
        };
        if let Some(meanwhile) = meanwhile {
            let (done, wait) = mpsc::sync_channel(1);
            meanwhile.send(done).unwrap();
            wait.recv().unwrap();
        }
        OsDisk.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }

    crate::support::os_disk::rest_as_os_disk!();
}

#[test]
fn a_reader_of_the_tail_finds_its_event_when_the_tail_is_replaced_just_then() {
    for end in [320, 512, 900] {
        let dir = tempfile::tempdir().unwrap();
        {
            let ledger = open(disk(), dir.path()).unwrap();
            push(&ledger, 0, 300);
            ledger.archive(300).unwrap();
        }
        let interrupted = Arc::new(Interrupted {
            meanwhile: Mutex::new(None),
        });
        let ledger = open(interrupted.clone(), dir.path()).unwrap();
        push(&ledger, 300, 900);
        let (meanwhile, begin) = mpsc::sync_channel(1);
        *interrupted.meanwhile.lock().unwrap() = Some(meanwhile);
        thread::scope(|scope| {
            let ledger = &ledger;
            scope.spawn(move || {
                let done = begin.recv().unwrap();
                ledger.archive(end).unwrap();
                done.send(()).unwrap();
            });
            assert_eq!(ledger.event(Seq(290)).unwrap(), event(290), "{end}");
        });
        assert_eq!(ledger.archived(), end);
        check_all(&ledger, 900);
    }
}

#[test]
fn all_ledgers_open_lazily_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<TenantName> = ["acme", "foreign:0123456789abcdef/plant", "system"]
        .into_iter()
        .map(|name| name.parse().unwrap())
        .collect();
    {
        let ledgers = Ledgers::open(disk(), dir.path().join("ledgers")).unwrap();
        assert!(ledgers.tenants().unwrap().is_empty());
        for name in &names {
            let ledger = ledgers.ledger(name).unwrap();
            assert!(Arc::ptr_eq(&ledger, &ledgers.ledger(name).unwrap()));
            push(&ledger, 0, 300);
            ledger.archive(300).unwrap();
        }
    }
    std::fs::create_dir(dir.path().join("ledgers/lost+found")).unwrap();
    let ledgers = Ledgers::open(disk(), dir.path().join("ledgers")).unwrap();
    assert_eq!(ledgers.tenants().unwrap(), names);
    for name in &names {
        check_all(&ledgers.ledger(name).unwrap(), 300);
    }
}

#[test]
fn the_stored_checkpoint_and_a_proof_taken_out_verify() {
    let dir = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate(&mut |bytes| bytes.fill(9));
    let origin = Origin::new(EnclaveId::of(&key.public()), super::tenant()).unwrap();
    let ledger = open(disk(), dir.path()).unwrap();
    assert_eq!(ledger.stored_checkpoint().unwrap(), None);
    push(&ledger, 0, 777);
    let signed = Checkpoint {
        origin: origin.clone(),
        head: ledger.head(),
    }
    .sign(&key)
    .unwrap();
    ledger.store_checkpoint(&signed).unwrap();
    ledger.archive(500).unwrap();

    let ledger = open(disk(), dir.path()).unwrap();
    push(&ledger, 500, 777);
    let stored = ledger.stored_checkpoint().unwrap().unwrap();
    let head = stored.verify(&origin, &key.public()).unwrap().head;
    assert_eq!((head.size, head.root), (777, root(777)));
    for seq in [0, 499, 500, 776] {
        let proof = EventProof {
            index: seq,
            hashes: ledger.inclusion_proof(Seq(seq), head.size).unwrap(),
            checkpoint: stored.clone(),
        };
        let proof = EventProof::parse(proof.to_text().as_bytes()).unwrap();
        proof.verify(&event(seq), &origin, &key.public()).unwrap();
        assert!(proof.verify(b"else", &origin, &key.public()).is_err());
    }
    std::fs::write(dir.path().join("acme/checkpoint"), "torn").unwrap();
    assert!(matches!(
        ledger.stored_checkpoint(),
        Err(LedgerError::Damaged { .. })
    ));
}
