//! How far a reader has come: the last event it has, and in a run's stream the last log line.

use std::fmt;
use std::str::FromStr;

use crate::domain::Seq;
use crate::limits;

/// A place in a stream. Text form: `<seq>` or `<seq>.<position>`; `-1` is before the first of either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The sequence of the first event still to come.
    pub next: Seq,
    /// The last log position read; positions count from 1.
    pub pos: u64,
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is a sequence number, -1, or the id of an earlier message")]
pub struct CursorError;

impl Cursor {
    /// Before everything.
    pub const START: Cursor = Cursor { next: Seq(0), pos: 0 };

    /// Reads a place among lines: a position alone, or that of a whole cursor. `-1` is before the first.
    ///
    /// # Errors
    /// The text is neither.
    pub fn position(text: &str) -> Result<u64, CursorError> {
        match text.contains('.') {
            true => text.parse::<Cursor>().map(|cursor| cursor.pos),
            false => Ok(read(text)?.unwrap_or(0)),
        }
    }

    /// The sequence of the last event read; −1 before the first.
    pub fn seq(&self) -> i64 {
        last_before(self.next.0)
    }
}

/// The number before `next`, −1 before 0.
pub(super) fn last_before(next: u64) -> i64 {
    i64::try_from(next).map_or(i64::MAX, |next| next - 1)
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq(), self.pos)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (seq, pos) = match text.split_once('.') {
            Some((seq, pos)) => (seq, read(pos)?),
            None => (text, None),
        };
        Ok(Cursor {
            next: Seq(read(seq)?.map_or(0, |seq| seq + 1)),
            pos: pos.unwrap_or(0),
        })
    }
}

/// A number; none for `-1`. One that is larger than any ledger is only beyond its end, however many digits it has.
fn read(text: &str) -> Result<Option<u64>, CursorError> {
    if text == "-1" {
        return Ok(None);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CursorError);
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX).min(limits::COUNT_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_what_it_writes_and_refuses_the_rest() {
        for (text, next, pos) in [
            ("-1", 0, 0),
            ("0", 1, 0),
            ("4711", 4712, 0),
            ("4711.12", 4712, 12),
            ("-1.-1", 0, 0),
            ("-1.3", 0, 3),
        ] {
            let cursor: Cursor = text.parse().unwrap();
            assert_eq!((cursor.next, cursor.pos), (Seq(next), pos), "{text}");
            assert_eq!(cursor.to_string().parse(), Ok(cursor), "{text}");
        }
        for bad in ["", "-2", "1.", ".1", "1.2.3", "+1", "0x1", " 1", "1e3"] {
            assert_eq!(bad.parse::<Cursor>(), Err(CursorError), "{bad:?}");
            assert_eq!(Cursor::position(bad), Err(CursorError), "{bad:?}");
        }
    }

    #[test]
    fn what_no_ledger_has_is_a_cursor_beyond_its_end() {
        for (text, seq) in [
            ("9223372036854775806", limits::COUNT_MAX - 1),
            ("9223372036854775807", limits::COUNT_MAX),
            ("9223372036854775808", limits::COUNT_MAX),
            ("18446744073709551616", limits::COUNT_MAX),
            ("99999999999999999999999999999999", limits::COUNT_MAX),
        ] {
            let cursor: Cursor = text.parse().unwrap();
            assert_eq!(cursor.next, Seq(seq + 1), "{text}");
            assert_eq!(Cursor::position(text), Ok(seq), "{text}");
            assert_eq!(Cursor::position(&format!("0.{text}")), Ok(seq), "{text}");
        }
        for (text, pos) in [
            ("-1", 0),
            ("0", 0),
            ("17", 17),
            ("3.17", 17),
            ("3.-1", 0),
            ("-1.17", 17),
        ] {
            assert_eq!(Cursor::position(text), Ok(pos), "{text}");
        }
    }
}
