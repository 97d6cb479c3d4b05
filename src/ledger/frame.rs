//! The codec of a history frame: up to 256 neighbouring events in one compressed, checked block.
//!
//! ```text
//! 0         8        16      20       24      28      32
//! | fsframe1 | first  | count | packed | raw   | crc   | packed bytes …
//!
//! first   sequence number of the first event       count   events in the frame, 1 to 256
//! packed  length of the compressed content         raw     length of the content
//! crc     CRC-32C of bytes 0 to 27 and of the packed bytes
//! ```
//! Numbers are little-endian. The packed bytes are one zstd frame; its content is `count` lengths of 4 bytes, then the
//! events one after another. The version is the last letter of the magic.

use bytes::Bytes;

use crate::limits;

const MAGIC: &[u8; 8] = b"fsframe1";
const LEVEL: i32 = 3;

/// Bytes that do not shrink may grow by a 256th when packed.
const PACKED_BYTES_MAX: usize = limits::FRAME_BYTES_MAX + limits::FRAME_BYTES_MAX / 256 + 1_024;

/// Bytes before the packed content.
pub(super) const HEADER_BYTES: usize = 32;

/// A decoded frame.
#[derive(Debug)]
pub(super) struct Frame {
    /// Sequence number of the first event.
    pub first: u64,
    /// The events; slices of one buffer.
    pub records: Vec<Bytes>,
    /// Memory the frame takes.
    pub bytes: usize,
}

/// What stands before the packed content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub first: u64,
    pub count: u32,
    pub packed: u32,
    pub raw: u32,
    crc: u32,
}

impl Header {
    /// Reads the fields and checks their bounds; the checksum needs the packed bytes as well.
    pub fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err("a frame header ends too early");
        };
        if !header.starts_with(MAGIC) {
            return Err("no frame begins here");
        }
        let decoded = Header {
            first: u64_at(header, 8),
            count: u32_at(header, 16),
            packed: u32_at(header, 20),
            raw: u32_at(header, 24),
            crc: u32_at(header, 28),
        };
        let sane = (1..=limits::TILE_LEAVES).contains(&u64::from(decoded.count))
            && decoded.raw as usize <= limits::FRAME_BYTES_MAX
            && decoded.packed as usize <= PACKED_BYTES_MAX;
        if sane {
            Ok(decoded)
        } else {
            Err("a frame header is out of bounds")
        }
    }

    /// Length of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.packed as usize
    }
}

/// Encodes neighbouring events; there are 1 to 256 of them, each within the bound on events.
pub(super) fn encode(first: u64, records: &[Bytes]) -> Result<Vec<u8>, std::io::Error> {
    let raw = content(records);
    let packed = zstd::bulk::compress(&raw, LEVEL)?;
    let too_long = |_| std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    let mut frame = Vec::with_capacity(HEADER_BYTES + packed.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&first.to_le_bytes());
    for length in [records.len(), packed.len(), raw.len()] {
        frame.extend_from_slice(&u32::try_from(length).map_err(too_long)?.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), &packed);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(&packed);
    Ok(frame)
}

fn content(records: &[Bytes]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(records.iter().map(|record| record.len() + 4).sum());
    for record in records {
        raw.extend_from_slice(&(record.len() as u32).to_le_bytes());
    }
    for record in records {
        raw.extend_from_slice(record);
    }
    raw
}

/// Decodes a frame that must begin with event `first` and hold `count` events.
pub(super) fn decode(frame: &[u8], first: u64, count: u64) -> Result<Frame, &'static str> {
    let header = Header::decode(frame)?;
    if header.frame_bytes() != frame.len() {
        return Err("a frame has another length than the index says");
    }
    let (head, packed) = frame.split_at(HEADER_BYTES);
    if crc32c::crc32c_append(crc32c::crc32c(&head[..HEADER_BYTES - 4]), packed) != header.crc {
        return Err("the checksum of a frame does not hold");
    }
    if header.first != first || u64::from(header.count) != count {
        return Err("a frame holds other events than it should");
    }
    let raw = zstd::bulk::decompress(packed, header.raw as usize).map_err(|_| "a frame does not unpack")?;
    let bytes = raw.len();
    let records =
        split(Bytes::from(raw), header.count as usize).ok_or("the lengths in a frame do not add up")?;
    Ok(Frame {
        first,
        records,
        bytes,
    })
}

fn split(raw: Bytes, count: usize) -> Option<Vec<Bytes>> {
    let mut at = count.checked_mul(4)?;
    let lengths = raw.get(..at)?;
    let mut records = Vec::with_capacity(count);
    for length in lengths.chunks_exact(4) {
        let end = at.checked_add(u32_at(length, 0) as usize)?;
        if end > raw.len() {
            return None;
        }
        records.push(raw.slice(at..end));
        at = end;
    }
    (at == raw.len()).then_some(records)
}

/// The number at `at`; zero beyond the end, which no caller asks for.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The number at `at`; zero beyond the end, which no caller asks for.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(count: usize) -> Vec<Bytes> {
        (0..count)
            .map(|index| Bytes::from(vec![b'a' + (index % 26) as u8; index * 7 % 90]))
            .collect()
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for count in [1, 2, 255, 256] {
            let frame = encode(512, &records(count)).unwrap();
            let decoded = decode(&frame, 512, count as u64).unwrap();
            assert_eq!(decoded.records, records(count));
            assert!(decode(&frame, 256, count as u64).is_err());
            assert!(decode(&frame, 512, count as u64 + 1).is_err());
        }
        let largest = vec![Bytes::from(vec![7; limits::EVENT_BYTES_MAX]); 2];
        let frame = encode(0, &largest).unwrap();
        assert_eq!(decode(&frame, 0, 2).unwrap().records, largest);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let frame = encode(0, &records(20)).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&changed, 0, 20).is_err(), "bit {bit}");
        }
        for len in 0..frame.len() {
            assert!(decode(&frame[..len], 0, 20).is_err(), "cut to {len}");
        }
    }
}
