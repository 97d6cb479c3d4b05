//! Promises of step logs and artifacts: order, bounds, digests, damage, crashes.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use fastness::clock::{Clock, ManualClock};
use fastness::disk::OsDisk;
use fastness::domain::{Digest, JobId, RunId, Timestamp};
use fastness::limits;
use fastness::output::{
    AttemptAsk, AttemptKey, AttemptLog, Line, LineFilter, LineKind, Output, OutputError, RunScope, Stream,
};

struct Folder {
    dir: tempfile::TempDir,
    output: Arc<Output>,
}

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn folder() -> Folder {
    let dir = tempfile::tempdir().unwrap();
    let output = Output::open(dir.path().join("output"), Arc::new(OsDisk)).unwrap();
    Folder { dir, output }
}

impl Folder {
    fn restart(self) -> Folder {
        let output = Output::open(self.dir.path().join("output"), Arc::new(OsDisk)).unwrap();
        Folder {
            dir: self.dir,
            output,
        }
    }

    fn lines(&self, after: u64) -> Vec<Line> {
        let page = self
            .output
            .read_lines(&scope(), after, usize::MAX, &LineFilter::default())
            .unwrap();
        assert!(page.damaged.is_empty(), "{:?}", page.damaged);
        page.lines
    }

    fn path(&self, key: &AttemptKey, file: &str) -> PathBuf {
        let run = self
            .dir
            .path()
            .join("output/plant")
            .join(key.scope.run.to_string());
        run.join(key.job.to_string())
            .join(key.attempt.to_string())
            .join(file)
    }

    fn log(&self, ask: &AttemptAsk) -> AttemptLog {
        self.output.attempt(ask, at(1)).unwrap()
    }
}

pub fn scope() -> RunScope {
    RunScope {
        tenant: "plant".parse().unwrap(),
        run: RunId::derive(at(1), 1, 0),
    }
}

pub fn ask(job: u32) -> AttemptAsk {
    AttemptAsk {
        key: AttemptKey {
            scope: scope(),
            job: JobId::derive(at(1), 7, job),
            attempt: 1,
        },
        step: Some(format!("step-{job}").parse().unwrap()),
        bytes_max: limits::STEP_LOG_BYTES_MAX,
    }
}

fn texts(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn lines_of_all_attempts_come_in_one_order_and_page_by_page() {
    let folder = folder();
    let mut logs: Vec<_> = (0..5).map(|job| folder.log(&ask(job))).collect();
    let mut written = Vec::new();
    let clock = ManualClock::new(0, 42);
    for number in 0..2_000 {
        let text = format!("line {number}");
        let stream = [Stream::Stdout, Stream::Stderr][clock.entropy() as usize % 2];
        let log = clock.entropy() as usize % logs.len();
        logs[log]
            .append(stream, format!("{text}\n").as_bytes(), at(number))
            .unwrap();
        written.push(text);
    }
    assert_eq!(texts(&folder.lines(0)), written, "seed 42");
    let (mut after, mut paged) = (0, Vec::new());
    while paged.len() < written.len() {
        let page = folder
            .output
            .read_lines(&scope(), after, 7, &LineFilter::default())
            .unwrap();
        after = page.read_to;
        paged.extend(page.lines);
    }
    assert_eq!(texts(&paged), written);
    assert!(paged.windows(2).all(|pair| pair[0].pos < pair[1].pos));
    let filter = LineFilter {
        step: Some("step-3".parse().unwrap()),
        ..LineFilter::default()
    };
    let (mut after, mut one) = (0, Vec::new());
    loop {
        let page = folder.output.read_lines(&scope(), after, 11, &filter).unwrap();
        assert!(page.read_to > after || page.lines.is_empty());
        after = page.read_to;
        if page.lines.is_empty() {
            break;
        }
        one.extend(page.lines);
    }
    let expected: Vec<_> = paged
        .iter()
        .filter(|line| line.job == ask(3).key.job)
        .cloned()
        .collect();
    assert_eq!(one, expected);
}

#[test]
fn raw_bytes_are_kept_exactly_and_lines_point_into_them() {
    let folder = folder();
    let mut log = folder.log(&ask(0));
    let bytes = b"one\n\xff\xfe\r\n\n\ntail without newline";
    for byte in bytes {
        log.append(Stream::Stdout, &[*byte], at(5)).unwrap();
    }
    let summary = log.finish(at(6)).unwrap();
    assert_eq!(summary.stdout.sha256, Digest::of(bytes));
    assert_eq!(
        (summary.stdout.bytes, summary.stdout.lines),
        (bytes.len() as u64, 5)
    );
    let raw = folder
        .output
        .read_raw(&ask(0).key, Stream::Stdout, 0..u64::MAX)
        .unwrap();
    assert_eq!(raw, bytes);
    for line in folder.lines(0) {
        let range = line.raw.start as usize..line.raw.end as usize;
        assert_eq!(line.text, String::from_utf8_lossy(&bytes[range]));
    }
    folder.output.verify(&ask(0).key, &summary).unwrap();
    let last = folder.output.read_attempt_lines(&ask(0).key, 4, 10).unwrap();
    assert_eq!(texts(&last), ["tail without newline"]);
    assert!(
        folder
            .output
            .read_attempt_lines(&ask(0).key, 5, 10)
            .unwrap()
            .is_empty()
    );
    assert!(
        folder
            .output
            .read_raw(&ask(0).key, Stream::Stdout, 1_000..2_000)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_log_of_empty_lines_has_an_index_smaller_than_itself_and_every_line_is_there() {
    const LINES: usize = 20_000;
    let folder = folder();
    let mut log = folder.log(&ask(0));
    log.append(Stream::Stdout, &[b'\n'; LINES], at(5)).unwrap();
    log.append(Stream::Stderr, b"one\ntwo\n", at(6)).unwrap();
    log.append(Stream::Stdout, b"a\nb", at(7)).unwrap();
    let index = folder.path(&ask(0).key, "lines");
    let size = || std::fs::metadata(&index).unwrap().len();
    assert!(size() < LINES as u64 / 8, "{} bytes of index", size());
    let summary = log.finish(at(8)).unwrap();
    assert_eq!(
        (summary.stdout.lines, summary.stderr.lines),
        (LINES as u64 + 2, 2)
    );
    folder.output.verify(&ask(0).key, &summary).unwrap();
    // From any line on, also within an entry.
    let all = folder.lines(0);
    assert_eq!(all.len(), LINES + 4);
    assert!(all.windows(2).all(|pair| pair[0].pos + 1 == pair[1].pos));
    assert_eq!(texts(&all[LINES..]), ["one", "two", "a", "b"]);
    for after in [1, 4_096, 4_097, 10_000, LINES as u64 - 1, LINES as u64 + 3] {
        let page = folder
            .output
            .read_lines(&scope(), after, 5, &LineFilter::default())
            .unwrap();
        let expected = &all[after as usize..(after as usize + 5).min(all.len())];
        assert_eq!(page.lines, expected, "after {after}");
    }
    let by_number = folder
        .output
        .read_attempt_lines(&ask(0).key, LINES as u64 - 1, 3)
        .unwrap();
    assert_eq!(by_number, all[LINES - 1..LINES + 2]);
}

#[test]
fn an_index_of_lines_that_come_one_by_one_counts_against_the_bound() {
    const BYTES_MAX: u64 = 64 * 1024;
    let folder = folder();
    let ask = AttemptAsk {
        bytes_max: BYTES_MAX,
        ..ask(0)
    };
    let mut log = folder.log(&ask);
    let mut came = 0;
    while !log.is_truncated() {
        log.append(Stream::Stdout, b"\n", at(1)).unwrap();
        came += 1;
    }
    // An index of 1 MiB, and of as many bytes as the output may have.
    let entries = ((1 << 20) + BYTES_MAX) / 32;
    assert!((entries - 8..=entries).contains(&came), "{came} lines");
    let summary = log.finish(at(2)).unwrap();
    assert_eq!((summary.stdout.bytes, summary.stdout.truncated), (came - 1, true));
}

#[test]
fn output_is_cut_at_the_bound_with_one_recorded_marker() {
    for (bytes_max, fits) in [(10, true), (9, false)] {
        let folder = folder();
        let ask = AttemptAsk { bytes_max, ..ask(0) };
        let mut log = folder.log(&ask);
        log.append(Stream::Stdout, b"12345", at(1)).unwrap();
        log.append(Stream::Stderr, b"abcd\n", at(1)).unwrap();
        assert_eq!(log.is_truncated(), !fits);
        if fits {
            log.append(Stream::Stderr, b"", at(1)).unwrap();
            assert!(!log.is_truncated());
        }
        log.append(Stream::Stdout, b"x", at(2)).unwrap();
        log.append(Stream::Stderr, b"yyy", at(2)).unwrap();
        let summary = log.finish(at(3)).unwrap();
        assert_eq!(summary.stdout.bytes + summary.stderr.bytes, bytes_max);
        assert!(summary.stdout.truncated && summary.stderr.truncated);
        let lines = folder.lines(0);
        let markers = lines
            .iter()
            .filter(|line| line.kind == LineKind::Truncated)
            .count();
        assert_eq!(markers, 1, "{lines:?}");
        assert_eq!(
            lines.iter().filter(|line| line.text == "12345").count(),
            1,
            "{lines:?}"
        );
        folder.output.verify(&ask.key, &summary).unwrap();
        assert_eq!(texts(&folder.restart().lines(0)), texts(&lines));
    }
}

#[test]
fn any_flipped_byte_is_found_by_verification_and_named() {
    let folder = folder();
    let mut log = folder.log(&ask(0));
    log.append(Stream::Stdout, b"out\n", at(1)).unwrap();
    log.append(Stream::Stderr, b"err\n", at(1)).unwrap();
    let summary = log.finish(at(2)).unwrap();
    for file in ["stdout", "stderr", "lines"] {
        let path = folder.path(&ask(0).key, file);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            match folder.output.verify(&ask(0).key, &summary) {
                Err(OutputError::Damaged { path: named, .. }) => assert_eq!(named, path),
                other => panic!("byte {at} of {file}: {other:?}"),
            }
        }
        std::fs::write(&path, &good).unwrap();
    }
    folder.output.verify(&ask(0).key, &summary).unwrap();
}

#[test]
fn a_damaged_index_is_named_and_the_other_attempts_are_served() {
    let folder = folder();
    for job in 0..4 {
        let mut log = folder.log(&ask(job));
        for line in ["a", "b", "c"] {
            let text = format!("{job} {line}\n");
            log.append(Stream::Stdout, text.as_bytes(), at(1)).unwrap();
        }
        log.finish(at(2)).unwrap();
    }
    // In the header of job 1, in the second entry of job 2, in the last entry of job 3.
    for (job, offset) in [(1, 9), (2, 128 + 32), (3, 128 + 2 * 32 + 20)] {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(folder.path(&ask(job).key, "lines"))
            .unwrap();
        file.write_all_at(&[0xee], offset).unwrap();
    }
    let folder = folder.restart();
    let page = folder
        .output
        .read_lines(&scope(), 0, 100, &LineFilter::default())
        .unwrap();
    assert_eq!(texts(&page.lines), ["0 a", "0 b", "0 c", "2 a", "3 a", "3 b"]);
    let mut damaged = page.damaged;
    damaged.sort();
    assert_eq!(damaged, [1, 2, 3].map(|job| folder.path(&ask(job).key, "lines")));
    // Whoever asks for one job is told of its damage alone.
    for job in 0..4 {
        let filter = LineFilter {
            job: Some(ask(job).key.job),
            ..LineFilter::default()
        };
        let page = folder.output.read_lines(&scope(), 0, 100, &filter).unwrap();
        let damaged: Vec<_> = (job > 0)
            .then(|| folder.path(&ask(job).key, "lines"))
            .into_iter()
            .collect();
        assert_eq!(page.damaged, damaged, "job {job}");
    }
    let refused = folder.output.attempt(&ask(1), at(1));
    assert!(matches!(refused, Err(OutputError::Damaged { .. })), "{refused:?}");
}

#[test]
fn after_a_crash_no_position_is_given_out_twice_and_the_log_goes_on() {
    let folder = folder();
    let mut log = folder.log(&ask(0));
    log.append(Stream::Stdout, b"kept\n", at(1)).unwrap();
    log.append(Stream::Stdout, b"lost\nhalf a li", at(1)).unwrap();
    let before = folder.lines(0);
    std::mem::forget(log);
    // The power went: the entry of "lost" is torn. Its bytes are still there.
    let path = folder.path(&ask(0).key, "lines");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len - 3)
        .unwrap();

    let folder = folder.restart();
    assert_eq!(texts(&folder.lines(0)), ["kept"]);
    let mut log = folder.log(&ask(0));
    let second = folder.output.attempt(&ask(0), at(1));
    assert!(matches!(second, Err(OutputError::InUse { .. })));
    assert_eq!(log.bytes(Stream::Stdout), 19);
    log.append(Stream::Stdout, b"ne\n", at(2)).unwrap();
    let summary = log.finish(at(3)).unwrap();
    let after = folder.lines(0);
    assert_eq!(texts(&after), ["kept", "lost", "half a line"]);
    assert!(after[1].pos > before[1].pos, "{after:?}");
    assert_eq!(summary.stdout.sha256, Digest::of(b"kept\nlost\nhalf a line\n"));
    assert_eq!(summary.stdout.lines, 3);
    folder.output.verify(&ask(0).key, &summary).unwrap();
    let again = folder.output.attempt(&ask(0), at(1));
    assert!(matches!(again, Err(OutputError::Ended { .. })));

    // After a clean end numbering goes on without a gap.
    let last = after[2].pos;
    let folder = folder.restart();
    let mut log = folder.log(&ask(1));
    log.append(Stream::Stdout, b"next\n", at(4)).unwrap();
    assert_eq!(folder.lines(last)[0].pos, last + 1);
}

#[test]
fn an_attempt_that_is_left_open_makes_numbers_be_skipped_once_however_often_the_run_is_started() {
    let mut folder = folder();
    let mut last = 0;
    let mut skips = Vec::new();
    // The first is left open, later another one, and at last the first once more, after it was taken up.
    for (job, is_ended) in [
        (0, false),
        (1, true),
        (2, true),
        (3, false),
        (4, true),
        (0, false),
        (5, true),
        (6, true),
    ] {
        folder = folder.restart();
        let mut log = folder.log(&ask(job));
        log.append(Stream::Stdout, b"line\n", at(1)).unwrap();
        // Else it is as if the process had been killed.
        if is_ended {
            log.finish(at(2)).unwrap();
        }
        let pos = folder.lines(last)[0].pos;
        skips.push(pos > last + 1);
        last = pos;
    }
    assert_eq!(skips, [false, true, false, false, true, false, true, false]);
}

#[test]
fn an_entry_without_its_bytes_does_not_count() {
    let folder = folder();
    let mut log = folder.log(&ask(0));
    log.append(Stream::Stdout, b"one\ntwo\n", at(1)).unwrap();
    log.append(Stream::Stdout, b"three\nfour\n", at(1)).unwrap();
    std::mem::forget(log);
    let stdout = folder.path(&ask(0).key, "stdout");
    std::fs::OpenOptions::new()
        .write(true)
        .open(stdout)
        .unwrap()
        .set_len(15)
        .unwrap();
    assert_eq!(texts(&folder.restart().lines(0)), ["one", "two"]);
}

#[tokio::test]
async fn a_follower_is_told_the_latest_position_and_the_end() {
    let folder = folder();
    let mut follower = folder.output.follow(&scope()).unwrap();
    assert_eq!(*follower.borrow_and_update(), 0);
    let mut log = folder.log(&ask(0));
    for _ in 0..100 {
        log.append(Stream::Stderr, b"a\nb\n", at(1)).unwrap();
    }
    follower.changed().await.unwrap();
    assert_eq!(*follower.borrow_and_update(), 200);
    assert_eq!(folder.lines(198).len(), 2);
    assert!(!follower.has_changed().unwrap());
    log.finish(at(2)).unwrap();
    follower.changed().await.unwrap();
}

#[test]
fn a_reader_who_saw_a_position_never_misses_a_lower_one() {
    let folder = folder();
    let output = Arc::clone(&folder.output);
    std::thread::scope(|threads| {
        for job in 0..4 {
            let mut log = folder.log(&ask(job));
            threads.spawn(move || {
                for number in 0..500 {
                    log.append(Stream::Stdout, format!("{number}\n").as_bytes(), at(1))
                        .unwrap();
                }
            });
        }
        threads.spawn(move || {
            let (mut after, mut seen) = (0, 0);
            while seen < 2_000 {
                let page = output
                    .read_lines(&scope(), after, 64, &LineFilter::default())
                    .unwrap();
                for (line, pos) in page.lines.iter().zip(after + 1..) {
                    assert_eq!(line.pos, pos);
                }
                seen += page.lines.len();
                after = page.read_to;
            }
        });
    });
}

#[test]
fn runs_out_of_use_leave_memory_and_come_back_from_disk() {
    let folder = folder();
    let mut log = folder.log(&ask(0));
    log.append(Stream::Stdout, b"early\n", at(1)).unwrap();
    for run in 0..2 * limits::OUTPUT_RUNS_OPEN_MAX {
        let other = RunScope {
            run: RunId::derive(at(2), run as u64, 0),
            ..scope()
        };
        let page = folder
            .output
            .read_lines(&other, 0, 1, &LineFilter::default())
            .unwrap();
        assert!(page.lines.is_empty());
    }
    log.append(Stream::Stdout, b"late\n", at(1)).unwrap();
    assert_eq!(texts(&folder.lines(0)), ["early", "late"]);
    let runs = std::fs::read_dir(folder.dir.path().join("output/plant")).unwrap();
    assert_eq!(runs.count(), 1, "reading made folders");
}

#[test]
fn artifacts_are_named_by_their_digest_and_damage_is_named() {
    let folder = folder();
    let blobs = folder.output.blobs();
    let mut writer = blobs.create(11).unwrap();
    writer.write(b"hello ").unwrap();
    writer.copy_from(&mut &b"world"[..]).unwrap();
    let one_more = writer.write(b"!");
    assert!(matches!(one_more, Err(OutputError::TooLarge { bytes_max: 11 })));
    let blob = writer.finish().unwrap();
    assert_eq!((blob.sha256, blob.bytes), (Digest::of(b"hello world"), 11));
    let reader = blobs.reader(&blob.sha256).unwrap();
    let mut range = [0; 5];
    assert_eq!(reader.read_at(&mut range, 6).unwrap(), 5);
    assert_eq!(&range, b"world");
    let mut copy = Vec::new();
    reader.copy_to(&mut copy).unwrap();
    assert_eq!(copy, b"hello world");

    let hex = blob.sha256.to_string();
    let path = folder.dir.path().join("output/blobs").join(&hex[..2]).join(&hex);
    std::fs::write(&path, b"hello w0rld").unwrap();
    for refused in [blobs.verify(&blob.sha256), reader.copy_to(&mut io::sink())] {
        match refused {
            Err(OutputError::Damaged { path: named, .. }) => assert_eq!(named, path),
            other => panic!("{other:?}"),
        }
    }
    let mut again = blobs.create(u64::MAX).unwrap();
    again.write(b"hello world").unwrap();
    assert_eq!(again.finish().unwrap(), blob);
    blobs.verify(&blob.sha256).unwrap();
    let missing = blobs.reader(&Digest::of(b"other"));
    assert!(matches!(missing, Err(OutputError::Missing { .. })));
}

#[test]
fn half_written_artifacts_leave_nothing_behind() {
    let folder = folder();
    let new = folder.dir.path().join("output/blobs/new");
    let left = || std::fs::read_dir(&new).unwrap().count();
    let mut dropped = folder.output.blobs().create(100).unwrap();
    dropped.write(b"x").unwrap();
    assert_eq!(left(), 1);
    drop(dropped);
    assert_eq!(left(), 0);
    std::mem::forget(folder.output.blobs().create(100).unwrap());
    let _folder = folder.restart();
    assert_eq!(left(), 0);
}
