//! Damage: changed bytes, lost pages, lost files. Found and named, never served.

use std::path::{Path, PathBuf};

use fastness::disk::{Access, Disk, DiskFile, read_file};
use fastness::domain::Seq;
use fastness::journal::{Damage, Floor, Journal, OpenError, Position, ReadError, Record, Term};
use std::sync::Arc;

use super::{Driver, new_disk, open, read_all, segment_files};
use crate::support::random::Random;
use crate::support::sim_disk::SimDisk;

/// A journal of several segments, one of them begun in a file used before.
fn filled(seed: u64) -> Driver {
    let mut driver = Driver::new(seed);
    driver.reopen().expect("a healthy disk works");
    for _ in 0..24 {
        driver.append().expect("a healthy disk works");
    }
    driver.release().expect("a healthy disk works");
    for _ in 0..24 {
        driver.append().expect("a healthy disk works");
    }
    driver
}

fn floor_at(position: usize) -> Floor {
    Floor {
        durable_projection: Position(position as u64),
        checkpointed: Position(0),
    }
}

fn file_of(disk: &SimDisk, path: &Path) -> Arc<dyn DiskFile> {
    disk.open(path, Access::Write).expect("the file is there")
}

/// Where the batches of a segment file end: behind it nothing is live.
fn live_bytes(disk: &SimDisk, path: &Path) -> u64 {
    let (journal, _) = open(&disk.fork(), Floor::default()).expect("an undamaged journal opens");
    let id = u64::from_str_radix(&path.file_stem().unwrap_or_default().to_string_lossy(), 16);
    let id = id.expect("a segment has a number for a name");
    let range = match journal.closed().iter().find(|info| info.id.0 == id) {
        Some(info) => (info.first, info.end),
        None => (
            journal.closed().last().map_or(Position(0), |info| info.end),
            journal.end(),
        ),
    };
    let mut bytes = 512;
    let visited = journal.read(range.0, range.1, &mut |batch| {
        let records: u64 = batch
            .records
            .iter()
            .map(|r| 18 + (r.tenant.as_str().len() + r.bytes.len()) as u64)
            .sum();
        bytes += (66 + records).next_multiple_of(512);
        std::ops::ControlFlow::Continue(())
    });
    visited.expect("an undamaged journal can be read");
    bytes
}

struct Flip {
    file: PathBuf,
    offset: u64,
    /// Behind the last batch of its segment.
    dead: bool,
    /// In the last segment.
    last: bool,
}

fn draw_flip(random: &mut Random, files: &[(PathBuf, u64)]) -> (Flip, u8) {
    // Half of them in the last file, where damage is hardest to tell from tearing.
    let index = match random.once_in(2) {
        true => files.len() - 1,
        false => random.below(files.len() as u64) as usize,
    };
    let (file, live) = files[index].clone();
    let offset = random.below(4_096);
    let flip = Flip {
        file,
        offset,
        dead: offset >= live,
        last: index + 1 == files.len(),
    };
    (flip, 1 << random.below(8))
}

#[test]
fn a_changed_byte_is_harmless_or_named_or_cut_with_the_last_batch() {
    let (mut exact, mut named, mut cut) = (0, 0, 0);
    for seed in 0..20 {
        let mut driver = filled(seed);
        driver.journal = None;
        let files: Vec<(PathBuf, u64)> = segment_files(&driver.disk)
            .into_iter()
            .map(|file| (file.clone(), live_bytes(&driver.disk, &file)))
            .collect();
        let last_batch = *driver.batches.last().expect("batches were appended");
        for turn in 0..200 {
            let (flip, mask) = draw_flip(&mut driver.random, &files);
            let floor = [0, last_batch, last_batch + 1, driver.certain.len()][turn % 4];
            let disk = driver.disk.fork();
            disk.flip_byte(&flip.file, flip.offset, mask);
            let context = format!(
                "seed {seed}, floor {floor}, {} at {}",
                flip.file.display(),
                flip.offset
            );
            match open(&disk, floor_at(floor)) {
                Ok((journal, recovery)) => {
                    let found = read_all(&journal).unwrap_or_else(|error| panic!("{context}: {error}"));
                    let start = recovery.start.0 as usize;
                    if recovery.end.0 as usize == driver.certain.len() {
                        exact += 1;
                    } else {
                        assert_eq!(recovery.end.0 as usize, last_batch, "{context}");
                        assert!(flip.last && !flip.dead && floor <= last_batch, "{context}");
                        cut += 1;
                    }
                    assert_eq!(found, driver.certain[start..recovery.end.0 as usize], "{context}");
                }
                Err(error) => {
                    check_named(&error, &flip, &context);
                    named += 1;
                }
            }
        }
    }
    assert!(
        exact > 200 && named > 1_000 && cut > 50,
        "exact {exact}, named {named}, cut {cut}"
    );
}

/// The error names the file, and an offset at or not far before the changed byte.
fn check_named(error: &OpenError, flip: &Flip, context: &str) {
    match error {
        OpenError::Damaged { file, offset, .. } => {
            assert_eq!(file, &flip.file, "{context}: {error}");
            assert!(
                *offset <= flip.offset && flip.offset < offset + 512,
                "{context}: {error}"
            );
            assert!(!flip.dead, "{context}: {error}");
        }
        other => panic!("{context}: {other}"),
    }
}

#[test]
fn a_byte_changed_while_serving_is_never_served() {
    let mut named = 0;
    for seed in 0..20 {
        let mut driver = filled(seed);
        let journal = driver.journal.take().expect("the journal is open");
        let files: Vec<(PathBuf, u64)> = segment_files(&driver.disk)
            .into_iter()
            .map(|file| (file, 0))
            .collect();
        let start = journal.start().0 as usize;
        for _ in 0..150 {
            let (flip, mask) = draw_flip(&mut driver.random, &files);
            driver.disk.flip_byte(&flip.file, flip.offset, mask);
            match read_all(&journal) {
                Ok(found) => assert_eq!(found, driver.certain[start..], "seed {seed}"),
                Err(ReadError::Damaged { file, offset, .. }) => {
                    assert_eq!(file, flip.file, "seed {seed}");
                    assert!(offset <= flip.offset && flip.offset < offset + 512, "seed {seed}");
                    named += 1;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            }
            driver.disk.flip_byte(&flip.file, flip.offset, mask);
        }
    }
    assert!(named > 1_000, "{named}");
}

/// Damages the files of a journal, opens it, and gives the error with the names of its files.
fn refused(seed: u64, floor: usize, harm: impl Fn(&SimDisk, &[PathBuf])) -> (OpenError, Vec<PathBuf>) {
    let mut driver = filled(seed);
    driver.journal = None;
    let files = segment_files(&driver.disk);
    file_of_new(
        &driver.disk,
        &Path::new(super::DIR).join("0000000000000099.spare"),
    );
    harm(&driver.disk, &files);
    let before = contents(&driver.disk);
    let Err(error) = open(&driver.disk, floor_at(floor.min(driver.certain.len()))) else {
        panic!("opened in spite of the damage");
    };
    assert_eq!(
        contents(&driver.disk),
        before,
        "a refusal leaves the folder as it was"
    );
    (error, files)
}

fn contents(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let names = disk
        .list(Path::new(super::DIR))
        .expect("the folder can be listed");
    let paths = names.into_iter().map(|name| Path::new(super::DIR).join(name));
    paths
        .map(|path| {
            (
                path.clone(),
                read_file(disk, &path, 1 << 20).expect("it can be read"),
            )
        })
        .collect()
}

#[test]
fn a_segment_lost_in_the_middle_is_named() {
    let (error, files) = refused(1, 0, |disk, files| disk.remove(&files[1]).unwrap());
    assert!(
        matches!(&error, OpenError::Missing { file } if *file == files[1]),
        "{error}"
    );
}

#[test]
fn a_journal_lost_whole_is_not_begun_anew_when_records_were_stored() {
    let (error, _) = refused(1, 5, |disk, files| {
        files.iter().for_each(|file| disk.remove(file).unwrap())
    });
    assert!(
        matches!(
            error,
            OpenError::Empty {
                floor: Position(5),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_lost_last_segment_is_found_by_the_floor() {
    let (error, files) = refused(1, usize::MAX, |disk, files| {
        disk.remove(files.last().unwrap()).unwrap()
    });
    let file = &files[files.len() - 2];
    match &error {
        OpenError::Damaged {
            file: named,
            damage: Damage::BelowFloor { .. },
            ..
        } => assert_eq!(named, file),
        other => panic!("{other}"),
    }
}

#[test]
fn a_checkpoint_beyond_the_journal_is_a_floor_too() {
    let mut driver = filled(2);
    driver.journal = None;
    let end = driver.certain.len() as u64;
    let floor = |checkpointed| Floor {
        durable_projection: Position(0),
        checkpointed: Position(checkpointed),
    };
    let refused = open(&driver.disk, floor(end + 1));
    assert!(matches!(
        refused,
        Err(OpenError::Damaged {
            damage: Damage::BelowFloor { .. },
            ..
        })
    ));
    assert!(open(&driver.disk, floor(end)).is_ok());
}

#[test]
fn a_file_cut_short_is_named() {
    for len in [0, 100, 512, 1_024, 4_095] {
        for index in [0, 1] {
            let (error, files) = refused(3, 0, |disk, files| {
                let file = [&files[0], &files[files.len() - 1]][index];
                file_of(disk, file).set_len(len).unwrap();
            });
            let expected = [&files[0], &files[files.len() - 1]][index];
            match &error {
                OpenError::Damaged { file, offset, .. } => {
                    assert_eq!(file, expected);
                    assert!(*offset == len || *offset == 0, "{error}");
                }
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_segment_under_another_name_is_named() {
    let (error, files) = refused(4, 0, |disk, files| disk.rename(&files[2], &files[1]).unwrap());
    assert!(
        matches!(&error, OpenError::Damaged { file, damage: Damage::HeaderId { .. }, .. } if *file == files[1])
    );
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let (error, files) = refused(5, 0, |disk, files| {
        let file = file_of(disk, &files[0]);
        let mut header = [0; 56];
        file.read_exact_at(&mut header, 0).unwrap();
        header[8] = 2;
        let checksum = crc32c::crc32c(&header[..52]);
        header[52..].copy_from_slice(&checksum.to_le_bytes());
        file.write_at(&header, 0).unwrap();
    });
    match &error {
        OpenError::Version { file, found: 2, .. } => assert_eq!(file, &files[0]),
        other => panic!("{other}"),
    }
}

#[test]
fn a_lost_page_before_the_end_of_a_whole_batch_is_named_and_not_cut() {
    let disk = new_disk(6);
    let (mut journal, _) = open(&disk, Floor::default()).unwrap();
    let record = |bytes: usize| Record {
        tenant: "plant".parse().unwrap(),
        seq: Seq(0),
        bytes: vec![b'x'; bytes].into(),
    };
    // Sectors 1 and 2 to 4: the hole takes the whole of one batch and the begin of the next.
    journal.append(Term(1), Position(0), &[record(100)]).unwrap();
    journal.append(Term(1), Position(1), &[record(1_200)]).unwrap();
    let file = segment_files(&disk).remove(0);
    file_of(&disk, &file).write_at(&[0; 1_024], 512).unwrap();
    let commit = 1_024 + 25 + 23 + 1_200;
    match open(&disk, Floor::default()) {
        Err(OpenError::Damaged {
            file: named,
            offset: 512,
            damage,
        }) => {
            let end = Position(0);
            assert_eq!(named, file);
            assert_eq!(
                damage,
                Damage::BeforeBatch {
                    end,
                    later_offset: commit
                }
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_of_other_names_are_left_alone() {
    let disk = new_disk(7);
    drop(open(&disk, Floor::default()).unwrap());
    let stray = Path::new(super::DIR).join("notes.txt");
    file_of_new(&disk, &stray);
    let leftovers = ["0000000000000009.spare", "0000000000000001.rewrite"];
    for leftover in leftovers {
        file_of_new(&disk, &Path::new(super::DIR).join(leftover));
    }
    assert!(open(&disk, Floor::default()).is_ok());
    let names = disk.list(Path::new(super::DIR)).unwrap();
    assert_eq!(names, ["0000000000000001.segment", "notes.txt"]);
}

fn file_of_new(disk: &SimDisk, path: &Path) {
    disk.open(path, Access::CreateNew).expect("the name is free");
}
