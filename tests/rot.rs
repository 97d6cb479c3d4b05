//! Bytes that rot in a data folder: whatever is read afterwards is what was written, or is refused by file and offset.
//!
//! One byte of one file is changed, thousands of times over all kinds of files, each time in a fresh copy of the folder.
//! Then the engine is opened, everything is read, and now and then `doctor` looks as well.

mod covered;
mod folder;
mod living;
mod play;
mod real;
mod truth;

use std::collections::BTreeMap;

use self::folder::{End, Folder, Kind};
use self::play::{Outcome, play};
use crate::support::random::Random;

/// Changes of each kind of file in each of the folders.
const FLIPS: [(Kind, u64); 11] = [
    (Kind::Segment, 300),
    (Kind::Spare, 20),
    (Kind::Frames, 50),
    (Kind::Index, 20),
    (Kind::Tail, 100),
    (Kind::Tiles, 60),
    (Kind::Checkpoint, 50),
    (Kind::Floor, 40),
    (Kind::Projection, 140),
    (Kind::Sums, 50),
    (Kind::Snapshot, 30),
];
/// What all tests of this module must come to.
const FLIPS_MIN: u64 = 2_000;

/// How often each kind of file came to each outcome.
type Counts = BTreeMap<(Kind, Outcome), u64>;

#[test]
fn a_changed_byte_in_any_file_is_named_or_rebuilt_or_harmless_and_never_served() {
    let mut counts = Counts::new();
    let mut failures = Vec::new();
    for (seed, end) in [(901, End::Young), (902, End::Archived), (903, End::Closed)] {
        let folder = Folder::new(seed, end);
        println!("seed {seed}, {end:?}: {folder:?}");
        rot(&folder, seed, &mut counts, &mut failures);
    }
    for ((kind, outcome), times) in &counts {
        println!("{kind:?}: {outcome:?} {times}");
    }
    let shown: Vec<_> = failures.iter().take(12).map(String::as_str).collect();
    assert!(
        shown.is_empty(),
        "{} failures, among them:\n{}",
        failures.len(),
        shown.join("\n")
    );
    assert!(counts.values().sum::<u64>() >= FLIPS_MIN);
    check_counts(&counts);
}

fn rot(folder: &Folder, seed: u64, counts: &mut Counts, failures: &mut Vec<String>) {
    let mut random = Random::new(seed);
    for (kind, flips) in FLIPS {
        for flip in 0..flips {
            let Some(place) = folder.draw(kind, &mut random) else {
                break;
            };
            let with_doctor = flip % 20 == 3;
            match play(folder, &place, with_doctor) {
                Ok(outcome) => *counts.entry((kind, outcome)).or_default() += 1,
                Err(what) => failures.push(format!("seed {seed}, flip {flip}, {place}: {what}")),
            }
        }
    }
}

/// Every way of finding damage that there is for a kind of file was taken, and no other.
fn check_counts(counts: &Counts) {
    use Kind::{Checkpoint, Floor, Frames, Index, Projection, Segment, Snapshot, Spare, Sums, Tail, Tiles};
    use Outcome::{CutLast, Harmless, NamedByReader, NamedByStart, PassedOver, Rebuilt};
    let expected: [(Kind, &[(Outcome, u64)]); 11] = [
        (Segment, &[(NamedByStart, 300), (CutLast, 20), (Harmless, 40)]),
        (Spare, &[(Harmless, 20)]),
        (Frames, &[(NamedByReader, 150)]),
        (Index, &[(Harmless, 60)]),
        (Tail, &[(NamedByStart, 2), (NamedByReader, 20), (Harmless, 100)]),
        (Tiles, &[(NamedByReader, 180)]),
        (Checkpoint, &[(NamedByReader, 150)]),
        (Floor, &[(NamedByStart, 120)]),
        (Projection, &[(Rebuilt, 80), (NamedByReader, 40), (Harmless, 80)]),
        (Sums, &[(Rebuilt, 20), (NamedByReader, 20), (Harmless, 20)]),
        (Snapshot, &[(PassedOver, 20), (Harmless, 20)]),
    ];
    for (kind, outcomes) in expected {
        for (outcome, least) in outcomes {
            let times = counts.get(&(kind, *outcome)).copied().unwrap_or(0);
            assert!(times >= *least, "{kind:?} came to {outcome:?} only {times} times");
        }
        let known = |outcome: &Outcome| outcomes.iter().any(|(known, _)| known == outcome);
        let mut others = counts
            .keys()
            .filter(|(of, outcome)| *of == kind && !known(outcome));
        assert_eq!(others.next(), None);
    }
}
