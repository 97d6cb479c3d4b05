//! Where the content of members comes from: history, artifacts and logs as streams, opened once for each pass.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::domain::Seq;
use crate::ledger::TenantLedger;
use crate::limits;
use crate::output::{AttemptKey, Output, Stream};

/// The events of a range as lines, read a few at a time.
pub(super) struct HistoryReader {
    ledger: Arc<TenantLedger>,
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl HistoryReader {
    pub(super) fn new(ledger: Arc<TenantLedger>, next: u64, end: u64) -> Self {
        HistoryReader {
            ledger,
            next,
            end,
            buffer: Vec::new(),
            at: 0,
        }
    }
}

impl Read for HistoryReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            if self.next == self.end {
                return Ok(0);
            }
            self.buffer.clear();
            self.at = 0;
            let to = self
                .end
                .min((self.next / limits::TILE_LEAVES + 1) * limits::TILE_LEAVES);
            let buffer = &mut self.buffer;
            self.ledger
                .scan(Seq(self.next), Seq(to), &mut |_, bytes| {
                    buffer.extend_from_slice(bytes);
                    buffer.push(b'\n');
                    ControlFlow::Continue(())
                })
                .map_err(io::Error::other)?;
            self.next = to;
        }
        let taken = out.len().min(self.buffer.len() - self.at);
        out[..taken].copy_from_slice(&self.buffer[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// The bytes of an artifact.
pub(super) struct BlobStream {
    pub(super) reader: crate::output::BlobReader,
    pub(super) at: u64,
}

impl Read for BlobStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read_at(out, self.at).map_err(io::Error::other)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The bytes of one stream of an attempt.
pub(super) struct LogStream<'a> {
    pub(super) output: &'a Output,
    pub(super) key: AttemptKey,
    pub(super) stream: Stream,
    pub(super) at: u64,
}

impl Read for LogStream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let range = self.at..self.at + out.len() as u64;
        let bytes = self
            .output
            .read_raw(&self.key, self.stream, range)
            .map_err(io::Error::other)?;
        let taken = bytes.len().min(out.len());
        out[..taken].copy_from_slice(&bytes[..taken]);
        self.at += taken as u64;
        Ok(taken)
    }
}
