//! Output of attempts whose workers run elsewhere: logs that come in chunks, artifacts that come in ranges.
//!
//! Promises: a chunk is added once, at the place it names; nothing is added to a log once it was closed. What an earlier
//! process left of a log is taken up; what it left of an artifact is gone. It must never close a log under which more may
//! still be promised: the caller fences first. Calls block on the disk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::attempt::{AttemptAsk, AttemptLog, AttemptSummary};
use super::error::OutputError;
use super::index::Stream;
use super::layout::AttemptKey;
use super::uploads::{Receiving, UploadAsk, UploadRefused, Uploads};
use super::{BlobWriter, Output};
use crate::domain::{ArtifactName, Timestamp};
use crate::limits;

/// Some bytes of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Of which stream.
    pub stream: Stream,
    /// Where they stand in it.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is kept, now or from before; the next one is expected at this offset. Cut: what exceeds the bound was dropped.
    Kept {
        /// Where the next one is expected.
        expected: u64,
        /// The log was cut at its bound.
        is_cut: bool,
    },
    /// It does not stand where the next one is expected.
    WrongOffset {
        /// Where that is.
        expected: u64,
    },
    /// The log was closed.
    Closed,
    /// The caller's fence fell.
    Fenced,
}

/// Where output of workers comes in.
#[derive(Debug)]
pub struct Inbox {
    output: Arc<Output>,
    /// Guards the list of logs; held for a look-up.
    logs: Mutex<HashMap<AttemptKey, Arc<Slot>>>,
    uploads: Uploads,
    /// Counts uses, so that the log used longest ago is known.
    uses: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    used: AtomicU64,
    /// Guards the log; held while a chunk is written, or while it is closed.
    log: Mutex<Log>,
}

#[derive(Debug)]
enum Log {
    Untouched,
    Open(Box<AttemptLog>),
    Closed(Option<AttemptSummary>),
}

impl Inbox {
    /// Takes what comes into `output`.
    pub fn new(output: Arc<Output>) -> Self {
        Inbox {
            output,
            logs: Mutex::default(),
            uploads: Uploads::default(),
            uses: AtomicU64::new(0),
        }
    }

    /// Adds a chunk to an attempt's log. `stands` is asked once nothing else can close the log any more: whether the lease
    /// still stands.
    ///
    /// # Errors
    /// What the disk said; the log is opened anew for the next chunk.
    pub fn append(
        &self,
        asked: &AttemptAsk,
        chunk: Chunk<'_>,
        at: Timestamp,
        stands: impl FnOnce() -> bool,
    ) -> Result<Received, OutputError> {
        let slot = self.slot(&asked.key);
        let mut log = lock(&slot.log);
        if !stands() {
            return Ok(Received::Fenced);
        }
        if let Log::Untouched = *log {
            *log = match self.output.attempt(asked, at) {
                Ok(opened) => Log::Open(Box::new(opened)),
                Err(OutputError::Ended { .. }) => return Ok(Received::Closed),
                Err(error) => return Err(error),
            };
        }
        let Log::Open(open) = &mut *log else {
            return Ok(Received::Closed);
        };
        let received = add(open, chunk, at);
        if received.is_err() {
            // A broken log is never written again; the next chunk takes up what is on the disk.
            *log = Log::Untouched;
        }
        received
    }

    /// Closes an attempt's log, flushed, and says what it came to; none where nothing was sent. Again, it says the same.
    ///
    /// # Errors
    /// What the disk said; then nothing about this log may be recorded.
    pub fn close(&self, asked: &AttemptAsk, at: Timestamp) -> Result<Option<AttemptSummary>, OutputError> {
        let slot = self.slot(&asked.key);
        let mut log = lock(&slot.log);
        let summary = match std::mem::replace(&mut *log, Log::Untouched) {
            Log::Closed(summary) => summary,
            Log::Open(open) => Some(open.finish(at)?),
            Log::Untouched => self.output.end_attempt(asked, at)?,
        };
        *log = Log::Closed(summary.clone());
        Ok(summary)
    }

    /// Takes the turn to send an artifact, or a range of one.
    ///
    /// # Errors
    /// [`UploadRefused`].
    pub fn receive(&self, key: &AttemptKey, asked: UploadAsk) -> Result<Receiving, UploadRefused> {
        let begin = || -> Result<BlobWriter, OutputError> { self.output.blobs().create(asked.total) };
        self.uploads.take(key, &asked, begin)
    }

    /// An artifact is whole, or given up.
    pub fn received(&self, key: &AttemptKey, name: &ArtifactName) {
        self.uploads.done(key, name);
    }

    /// The attempt has ended: what of it is still on its way is dropped.
    pub fn forget(&self, key: &AttemptKey) {
        lock(&self.logs).remove(key);
        self.uploads.forget(key);
    }

    fn slot(&self, key: &AttemptKey) -> Arc<Slot> {
        let used = self.uses.fetch_add(1, Ordering::Relaxed);
        let mut logs = lock(&self.logs);
        if let Some(slot) = logs.get(key) {
            slot.used.store(used, Ordering::Relaxed);
            return Arc::clone(slot);
        }
        if logs.len() >= limits::WORKER_LOGS_OPEN_MAX {
            let idle = logs.iter().filter(|(_, slot)| Arc::strong_count(slot) == 1);
            let oldest = idle.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                logs.remove(&oldest);
            }
        }
        let slot = Arc::new(Slot {
            used: AtomicU64::new(used),
            log: Mutex::new(Log::Untouched),
        });
        logs.insert(key.clone(), Arc::clone(&slot));
        slot
    }
}

fn add(log: &mut AttemptLog, chunk: Chunk<'_>, at: Timestamp) -> Result<Received, OutputError> {
    let expected = log.bytes(chunk.stream);
    let end = chunk.offset.saturating_add(chunk.bytes.len() as u64);
    let kept = |expected, is_cut| Ok(Received::Kept { expected, is_cut });
    // Behind the cut nothing is kept, wherever it stands.
    if log.is_truncated() && end > expected {
        log.append(chunk.stream, chunk.bytes, at)?;
        return kept(end, true);
    }
    if end <= expected {
        return kept(expected, log.is_truncated());
    }
    if chunk.offset != expected {
        return Ok(Received::WrongOffset { expected });
    }
    log.append(chunk.stream, chunk.bytes, at)?;
    kept(end, log.is_truncated())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;
    use crate::domain::{Digest, JobId};
    use crate::output::{LineFilter, RunScope};

    const AT: Timestamp = Timestamp::from_ms(1_769_860_800_000);

    fn asked(number: u32) -> AttemptAsk {
        let job = JobId::derive(AT, 7, number);
        let scope = RunScope::of_job("acme".parse().unwrap(), None, job);
        AttemptAsk {
            key: AttemptKey {
                scope,
                job,
                attempt: 1,
            },
            step: None,
            bytes_max: 10,
        }
    }

    fn add(inbox: &Inbox, asked: &AttemptAsk, offset: u64, bytes: &[u8]) -> Received {
        let chunk = Chunk {
            stream: Stream::Stdout,
            offset,
            bytes,
        };
        inbox.append(asked, chunk, AT, || true).unwrap()
    }

    fn inbox(folder: &tempfile::TempDir) -> Inbox {
        Inbox::new(Output::open(folder.path().join("output"), Arc::new(OsDisk)).unwrap())
    }

    #[test]
    fn what_exceeds_the_bound_is_dropped_and_the_cut_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (first, asked) = (inbox(&folder), asked(0));
        let kept = |expected, is_cut| Received::Kept { expected, is_cut };
        assert_eq!(add(&first, &asked, 0, b"0123456789"), kept(10, false));
        assert_eq!(add(&first, &asked, 10, b"a"), kept(11, true));
        assert_eq!(add(&first, &asked, 11, b"bcd"), kept(14, true));
        assert_eq!(add(&first, &asked, 99, b"e"), kept(100, true));
        assert_eq!(add(&first, &asked, 0, b"0123"), kept(10, true));
        drop(first);
        let again = inbox(&folder);
        assert_eq!(add(&again, &asked, 14, b"f"), kept(15, true));
        let summary = again.close(&asked, AT).unwrap().unwrap();
        assert_eq!((summary.stdout.bytes, summary.stdout.truncated), (10, true));
        assert_eq!(summary.stdout.sha256, Digest::of(b"0123456789"));
    }

    #[test]
    fn a_closed_log_says_the_same_again_and_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let (first, asked, silent) = (inbox(&folder), asked(0), asked(1));
        add(&first, &asked, 0, b"a\nb");
        let fenced = Chunk {
            stream: Stream::Stderr,
            offset: 0,
            bytes: b"x",
        };
        assert_eq!(
            first.append(&asked, fenced, AT, || false).unwrap(),
            Received::Fenced
        );
        let summary = first.close(&asked, AT).unwrap();
        assert_eq!(summary.as_ref().unwrap().stdout.lines, 2);
        assert_eq!(first.close(&asked, AT).unwrap(), summary, "from memory");
        assert_eq!(add(&first, &asked, 3, b"c"), Received::Closed);
        first.forget(&asked.key);
        assert_eq!(first.close(&asked, AT).unwrap(), summary, "from the disk");
        assert_eq!(first.close(&silent, AT).unwrap(), None);
        assert_eq!(add(&first, &silent, 0, b"c"), Received::Closed);
        drop(first);
        let again = inbox(&folder);
        assert_eq!(add(&again, &asked, 3, b"c"), Received::Closed);
        assert_eq!(again.close(&asked, AT).unwrap(), summary);
    }

    #[test]
    fn more_logs_than_are_held_open_all_go_on_and_no_position_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = inbox(&folder);
        let count = limits::WORKER_LOGS_OPEN_MAX.max(limits::OUTPUT_RUNS_OPEN_MAX) as u32 + 3;
        for (offset, bytes) in [(0, b"ab"), (2, b"\nc"), (4, b"d\n")] {
            for number in 0..count {
                let received = add(&inbox, &asked(number), offset, bytes);
                let (expected, is_cut) = (offset + 2, false);
                assert_eq!(received, Received::Kept { expected, is_cut });
                assert!(lock(&inbox.logs).len() <= limits::WORKER_LOGS_OPEN_MAX);
            }
        }
        for number in 0..count {
            let asked = asked(number);
            let summary = inbox.close(&asked, AT).unwrap().unwrap();
            assert_eq!(summary.stdout.sha256, Digest::of(b"ab\ncd\n"));
            let (output, filter) = (&inbox.output, LineFilter::default());
            let page = output.read_lines(&asked.key.scope, 0, 10, &filter).unwrap();
            let lines: Vec<_> = page.lines.iter().map(|line| (line.pos, &*line.text)).collect();
            assert_eq!(lines, [(1, "ab"), (2, "cd")], "log {number}");
        }
        // What has ended leaves memory as others come.
        for number in count..3 * count {
            drop(inbox.output.run(&asked(number).key.scope));
        }
        assert!(lock(&inbox.output.runs).list.len() <= limits::OUTPUT_RUNS_OPEN_MAX);
    }
}
