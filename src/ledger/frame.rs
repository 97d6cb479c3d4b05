//! The codec of a history frame: up to 256 neighbouring events, compressed and checked block by block.
//!
//! ```text
//! 0         8        16      20       24      28      32       36
//! | fsframe2 | first  | count | packed | raw   | crc   | blocks | count | packed | raw | crc | …, packed blocks …
//!                                                               └ one entry of 16 bytes a block ┘
//! first   sequence number of the first event       count   events in the frame, 1 to 256; in a block
//! packed  length of all that follows the header;   raw     length of the content before packing, of all blocks;
//!         of a packed block                                of a block
//! crc     CRC-32C of bytes 0 to 27, 32 and on, up to the first block; of a packed block
//! ```
//! Numbers are little-endian. A packed block is one zstd frame; its content is `count` lengths of 4 bytes, then the events
//! one after another. A block ends before an event that would take it beyond [`limits::FRAME_BLOCK_BYTES`], so that
//! whoever reads a little of the history unpacks a little, however large events are. In version 1 the number of blocks and
//! the entries are missing: everything is one block, and `crc` goes on over it.

use std::ops::Range;

use bytes::Bytes;

use crate::limits;
use crate::limits::TILE_LEAVES;

const MAGIC: &[u8; 8] = b"fsframe2";
const MAGIC_1: &[u8; 8] = b"fsframe1";
const LEVEL: i32 = 3;
const ENTRY_BYTES: usize = 16;
const TABLE_BYTES_MAX: usize = 4 + TILE_LEAVES as usize * ENTRY_BYTES;

/// Bytes that do not shrink may grow by a 256th when packed.
const PACKED_BYTES_MAX: usize =
    TABLE_BYTES_MAX + limits::FRAME_BYTES_MAX + limits::FRAME_BYTES_MAX / 256 + 1_024 * TILE_LEAVES as usize;

/// Bytes before the blocks and their table.
pub(super) const HEADER_BYTES: usize = 32;
/// As much of a frame tells where its blocks lie, if it has so much.
pub(super) const LAYOUT_BYTES_MAX: usize = HEADER_BYTES + TABLE_BYTES_MAX;

/// Events of one block, unpacked.
#[derive(Debug)]
pub(super) struct Block {
    /// Sequence number of the first event.
    pub first: u64,
    /// The events; slices of one buffer.
    pub records: Vec<Bytes>,
    /// Memory the block takes.
    pub bytes: usize,
}

/// What stands before the blocks and their table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub first: u64,
    pub count: u32,
    pub packed: u32,
    pub raw: u32,
    crc: u32,
    has_table: bool,
}

impl Header {
    /// Reads the fields and checks their bounds; the checksum needs what follows as well.
    pub fn decode(bytes: &[u8]) -> Result<Header, &'static str> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err("a frame header ends too early");
        };
        let has_table = header.starts_with(MAGIC);
        if !has_table && !header.starts_with(MAGIC_1) {
            return Err("no frame begins here");
        }
        let decoded = Header {
            first: u64_at(header, 8),
            count: u32_at(header, 16),
            packed: u32_at(header, 20),
            raw: u32_at(header, 24),
            crc: u32_at(header, 28),
            has_table,
        };
        let sane = (1..=TILE_LEAVES).contains(&u64::from(decoded.count))
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

/// Where the blocks of a frame lie.
#[derive(Debug)]
pub(super) struct Layout(Vec<Place>);

/// Where one block lies, and what it must hold.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// In the frame.
    pub range: Range<usize>,
    first: u64,
    count: usize,
    raw: usize,
    /// The checksum, and that of what is covered before the block.
    crc: u32,
    crc_before: u32,
}

impl Layout {
    /// Reads it from the first [`LAYOUT_BYTES_MAX`] bytes of a frame of `length` bytes, or from all of them, which must
    /// begin with event `first` and hold `count` events.
    pub fn decode(head: &[u8], length: usize, first: u64, count: u64) -> Result<Layout, &'static str> {
        let header = Header::decode(head)?;
        if header.frame_bytes() != length {
            return Err("a frame has another length than the index says");
        }
        let crc = crc32c::crc32c(&head[..HEADER_BYTES - 4]);
        let places = if header.has_table {
            blocks_of(&header, head, crc)?
        } else {
            vec![Place {
                range: HEADER_BYTES..length,
                first: header.first,
                count: header.count as usize,
                raw: header.raw as usize,
                crc: header.crc,
                crc_before: crc,
            }]
        };
        if header.first != first || u64::from(header.count) != count {
            return Err("a frame holds other events than it should");
        }
        Ok(Layout(places))
    }

    /// The block that holds an event of the frame.
    pub fn place_of(&self, seq: u64) -> Option<&Place> {
        let behind = self.0.partition_point(|place| place.first <= seq);
        self.0.get(behind.checked_sub(1)?)
    }
}

/// The places that the table names. They must fill the frame.
fn blocks_of(header: &Header, head: &[u8], crc: u32) -> Result<Vec<Place>, &'static str> {
    const SHORT: &str = "a frame ends within its table";
    let count = u32_at(head, HEADER_BYTES) as usize;
    if !(1..=TILE_LEAVES as usize).contains(&count) {
        return Err("a frame has no number of blocks that can be");
    }
    let end = HEADER_BYTES + 4 + count * ENTRY_BYTES;
    let table = head.get(HEADER_BYTES..end).ok_or(SHORT)?;
    if crc32c::crc32c_append(crc, table) != header.crc {
        return Err("the checksum of a frame does not hold");
    }
    let (mut at, mut first) = (end, header.first);
    let mut places = Vec::with_capacity(count);
    for entry in table[4..].chunks_exact(ENTRY_BYTES) {
        let place = Place {
            range: at..at + u32_at(entry, 4) as usize,
            first,
            count: u32_at(entry, 0) as usize,
            raw: u32_at(entry, 8) as usize,
            crc: u32_at(entry, 12),
            crc_before: 0,
        };
        at = place.range.end;
        first += place.count as u64;
        places.push(place);
    }
    let raw: usize = places.iter().map(|place| place.raw).sum();
    let fills = at == header.frame_bytes()
        && first == header.first + u64::from(header.count)
        && raw == header.raw as usize;
    if fills {
        Ok(places)
    } else {
        Err("the blocks of a frame do not add up")
    }
}

impl Place {
    /// Unpacks the block from its bytes.
    pub fn unpack(&self, packed: &[u8]) -> Result<Block, &'static str> {
        if crc32c::crc32c_append(self.crc_before, packed) != self.crc {
            return Err("the checksum of a frame does not hold");
        }
        let raw = zstd::bulk::decompress(packed, self.raw).map_err(|_| "a frame does not unpack")?;
        let bytes = raw.len();
        if bytes != self.raw {
            return Err("a frame does not unpack");
        }
        let records = split(Bytes::from(raw), self.count).ok_or("the lengths in a frame do not add up")?;
        Ok(Block {
            first: self.first,
            records,
            bytes,
        })
    }
}

/// Encodes neighbouring events; there are 1 to 256 of them, each within the bound on events.
pub(super) fn encode(first: u64, records: &[Bytes]) -> Result<Vec<u8>, std::io::Error> {
    let too_long = |_| std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    let put = |out: &mut Vec<u8>, number: usize| {
        out.extend_from_slice(&u32::try_from(number).map_err(too_long)?.to_le_bytes());
        Ok::<_, std::io::Error>(())
    };
    let (mut table, mut packed, mut raw_bytes, mut blocks) = (Vec::new(), Vec::new(), 0, 0);
    let mut rest = records;
    while !rest.is_empty() {
        let (block, behind) = rest.split_at(block_length(rest));
        let raw = content(block);
        let piece = zstd::bulk::compress(&raw, LEVEL)?;
        for number in [block.len(), piece.len(), raw.len()] {
            put(&mut table, number)?;
        }
        table.extend_from_slice(&crc32c::crc32c(&piece).to_le_bytes());
        packed.extend_from_slice(&piece);
        raw_bytes += raw.len();
        blocks += 1;
        rest = behind;
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + 4 + table.len() + packed.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&first.to_le_bytes());
    for number in [records.len(), 4 + table.len() + packed.len(), raw_bytes] {
        put(&mut frame, number)?;
    }
    let mut covered = Vec::with_capacity(4 + table.len());
    put(&mut covered, blocks)?;
    covered.extend_from_slice(&table);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), &covered);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(&covered);
    frame.extend_from_slice(&packed);
    Ok(frame)
}

/// How many events the next block takes: at least one.
fn block_length(records: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fitting = records.iter().take_while(|record| {
        bytes += record.len() + 4;
        bytes <= limits::FRAME_BLOCK_BYTES
    });
    fitting.count().clamp(1, records.len())
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

    /// All blocks, and how many there are.
    fn decode(frame: &[u8], first: u64, count: u64) -> Result<(Vec<Bytes>, usize), &'static str> {
        let head = &frame[..frame.len().min(LAYOUT_BYTES_MAX)];
        let layout = Layout::decode(head, frame.len(), first, count)?;
        let (mut records, mut seq) = (Vec::new(), first);
        while seq < first + count {
            let place = layout.place_of(seq).ok_or("no block")?;
            let block = place.unpack(&frame[place.range.clone()])?;
            assert_eq!(block.first, seq);
            seq += block.records.len() as u64;
            records.extend(block.records);
        }
        Ok((records, layout.0.len()))
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for count in [1, 2, 255, 256] {
            let frame = encode(512, &records(count)).unwrap();
            assert_eq!(decode(&frame, 512, count as u64).unwrap(), (records(count), 1));
            assert!(decode(&frame, 256, count as u64).is_err());
            assert!(decode(&frame, 512, count as u64 + 1).is_err());
        }
    }

    #[test]
    fn large_events_have_blocks_of_their_own() {
        let largest = vec![Bytes::from(vec![7; limits::EVENT_BYTES_MAX]); 2];
        let frame = encode(0, &largest).unwrap();
        assert_eq!(decode(&frame, 0, 2).unwrap(), (largest, 2));
        let quarter = Bytes::from(vec![1; limits::FRAME_BLOCK_BYTES / 4 - 4]);
        let many = vec![quarter; 256];
        let frame = encode(256, &many).unwrap();
        assert_eq!(decode(&frame, 256, 256).unwrap(), (many, 64));
        let layout =
            Layout::decode(&frame[..LAYOUT_BYTES_MAX.min(frame.len())], frame.len(), 256, 256).unwrap();
        let place = layout.place_of(256 + 7).unwrap();
        assert_eq!((place.first, place.count), (256 + 4, 4), "one of them is enough");
    }

    #[test]
    fn frames_without_a_table_are_still_read() {
        let raw = content(&records(20));
        let packed = zstd::bulk::compress(&raw, LEVEL).unwrap();
        let mut frame = MAGIC_1.to_vec();
        frame.extend_from_slice(&9_u64.to_le_bytes());
        for number in [20, packed.len() as u32, raw.len() as u32] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), &packed);
        frame.extend_from_slice(&crc.to_le_bytes());
        frame.extend_from_slice(&packed);
        assert_eq!(decode(&frame, 9, 20).unwrap(), (records(20), 1));
        let last = frame.len() - 1;
        frame[last] ^= 1;
        assert!(decode(&frame, 9, 20).is_err());
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
