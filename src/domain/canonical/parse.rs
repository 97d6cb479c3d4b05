//! The parser: any spelling of JSON is read, the profile is enforced.
//!
//! One pass over the bytes, recursion bounded by depth. The path to an error is put together while it is handed up, so that
//! a text without errors pays nothing for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::error::CanonicalErrorKind as Kind;
use super::{CanonicalError, Value, key_fits};
use crate::limits;

/// Parses a JSON text within the profile, in any spelling (white space, order of keys, escapes).
///
/// # Errors
/// Not JSON, or outside the profile; with the first spot where that shows.
pub fn parse(bytes: &[u8]) -> Result<Value, CanonicalError> {
    let text = decode(bytes)?;
    let mut parser = Parser::new(text, Mode::Profile);
    parser.document().map_err(|fault| fault.locate(bytes))
}

/// Parses any JSON text; its value, where it fits the profile, else the text itself.
pub(super) fn accept(bytes: &[u8]) -> Result<Result<Value, &str>, CanonicalError> {
    let text = decode(bytes)?;
    let mut parser = Parser::new(text, Mode::AnyJson);
    let value = parser.document().map_err(|fault| fault.locate(bytes))?;
    Ok(if parser.is_outside { Err(text) } else { Ok(value) })
}

/// What happens to JSON that is valid but outside the profile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It is refused.
    Profile,
    /// It is noted in `is_outside`; the value is then of no use.
    AnyJson,
}

/// Where reading stands in one text.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    mode: Mode,
    is_outside: bool,
}

/// An error on its way up: the path is collected innermost first.
pub(super) struct Fault {
    kind: Kind,
    offset: usize,
    path: Vec<String>,
}

pub(super) type Parsed<T> = Result<T, Box<Fault>>;

pub(super) fn fault<T>(kind: Kind, offset: usize) -> Parsed<T> {
    Err(Box::new(Fault {
        kind,
        offset,
        path: Vec::new(),
    }))
}

impl Fault {
    fn inside(mut self: Box<Self>, segment: impl FnOnce() -> String) -> Box<Self> {
        self.path.push(segment());
        self
    }

    fn locate(self, bytes: &[u8]) -> CanonicalError {
        let pointer = self
            .path
            .iter()
            .rev()
            .map(|segment| format!("/{segment}"))
            .collect();
        CanonicalError::new(self.kind, bytes, self.offset, pointer)
    }
}

/// A key as a segment of a JSON pointer, cut so that an error stays readable.
fn segment(key: &str) -> String {
    let cut: String = key.chars().take(limits::JSON_KEY_BYTES_MAX).collect();
    cut.replace('~', "~0").replace('/', "~1")
}

fn decode(bytes: &[u8]) -> Result<&str, CanonicalError> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(CanonicalError::new(Kind::ByteOrderMark, bytes, 0, String::new()));
    }
    let broken_at = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.valid_up_to(),
    };
    // The part before the broken byte is text; parsing it breaks off there and so tells the place, or finds an earlier error.
    let prefix = std::str::from_utf8(&bytes[..broken_at]).unwrap_or_default();
    let pointer = match Parser::new(prefix, Mode::AnyJson).document() {
        Ok(_) => String::new(),
        Err(fault) => {
            let error = fault.locate(bytes);
            if error.kind != Kind::UnexpectedEnd {
                return Err(error);
            }
            error.pointer
        }
    };
    Err(CanonicalError::new(Kind::InvalidUtf8, bytes, broken_at, pointer))
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, mode: Mode) -> Self {
        Parser {
            text,
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
            mode,
            is_outside: false,
        }
    }

    fn document(&mut self) -> Parsed<Value> {
        self.skip_space();
        let value = self.value()?;
        self.skip_space();
        if self.at < self.bytes.len() {
            return fault(Kind::TrailingBytes, self.at);
        }
        Ok(value)
    }

    fn value(&mut self) -> Parsed<Value> {
        match self.peek() {
            None => fault(Kind::UnexpectedEnd, self.at),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => fault(Kind::Syntax, self.at),
        }
    }

    fn nested(&mut self, body: fn(&mut Self) -> Parsed<Value>) -> Parsed<Value> {
        let (fits_max, max) = match self.mode {
            Mode::Profile => (limits::JSON_DEPTH_MAX, limits::JSON_DEPTH_MAX),
            Mode::AnyJson => (limits::PAYLOAD_DEPTH_MAX, limits::PAYLOAD_TEXT_DEPTH_MAX),
        };
        self.depth += 1;
        if self.depth > max {
            return fault(Kind::Depth, self.at);
        }
        self.is_outside |= self.depth > fits_max;
        self.at += 1;
        let value = body(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Parsed<Value> {
        let mut items = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_space();
            let index = items.len();
            items.push(self.value().map_err(|fault| fault.inside(|| index.to_string()))?);
            if self.ends_list(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Parsed<Value> {
        let mut members = BTreeMap::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let (key, key_at) = self.key()?;
            self.skip_space();
            if !self.take(b':') {
                return self
                    .unexpected()
                    .map_err(|fault: Box<Fault>| fault.inside(|| segment(&key)));
            }
            self.skip_space();
            let slot = match members.entry(key) {
                Entry::Vacant(slot) => slot,
                Entry::Occupied(taken) => {
                    return fault(Kind::DuplicateKey, key_at)
                        .map_err(|fault: Box<Fault>| fault.inside(|| segment(taken.key())));
                }
            };
            let member = self
                .value()
                .map_err(|fault| fault.inside(|| segment(slot.key())))?;
            slot.insert(member);
            if self.ends_list(b'}')? {
                return Ok(Value::Object(members));
            }
        }
    }

    /// A key and where it starts.
    fn key(&mut self) -> Parsed<(String, usize)> {
        let key_at = self.at;
        if self.peek() != Some(b'"') {
            return self.unexpected();
        }
        let key = self.string()?;
        if !key_fits(&key) {
            self.outside(Kind::Key, key_at)
                .map_err(|fault| fault.inside(|| segment(&key)))?;
        }
        Ok((key, key_at))
    }

    /// After an item: true at the closing bracket, false at a comma.
    fn ends_list(&mut self, close: u8) -> Parsed<bool> {
        self.skip_space();
        if self.take(close) {
            return Ok(true);
        }
        if self.take(b',') {
            return Ok(false);
        }
        self.unexpected()
    }

    fn word(&mut self, word: &str, value: Value) -> Parsed<Value> {
        for expected in word.bytes() {
            if !self.take(expected) {
                return self.unexpected();
            }
        }
        Ok(value)
    }

    /// Valid JSON outside the profile.
    pub(super) fn outside(&mut self, kind: Kind, offset: usize) -> Parsed<()> {
        match self.mode {
            Mode::Profile => fault(kind, offset),
            Mode::AnyJson => {
                self.is_outside = true;
                Ok(())
            }
        }
    }

    pub(super) fn unexpected<T>(&self) -> Parsed<T> {
        let kind = if self.at == self.bytes.len() {
            Kind::UnexpectedEnd
        } else {
            Kind::Syntax
        };
        fault(kind, self.at)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }
}
