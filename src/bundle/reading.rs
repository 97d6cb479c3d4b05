//! Reading a bundle member by member and line by line, hashing what passes; holds one buffer and one line.

use std::io::{self, Read};

use super::tar::{Entry, TarError, TarReader};
use super::transport::{FrameReader, TransportError};
use crate::domain::{Digest, Hasher};

/// Opens the bundle from its beginning; called once, and once or twice more to name the place of a change.
pub type Opener<'a> = &'a dyn Fn() -> io::Result<Box<dyn Read>>;

const BUFFER_BYTES: usize = 64 * 1024;

/// A reader that hashes what passes through it.
#[derive(Debug)]
pub(super) struct Hashed<R> {
    source: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// The archive inside a bundle's file.
#[derive(Debug)]
pub(super) struct Archive {
    tar: Tar,
    /// Lent to the content of one member after another.
    buffer: Vec<u8>,
}

type Tar = TarReader<Hashed<FrameReader<Box<dyn Read>>>>;

impl Archive {
    pub(super) fn open(open: Opener<'_>) -> io::Result<Self> {
        let source = FrameReader::new(open()?)?;
        Ok(Archive {
            tar: TarReader::new(Hashed {
                source,
                hasher: Hasher::default(),
            }),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.tar.next_entry()
    }

    /// The content of the member whose header was read last.
    pub(super) fn content(&mut self) -> Content<'_> {
        Content {
            archive: &mut self.tar,
            hasher: Hasher::default(),
            buffer: &mut self.buffer,
            start: 0,
            end: 0,
        }
    }

    /// Decompresses what is left, up to `bytes_max`, for the frame's checksum alone.
    pub(super) fn drain(self, bytes_max: u64) -> io::Result<()> {
        io::copy(&mut self.tar.into_inner().source.take(bytes_max), &mut io::sink()).map(drop)
    }

    /// SHA-256 of the archive; of all of it once the last entry was read.
    pub(super) fn digest(self) -> Digest {
        self.tar.into_inner().hasher.finish()
    }
}

/// A member's content while it is read and hashed.
#[derive(Debug)]
pub(super) struct Content<'a> {
    archive: &'a mut Tar,
    hasher: Hasher,
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

/// What was read where a line was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// A line, its LF taken off.
    Whole,
    /// Bytes up to the end of the member, without LF.
    Unended,
    /// As many bytes as a line may have, and more behind them.
    TooLong,
    /// Nothing is left.
    End,
}

impl Content<'_> {
    /// The next bytes; empty at the end.
    pub(super) fn chunk(&mut self) -> Result<&[u8], TarError> {
        self.refill()?;
        let chunk = &self.buffer[self.start..self.end];
        self.start = self.end;
        Ok(chunk)
    }

    /// Reads what is left, up to `bytes_max`; `None` when there is more.
    pub(super) fn whole(&mut self, bytes_max: u64) -> Result<Option<Vec<u8>>, TarError> {
        let mut bytes = Vec::new();
        loop {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(Some(bytes));
            }
            if (bytes.len() + chunk.len()) as u64 > bytes_max {
                return Ok(None);
            }
            bytes.extend_from_slice(chunk);
        }
    }

    /// Puts the next line into `line`.
    pub(super) fn line(&mut self, line: &mut Vec<u8>, bytes_max: usize) -> Result<Line, TarError> {
        line.clear();
        loop {
            self.refill()?;
            let there = &self.buffer[self.start..self.end];
            if there.is_empty() {
                return Ok(if line.is_empty() { Line::End } else { Line::Unended });
            }
            let (taken, ended) = match memchr::memchr(b'\n', there) {
                Some(at) => (at, true),
                None => (there.len(), false),
            };
            if line.len() + taken > bytes_max {
                return Ok(Line::TooLong);
            }
            line.extend_from_slice(&there[..taken]);
            self.start += taken + usize::from(ended);
            if ended {
                return Ok(Line::Whole);
            }
        }
    }

    /// Reads past what is left and gives the digest of the whole content.
    pub(super) fn digest(mut self) -> Result<Digest, TarError> {
        while !self.chunk()?.is_empty() {}
        Ok(self.hasher.finish())
    }

    fn refill(&mut self) -> Result<(), TarError> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.archive.content(self.buffer)?;
            self.hasher.update(&self.buffer[..self.end]);
        }
        Ok(())
    }
}

/// Why reading stopped: the bundle's fault, or the storage's.
pub(super) fn container_fault(error: TarError) -> Result<String, io::Error> {
    match error {
        TarError::Read(error) => match error.downcast::<TransportError>() {
            Ok(fault) => Ok(fault.to_string()),
            Err(error) => Err(error),
        },
        fault => Ok(fault.to_string()),
    }
}
