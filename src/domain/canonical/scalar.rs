//! Numbers and strings, the second half of the parser.

use super::Value;
use super::error::CanonicalErrorKind as Kind;
use super::parse::{Parsed, Parser, fault};
use crate::limits;

impl Parser<'_> {
    pub(super) fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        let is_negative = self.take(b'-');
        let digits_at = self.at;
        let magnitude = self.digits()?;
        if self.bytes[digits_at] == b'0' && self.at > digits_at + 1 {
            return fault(Kind::Syntax, digits_at + 1);
        }
        let mut is_float = false;
        if self.take(b'.') {
            is_float = true;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            is_float = true;
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        if is_float {
            self.outside(Kind::Float, start)?;
        } else if is_negative && magnitude == 0 {
            self.outside(Kind::NegativeZero, start)?;
        } else if magnitude > limits::JSON_INTEGER_MAX {
            self.outside(Kind::IntegerRange, start)?;
        }
        Ok(Value::Int(if is_negative { -magnitude } else { magnitude }))
    }

    /// At least one digit; the number they make, held at `i64::MAX`.
    fn digits(&mut self) -> Parsed<i64> {
        let start = self.at;
        let mut number = 0_i64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start {
            self.unexpected()
        } else {
            Ok(number)
        }
    }

    /// A string at its opening quote. Runs of plain text are copied whole.
    pub(super) fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut out = String::new();
        let mut plain_from = self.at;
        loop {
            match self.peek() {
                None => return fault(Kind::UnexpectedEnd, self.at),
                Some(b'"') => {
                    out.push_str(&self.text[plain_from..self.at]);
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    out.push_str(&self.text[plain_from..self.at]);
                    out.push(self.escape()?);
                    plain_from = self.at;
                }
                Some(0x00..=0x1f) => return fault(Kind::ControlCharacter, self.at),
                Some(0x7f) => return fault(Kind::DeleteCharacter, self.at),
                Some(_) => self.at += 1,
            }
        }
    }

    /// An escape at its backslash.
    fn escape(&mut self) -> Parsed<char> {
        let start = self.at;
        self.at += 1;
        let letter = match self.peek() {
            None => return fault(Kind::UnexpectedEnd, self.at),
            Some(letter) => letter,
        };
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(start),
            _ => return fault(Kind::Escape, start),
        })
    }

    fn unicode_escape(&mut self, start: usize) -> Parsed<char> {
        let first = self.four_hex(start)?;
        let code = match first {
            0xd800..=0xdbff => {
                let second_at = self.at;
                if !(self.take(b'\\') && self.take(b'u')) {
                    return fault(Kind::LoneSurrogate, start);
                }
                let second = self.four_hex(second_at)?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return fault(Kind::LoneSurrogate, start);
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            0x7f => {
                self.outside(Kind::DeleteCharacter, start)?;
                first
            }
            _ => first,
        };
        match char::from_u32(code) {
            Some(character) => Ok(character),
            None => fault(Kind::LoneSurrogate, start),
        }
    }

    fn four_hex(&mut self, start: usize) -> Parsed<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = match self.peek() {
                None => return fault(Kind::UnexpectedEnd, self.at),
                Some(byte) => char::from(byte).to_digit(16),
            };
            match digit {
                None => return fault(Kind::Escape, start),
                Some(digit) => code = code << 4 | digit,
            }
            self.at += 1;
        }
        Ok(code)
    }
}
