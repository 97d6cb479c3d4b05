//! A value as its canonical text: for what is kept, hashed and handed on, and never looked into.
//!
//! A payload of 200 bytes takes as many, in one allocation that everybody shares; as a tree it would take a kilobyte.

use std::fmt;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Value, check, is_canonical, write};

/// The canonical text of a value. Read and written with JSON alone, like [`RawValue`].
#[derive(Clone)]
pub struct CanonicalText(Arc<RawValue>);

impl CanonicalText {
    /// The text of a value that keeps to the profile.
    ///
    /// # Panics
    /// Never: what [`write()`] gives is JSON in UTF-8.
    pub fn of(value: &Value) -> Self {
        let text = String::from_utf8(write(value)).expect("what is written is UTF-8");
        let raw = RawValue::from_string(text).expect("what is written is JSON");
        CanonicalText(Arc::from(raw))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// The same, as answers carry it.
    pub fn to_raw(&self) -> Box<RawValue> {
        self.0.as_ref().to_owned()
    }

    /// True for `null`.
    pub fn is_null(&self) -> bool {
        self.as_str() == "null"
    }
}

impl fmt::Debug for CanonicalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for CanonicalText {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for CanonicalText {}

impl Serialize for CanonicalText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CanonicalText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().as_bytes();
        // Only what is wrong is parsed, for the reason.
        if !is_canonical(text) {
            check(text).map_err(D::Error::custom)?;
        }
        Ok(CanonicalText(Arc::from(raw)))
    }
}
