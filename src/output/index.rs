//! The line index: which bytes of `stdout` and `stderr` are which line, and in which order they came.
//!
//! Version 2. All integers little endian. Entry `n` lies at `128 + 32 * n`, so a reader jumps to any of them.
//!
//! ```text
//! header, 128 bytes
//! 0       8         12         16         32            36                        124     128
//! | magic | version | attempt  | job id   | step length | step name, zero padded  | crc32c |
//!
//! entry, 32 bytes
//! 0      8        16       20      24       25     26      28       32
//! | pos  | at ms  | offset | bytes | stream | kind | more  | crc32c |
//! ```
//!
//! An entry of kind `Line` may stand for several lines that came together, each ended by a newline: `more` is their number
//! but for the first. `bytes` then reaches from the first one's begin to before the last one's newline, and they have the
//! positions `pos`, `pos + 1`, and so on. Version 1 had one entry a line, with `more` zero, and is read as well.
//!
//! An entry is written after the bytes it names. The entries of an ended attempt close with one of kind `End`.
//! `End` says how many entries came before it (`pos`). Nothing after the first invalid entry counts.

use crate::domain::{JobId, StepName, Timestamp};
use crate::limits;

pub(super) const HEADER_BYTES: usize = 128;
pub(super) const ENTRY_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"FASTLINE";
const VERSION: u32 = 2;
const VERSION_OLDEST: u32 = 1;
const STEP_AT: usize = 36;
const HEADER_CRC_AT: usize = 124;
const ENTRY_CRC_AT: usize = 28;

const _: () = assert!(limits::STEP_LOG_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(limits::LOG_LINE_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(limits::NAME_BYTES_MAX + "[99999]".len() <= HEADER_CRC_AT - STEP_AT);

/// Which of the two outputs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`; also the file's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// What an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// A line that a newline ended; the newline is not part of it.
    Line,
    /// A line without its newline: cut at the bound, or the last one of the output.
    Piece,
    /// Here the output was cut; what came later was not kept.
    Truncated,
    /// Not a line: the attempt's output ended.
    End,
}

/// One entry of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub pos: u64,
    pub at: Timestamp,
    pub offset: u32,
    pub bytes: u32,
    pub stream: Stream,
    pub kind: LineKind,
    /// Lines but for the first.
    pub more: u16,
}

/// Who wrote the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub attempt: u32,
    pub job: JobId,
    pub step: Option<StepName>,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.attempt.to_le_bytes());
        bytes[16..32].copy_from_slice(self.job.as_bytes());
        let step = self.step.as_ref().map_or("", StepName::as_str).as_bytes();
        bytes[32..36].copy_from_slice(&(step.len() as u32).to_le_bytes());
        bytes[STEP_AT..STEP_AT + step.len()].copy_from_slice(step);
        seal(&mut bytes, HEADER_CRC_AT);
        bytes
    }

    /// Which version a header is of, where it is one.
    pub fn version(bytes: &[u8; HEADER_BYTES]) -> Option<u32> {
        let is_one = is_sealed(bytes, HEADER_CRC_AT) && &bytes[..8] == MAGIC;
        is_one.then(|| u32_at(bytes, 8))
    }

    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let version = Self::version(bytes)?;
        if !(VERSION_OLDEST..=VERSION).contains(&version) {
            return None;
        }
        let step = match u32_at(bytes, 32) as usize {
            0 => None,
            len => {
                let name = bytes[STEP_AT..HEADER_CRC_AT].get(..len)?;
                Some(std::str::from_utf8(name).ok()?.parse().ok()?)
            }
        };
        Some(Header {
            attempt: u32_at(bytes, 12),
            job: JobId::from_bytes(bytes[16..32].try_into().ok()?),
            step,
        })
    }
}

impl Entry {
    /// The entry that closes an index of `entries` lines.
    pub fn end(entries: u64, at: Timestamp) -> Entry {
        Entry {
            pos: entries,
            at,
            offset: 0,
            bytes: 0,
            stream: Stream::Stdout,
            kind: LineKind::End,
            more: 0,
        }
    }

    /// Lines that it stands for.
    pub fn lines(&self) -> u64 {
        1 + u64::from(self.more)
    }

    /// The position of its last line.
    pub fn last_pos(&self) -> u64 {
        self.pos.saturating_add(u64::from(self.more))
    }

    /// Takes in a line that came together with it and follows it. False when it has no room, or does not follow.
    pub fn take_in(&mut self, next: &Entry) -> bool {
        let are_lines = self.kind == LineKind::Line && next.kind == LineKind::Line;
        let bytes = self.bytes as usize + 1 + next.bytes as usize;
        let follows = self.stream == next.stream && self.next_offset() == u64::from(next.offset);
        let fits = bytes <= limits::LOG_BLOCK_BYTES_MAX && next.more == 0;
        let takes = are_lines && follows && fits;
        if takes {
            self.bytes = bytes as u32;
            self.more += 1;
        }
        takes
    }

    /// The lines that it stands for, each as an entry of its own. None when `bytes`, those that it names, are not that many
    /// lines.
    pub fn lines_of(&self, bytes: &[u8]) -> Option<Vec<Entry>> {
        let mut lines = Vec::with_capacity(self.more as usize + 1);
        let mut offset = self.offset;
        for (pos, line) in (self.pos..).zip(bytes.split(|byte| *byte == b'\n')) {
            lines.push(Entry {
                pos,
                offset,
                bytes: line.len() as u32,
                more: 0,
                ..*self
            });
            offset += line.len() as u32 + 1;
        }
        (lines.len() as u64 == self.lines()).then_some(lines)
    }

    pub fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.pos.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.as_ms().to_le_bytes());
        bytes[16..20].copy_from_slice(&self.offset.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[24] = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        bytes[25] = match self.kind {
            LineKind::Line => 1,
            LineKind::Piece => 2,
            LineKind::Truncated => 3,
            LineKind::End => 4,
        };
        bytes[26..28].copy_from_slice(&self.more.to_le_bytes());
        seal(&mut bytes, ENTRY_CRC_AT);
        bytes
    }

    pub fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Entry> {
        if !is_sealed(bytes, ENTRY_CRC_AT) {
            return None;
        }
        let stream = match bytes[24] {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let kind = match bytes[25] {
            1 => LineKind::Line,
            2 => LineKind::Piece,
            3 => LineKind::Truncated,
            4 => LineKind::End,
            _ => return None,
        };
        Some(Entry {
            pos: u64_at(bytes, 0),
            at: Timestamp::from_ms(u64_at(bytes, 8) as i64),
            offset: u32_at(bytes, 16),
            bytes: u32_at(bytes, 20),
            stream,
            kind,
            more: u16::from_le_bytes([bytes[26], bytes[27]]),
        })
    }

    /// Where in its stream the next line starts.
    pub fn next_offset(&self) -> u64 {
        let newline = u64::from(self.kind == LineKind::Line);
        u64::from(self.offset) + u64::from(self.bytes) + newline
    }
}

/// Where entry `n` lies in the file.
pub(super) fn entry_at(n: u64) -> u64 {
    HEADER_BYTES as u64 + n * ENTRY_BYTES as u64
}

fn seal(bytes: &mut [u8], crc_at: usize) {
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A page of zeros, which a crash may leave, is not sealed: the checksum of zeros is not zero.
fn is_sealed(bytes: &[u8], crc_at: usize) -> bool {
    u32_at(bytes, crc_at) == crc32c::crc32c(&bytes[..crc_at])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            pos: 0x0102_0304_0506_0708,
            at: Timestamp::from_ms(-5),
            offset: 7,
            bytes: 65_536,
            stream: Stream::Stderr,
            kind: LineKind::Piece,
            more: 0,
        }
    }

    #[test]
    fn headers_of_the_first_version_are_read_and_later_ones_are_not() {
        let header = Header {
            attempt: 3,
            job: JobId::derive(Timestamp::from_ms(1), 2, 3),
            step: None,
        };
        for (version, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
            let mut bytes = header.encode();
            bytes[8] = version;
            seal(&mut bytes, HEADER_CRC_AT);
            assert_eq!(Header::version(&bytes), Some(u32::from(version)));
            assert_eq!(Header::decode(&bytes).is_some(), is_read, "version {version}");
        }
    }

    #[test]
    fn short_lines_that_follow_each_other_share_an_entry() {
        let line = |offset: u32, bytes: u32| Entry {
            offset,
            bytes,
            kind: LineKind::Line,
            ..entry()
        };
        let mut block = line(10, 1);
        assert!(block.take_in(&line(12, 0)) && block.take_in(&line(13, 2)));
        assert_eq!((block.bytes, block.more, block.next_offset()), (5, 2, 16));
        assert!(!block.take_in(&line(17, 0)), "it does not follow");
        let piece = Entry {
            offset: 16,
            ..entry()
        };
        assert!(!block.take_in(&piece), "a piece has no newline");
        let fits = limits::LOG_BLOCK_BYTES_MAX as u32 - block.bytes - 1;
        assert!(!block.take_in(&line(16, fits + 1)), "one byte too many");
        assert_eq!(Entry::decode(&block.encode()), Some(block));
        let lines = block.lines_of(b"a\n\nbc").unwrap();
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.pos - block.pos, line.offset, line.bytes))
            .collect();
        assert_eq!(told, [(0, 10, 1), (1, 12, 0), (2, 13, 2)]);
        assert_eq!(block.lines_of(b"a\nxbc"), None);
        assert!(block.take_in(&line(16, fits)));
    }

    #[test]
    fn entries_and_headers_read_back_and_any_flipped_bit_is_found() {
        let header = Header {
            attempt: 3,
            job: JobId::derive(Timestamp::from_ms(1), 2, 3),
            step: Some(format!("{}[99999]", "a".repeat(63)).parse().unwrap()),
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Some(header));
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bad), None, "bit {bit}");
        }
        let bytes = entry().encode();
        assert_eq!(Entry::decode(&bytes), Some(entry()));
        for bit in 0..ENTRY_BYTES * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_left_by_a_crash_are_neither_header_nor_entry() {
        assert_eq!(Entry::decode(&[0; ENTRY_BYTES]), None);
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), None);
    }

    #[test]
    fn the_bytes_of_version_1_never_change() {
        let hex: String = entry()
            .encode()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            &hex[..56],
            "0807060504030201fbffffffffffffff070000000000010002020000"
        );
    }
}
