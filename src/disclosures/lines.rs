//! The lines of one file: how one is written and read, and how those of an event are found.
//!
//! A line that its checksum does not fit is passed over: it is damaged, or half of it was erased when the power went. Only
//! an erasure does not pass it over: nothing but its place says whose it was.

use std::io;
use std::ops::Range;

use crate::disk::DiskFile;
use crate::domain::Seq;
use crate::limits;

const SUM_DIGITS: usize = 8;
/// Checksum, number, blanks and LF around a disclosure.
const FRAME_BYTES: usize = SUM_DIGITS + 1 + 20 + 1 + 1;
const LINE_BYTES_MAX: usize = limits::DISCLOSURE_BYTES_MAX + FRAME_BYTES;

/// Takes the place of a line, without its LF, and its disclosure; none for one that cannot be read.
pub(super) type Visitor<'a> = &'a mut dyn FnMut(Range<u64>, Option<&str>) -> io::Result<()>;

/// Appends a line.
pub(super) fn write_line(with: Seq, text: &str, out: &mut Vec<u8>) {
    let rest = format!("{} {text}", with.0);
    out.extend_from_slice(format!("{:08x} {rest}\n", crc32c::crc32c(rest.as_bytes())).as_bytes());
}

/// What is written over `bytes` bytes, LF not counted, of a line that cannot be read: where they suffice, a line of which the
/// disclosure is erased.
pub(super) fn blank(with: Seq, bytes: usize) -> Vec<u8> {
    let (mut line, mut none) = (Vec::new(), Vec::new());
    write_line(with, "", &mut none);
    match bytes.checked_sub(none.len() - 1) {
        Some(rest) => {
            write_line(with, &"~".repeat(rest), &mut line);
            line.pop();
        }
        None => line.resize(bytes, b'~'),
    }
    line
}

/// Reads a line without its LF. None when it is not as it was written.
fn read_line(line: &[u8]) -> Option<(Seq, &str)> {
    let (sum, rest) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let fits =
        sum.len() == SUM_DIGITS && u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(rest.as_bytes());
    let (with, text) = rest.split_once(' ').filter(|_| fits)?;
    Some((Seq(with.parse().ok()?), text))
}

/// True for what stands in the place of an erased disclosure.
pub(super) fn is_erased(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'~')
}

/// The flushed lines of a file.
pub(super) struct Lines<'f> {
    file: &'f dyn DiskFile,
    len: u64,
    /// Bytes of the file, and from where: read in pieces, used again while they reach.
    piece: Vec<u8>,
    from: u64,
}

impl<'f> Lines<'f> {
    pub(super) fn new(file: &'f dyn DiskFile, len: u64) -> Self {
        Lines {
            file,
            len,
            piece: Vec::new(),
            from: 0,
        }
    }

    /// Visits the lines kept with an event, and whatever cannot be read between its neighbours that can.
    pub(super) fn of_event(&mut self, with: Seq, visit: Visitor<'_>) -> io::Result<()> {
        let mut at = self.first_from(with)?;
        while at < self.len {
            let end = self.end_of(at)?;
            let line = self.bytes(at, end)?;
            match read_line(&line) {
                Some((other, _)) if other > with => break,
                Some((other, text)) if other == with => visit(at..end, Some(text))?,
                Some(_) => {}
                // What is longer than any line does not end with an LF: the byte where it was cut is part of it.
                None if end < self.len && self.bytes(end, end + 1)? != b"\n" => visit(at..end + 1, None)?,
                None => visit(at..end, None)?,
            }
            at = end + 1;
        }
        Ok(())
    }

    /// Visits every line with its place and event; none for one that cannot be read, or is not whole.
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(Range<u64>, Option<Seq>)) -> io::Result<()> {
        let mut at = 0;
        while at < self.len {
            let end = self.end_of(at)?;
            let line = self.bytes(at, end)?;
            let with = read_line(&line).map(|(with, _)| with);
            visit(at..end, with.filter(|_| end < self.len));
            at = end + 1;
        }
        Ok(())
    }

    /// Where the last whole line ends whose event is before `size`. Reads the file once.
    pub(super) fn end_before(&mut self, size: Seq) -> io::Result<u64> {
        let (mut at, mut end_of_good) = (0, 0);
        while at < self.len {
            let end = self.end_of(at)?;
            // Without LF the line is not whole.
            if end >= self.len {
                break;
            }
            if read_line(&self.bytes(at, end)?).is_some_and(|(with, _)| with < size) {
                end_of_good = end + 1;
            }
            at = end + 1;
        }
        Ok(end_of_good)
    }

    /// The beginning of the first line kept with `with` or a later event, by halving.
    fn first_from(&mut self, with: Seq) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.whole_line(middle, high)? {
                Some((other, end)) if other < with => low = end + 1,
                Some(_) | None => high = middle,
            }
        }
        self.begin_from(low)
    }

    /// The event of the first whole line that begins within `from..to`, and where the line ends.
    fn whole_line(&mut self, from: u64, to: u64) -> io::Result<Option<(Seq, u64)>> {
        let mut at = self.begin_from(from)?;
        while at < to {
            let end = self.end_of(at)?;
            if let Some((with, _)) = read_line(&self.bytes(at, end)?) {
                return Ok(Some((with, end)));
            }
            at = end + 1;
        }
        Ok(None)
    }

    /// The first beginning of a line at `at` or behind it.
    fn begin_from(&mut self, at: u64) -> io::Result<u64> {
        match at {
            0 => Ok(0),
            _ => Ok((self.end_of(at - 1)? + 1).min(self.len)),
        }
    }

    /// Where the next LF stands, or the end of the file. A line longer than one can be ends where that is passed.
    fn end_of(&mut self, from: u64) -> io::Result<u64> {
        let mut at = from;
        while at < self.len {
            if !(self.from..self.from + self.piece.len() as u64).contains(&at) {
                self.load(at)?;
            }
            let begin = (at - self.from) as usize;
            let rest = &self.piece[begin..];
            if let Some(found) = rest.iter().position(|byte| *byte == b'\n') {
                return Ok(at + found as u64);
            }
            at += rest.len() as u64;
            if at - from > LINE_BYTES_MAX as u64 {
                return Ok(at);
            }
        }
        Ok(self.len)
    }

    fn load(&mut self, at: u64) -> io::Result<()> {
        let bytes = (self.len - at).min(limits::DISCLOSURE_READ_BYTES as u64);
        self.piece.resize(bytes as usize, 0);
        self.from = at;
        self.file.read_exact_at(&mut self.piece, at)
    }

    fn bytes(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let mut line = vec![0; (to - from) as usize];
        self.file.read_exact_at(&mut line, from)?;
        Ok(line)
    }
}
