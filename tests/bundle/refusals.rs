//! Refusals that are no single file of the hostile corpus: of any member, at any cut, without keys, in two gibibytes.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fastness::bundle::transport::FrameWriter;
use fastness::bundle::{Options, Status, verify};

use super::fixture::{Parts, bundle, decompress, options, outcome, refused};

#[test]
fn a_file_cut_anywhere_is_truncated() {
    let good = bundle(5, 12);
    for cut in [0, 3, 4, 10, good.len() / 2, good.len() - 4, good.len() - 1] {
        let check = refused(&good[..cut], 14);
        assert_eq!(
            (check.n, check.detail.as_deref()),
            (1, Some("truncated zstd frame")),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_bomb_is_refused_by_what_it_is() {
    // 2 GiB of zeros in a few hundred kilobytes: refused at the third block, whatever follows.
    let mut frame = FrameWriter::new(Vec::new()).unwrap();
    frame.write_all(&decompress(&bundle(5, 12))).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..2_048).for_each(|_| frame.write_all(&zeros).unwrap());
    let bomb = frame.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let check = refused(&bomb, 14);
    assert!(check.n == 1 && check.detail.unwrap().contains("data after the end"));
}

/// Counts what is read.
struct Counted {
    source: Cursor<Arc<[u8]>>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[test]
fn what_nobody_known_signed_is_not_read_to_its_end() {
    // 96 MiB that do not compress.
    let mut frame = FrameWriter::new(Vec::new()).unwrap();
    frame.write_all(&decompress(&bundle(5, 12))).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0; 1 << 20];
    for _ in 0..96 {
        for eight in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            eight.copy_from_slice(&state.to_le_bytes());
        }
        frame.write_all(&piece).unwrap();
    }
    let file: Arc<[u8]> = frame.finish().unwrap().into();
    let other = Options {
        export_key: options().log_key,
        ..options()
    };
    let none = Options {
        require_signature: true,
        ..Options::default()
    };
    for options in [other, none] {
        let bytes = Arc::new(AtomicU64::new(0));
        let open = || -> io::Result<Box<dyn Read>> {
            Ok(Box::new(Counted {
                source: Cursor::new(file.clone()),
                bytes: bytes.clone(),
            }))
        };
        let report = verify(&open, options).unwrap().report;
        assert_eq!((report.exit_code, report.first_failure().unwrap().n), (12, 2));
        let read = bytes.load(Ordering::Relaxed);
        assert!(read < 72 << 20, "{read} of {} bytes", file.len());
    }
}

#[test]
fn a_frontier_longer_than_that_of_any_tree_is_refused() {
    let mut parts = Parts::of(&bundle(0, 7));
    *parts.member("frontier") = vec![b'A'; (128 << 10) + 1];
    parts.sign_again(|_| {});
    let check = refused(&parts.file(), 10);
    assert_eq!((check.n, check.name), (6, "tree"));
}

#[test]
fn each_missing_member_is_named() {
    let good = Parts::small();
    for index in 1..good.0.len() {
        let mut parts = good.clone();
        let (name, _) = parts.0.remove(index);
        let check = refused(&parts.file(), 11);
        assert_eq!((check.n, check.member.as_deref()), (3, Some(name.as_str())));
    }
}

#[test]
fn without_keys_nothing_is_trusted_but_the_rest_is_still_checked() {
    let bundle = bundle(5, 12);
    let report = outcome(&bundle, Options::default()).report;
    assert_eq!((report.ok, report.exit_code), (false, 12));
    let failed = report
        .checks
        .iter()
        .filter(|check| check.status == Status::Failed)
        .map(|check| check.n);
    assert_eq!(failed.collect::<Vec<_>>(), [2, 4]);
    let without_log = Options {
        log_key: None,
        ..options()
    };
    let report = outcome(&bundle, without_log).report;
    assert_eq!((report.exit_code, report.first_failure().unwrap().n), (12, 4));
    let swapped = Options {
        log_key: options().export_key,
        export_key: options().log_key,
        ..Options::default()
    };
    assert_eq!(outcome(&bundle, swapped).report.exit_code, 12);
}
