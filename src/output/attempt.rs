//! Writes the output of one attempt: raw bytes per stream, the line index, and their digests as they grow.
//!
//! Bytes are kept exactly as they came, up to a bound; the index then records that they were cut. Nothing is
//! certain before [`AttemptLog::finish`] has flushed files and folders; only its digests may enter the ledger.
//! After a failed write the log is broken for good: it is never flushed, never ended, never claimed complete.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::OutputError;
use super::index::{ENTRY_BYTES, Entry, HEADER_BYTES, Header, LineKind, Stream, entry_at};
use super::layout::AttemptKey;
use super::run_log::{AttemptId, RunLog, Valid, unnumbered, valid_entries};
use super::splitter::{Span, Splitter};
use crate::disk::{Access, DiskFile};
use crate::domain::{Digest, Hasher, StepName, Timestamp};
use crate::limits;

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];
/// How much is read at once when an interrupted log is taken up again.
const REREAD_BYTES: usize = 256 * 1024;

/// What the ledger records of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSummary {
    pub sha256: Digest,
    pub bytes: u64,
    pub lines: u64,
    /// True when output was cut at the bound.
    pub truncated: bool,
}

/// What the ledger records of an attempt's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptSummary {
    pub stdout: StreamSummary,
    pub stderr: StreamSummary,
    /// Digest of the line index.
    pub index: Digest,
}

/// Which log to open.
#[derive(Debug, Clone)]
pub struct AttemptAsk {
    pub key: AttemptKey,
    /// The step's name; `None` for a job that is not a step.
    pub step: Option<StepName>,
    /// Bytes kept of both streams together; at most [`limits::STEP_LOG_BYTES_MAX`] in any case.
    pub bytes_max: u64,
}

/// The one writer of an attempt's log. Calls block on the disk.
#[derive(Debug)]
pub struct AttemptLog {
    run: Arc<RunLog>,
    id: AttemptId,
    dir: PathBuf,
    streams: [StreamState; 2],
    index: Arc<dyn DiskFile>,
    index_hasher: Hasher,
    entries: u64,
    bytes_max: u64,
    state: WriterState,
}

/// How a writer leaves a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriterState {
    /// It may go on.
    Open,
    /// A write failed, or it could not be opened.
    Broken,
    /// Complete and flushed.
    Ended,
}

#[derive(Debug)]
struct StreamState {
    file: Arc<dyn DiskFile>,
    hasher: Hasher,
    bytes: u64,
    lines: u64,
    truncated: bool,
    /// Bytes of an earlier, unindexed beginning were removed.
    was_cut: bool,
    splitter: Splitter,
}

impl AttemptLog {
    /// Opens the log of an attempt, new or left open by an earlier process.
    ///
    /// # Errors
    /// `Ended`, `InUse`, or what the disk said.
    pub(super) fn open(
        run: Arc<RunLog>,
        root: &Path,
        asked: &AttemptAsk,
        at: Timestamp,
    ) -> Result<AttemptLog, OutputError> {
        let id = (asked.key.job, asked.key.attempt);
        let found = run.begin(id, asked.step.as_ref())?;
        let opened = open_files(&run, root, asked).and_then(|mut log| {
            match found {
                Some(_) => log.take_up(at)?,
                None => log.write_header(asked)?,
            }
            Ok(log)
        });
        if opened.is_err() {
            run.release(id, WriterState::Broken);
        }
        opened
    }

    /// Bytes of `stream` kept so far.
    pub fn bytes(&self, stream: Stream) -> u64 {
        self.streams[stream as usize].bytes
    }

    /// True once output was cut at the bound.
    pub fn is_truncated(&self) -> bool {
        self.streams.iter().any(|stream| stream.truncated)
    }

    /// Adds bytes of one stream as they were read. What exceeds the bound is dropped, once with a marker.
    ///
    /// # Errors
    /// What the disk said; the log is then broken.
    pub fn append(&mut self, stream: Stream, bytes: &[u8], at: Timestamp) -> Result<(), OutputError> {
        self.check_open()?;
        let written = self.bytes(Stream::Stdout) + self.bytes(Stream::Stderr);
        // However it comes, an index never takes much more than the output itself may.
        let indexed = entry_at(self.entries).saturating_sub(limits::LOG_INDEX_FREE_BYTES);
        let room = self.bytes_max.saturating_sub(written.max(indexed));
        let kept = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let cut_before = self.is_truncated();
        let state = &mut self.streams[stream as usize];
        let offset = state.bytes;
        let mut spans = Vec::new();
        state.splitter.feed(kept, &mut spans);
        state.hasher.update(kept);
        state.bytes += kept.len() as u64;
        if kept.len() < bytes.len() {
            state.truncated = true;
            if !cut_before {
                spans.extend(state.splitter.flush());
                spans.push(Span {
                    offset: state.bytes,
                    bytes: self.bytes_max as usize,
                    kind: LineKind::Truncated,
                });
            }
        }
        let spans: Vec<_> = spans.into_iter().map(|span| (stream, span)).collect();
        self.write(Some((stream, kept, offset)), &spans, at)
    }

    /// Ends the log: the last line without newline becomes one, files and folders are flushed.
    ///
    /// # Errors
    /// What the disk said; then nothing about this log may be recorded.
    pub fn finish(mut self, at: Timestamp) -> Result<AttemptSummary, OutputError> {
        self.check_open()?;
        let spans: Vec<_> = STREAMS
            .into_iter()
            .filter_map(|stream| Some((stream, self.streams[stream as usize].splitter.flush()?)))
            .collect();
        self.write(None, &spans, at)?;
        let end = Entry::end(self.entries, at).encode();
        let ended = self.write_index(&end).and_then(|()| self.flush());
        if let Err(error) = ended {
            self.state = WriterState::Broken;
            return Err(error);
        }
        self.state = WriterState::Ended;
        self.index_hasher.update(&end);
        let [stdout, stderr] = STREAMS.map(|stream| self.streams[stream as usize].summary());
        Ok(AttemptSummary {
            stdout,
            stderr,
            index: self.index_hasher.clone().finish(),
        })
    }

    fn check_open(&self) -> Result<(), OutputError> {
        match self.state {
            WriterState::Open => Ok(()),
            WriterState::Broken => Err(OutputError::Broken {
                path: self.dir.clone(),
            }),
            WriterState::Ended => Err(OutputError::Ended {
                path: self.dir.clone(),
            }),
        }
    }

    /// Bytes first, then the entries that name them, then the readers are told.
    fn write(
        &mut self,
        bytes: Option<(Stream, &[u8], u64)>,
        spans: &[(Stream, Span)],
        at: Timestamp,
    ) -> Result<(), OutputError> {
        let result = self.write_unchecked(bytes, spans, at);
        if result.is_err() {
            self.state = WriterState::Broken;
        }
        result
    }

    fn write_unchecked(
        &mut self,
        bytes: Option<(Stream, &[u8], u64)>,
        spans: &[(Stream, Span)],
        at: Timestamp,
    ) -> Result<(), OutputError> {
        if let Some((stream, bytes, offset)) = bytes {
            let path = self.dir.join(stream.as_str());
            let file = &self.streams[stream as usize].file;
            file.write_at(bytes, offset)
                .map_err(OutputError::disk("write", &path))?;
        }
        if spans.is_empty() {
            return Ok(());
        }
        let mut entries: Vec<Entry> = Vec::new();
        for (stream, span) in spans {
            let line = unnumbered(*stream, *span, at);
            if !entries.last_mut().is_some_and(|block| block.take_in(&line)) {
                entries.push(line);
            }
        }
        let mut encoded = Vec::with_capacity(entries.len() * ENTRY_BYTES);
        self.run.publish(self.id, &mut entries, |entries| {
            for entry in entries {
                encoded.extend_from_slice(&entry.encode());
            }
            self.write_index(&encoded)
        })?;
        self.index_hasher.update(&encoded);
        self.entries += entries.len() as u64;
        for (stream, span) in spans {
            let is_line = span.kind != LineKind::Truncated;
            self.streams[*stream as usize].lines += u64::from(is_line);
        }
        Ok(())
    }

    fn write_index(&self, encoded: &[u8]) -> Result<(), OutputError> {
        self.index
            .write_at(encoded, entry_at(self.entries))
            .map_err(OutputError::disk("write", &self.dir.join("lines")))
    }

    /// The files, and their names. The folders on the way were flushed when the log was opened.
    fn flush(&self) -> Result<(), OutputError> {
        for stream in STREAMS {
            let state = &self.streams[stream as usize];
            if state.bytes > 0 || state.was_cut {
                let path = self.dir.join(stream.as_str());
                state.file.sync().map_err(OutputError::disk("flush", &path))?;
            }
        }
        self.index
            .sync()
            .map_err(OutputError::disk("flush", &self.dir.join("lines")))?;
        self.run
            .disk
            .sync_dir(&self.dir)
            .map_err(OutputError::disk("flush", &self.dir))
    }

    fn write_header(&mut self, asked: &AttemptAsk) -> Result<(), OutputError> {
        let header = Header {
            attempt: asked.key.attempt,
            job: asked.key.job,
            step: asked.step.clone(),
        };
        let encoded = header.encode();
        self.index
            .set_len(0)
            .and_then(|()| self.index.write_at(&encoded, 0))
            .map_err(OutputError::disk("write", &self.dir.join("lines")))?;
        self.index_hasher.update(&encoded);
        for stream in STREAMS {
            let path = self.dir.join(stream.as_str());
            let state = &mut self.streams[stream as usize];
            if !state
                .file
                .is_empty()
                .map_err(OutputError::disk("measure", &path))?
            {
                state.file.set_len(0).map_err(OutputError::disk("cut", &path))?;
                state.was_cut = true;
            }
        }
        Ok(())
    }

    /// Goes on where an earlier process stopped: believes the valid part of the index, indexes the bytes behind it.
    /// All of it is written again: after a failed flush it may only look as if it were on the medium.
    fn take_up(&mut self, at: Timestamp) -> Result<(), OutputError> {
        let path = self.dir.join("lines");
        let len = self.index.len().map_err(OutputError::disk("measure", &path))?;
        let slots = len.saturating_sub(HEADER_BYTES as u64) / ENTRY_BYTES as u64;
        let valid = valid_entries(&*self.run.disk, &self.dir, &*self.index, slots)?;
        self.entries = valid.entries;
        self.index
            .set_len(entry_at(valid.entries))
            .map_err(OutputError::disk("cut", &path))?;
        let mut spans = Vec::new();
        rewrite(&*self.index, |bytes| self.index_hasher.update(bytes))
            .map_err(OutputError::disk("take up", &path))?;
        for stream in STREAMS {
            let path = self.dir.join(stream.as_str());
            self.streams[stream as usize]
                .take_up(stream, &valid, &mut spans)
                .map_err(OutputError::disk("take up", &path))?;
        }
        self.write(None, &spans, at)
    }
}

impl Drop for AttemptLog {
    fn drop(&mut self) {
        self.run.release(self.id, self.state);
    }
}

impl StreamState {
    fn summary(&self) -> StreamSummary {
        StreamSummary {
            sha256: self.hasher.clone().finish(),
            bytes: self.bytes,
            lines: self.lines,
            truncated: self.truncated,
        }
    }

    fn take_up(
        &mut self,
        stream: Stream,
        valid: &Valid,
        spans: &mut Vec<(Stream, Span)>,
    ) -> std::io::Result<()> {
        let indexed = valid.next_offset[stream as usize];
        self.splitter = Splitter::at(indexed);
        self.truncated = valid.truncated[stream as usize];
        self.lines = valid.lines[stream as usize];
        let file = Arc::clone(&self.file);
        rewrite(&*file, |bytes| {
            self.hasher.update(bytes);
            let skip = usize::try_from(indexed.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
            self.bytes += bytes.len() as u64;
            let mut found = Vec::new();
            self.splitter
                .feed(bytes.get(skip..).unwrap_or_default(), &mut found);
            spans.extend(found.into_iter().map(|span| (stream, span)));
        })
    }
}

fn open_files(run: &Arc<RunLog>, root: &Path, asked: &AttemptAsk) -> Result<AttemptLog, OutputError> {
    let dir = asked.key.dir(root);
    run.disk
        .create_dir_all(&dir)
        .map_err(OutputError::disk("create", &dir))?;
    run.name_folders(&dir, root)?;
    let open = |name: &str| {
        let path = dir.join(name);
        run.disk
            .open(&path, Access::Create)
            .map_err(OutputError::disk("create", &path))
    };
    let stream = |stream: Stream| {
        Ok(StreamState {
            file: open(stream.as_str())?,
            hasher: Hasher::default(),
            bytes: 0,
            lines: 0,
            truncated: false,
            was_cut: false,
            splitter: Splitter::default(),
        })
    };
    Ok(AttemptLog {
        streams: [stream(Stream::Stdout)?, stream(Stream::Stderr)?],
        index: open("lines")?,
        index_hasher: Hasher::default(),
        entries: 0,
        bytes_max: asked.bytes_max.min(limits::STEP_LOG_BYTES_MAX),
        state: WriterState::Open,
        id: (asked.key.job, asked.key.attempt),
        run: Arc::clone(run),
        dir,
    })
}

/// Hands on all bytes of a file, piece by piece, with their offset.
pub(super) fn reread(
    file: &dyn DiskFile,
    mut each: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let (mut buffer, mut offset) = (vec![0; REREAD_BYTES], 0);
    loop {
        let read = file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Ok(());
        }
        each(&buffer[..read], offset)?;
        offset += read as u64;
    }
}

fn rewrite(file: &dyn DiskFile, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
    reread(file, |bytes, offset| {
        each(bytes);
        file.write_at(bytes, offset)
    })
}
