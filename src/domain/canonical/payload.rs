//! Intake of a user's JSON: kept as a value where it fits the profile, as its exact text where it does not.

use std::borrow::Cow;
use std::sync::Arc;

use super::parse::{Accepted, accept};
use super::{CanonicalError, Value, write};

/// What a user handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Fits the profile and leaves room for the envelope around it ([`crate::limits::PAYLOAD_DEPTH_MAX`]).
    Json(Arc<Value>),
    /// Valid JSON outside the profile (a float, a big integer, a key with a slash, deep nesting): the exact text.
    Text(String),
}

impl Payload {
    /// Takes any valid JSON text.
    ///
    /// # Errors
    /// What is not JSON; duplicate keys; broken encodings (not UTF-8, lone surrogates); nesting beyond
    /// [`crate::limits::PAYLOAD_TEXT_DEPTH_MAX`]; and an unescaped U+007F, which no canonical string can hold, so that the
    /// text could not be kept exactly (escaped as `\u007f` it can).
    pub fn parse(bytes: &[u8]) -> Result<Self, CanonicalError> {
        match accept(bytes)? {
            Accepted::Value(value) => Ok(Payload::Json(Arc::new(value))),
            Accepted::Text(text) => Ok(Payload::Text(text.to_owned())),
        }
    }

    /// The bytes that are hashed as the payload: canonical for [`Payload::Json`], the exact text for [`Payload::Text`].
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Payload::Json(value) => Cow::Owned(write(value)),
            Payload::Text(text) => Cow::Borrowed(text.as_bytes()),
        }
    }
}
