//! Intake of a user's JSON: kept as a value where it fits the profile, as its exact text where it does not.

use std::borrow::Cow;

use super::parse::accept;
use super::{CanonicalError, CanonicalText, Value, write};

/// A user's JSON, as it was read.
#[derive(Debug)]
pub enum Intake {
    /// Fits the profile and leaves room for the envelope around it ([`crate::limits::PAYLOAD_DEPTH_MAX`]).
    Value(Value),
    /// Valid JSON outside the profile (a float, a big integer, a key with a slash, deep nesting): the exact text.
    Text(String),
}

impl Intake {
    /// Takes any valid JSON text.
    ///
    /// # Errors
    /// What is not JSON; duplicate keys; broken encodings (not UTF-8, lone surrogates); nesting beyond
    /// [`crate::limits::PAYLOAD_TEXT_DEPTH_MAX`]; and an unescaped U+007F, which no canonical string can hold, so that the
    /// text could not be kept exactly (escaped as `\u007f` it can).
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonicalError> {
        Ok(match accept(bytes)? {
            Ok(value) => Intake::Value(value),
            Err(text) => Intake::Text(text.to_owned()),
        })
    }

    /// The bytes that are hashed: canonical for a value, else the exact text.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Intake::Value(value) => Cow::Owned(write(value)),
            Intake::Text(text) => Cow::Borrowed(text.as_bytes()),
        }
    }
}

/// What a user handed in, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Fits the profile: its canonical text.
    Json(CanonicalText),
    /// Does not: the exact text.
    Text(String),
}

impl Payload {
    /// Takes any valid JSON text.
    ///
    /// # Errors
    /// As [`Intake::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonicalError> {
        Ok(match Intake::parse(bytes)? {
            Intake::Value(value) => Payload::of(&value),
            Intake::Text(text) => Payload::Text(text),
        })
    }

    /// A value that keeps to the profile.
    pub fn of(value: &Value) -> Self {
        Payload::Json(CanonicalText::of(value))
    }

    /// The bytes that are hashed as the payload.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Json(text) => text.as_str().as_bytes(),
            Payload::Text(text) => text.as_bytes(),
        }
    }
}
