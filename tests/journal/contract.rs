//! What the trait promises on a healthy disk.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness::disk::{Disk, OsDisk, read_file};
use fastness::journal::{
    self, AppendError, Floor, Journal, Options, Position, ReadError, Record, ReleaseError, SegmentId, Term,
};

use super::{DIR, Driver, SMALL, Stop, new_disk, open, read_all, read_range, segment_files};

/// A driver whose journal has run `steps` steps.
fn driven(seed: u64, steps: usize) -> Driver {
    let mut driver = Driver::new(seed);
    driver.steps(steps).expect("a healthy disk works");
    driver
}

/// A journal with this many batches appended and nothing released.
fn filled(seed: u64, batches: usize) -> Driver {
    let mut driver = Driver::new(seed);
    driver.reopen().expect("a healthy disk works");
    for _ in 0..batches {
        driver.append().expect("a healthy disk works");
    }
    driver
}

#[test]
fn a_clean_reopen_gives_every_record() {
    for seed in 0..200 {
        let mut driver = driven(seed, 40);
        let recovery = driver
            .reopen()
            .unwrap_or_else(|stop| panic!("seed {seed}: {stop:?}"));
        assert_eq!(recovery.cut, None, "seed {seed}");
        assert_eq!(recovery.end.0, driver.certain.len() as u64, "seed {seed}");
    }
}

#[test]
fn a_range_read_gives_exactly_the_range() {
    let mut driver = filled(1, 60);
    let journal = driver.journal.take().unwrap();
    assert!(journal.closed().len() > 5);
    for _ in 0..500 {
        let mut ends = [0, 0].map(|_| driver.random.below(driver.certain.len() as u64 + 1));
        ends.sort();
        let [from, to] = ends;
        let records = read_range(&journal, Position(from), Position(to)).unwrap();
        assert_eq!(
            records,
            driver.certain[from as usize..to as usize],
            "{from}..{to}"
        );
    }
}

#[test]
fn a_range_read_within_large_segments_on_real_files_gives_exactly_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("journal");
    let open = || {
        let options = Options {
            segment_bytes: 2 << 20,
            ..Options::default()
        };
        journal::open(Arc::new(OsDisk), &dir, Floor::default(), options).unwrap()
    };
    let mut driver = Driver::new(12);
    let (mut journal, _) = open();
    for _ in 0..60 {
        let mut batch = driver.draw_batch();
        batch[0].bytes = vec![b'y'; driver.random.below(150_000) as usize].into();
        journal.append(Term(1), journal.end(), &batch).unwrap();
        driver.certain.extend(batch);
    }
    for journal in [journal, open().0] {
        assert!(journal.closed().len() > 1);
        for _ in 0..100 {
            let mut ends = [0, 0].map(|_| driver.random.below(driver.certain.len() as u64 + 1));
            ends.sort();
            let [from, to] = ends;
            let records = read_range(&journal, Position(from), Position(to)).unwrap();
            assert_eq!(
                records,
                driver.certain[from as usize..to as usize],
                "{from}..{to}"
            );
        }
    }
}

#[test]
fn a_read_ends_when_the_visitor_says_so() {
    let driver = filled(2, 30);
    let journal = driver.journal.unwrap();
    let mut visited = 0;
    let read = journal.read(journal.start(), journal.end(), &mut |_| {
        visited += 1;
        ControlFlow::Break(())
    });
    assert!(read.is_ok());
    assert_eq!(visited, 1);
}

#[test]
fn a_range_not_kept_is_refused() {
    let mut driver = filled(3, 40);
    driver.release().unwrap();
    let journal = driver.journal.unwrap();
    let (start, end) = (journal.start(), journal.end());
    assert!(start > Position(0));
    for (from, to) in [(Position(0), end), (start, end.plus(1)), (end, start)] {
        let read = read_range(&journal, from, to);
        assert!(
            matches!(read, Err(ReadError::OutOfRange { .. })),
            "{from}..{to}: {read:?}"
        );
    }
    assert!(read_range(&journal, end, end).unwrap().is_empty());
}

#[test]
fn a_stale_position_or_term_is_refused_and_nothing_is_written() {
    let mut driver = filled(4, 5);
    let batch = driver.draw_batch();
    let term = driver.term;
    let journal = driver.journal.as_mut().unwrap();
    journal.append(Term(term.0 + 5), journal.end(), &batch).unwrap();
    let (end, term) = (journal.end(), Term(term.0 + 5));
    let refused = [
        (term, Position(end.0 - 1)),
        (term, end.plus(1)),
        (Term(term.0 - 1), end),
    ];
    for (stale_term, expected) in refused {
        match journal.append(stale_term, expected, &batch) {
            Err(AppendError::Conflict { term: held, end: at }) => assert_eq!((held, at), (term, end)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(journal.end(), end);
    assert_eq!(journal.append(term, end, &[]).unwrap(), end);
    let (reopened, recovery) = open(&driver.disk, Floor::default()).unwrap();
    assert_eq!((recovery.end, reopened.term()), (end, term));
}

#[test]
fn the_largest_batch_fits_and_one_byte_more_is_refused() {
    let (mut journal, _) = open(&new_disk(5), Floor::default()).unwrap();
    // Header sector; begin, record and commit frames take 25, 18 and 41 bytes besides tenant and record.
    let largest = SMALL.segment_bytes as usize - 512 - 25 - 18 - 41 - "plant".len();
    let record = |bytes: usize| Record {
        tenant: "plant".parse().unwrap(),
        seq: fastness::domain::Seq(0),
        bytes: vec![b'x'; bytes].into(),
    };
    match journal.append(Term(1), Position(0), &[record(largest + 1)]) {
        Err(AppendError::TooLarge { bytes, bytes_max }) => assert_eq!((bytes, bytes_max), (4_096, 3_584)),
        other => panic!("{other:?}"),
    }
    for end in 1..5 {
        let appended = journal.append(Term(1), journal.end(), &[record(largest)]);
        assert_eq!(appended.unwrap(), Position(end));
    }
    assert_eq!(journal.closed().len(), 3);
    assert_eq!(read_all(&journal).unwrap().len(), 4);
}

#[test]
fn an_append_is_one_write_and_one_flush() {
    let mut driver = filled(6, 1);
    let before = driver.disk.operations();
    driver.append().unwrap();
    assert_eq!(driver.disk.operations() - before, 2);
}

#[test]
fn a_closed_segment_can_be_read_from_another_thread() {
    let mut driver = filled(7, 40);
    let journal = driver.journal.take().unwrap();
    let oldest = journal.closed()[0];
    let reader = journal.reader(oldest.id).unwrap();
    let records = std::thread::spawn(move || {
        let mut records = Vec::new();
        let info = reader.clone().info();
        let read = reader.read(info.first, info.end, &mut |batch| {
            records.extend(batch.records);
            ControlFlow::Continue(())
        });
        read.map(|()| records)
    });
    let records = records.join().unwrap().unwrap();
    assert_eq!(records, driver.certain[..oldest.end.0 as usize]);
    assert!(journal.reader(SegmentId(99)).is_none());
}

#[test]
fn a_reader_of_a_segment_used_again_gets_an_error_not_other_records() {
    let mut driver = filled(8, 40);
    let oldest = driver.journal.as_ref().unwrap().closed()[0];
    let reader = driver.journal.as_ref().unwrap().reader(oldest.id).unwrap();
    driver.release().unwrap();
    for _ in 0..20 {
        driver.append().unwrap();
    }
    let read = reader.read(oldest.first, oldest.end, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(read, Err(ReadError::Damaged { .. })), "{read:?}");
}

#[test]
fn released_segments_go_in_order_and_their_files_are_used_again() {
    let mut driver = filled(9, 60);
    let mut journal = driver.journal.take().unwrap();
    let closed = journal.closed();
    let files = |driver: &Driver| driver.disk.list(Path::new(DIR)).unwrap().len();
    let before = files(&driver);

    journal.release(closed[1].id).unwrap();
    assert_eq!(journal.start(), closed[0].first);
    assert_eq!(files(&driver), before);
    assert!(matches!(
        journal.release(closed[1].id),
        Err(ReleaseError::Unknown(_))
    ));

    journal.release(closed[0].id).unwrap();
    assert_eq!(journal.start(), closed[2].first);
    assert_eq!(journal.closed().first(), Some(&closed[2]));
    assert_eq!(files(&driver), before - 2 + SMALL.spares_max);

    driver.journal = Some(journal);
    let mut segments = before - 2;
    while segments < before - 1 {
        driver.append().unwrap();
        segments = driver.journal.as_ref().unwrap().closed().len() + 1;
    }
    assert_eq!(files(&driver), segments);
    driver.released = closed[2].first;
    driver.reopen().unwrap();
}

/// The salt in the header of the last segment, by the format's drawing.
fn last_salt(driver: &Driver) -> (PathBuf, u64) {
    let path = segment_files(&driver.disk).pop().expect("there is a segment");
    let bytes = read_file(&driver.disk, &path, 1 << 20).expect("it can be read");
    let salt = bytes[28..36].try_into().expect("eight bytes");
    (path, u64::from_le_bytes(salt))
}

#[test]
fn each_use_of_a_file_has_a_higher_salt() {
    let mut driver = filled(11, 1);
    let mut salts = vec![last_salt(&driver)];
    for turn in 0..200 {
        match turn % 20 {
            19 => drop(driver.reopen().unwrap()),
            n if n % 4 == 3 => driver.release().unwrap(),
            _ => driver.append().unwrap(),
        }
        let (path, salt) = last_salt(&driver);
        let (before, last) = salts.last().unwrap();
        let begun_anew = path != *before || turn % 20 == 19;
        assert!(
            if begun_anew { salt > *last } else { salt == *last },
            "turn {turn}: {salt} after {last}"
        );
        salts.push((path, salt));
    }
}

#[test]
fn after_a_failure_every_call_is_refused() {
    use crate::support::sim_disk::Fault;
    let mut driver = filled(10, 30);
    driver.disk.fail_operation(2, Fault::Eio);
    assert!(matches!(driver.append(), Err(Stop::Disk(_))));
    let before = driver.disk.operations();
    let batch = driver.draw_batch();
    let journal = driver.journal.as_mut().unwrap();
    let oldest = journal.closed()[0].id;
    let appended = journal.append(Term(9), journal.end(), &batch);
    assert!(matches!(appended, Err(AppendError::Poisoned)));
    assert!(matches!(read_all(journal), Err(ReadError::Poisoned)));
    assert!(matches!(journal.release(oldest), Err(ReleaseError::Poisoned)));
    assert_eq!(driver.disk.operations(), before, "a flush is never tried twice");
}
