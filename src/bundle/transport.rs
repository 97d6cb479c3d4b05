//! The compressed file around the tar: one zstd frame (RFC 8878) with a content checksum.
//!
//! Transport only: these bytes are never hashed or signed, and may change with the library. Writing is
//! nevertheless deterministic: one thread, one level, no dictionary, no long window. Reading demands exactly
//! one frame from the first byte to the last, with a checksum, without a dictionary, with a window of at most
//! 128 MiB; memory is bounded by that window, and the amount of output by what the caller is willing to read.

use std::io::{self, Read, Write};

use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::limits;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of a ledger's events, among hashes that do not compress, this level makes less than level 6 does, in a seventh of its time.
const LEVEL: i32 = 1;
const INPUT_BYTES: usize = 128 * 1024;
/// Longest frame header: magic, descriptor, window, dictionary id, content size.
const HEADER_BYTES_MAX: usize = 4 + 1 + 1 + 4 + 8;

/// Why a compressed file is refused. Carried inside an [`io::Error`] of kind `InvalidData`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// It does not begin with a zstd frame.
    #[error("not a zstd frame")]
    NotZstd,
    /// It breaks off.
    #[error("truncated zstd frame")]
    Truncated,
    /// A frame that decoders skip.
    #[error("skippable zstd frame")]
    Skippable,
    /// Another frame behind the first.
    #[error("second zstd frame")]
    SecondFrame,
    /// Bytes behind the frame.
    #[error("trailing bytes after the zstd frame")]
    Trailing,
    /// A frame that needs a dictionary.
    #[error("zstd frame with a dictionary id")]
    Dictionary,
    /// A frame without a content checksum.
    #[error("zstd frame without a checksum")]
    NoChecksum,
    /// A frame that asks for too much memory.
    #[error("zstd window over 128 MiB")]
    Window,
    /// A reserved bit is set.
    #[error("reserved bit set in the zstd frame header")]
    Reserved,
    /// The decoder gave up: damaged blocks or a wrong checksum.
    #[error("damaged zstd frame: {0}")]
    Damaged(String),
}

impl From<TransportError> for io::Error {
    fn from(error: TransportError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Compresses what is written to it into one frame on `out`. [`FrameWriter::finish`] must be called.
pub struct FrameWriter<W: Write>(zstd::stream::write::Encoder<'static, W>);

impl<W: Write> std::fmt::Debug for FrameWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrameWriter")
    }
}

impl<W: Write> FrameWriter<W> {
    /// Starts the frame.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn new(out: W) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(out, LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(FrameWriter(encoder))
    }

    /// Ends the frame and gives `out` back, unflushed.
    ///
    /// # Errors
    /// What `out` said.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for FrameWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Decompresses exactly one frame from a source that holds nothing else.
///
/// Errors of the format are [`io::Error`]s around a [`TransportError`]; any other is the source's own.
pub struct FrameReader<R> {
    source: R,
    decoder: Decoder<'static>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Header,
    Frame,
    Ended,
    /// Kept, so that reading on after a refusal gives the same refusal.
    Refused(TransportError),
}

impl<R> std::fmt::Debug for FrameReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReader")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<R: Read> FrameReader<R> {
    /// Reads the frame from `source`.
    ///
    /// # Errors
    /// When the decompressor cannot be set up.
    pub fn new(source: R) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(limits::ZSTD_WINDOW_LOG_MAX))?;
        let input = vec![0; INPUT_BYTES];
        Ok(FrameReader {
            source,
            decoder,
            input,
            start: 0,
            end: 0,
            state: State::Header,
        })
    }

    /// Reads more input behind what is there; false at the end of the source.
    fn more(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        loop {
            match self.source.read(&mut self.input[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn refuse(&mut self, error: TransportError) -> io::Error {
        self.state = State::Refused(error.clone());
        error.into()
    }

    fn header(&mut self) -> io::Result<()> {
        while self.end < HEADER_BYTES_MAX && self.more()? {}
        check_header(&self.input[..self.end]).map_err(|error| self.refuse(error))?;
        self.state = State::Frame;
        Ok(())
    }

    fn frame(&mut self, output: &mut [u8]) -> io::Result<usize> {
        loop {
            let ended = self.start == self.end && !self.more()?;
            let mut input = InBuffer::around(&self.input[self.start..self.end]);
            let mut out = OutBuffer::around(&mut *output);
            let result = self.decoder.run(&mut input, &mut out);
            let (consumed, produced) = (input.pos(), out.pos());
            self.start += consumed;
            match result {
                Err(error) => return Err(self.refuse(TransportError::Damaged(error.to_string()))),
                Ok(0) => {
                    self.behind()?;
                    return Ok(produced);
                }
                Ok(_) if produced > 0 => return Ok(produced),
                Ok(_) if ended => return Err(self.refuse(TransportError::Truncated)),
                Ok(_) => {}
            }
        }
    }

    /// Nothing may stand behind the frame.
    fn behind(&mut self) -> io::Result<()> {
        self.input.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < 4 && self.more()? {}
        let found = match &self.input[..self.end] {
            [] => {
                self.state = State::Ended;
                return Ok(());
            }
            bytes if bytes.starts_with(&MAGIC) => TransportError::SecondFrame,
            bytes if is_skippable(bytes) => TransportError::Skippable,
            _ => TransportError::Trailing,
        };
        Err(self.refuse(found))
    }
}

impl<R: Read> Read for FrameReader<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        match &self.state {
            State::Header => self.header()?,
            State::Frame => {}
            State::Ended => return Ok(0),
            State::Refused(error) => return Err(error.clone().into()),
        }
        self.frame(output)
    }
}

fn is_skippable(bytes: &[u8]) -> bool {
    matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Frame header, RFC 8878 section 3.1.1.1. Done here because the decoder accepts more than the format does.
fn check_header(bytes: &[u8]) -> Result<(), TransportError> {
    if is_skippable(bytes) {
        return Err(TransportError::Skippable);
    }
    let Some(rest) = bytes.strip_prefix(&MAGIC) else {
        let short = bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes);
        return Err(if short {
            TransportError::Truncated
        } else {
            TransportError::NotZstd
        });
    };
    let (&descriptor, rest) = rest.split_first().ok_or(TransportError::Truncated)?;
    let single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x08 != 0 {
        return Err(TransportError::Reserved);
    }
    if descriptor & 0x03 != 0 {
        return Err(TransportError::Dictionary);
    }
    if descriptor & 0x04 == 0 {
        return Err(TransportError::NoChecksum);
    }
    let window = if single_segment {
        let len = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let field = rest.get(..len).ok_or(TransportError::Truncated)?;
        let size = field
            .iter()
            .rev()
            .fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
        // A field of two bytes is stored less 256.
        if len == 2 { size + 256 } else { size }
    } else {
        let &byte = rest.first().ok_or(TransportError::Truncated)?;
        let base = 1_u64 << (10 + (byte >> 3));
        base + base / 8 * u64::from(byte & 7)
    };
    if window > 1 << limits::ZSTD_WINDOW_LOG_MAX {
        Err(TransportError::Window)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(bytes: &[u8]) -> Vec<u8> {
        let mut writer = FrameWriter::new(Vec::new()).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn decompress(bytes: &[u8]) -> Result<Vec<u8>, TransportError> {
        let mut content = Vec::new();
        match FrameReader::new(bytes).unwrap().read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(error.downcast::<TransportError>().unwrap()),
        }
    }

    fn sample() -> Vec<u8> {
        (0..300_000_u32)
            .flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 20).to_le_bytes())
            .collect()
    }

    #[test]
    fn content_comes_back_and_the_usual_tool_agrees() {
        for content in [Vec::new(), b"x".to_vec(), sample()] {
            let frame = compress(&content);
            assert_eq!(decompress(&frame).unwrap(), content);
            assert_eq!(zstd::stream::decode_all(frame.as_slice()).unwrap(), content);
            assert_eq!(compress(&content), frame);
        }
    }

    #[test]
    fn every_cut_is_truncation() {
        let frame = compress(&sample()[..3_000]);
        for len in 0..frame.len() {
            assert_eq!(
                decompress(&frame[..len]),
                Err(TransportError::Truncated),
                "cut at {len}"
            );
        }
    }

    #[test]
    fn every_flipped_byte_is_refused_or_changes_nothing() {
        let content = sample()[..3_000].to_vec();
        let frame = compress(&content);
        for position in 0..frame.len() {
            let mut changed = frame.clone();
            changed[position] ^= 0x04;
            if let Ok(read) = decompress(&changed) {
                assert_eq!(read, content, "byte {position}");
            }
        }
    }

    #[test]
    fn what_is_not_exactly_one_plain_frame_is_refused() {
        let frame = compress(b"content");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9].to_vec();
        let check = |bytes: Vec<u8>, expected: TransportError| {
            assert_eq!(decompress(&bytes), Err(expected));
        };
        check(
            [frame.clone(), frame.clone()].concat(),
            TransportError::SecondFrame,
        );
        check(
            [frame.clone(), skippable.clone()].concat(),
            TransportError::Skippable,
        );
        check([skippable, frame.clone()].concat(), TransportError::Skippable);
        check([frame.clone(), vec![0]].concat(), TransportError::Trailing);
        check(b"PK\x03\x04 something else".to_vec(), TransportError::NotZstd);
        let with_descriptor = |descriptor: u8| [&frame[..4], &[descriptor], &frame[5..]].concat();
        check(with_descriptor(frame[4] | 1), TransportError::Dictionary);
        check(with_descriptor(frame[4] & !4), TransportError::NoChecksum);
        check(with_descriptor(frame[4] | 8), TransportError::Reserved);
        let mut wrong_sum = frame.clone();
        *wrong_sum.last_mut().unwrap() ^= 1;
        assert!(matches!(decompress(&wrong_sum), Err(TransportError::Damaged(_))));
    }

    #[test]
    fn a_window_of_128_mib_is_the_largest() {
        let window = |byte: u8| check_header(&[0x28, 0xb5, 0x2f, 0xfd, 0x04, byte]);
        assert_eq!(window(17 << 3), Ok(()));
        assert_eq!(window(17 << 3 | 1), Err(TransportError::Window));
        let single = |size: u32| {
            let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa4];
            bytes.extend_from_slice(&size.to_le_bytes());
            check_header(&bytes)
        };
        assert_eq!(single(1 << 27), Ok(()));
        assert_eq!(single((1 << 27) + 1), Err(TransportError::Window));
    }
}
