//! Flipped bits in history and tiles: each read is right, or an error that names file and offset; and one flip
//! stops no more than one frame or tile.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness::disk::{Access, Disk, OsDisk};
use fastness::domain::{Seq, leaf_hash};
use fastness::ledger::{LedgerError, TenantLedger, verify_inclusion};

use super::failing_disk::FailingDisk;
use super::{Choices, event, open, push, root};

const SIZE: u64 = 2_700;
const FLIPS: u64 = 700;

#[test]
fn every_flipped_bit_is_harmless_or_named_and_stops_one_frame_only() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    push(&ledger, 0, SIZE);
    for archived in [300, 512, 2_000, SIZE] {
        ledger.archive(archived).unwrap();
    }
    let files = files_of(&dir.path().join("acme"));
    assert!(files.len() >= 8, "{files:?}");
    let whole_root = root(SIZE);
    let (mut named_frames, mut named_tiles) = (0, 0);
    for seed in 0..FLIPS {
        let mut choices = Choices(seed);
        let path = &files[choices.below(files.len() as u64) as usize];
        let bit = choices.below(fs::metadata(path).unwrap().len() * 8);
        flip(path, bit);

        let place = format!("seed {seed}: bit {bit} of {}", path.display());
        let ledger = open(Arc::new(FailingDisk::never()), dir.path())
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        let stopped = read_every_frame(&ledger, path, &place);
        let kind = path.extension().and_then(|kind| kind.to_str());
        if kind == Some("frames") {
            assert_eq!(stopped, 1, "{place}");
            named_frames += 1;
        } else if kind == Some("index") || path.parent().is_some_and(|dir| dir.ends_with("tiles")) {
            assert_eq!(stopped, 0, "{place}");
        }
        named_tiles += read_every_tile(&ledger, &place, |seq, proof| {
            verify_inclusion(&leaf_hash(&event(seq)), seq, SIZE, proof, &whole_root).is_ok()
        });
        scan_around_damage(&ledger, stopped, &place);
        flip(path, bit);
    }
    assert!(
        named_frames > 100 && named_tiles > 100,
        "{named_frames}, {named_tiles}"
    );
}

/// Flips one bit in place; twice is as never.
fn flip(path: &Path, bit: u64) {
    let file = OsDisk.open(path, Access::Write).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
}

/// Reads one event of each frame, two of the last; gives how many frames are stopped.
fn read_every_frame(ledger: &TenantLedger, flipped: &Path, place: &str) -> usize {
    let mut stopped = 0;
    for first in (0..SIZE).step_by(256) {
        let seq = (first + 77).min(SIZE - 1);
        match ledger.event(Seq(seq)) {
            Ok(bytes) => assert_eq!(bytes, event(seq), "{place}"),
            Err(LedgerError::Damaged { path, .. }) => {
                assert_eq!(path, flipped, "{place}");
                stopped += 1;
            }
            Err(other) => panic!("{place}: {other}"),
        }
    }
    stopped
}

/// Asks for leaves and proofs from each tile; gives how many were refused.
fn read_every_tile(
    ledger: &TenantLedger,
    place: &str,
    holds: impl Fn(u64, &[fastness::domain::Digest]) -> bool,
) -> usize {
    let mut refused = 0;
    let mut refuse = |error: LedgerError| match error {
        LedgerError::Damaged { path, .. } => {
            assert!(path.parent().is_some_and(|dir| dir.ends_with("tiles")), "{place}");
            refused += 1;
        }
        other => panic!("{place}: {other}"),
    };
    for seq in (5..SIZE).step_by(256).chain([SIZE - 1]) {
        match ledger.leaf(Seq(seq)) {
            Ok(leaf) => assert_eq!(leaf, leaf_hash(&event(seq)), "{place}"),
            Err(error) => refuse(error),
        }
        match ledger.inclusion_proof(Seq(seq), SIZE) {
            Ok(proof) => assert!(holds(seq, &proof), "{place}"),
            Err(error) => refuse(error),
        }
    }
    refused
}

/// A scan meets exactly the frames that are stopped, and goes on behind each.
fn scan_around_damage(ledger: &TenantLedger, stopped: usize, place: &str) {
    let (mut next, mut met) = (0, 0);
    while next < SIZE {
        let scanned = ledger.scan(Seq(next), Seq(SIZE), &mut |seq, bytes| {
            assert_eq!((seq.0, bytes), (next, &event(next)), "{place}");
            next += 1;
            ControlFlow::Continue(())
        });
        if scanned.is_err() {
            met += 1;
            next = (next / 256 + 1) * 256;
        }
    }
    assert_eq!(met, stopped, "{place}");
}

#[test]
fn a_lost_index_is_derived_from_the_frames() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(Arc::new(FailingDisk::never()), dir.path()).unwrap();
    push(&ledger, 0, SIZE);
    ledger.archive(SIZE).unwrap();
    for path in files_of(&dir.path().join("acme")) {
        if path.extension().is_some_and(|kind| kind == "index") {
            fs::remove_file(path).unwrap();
        }
    }
    super::check_all(&open(Arc::new(FailingDisk::never()), dir.path()).unwrap(), SIZE);
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["history", "tiles"]
        .into_iter()
        .flat_map(|name| fs::read_dir(dir.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
