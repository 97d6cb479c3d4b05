//! What can be wrong with a JSON text, and where.

use std::fmt;

/// Why a JSON text is refused. The codes are stable and part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanonicalErrorKind {
    /// The text ends inside a value, or is empty.
    UnexpectedEnd,
    /// A byte that no JSON text has in this place.
    Syntax,
    /// Something follows the document.
    TrailingBytes,
    /// The text starts with a byte order mark.
    ByteOrderMark,
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// A control character stands unescaped inside a string.
    ControlCharacter,
    /// A backslash that starts no escape of JSON.
    Escape,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// U+007F.
    DeleteCharacter,
    /// A fraction or an exponent.
    Float,
    /// `-0`.
    NegativeZero,
    /// An integer beyond ±(2^53−1).
    IntegerRange,
    /// An object key outside `[A-Za-z0-9_.:-]{1,64}`.
    Key,
    /// The same key twice in one object.
    DuplicateKey,
    /// Nested too deep.
    Depth,
    /// Fits the profile, but is not written in the canonical way.
    NotCanonical,
}

impl CanonicalErrorKind {
    /// Every kind.
    pub const ALL: [CanonicalErrorKind; 16] = [
        CanonicalErrorKind::UnexpectedEnd,
        CanonicalErrorKind::Syntax,
        CanonicalErrorKind::TrailingBytes,
        CanonicalErrorKind::ByteOrderMark,
        CanonicalErrorKind::InvalidUtf8,
        CanonicalErrorKind::ControlCharacter,
        CanonicalErrorKind::Escape,
        CanonicalErrorKind::LoneSurrogate,
        CanonicalErrorKind::DeleteCharacter,
        CanonicalErrorKind::Float,
        CanonicalErrorKind::NegativeZero,
        CanonicalErrorKind::IntegerRange,
        CanonicalErrorKind::Key,
        CanonicalErrorKind::DuplicateKey,
        CanonicalErrorKind::Depth,
        CanonicalErrorKind::NotCanonical,
    ];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            CanonicalErrorKind::UnexpectedEnd => "json_unexpected_end",
            CanonicalErrorKind::Syntax => "json_syntax",
            CanonicalErrorKind::TrailingBytes => "json_trailing_bytes",
            CanonicalErrorKind::ByteOrderMark => "json_byte_order_mark",
            CanonicalErrorKind::InvalidUtf8 => "json_invalid_utf8",
            CanonicalErrorKind::ControlCharacter => "json_control_character",
            CanonicalErrorKind::Escape => "json_escape",
            CanonicalErrorKind::LoneSurrogate => "json_lone_surrogate",
            CanonicalErrorKind::DeleteCharacter => "json_delete_character",
            CanonicalErrorKind::Float => "json_float",
            CanonicalErrorKind::NegativeZero => "json_negative_zero",
            CanonicalErrorKind::IntegerRange => "json_integer_range",
            CanonicalErrorKind::Key => "json_key",
            CanonicalErrorKind::DuplicateKey => "json_duplicate_key",
            CanonicalErrorKind::Depth => "json_depth",
            CanonicalErrorKind::NotCanonical => "json_not_canonical",
        }
    }
}

impl fmt::Display for CanonicalErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CanonicalErrorKind::UnexpectedEnd => "the JSON text ends too early",
            CanonicalErrorKind::Syntax => "not JSON",
            CanonicalErrorKind::TrailingBytes => "something follows the JSON document",
            CanonicalErrorKind::ByteOrderMark => "a JSON text has no byte order mark",
            CanonicalErrorKind::InvalidUtf8 => "not UTF-8",
            CanonicalErrorKind::ControlCharacter => "a control character inside a string must be escaped",
            CanonicalErrorKind::Escape => "no escape of JSON starts like this",
            CanonicalErrorKind::LoneSurrogate => "half of a surrogate pair is no character",
            CanonicalErrorKind::DeleteCharacter => "the character U+007F is not allowed",
            CanonicalErrorKind::Float => {
                "a number with a fraction or an exponent is not allowed; write it as a string"
            }
            CanonicalErrorKind::NegativeZero => "-0 is not allowed",
            CanonicalErrorKind::IntegerRange => "an integer must lie within -(2^53-1) and 2^53-1",
            CanonicalErrorKind::Key => "a key is 1 to 64 of [A-Za-z0-9_.:-]",
            CanonicalErrorKind::DuplicateKey => "the key stands twice in one object",
            CanonicalErrorKind::Depth => "nested too deep",
            CanonicalErrorKind::NotCanonical => "not in canonical form (RFC 8785)",
        })
    }
}

/// A JSON text that is refused: why, and the spot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at line {line}, column {column} ({})", if pointer.is_empty() { "top level" } else { pointer })]
pub struct CanonicalError {
    /// Why.
    pub kind: CanonicalErrorKind,
    /// Byte offset of the spot, from 0.
    pub offset: usize,
    /// Line of the spot, from 1.
    pub line: usize,
    /// Column of the spot in characters, from 1.
    pub column: usize,
    /// JSON pointer (RFC 6901) of the innermost value or member around the spot; keys are cut at 64 characters.
    pub pointer: String,
}

impl CanonicalError {
    /// Computes line and column of `offset` in `bytes`.
    pub(super) fn new(kind: CanonicalErrorKind, bytes: &[u8], offset: usize, pointer: String) -> Self {
        let before = &bytes[..offset.min(bytes.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        CanonicalError {
            kind,
            offset,
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
            pointer,
        }
    }
}
