//! The one tar a bundle may be: plain ustar, regular files only, every field fixed but name and size.
//!
//! ```text
//! offset  size  field      content (format 1)
//!      0   100  name       1..=100 bytes of [a-z0-9._/-], rest NUL
//!    100     8  mode       "0000644" NUL
//!    108    16  uid, gid   "0000000" NUL, twice
//!    124    12  size       11 octal digits NUL
//!    136    12  mtime      "00000000000" NUL
//!    148     8  checksum   6 octal digits NUL SPACE
//!    156     1  typeflag   "0"
//!    157   100  linkname   NUL
//!    257     8  magic      "ustar" NUL "00"
//!    265    64  owners     NUL
//!    329    16  device     "0000000" NUL, twice
//!    345   167  prefix     NUL
//! ```
//! Content follows, padded with NUL to 512; two blocks of NUL end the archive, and nothing follows them.
//! The bytes equal `tar --format=ustar --blocking-factor=1 --mtime=@0 --owner=0 --group=0 --numeric-owner
//! --mode=0644` over the same list. The reader rebuilds each header from its name and size and demands
//! equality, so two archives with the same members are the same bytes. It never touches a file system and
//! holds one block; what a member may be called beyond its alphabet is decided by its caller.

use std::fmt;
use std::io::{self, Read, Write};

use crate::limits;

const BLOCK: usize = 512;
const ZERO: [u8; BLOCK] = [0; BLOCK];

/// Why bytes are not such an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes could not be had; the source says why.
    #[error("reading the archive: {0}")]
    Read(#[source] io::Error),
    /// The bytes could not be put; the source says why.
    #[error("writing the archive: {0}")]
    Write(#[source] io::Error),
    /// The archive breaks off.
    #[error("the archive ends inside {0}")]
    Truncated(&'static str),
    /// A header whose checksum does not match or is written in another form.
    #[error("bad header checksum")]
    Checksum,
    /// Not ustar.
    #[error("not a ustar header")]
    Magic,
    /// Something other than a regular file.
    #[error("{0} instead of a regular file")]
    Kind(Kind),
    /// A name that is not allowed.
    #[error("name refused: {0}")]
    Name(&'static str),
    /// A field that has one allowed value and holds another.
    #[error("{0} is not what the format fixes")]
    Field(&'static str),
    /// A size not written as 11 octal digits.
    #[error("size is not 11 octal digits")]
    SizeForm,
    /// More than a ustar size field holds.
    #[error("a member of {0} bytes does not fit")]
    SizeTooLarge(u64),
    /// Bytes other than NUL after a member's content.
    #[error("non-zero padding")]
    Padding,
    /// One block of zeros where two belong.
    #[error("the end is one block of zeros, not two")]
    HalfEnd,
    /// Data after the end.
    #[error("data after the end of the archive")]
    AfterEnd,
    /// The content written is not as long as was announced.
    #[error("a member announced with {announced} bytes had {written} or more")]
    Length {
        /// Bytes in its header.
        announced: u64,
        /// Bytes given.
        written: u64,
    },
}

/// What a typeflag says instead of "regular file".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `1`, `2`.
    Link,
    /// `3`, `4`.
    Device,
    /// `5`.
    Folder,
    /// `6`.
    Fifo,
    /// `x`, `g`, `X`.
    Pax,
    /// `L`, `K`, `N`.
    LongName,
    /// `S`.
    Sparse,
    /// Anything else.
    Other,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Link => "a link",
            Kind::Device => "a device",
            Kind::Folder => "a folder",
            Kind::Fifo => "a fifo",
            Kind::Pax => "a pax header",
            Kind::LongName => "a GNU long name",
            Kind::Sparse => "a sparse file",
            Kind::Other => "an unknown type",
        })
    }
}

/// Checks a member's name against the alphabet and forms of the format.
///
/// # Errors
/// [`TarError::Name`] with the reason.
pub fn check_name(name: &str) -> Result<(), TarError> {
    let refuse = |why| Err(TarError::Name(why));
    if name.is_empty() {
        return refuse("empty");
    }
    if name.len() > limits::BUNDLE_NAME_BYTES_MAX {
        return refuse("longer than 100 bytes");
    }
    if name.starts_with('/') {
        return refuse("absolute");
    }
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'/' | b'-');
    if !name.bytes().all(allowed) {
        return refuse("a byte outside [a-z0-9._/-]");
    }
    for part in name.split('/') {
        match part {
            "" => return refuse("an empty part"),
            "." => return refuse("a part `.`"),
            ".." => return refuse("a part `..`"),
            _ => {}
        }
    }
    Ok(())
}

/// Writes the archive, member by member.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    announced: u64,
    left: u64,
}

impl<W: Write> TarWriter<W> {
    /// Starts an archive on `out`.
    pub fn new(out: W) -> Self {
        TarWriter {
            out,
            announced: 0,
            left: 0,
        }
    }

    /// Starts a member; the one before must be complete.
    ///
    /// # Errors
    /// A refused name or size, an incomplete member, or what `out` said.
    pub fn begin(&mut self, name: &str, size: u64) -> Result<(), TarError> {
        self.complete()?;
        check_name(name)?;
        if size > limits::BUNDLE_MEMBER_BYTES_MAX {
            return Err(TarError::SizeTooLarge(size));
        }
        self.out.write_all(&header(name, size)).map_err(TarError::Write)?;
        (self.announced, self.left) = (size, size);
        Ok(())
    }

    /// Adds content to the current member.
    ///
    /// # Errors
    /// More content than was announced, or what `out` said.
    pub fn content(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        let given = bytes.len() as u64;
        if given > self.left {
            let written = self.announced - self.left + given;
            return Err(TarError::Length {
                announced: self.announced,
                written,
            });
        }
        self.out.write_all(bytes).map_err(TarError::Write)?;
        self.left -= given;
        if self.left == 0 && given > 0 {
            self.out
                .write_all(&ZERO[..padding(self.announced)])
                .map_err(TarError::Write)?;
        }
        Ok(())
    }

    /// Ends the archive and gives `out` back, unflushed.
    ///
    /// # Errors
    /// An incomplete member, or what `out` said.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.complete()?;
        self.out.write_all(&ZERO).map_err(TarError::Write)?;
        self.out.write_all(&ZERO).map_err(TarError::Write)?;
        Ok(self.out)
    }

    fn complete(&self) -> Result<(), TarError> {
        if self.left == 0 {
            return Ok(());
        }
        Err(TarError::Length {
            announced: self.announced,
            written: self.announced - self.left,
        })
    }
}

/// A member's header as read: always one that [`TarWriter`] would have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Bytes of its content.
    pub size: u64,
}

/// Reads an archive from a stream.
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    left: u64,
    padding: usize,
    ended: bool,
}

impl<R: Read> TarReader<R> {
    /// Reads from `source`, which holds the archive and nothing else.
    pub fn new(source: R) -> Self {
        TarReader {
            source,
            left: 0,
            padding: 0,
            ended: false,
        }
    }

    /// The source, for instance to ask a hasher around it.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next member, after reading past what is left of the current one; `None` once the archive has
    /// ended as it must, with nothing behind it.
    ///
    /// # Errors
    /// The reason for which this is not an archive of the format.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let mut scratch = [0; 8 * 1024];
        while self.content(&mut scratch)? > 0 {}
        let mut block = [0; BLOCK];
        if fill(&mut self.source, &mut block)? < BLOCK {
            return Err(TarError::Truncated("a header, or before the end blocks"));
        }
        if block == ZERO {
            return self.end();
        }
        let entry = read_header(&block)?;
        self.left = entry.size;
        self.padding = padding(entry.size);
        Ok(Some(entry))
    }

    /// Reads content of the current member; 0 means its end. The padding is checked with the last byte.
    ///
    /// # Errors
    /// Truncation, padding, or what the source said.
    pub fn content(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = fill(&mut self.source, &mut buffer[..wanted])?;
        if read < wanted {
            return Err(TarError::Truncated("a member"));
        }
        self.left -= read as u64;
        if self.left == 0 {
            let mut rest = [0; BLOCK];
            let rest = &mut rest[..self.padding];
            if fill(&mut self.source, rest)? < rest.len() {
                return Err(TarError::Truncated("padding"));
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Err(TarError::Padding);
            }
        }
        Ok(read)
    }

    fn end(&mut self) -> Result<Option<Entry>, TarError> {
        let mut block = [0; BLOCK];
        let read = fill(&mut self.source, &mut block)?;
        if read == 0 {
            return Err(TarError::HalfEnd);
        }
        if read < BLOCK {
            return Err(TarError::Truncated("the end blocks"));
        }
        if block != ZERO {
            return Err(TarError::HalfEnd);
        }
        if fill(&mut self.source, &mut block[..1])? != 0 {
            return Err(TarError::AfterEnd);
        }
        self.ended = true;
        Ok(None)
    }
}

/// The header of a member; `name` fits and `size` is below 8 GiB.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    octal(&mut block[124..135], size);
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000000\0");
    block[337..345].copy_from_slice(b"0000000\0");
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
    block
}

/// Reads a header, then compares it with the one it should have been. The reasons are told apart for people;
/// what accepts is the comparison alone.
fn read_header(block: &[u8; BLOCK]) -> Result<Entry, TarError> {
    let mut plain = *block;
    plain[148..156].copy_from_slice(b"        ");
    let sum: u64 = plain.iter().map(|byte| u64::from(*byte)).sum();
    let mut expected = *b"000000\0 ";
    octal(&mut expected[..6], sum);
    if block[148..156] != expected {
        return Err(TarError::Checksum);
    }
    match block[156] {
        b'0' => {}
        b'1' | b'2' => return Err(TarError::Kind(Kind::Link)),
        b'3' | b'4' => return Err(TarError::Kind(Kind::Device)),
        b'5' => return Err(TarError::Kind(Kind::Folder)),
        b'6' => return Err(TarError::Kind(Kind::Fifo)),
        b'x' | b'g' | b'X' => return Err(TarError::Kind(Kind::Pax)),
        b'L' | b'K' | b'N' => return Err(TarError::Kind(Kind::LongName)),
        b'S' => return Err(TarError::Kind(Kind::Sparse)),
        _ => return Err(TarError::Kind(Kind::Other)),
    }
    if &block[257..265] != b"ustar\x0000" {
        return Err(TarError::Magic);
    }
    let size = read_size(&block[124..136])?;
    let name = read_name(&block[..100])?;
    let right = header(&name, size);
    let fields = [
        (100..108, "mode"),
        (108..124, "owner id"),
        (136..148, "modification time"),
        (157..257, "link name"),
        (265..329, "owner name"),
        (329..345, "device number"),
        (345..512, "name prefix"),
    ];
    for (range, field) in fields {
        if block[range.clone()] != right[range] {
            return Err(TarError::Field(field));
        }
    }
    if *block == right {
        Ok(Entry { name, size })
    } else {
        Err(TarError::Field("header"))
    }
}

fn read_size(field: &[u8]) -> Result<u64, TarError> {
    let (digits, end) = field.split_at(11);
    if end != [0] || !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return Err(TarError::SizeForm);
    }
    Ok(digits
        .iter()
        .fold(0, |size, digit| size << 3 | u64::from(digit - b'0')))
}

fn read_name(field: &[u8]) -> Result<String, TarError> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let (name, rest) = field.split_at(end);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(TarError::Name("bytes after NUL"));
    }
    let name = std::str::from_utf8(name).map_err(|_| TarError::Name("a byte outside [a-z0-9._/-]"))?;
    check_name(name)?;
    Ok(name.to_owned())
}

fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// Reads until `buffer` is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize, TarError> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TarError::Read(error)),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
