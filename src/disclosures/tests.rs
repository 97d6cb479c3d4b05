//! Files of disclosures on a real disk: found, cut, erased, damaged.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::disk::OsDisk;
use crate::domain::Digest;
use crate::domain::canonical::Value;

fn tenant() -> TenantName {
    "acme".parse().unwrap()
}

fn made(seq: u64, number: u64, bytes: usize) -> Disclosure {
    let mut salt = [0; 32];
    salt[..8].copy_from_slice(&seq.to_be_bytes());
    salt[8..16].copy_from_slice(&number.to_be_bytes());
    Disclosure::new(&salt, "token", &Value::String("x".repeat(bytes)))
}

fn kept(seq: u64, number: u64, bytes: usize) -> (TenantName, Kept) {
    let with = Seq(seq);
    (
        tenant(),
        Kept {
            disclosure: made(seq, number, bytes),
            with,
        },
    )
}

fn open(dir: &Path) -> Arc<Disclosures> {
    Disclosures::new(dir.join("disclosures"), Arc::new(OsDisk))
}

/// Every third event has none, the others one to three of many lengths.
fn count_of(seq: u64) -> u64 {
    seq % 3 * (1 + seq % 2)
}

fn fill(disclosures: &Disclosures, events: std::ops::Range<u64>, bytes: usize) {
    for seq in events {
        let batch: Vec<_> = (0..count_of(seq))
            .map(|number| kept(seq, number, (seq as usize * 37 + number as usize) % bytes))
            .collect();
        disclosures.append(&batch).unwrap();
    }
}

fn check(disclosures: &Disclosures, events: std::ops::Range<u64>, bytes: usize) {
    for seq in events {
        let expected: Vec<Disclosure> = (0..count_of(seq))
            .map(|number| made(seq, number, (seq as usize * 37 + number as usize) % bytes))
            .collect();
        let found = disclosures.get(&tenant(), Seq(seq)).unwrap();
        assert_eq!(found.disclosures, expected, "event {seq}");
        assert_eq!(found.erased, 0);
    }
}

#[test]
fn what_is_kept_is_found_in_one_file_or_many_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    // Short lines and such as are longer than a piece that is read, over more than one file.
    fill(&disclosures, 0..700, 90_000);
    check(&disclosures, 0..700, 90_000);
    let again = open(folder.path());
    assert_eq!(again.tenants().unwrap(), [tenant()]);
    again.cut(&tenant(), Seq(700)).unwrap();
    check(&again, 0..700, 90_000);
    fill(&again, 700..720, 90_000);
    check(&again, 0..720, 90_000);
    let dir = folder.path().join("disclosures/acme");
    let files: Vec<PathBuf> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert!(files.len() > 1, "more than one file");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert!(files.iter().all(|file| mode(file) == 0o600) && mode(&dir) == 0o700);
    assert_eq!(again.get(&tenant(), Seq(721)).unwrap(), Found::default());
    assert_eq!(
        again.get(&"other".parse().unwrap(), Seq(1)).unwrap(),
        Found::default()
    );
}

#[test]
fn what_no_event_names_is_cut_however_the_crash_left_it() {
    for (name, tail) in [
        ("whole lines", None),
        ("half a line", Some(&b"01234567 31 AAAA"[..])),
        ("zeros", Some(&[0; 5_000][..])),
        ("a torn line with its LF", Some(&b"01234567 31 AAAA\n"[..])),
        ("zeros, then a line of the batch", Some(&b"\0\0\0\0\nxx\n"[..])),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let disclosures = open(folder.path());
        fill(&disclosures, 0..31, 50);
        let file = folder.path().join(format!("disclosures/acme/{:020}.sd", 1));
        let good = std::fs::read(&file).unwrap();
        match tail {
            None => fill(&disclosures, 31..40, 50),
            Some(tail) => std::fs::write(&file, [&good, tail].concat()).unwrap(),
        }
        let again = open(folder.path());
        again.cut(&tenant(), Seq(31)).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), good, "{name}");
        fill(&again, 31..50, 50);
        check(&again, 0..50, 50);
    }
}

#[test]
fn files_that_begin_beyond_the_ledger_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    disclosures.append(&[kept(3, 0, 12 << 20 >> 4)]).unwrap();
    let large = limits::DISCLOSURE_BYTES_MAX / 4 * 3 - 200;
    for seq in 4..14 {
        disclosures.append(&[kept(seq, 0, large)]).unwrap();
    }
    let dir = folder.path().join("disclosures/acme");
    let count = || std::fs::read_dir(&dir).unwrap().count();
    assert_eq!(count(), 2);
    let again = open(folder.path());
    again.cut(&tenant(), Seq(4)).unwrap();
    assert_eq!(count(), 1);
    assert_eq!(again.get(&tenant(), Seq(3)).unwrap().disclosures.len(), 1);
    assert_eq!(again.get(&tenant(), Seq(4)).unwrap(), Found::default());
    again.cut(&tenant(), Seq(0)).unwrap();
    assert_eq!(count(), 0);
}

#[test]
fn an_erased_value_is_nowhere_in_the_files_and_the_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    fill(&disclosures, 0..60, 3_000);
    let gone: Vec<Disclosure> = disclosures.get(&tenant(), Seq(25)).unwrap().disclosures;
    assert_eq!(gone.len(), 2);
    for _ in 0..2 {
        disclosures.erase(&tenant(), Seq(25)).unwrap();
    }
    let found = disclosures.get(&tenant(), Seq(25)).unwrap();
    assert_eq!((found.disclosures.len(), found.erased), (0, 2));
    let file = std::fs::read(folder.path().join(format!("disclosures/acme/{:020}.sd", 1))).unwrap();
    for disclosure in gone {
        let text = disclosure.as_str().as_bytes();
        assert!(!file.windows(70).any(|window| window == &text[..70]));
    }
    check(&disclosures, 0..25, 3_000);
    check(&disclosures, 26..60, 3_000);
    let again = open(folder.path());
    again.cut(&tenant(), Seq(60)).unwrap();
    check(&again, 26..60, 3_000);
    disclosures.erase(&tenant(), Seq(27)).unwrap();
    disclosures.erase(&"other".parse().unwrap(), Seq(27)).unwrap();
}

/// One of a value that shares nothing with that of any other.
fn unlike(seq: u64, number: u64) -> Kept {
    let piece = |at: u64| Digest::of(format!("{seq} {number} {at}").as_bytes()).to_string();
    let mut salt = [0; 32];
    salt[..8].copy_from_slice(&seq.to_be_bytes());
    salt[8..16].copy_from_slice(&number.to_be_bytes());
    let value = Value::String((0..6).map(piece).collect());
    Kept {
        disclosure: Disclosure::new(&salt, "token", &value),
        with: Seq(seq),
    }
}

fn all_unlike(seq: u64) -> Vec<Disclosure> {
    (0..count_of(seq))
        .map(|number| unlike(seq, number).disclosure)
        .collect()
}

fn fill_unlike(disclosures: &Disclosures, events: std::ops::Range<u64>) {
    for seq in events {
        let batch: Vec<_> = (0..count_of(seq))
            .map(|number| (tenant(), unlike(seq, number)))
            .collect();
        disclosures.append(&batch).unwrap();
    }
}

#[track_caller]
fn check_unlike(disclosures: &Disclosures, events: std::ops::Range<u64>) {
    for seq in events {
        let found = disclosures.get(&tenant(), Seq(seq)).unwrap();
        assert_eq!(found.disclosures, all_unlike(seq), "event {seq}");
    }
}

/// Whether a piece of a value is left. The first 80 characters of a disclosure are salt and name, which are alike here.
fn is_left(file: &[u8], disclosure: &Disclosure) -> bool {
    let mut pieces = disclosure.as_str().as_bytes()[80..].windows(40).step_by(13);
    pieces.any(|piece| file.windows(piece.len()).any(|window| window == piece))
}

#[test]
fn an_erasure_that_was_torn_is_completed_wherever_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    fill_unlike(&disclosures, 0..30);
    let path = folder.path().join(format!("disclosures/acme/{:020}.sd", 1));
    for with in [25, 29] {
        let before = std::fs::read(&path).unwrap();
        let gone = disclosures.get(&tenant(), Seq(with)).unwrap().disclosures;
        disclosures.erase(&tenant(), Seq(with)).unwrap();
        let after = std::fs::read(&path).unwrap();
        let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        for at in changed.iter().step_by(11) {
            // What came to the disk is the first part, or the last.
            for torn in [
                [&after[..*at], &before[*at..]].concat(),
                [&before[..*at], &after[*at..]].concat(),
            ] {
                std::fs::write(&path, &torn).unwrap();
                let again = open(folder.path());
                again.cut(&tenant(), Seq(30)).unwrap();
                again.erase(&tenant(), Seq(with)).unwrap();
                let file = std::fs::read(&path).unwrap();
                for disclosure in &gone {
                    assert!(!is_left(&file, disclosure), "event {with}, torn at {at}");
                }
                check_unlike(&again, 0..25);
                check_unlike(&again, 26..29);
            }
        }
        std::fs::write(&path, &after).unwrap();
    }
}

#[test]
fn a_line_that_cannot_be_read_is_erased_with_the_event_that_it_could_be_of() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    fill_unlike(&disclosures, 0..30);
    let path = folder.path().join(format!("disclosures/acme/{:020}.sd", 1));
    let whole = std::fs::read(&path).unwrap();
    let gone = disclosures.get(&tenant(), Seq(25)).unwrap().disclosures;
    let text = String::from_utf8(whole.clone()).unwrap();
    let begin = text.find(gone[0].as_str()).unwrap() - 12;
    let end = text.find(gone[1].as_str()).unwrap() + gone[1].as_str().len();
    for at in begin..=end {
        for byte in [b'\n', b'~', whole[at] ^ 1] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            let again = open(folder.path());
            for _ in 0..2 {
                again.erase(&tenant(), Seq(25)).unwrap();
            }
            let file = std::fs::read(&path).unwrap();
            assert_eq!(file.len(), whole.len());
            for disclosure in &gone {
                assert!(!is_left(&file, disclosure), "{byte} at {at}");
            }
            check_unlike(&again, 0..25);
            check_unlike(&again, 27..30);
        }
    }
}

#[test]
fn a_file_that_is_gone_has_nothing_to_show_or_erase() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    fill(&disclosures, 0..9, 60);
    std::fs::remove_file(folder.path().join(format!("disclosures/acme/{:020}.sd", 1))).unwrap();
    assert_eq!(disclosures.get(&tenant(), Seq(5)).unwrap(), Found::default());
    disclosures.erase(&tenant(), Seq(5)).unwrap();
}

#[test]
fn a_damaged_line_is_not_found_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    fill(&disclosures, 0..40, 60);
    let path = folder.path().join(format!("disclosures/acme/{:020}.sd", 1));
    let whole = std::fs::read(&path).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let again = open(folder.path());
        let found: usize = (0..40)
            .map(|seq| again.get(&tenant(), Seq(seq)).unwrap().disclosures.len())
            .sum();
        let all: u64 = (0..40).map(count_of).sum();
        assert!(all as usize - found <= 2, "at {at}: {found} of {all}");
        assert!(found < all as usize, "a change at {at} is found");
    }
}

#[test]
fn what_is_no_plain_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let disclosures = open(folder.path());
    fill(&disclosures, 0..9, 60);
    let elsewhere = folder.path().join("elsewhere");
    std::fs::write(&elsewhere, "not ours").unwrap();
    for path in ["disclosures/acme/00000000000000000099.sd", "disclosures/other"] {
        let path = folder.path().join(path);
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let refused = disclosures.tenants().unwrap_err();
        assert!(refused.to_string().contains("move it away"), "{refused}");
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(std::fs::read(elsewhere).unwrap(), b"not ours");
}
