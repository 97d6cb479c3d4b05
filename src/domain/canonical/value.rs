//! The value type: JSON without floats.

use std::collections::BTreeMap;

use crate::limits;

/// A JSON value within the profile. Whoever builds one by hand keeps to the profile: [`key_fits`], [`text_fits`], and
/// [`limits::JSON_INTEGER_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer within ±(2^53−1).
    Int(i64),
    /// Text without U+007F.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// Members in the order of their keys.
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The number of an integer.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.get(key),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        const NODE: usize = std::mem::size_of::<Value>();
        match self {
            Value::Null | Value::Bool(_) | Value::Int(_) => NODE,
            Value::String(text) => NODE + text.len(),
            Value::Array(items) => NODE + items.iter().map(Value::weight).sum::<usize>(),
            Value::Object(members) => {
                let of = |(key, value): (&String, &Value)| NODE + key.len() + value.weight();
                NODE + members.iter().map(of).sum::<usize>()
            }
        }
    }

    /// Levels of nesting: 0 for a scalar, 1 for `[]`. Bounded recursion: no value from outside is deeper than
    /// [`limits::JSON_DEPTH_MAX`].
    pub fn depth(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => 0,
            Value::Array(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(Value::depth).max().unwrap_or(0),
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Int(i64::from(number))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Value::Array(items)
    }
}

impl From<BTreeMap<String, Value>> for Value {
    fn from(members: BTreeMap<String, Value>) -> Self {
        Value::Object(members)
    }
}

/// True when `key` may be an object key: `[A-Za-z0-9_.:-]{1,64}`.
pub fn key_fits(key: &str) -> bool {
    (1..=limits::JSON_KEY_BYTES_MAX).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
}

/// True when `text` may be a string: no U+007F. Free text from outside is asked this before it is recorded.
pub fn text_fits(text: &str) -> bool {
    !text.as_bytes().contains(&0x7f)
}
