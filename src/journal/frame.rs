//! Frames and batches: the bytes between a segment's header and its end.
//!
//! ```text
//! version 1, integers little endian; version and salt stand in the segment's header
//!
//! batch, from a multiple of 512
//!  ┌───────┬──────────┬──────────┬───┬────────┬────────────────────┐
//!  │ begin │ record 0 │ record 1 │ … │ commit │ zeros to the next  │
//!  │       │          │          │   │        │ multiple of 512    │
//!  └───────┴──────────┴──────────┴───┴────────┴────────────────────┘
//! frame
//!  0                 4                                       8      9
//!  ┌─────────────────┬───────────────────────────────────────┬──────┬─────────┐
//!  │ payload length  │ CRC-32C of salt, length, kind, payload │ kind │ payload │
//!  └─────────────────┴───────────────────────────────────────┴──────┴─────────┘
//! payloads
//!  kind 1, begin    salt 8 │ start position 8
//!  kind 2, record   tenant length 1 │ tenant │ seq 8 │ record bytes
//!  kind 3, commit   salt 8 │ term 8 │ position after the batch 8 │ records 4 │ CRC-32C of all frames before 4
//! ```
//!
//! A batch counts only with its commit. Begin and commit both tell their position, so that a batch which
//! lies behind damage is recognised by either end.

use bytes::Bytes;

use super::header::{SECTOR_BYTES, Salt, number_u32, number_u64};
use super::{Position, Record, Term};
use crate::domain::{Seq, TenantName};

const FRAME_HEADER_BYTES: usize = 9;
const CHECKED_FROM: usize = 8;
const BEGIN_BYTES: usize = 16;
const COMMIT_BYTES: usize = 32;
/// Bytes of a record frame besides tenant and record.
const RECORD_EXTRA_BYTES: usize = FRAME_HEADER_BYTES + 1 + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Begin = 1,
    Record = 2,
    Commit = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        match byte {
            1 => Some(Kind::Begin),
            2 => Some(Kind::Record),
            3 => Some(Kind::Commit),
            _ => None,
        }
    }
}

/// Bytes that a batch of these records takes in a segment.
pub(super) fn batch_bytes(records: &[Record]) -> u64 {
    let frames: u64 = records
        .iter()
        .map(|record| (RECORD_EXTRA_BYTES + record.tenant.as_str().len() + record.bytes.len()) as u64)
        .sum();
    let all = frames + (2 * FRAME_HEADER_BYTES + BEGIN_BYTES + COMMIT_BYTES) as u64;
    all.next_multiple_of(SECTOR_BYTES as u64)
}

/// Adds a batch to `buffer`. The caller has checked [`batch_bytes`] against the segment, which bounds every
/// length here far below 2^32.
pub(super) fn encode_batch(
    buffer: &mut Vec<u8>,
    salt: Salt,
    term: Term,
    start: Position,
    records: &[Record],
) {
    let batch_at = buffer.len();
    let frame = open_frame(buffer, Kind::Begin);
    buffer.extend_from_slice(&salt.0.to_le_bytes());
    buffer.extend_from_slice(&start.0.to_le_bytes());
    close_frame(buffer, frame, salt);
    for record in records {
        let tenant = record.tenant.as_str().as_bytes();
        let frame = open_frame(buffer, Kind::Record);
        // A tenant's name is at most 88 bytes.
        buffer.push(tenant.len() as u8);
        buffer.extend_from_slice(tenant);
        buffer.extend_from_slice(&record.seq.0.to_le_bytes());
        buffer.extend_from_slice(&record.bytes);
        close_frame(buffer, frame, salt);
    }
    let checksum = crc32c::crc32c(&buffer[batch_at..]);
    let frame = open_frame(buffer, Kind::Commit);
    buffer.extend_from_slice(&salt.0.to_le_bytes());
    buffer.extend_from_slice(&term.0.to_le_bytes());
    buffer.extend_from_slice(&start.plus(records.len() as u64).0.to_le_bytes());
    buffer.extend_from_slice(&(records.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&checksum.to_le_bytes());
    close_frame(buffer, frame, salt);
    let bytes = (buffer.len() - batch_at).next_multiple_of(SECTOR_BYTES);
    buffer.resize(batch_at + bytes, 0);
}

fn open_frame(buffer: &mut Vec<u8>, kind: Kind) -> usize {
    let at = buffer.len();
    buffer.extend_from_slice(&[0; CHECKED_FROM]);
    buffer.push(kind as u8);
    at
}

fn close_frame(buffer: &mut [u8], at: usize, salt: Salt) {
    let length = ((buffer.len() - at - FRAME_HEADER_BYTES) as u32).to_le_bytes();
    let checksum = frame_checksum(salt, length, &buffer[at + CHECKED_FROM..]);
    buffer[at..at + 4].copy_from_slice(&length);
    buffer[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
}

fn frame_checksum(salt: Salt, length: [u8; 4], kind_and_payload: &[u8]) -> u32 {
    let mut salted = [0; 12];
    salted[..8].copy_from_slice(&salt.0.to_le_bytes());
    salted[8..].copy_from_slice(&length);
    crc32c::crc32c_append(crc32c::crc32c(&salted), kind_and_payload)
}

#[derive(Debug)]
struct Frame<'a> {
    kind: Kind,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame at the start of `bytes`, when it is whole and of this salt.
    fn parse(bytes: &'a [u8], salt: Salt) -> Option<Frame<'a>> {
        let length: [u8; 4] = *bytes.first_chunk()?;
        let end = FRAME_HEADER_BYTES.checked_add(u32::from_le_bytes(length) as usize)?;
        let checked = bytes.get(CHECKED_FROM..end)?;
        if frame_checksum(salt, length, checked) != number_u32(bytes, 4)? {
            return None;
        }
        Some(Frame {
            kind: Kind::from_byte(checked[0])?,
            payload: &checked[1..],
        })
    }

    fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }
}

struct Begin {
    start: Position,
}

impl Begin {
    fn decode(payload: &[u8], salt: Salt) -> Option<Begin> {
        if payload.len() != BEGIN_BYTES || number_u64(payload, 0)? != salt.0 {
            return None;
        }
        Some(Begin {
            start: Position(number_u64(payload, 8)?),
        })
    }
}

struct Commit {
    term: Term,
    end: Position,
    records: u32,
    checksum: u32,
}

impl Commit {
    fn decode(payload: &[u8], salt: Salt) -> Option<Commit> {
        if payload.len() != COMMIT_BYTES || number_u64(payload, 0)? != salt.0 {
            return None;
        }
        Some(Commit {
            term: Term(number_u64(payload, 8)?),
            end: Position(number_u64(payload, 16)?),
            records: number_u32(payload, 24)?,
            checksum: number_u32(payload, 28)?,
        })
    }

    fn start(&self) -> Position {
        Position(self.end.0.saturating_sub(u64::from(self.records)))
    }
}

/// A batch found whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchShape {
    pub term: Term,
    pub records: u32,
    /// With the zeros behind it.
    pub bytes: usize,
}

/// Verifies the batch at the start of `bytes`.
///
/// # Errors
/// How far into `bytes` the first frame that is not right begins.
pub(super) fn check_batch(bytes: &[u8], salt: Salt, start: Position) -> Result<BatchShape, usize> {
    let begin = Frame::parse(bytes, salt)
        .filter(|frame| frame.kind == Kind::Begin)
        .ok_or(0_usize)?;
    if Begin::decode(begin.payload, salt).ok_or(0_usize)?.start != start {
        return Err(0);
    }
    let mut at = begin.bytes();
    let mut records = 0_u32;
    loop {
        let frame = Frame::parse(&bytes[at..], salt).ok_or(at)?;
        match frame.kind {
            Kind::Begin => return Err(at),
            Kind::Record => records += 1,
            Kind::Commit => {
                let commit = Commit::decode(frame.payload, salt).ok_or(at)?;
                let end = (at + frame.bytes()).next_multiple_of(SECTOR_BYTES);
                let right = records > 0
                    && commit.records == records
                    && commit.end == start.plus(u64::from(records))
                    && commit.checksum == crc32c::crc32c(&bytes[..at])
                    && end <= bytes.len();
                if !right {
                    return Err(at);
                }
                return Ok(BatchShape {
                    term: commit.term,
                    records,
                    bytes: end,
                });
            }
        }
        at += frame.bytes();
    }
}

/// The records of a batch that [`check_batch`] found whole, at `at` in `bytes`; they share its memory.
///
/// # Errors
/// How far into `bytes` a record begins that no version of this program wrote.
pub(super) fn decode_records(bytes: &Bytes, at: usize, shape: &BatchShape) -> Result<Vec<Record>, usize> {
    let mut records: Vec<Record> = Vec::with_capacity(shape.records as usize);
    let mut at = at + FRAME_HEADER_BYTES + BEGIN_BYTES;
    for _ in 0..shape.records {
        let length = number_u32(bytes, at).ok_or(at)? as usize;
        let payload = at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + length;
        let tenant_bytes = usize::from(*bytes.get(payload.start).ok_or(at)?);
        let tenant_at = payload.start + 1;
        let seq_at = tenant_at + tenant_bytes;
        let record_at = seq_at + 8;
        if record_at > payload.end || payload.end > bytes.len() {
            return Err(at);
        }
        let name = std::str::from_utf8(&bytes[tenant_at..seq_at]).map_err(|_| at)?;
        let tenant = match records.last() {
            Some(last) if last.tenant.as_str() == name => last.tenant.clone(),
            _ => name.parse::<TenantName>().map_err(|_| at)?,
        };
        records.push(Record {
            tenant,
            seq: Seq(number_u64(bytes, seq_at).ok_or(at)?),
            bytes: bytes.slice(record_at..payload.end),
        });
        at = payload.end;
    }
    Ok(records)
}

/// What lies behind the last whole batch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    /// Nothing of this use of the file that tells its position.
    Nothing,
    /// Part of the batch that would be next.
    Next,
    /// Part of a batch after that one, at this distance: what is between was whole once.
    Later(usize),
}

/// Looks at every byte of `bytes`, which lie behind the last whole batch, ending at `end`, for the begin or
/// the commit of a batch. A length to trust is just what is missing there.
pub(super) fn remains(bytes: &[u8], salt: Salt, end: Position) -> Remains {
    let mut found = Remains::Nothing;
    for at in 0..bytes.len().saturating_sub(FRAME_HEADER_BYTES) {
        let start = match number_u32(bytes, at).map(|length| length as usize) {
            Some(BEGIN_BYTES | COMMIT_BYTES) => batch_start(&bytes[at..], salt),
            _ => None,
        };
        match start {
            Some(start) if start > end => return Remains::Later(at),
            Some(start) if start == end => found = Remains::Next,
            Some(_) | None => {}
        }
    }
    found
}

/// Start of the batch whose begin or commit is at the start of `bytes`.
fn batch_start(bytes: &[u8], salt: Salt) -> Option<Position> {
    let frame = Frame::parse(bytes, salt)?;
    match frame.kind {
        Kind::Begin => Some(Begin::decode(frame.payload, salt)?.start),
        Kind::Commit => Some(Commit::decode(frame.payload, salt)?.start()),
        Kind::Record => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: Salt = Salt(5);

    fn record(seq: u64, bytes: &str) -> Record {
        Record {
            tenant: "plant".parse().unwrap(),
            seq: Seq(seq),
            bytes: Bytes::copy_from_slice(bytes.as_bytes()),
        }
    }

    fn batch(start: u64, records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_batch(&mut bytes, SALT, Term(2), Position(start), records);
        assert_eq!(bytes.len() as u64, batch_bytes(records));
        bytes
    }

    /// Bit by bit CRC-32C (RFC 3720), so that the golden bytes rest on nothing used by the codec.
    fn slow_crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
            })
        })
    }

    #[test]
    fn batch_bytes_are_those_of_version_1() {
        let salt = b"\x05\0\0\0\0\0\0\0";
        let payloads: [&[u8]; 2] = [
            b"\x01\x05\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0",
            b"\x02\x05plant\x09\0\0\0\0\0\0\0{}",
        ];
        let mut expected = Vec::new();
        let mut add = |payload: &[u8]| {
            let length = (payload.len() as u32 - 1).to_le_bytes();
            expected.extend_from_slice(&length);
            expected.extend_from_slice(&slow_crc(&[&salt[..], &length, payload].concat()).to_le_bytes());
            expected.extend_from_slice(payload);
            slow_crc(&expected)
        };
        add(payloads[0]);
        let checksum = add(payloads[1]);
        let mut commit = b"\x03\x05\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0".to_vec();
        commit.extend_from_slice(&checksum.to_le_bytes());
        add(&commit);
        expected.resize(512, 0);
        assert_eq!(batch(7, &[record(9, "{}")]), expected);
    }

    #[test]
    fn batches_round_trip_and_fill_whole_sectors() {
        for size in [0, 1, 400, 425, 426, 427, 428, 429, 512, 5_000] {
            let records = [record(3, &"x".repeat(size)), record(4, "")];
            let bytes = Bytes::from(batch(10, &records));
            let shape = check_batch(&bytes, SALT, Position(10)).unwrap();
            assert_eq!(
                (shape.term, shape.records, shape.bytes),
                (Term(2), 2, bytes.len())
            );
            assert_eq!(bytes.len() % SECTOR_BYTES, 0);
            assert_eq!(decode_records(&bytes, 0, &shape).unwrap(), records);
        }
    }

    #[test]
    fn any_changed_bit_of_a_batch_is_found_at_its_frame() {
        let bytes = batch(10, &[record(3, "one"), record(4, "two")]);
        let frames = [0, 25, 51, 77, 118];
        for bit in 0..frames[4] * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let at = check_batch(&changed, SALT, Position(10)).unwrap_err();
            let frame = frames[frames.partition_point(|start| *start <= bit / 8) - 1];
            assert_eq!(at, frame, "bit {bit}");
        }
    }

    #[test]
    fn a_batch_of_another_salt_position_or_cut_short_is_refused() {
        let bytes = batch(10, &[record(3, "one")]);
        assert_eq!(check_batch(&bytes, Salt(6), Position(10)), Err(0));
        assert_eq!(check_batch(&bytes, SALT, Position(9)), Err(0));
        for length in 0..bytes.len() {
            assert!(
                check_batch(&bytes[..length], SALT, Position(10)).is_err(),
                "{length}"
            );
        }
    }

    #[test]
    fn a_batch_mixed_of_whole_frames_is_refused() {
        let (one, other) = (batch(10, &[record(3, "one")]), batch(10, &[record(3, "two")]));
        let mut mixed = one.clone();
        mixed[25..25 + 26].copy_from_slice(&other[25..25 + 26]);
        let commit = 25 + 26;
        assert_eq!(check_batch(&mixed, SALT, Position(10)), Err(commit));
        // A commit that is right in itself, but tells another number of records or another end.
        for (end, records) in [(12, 1), (11, 2), (10, 0)] {
            let mut forged = one[..commit].to_vec();
            let checksum = crc32c::crc32c(&forged);
            let frame = open_frame(&mut forged, Kind::Commit);
            for number in [SALT.0, 2, end] {
                forged.extend_from_slice(&number.to_le_bytes());
            }
            forged.extend_from_slice(&u32::to_le_bytes(records));
            forged.extend_from_slice(&checksum.to_le_bytes());
            close_frame(&mut forged, frame, SALT);
            forged.resize(512, 0);
            assert_eq!(
                check_batch(&forged, SALT, Position(10)),
                Err(commit),
                "{end} {records}"
            );
        }
    }

    #[test]
    fn what_lies_behind_damage_is_recognised_by_either_end() {
        let (next, later) = (batch(10, &[record(3, "one")]), batch(11, &[record(4, "two")]));
        let both = [next.clone(), later.clone()].concat();
        let seen = |bytes: &[u8]| remains(bytes, SALT, Position(10));
        assert_eq!(seen(&[0; 2_000]), Remains::Nothing);
        assert_eq!(seen(&next), Remains::Next);
        assert_eq!(seen(&both), Remains::Later(512));
        let mut headless = both.clone();
        headless[510..516].fill(0);
        assert_eq!(seen(&headless), Remains::Later(512 + 25 + 26));
        headless[512 + 25 + 26..].fill(0);
        assert_eq!(seen(&headless), Remains::Next);
        assert_eq!(remains(&both, Salt(6), Position(10)), Remains::Nothing);
    }
}
