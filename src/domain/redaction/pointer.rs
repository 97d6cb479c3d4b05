//! JSON pointers (RFC 6901) to members of objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

/// A pointer to a member: one name or index at least. Order: by its names, so what lies below a pointer stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Vec<String>);

/// Why a text is no pointer to a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// The empty pointer is the whole.
    #[error("it points at the whole, which is no field")]
    Whole,
    /// Not RFC 6901.
    #[error("a JSON pointer begins with / and has ~0 for ~ and ~1 for /")]
    Form,
    /// More bytes than one may have.
    #[error("more than {} bytes", limits::POINTER_BYTES_MAX)]
    TooLong,
    /// It ends at what holds digests, which is nobody's field.
    #[error("_sd and ... are reserved")]
    Reserved,
}

impl Pointer {
    /// A pointer to a member of the top level.
    pub fn member(name: &str) -> Self {
        Pointer(vec![name.to_owned()])
    }

    /// Names and indexes on the way, the last one being the field's.
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// The member `name` of what this one points at.
    pub fn below(parts: &[String], name: &str) -> Self {
        Pointer(parts.iter().cloned().chain([name.to_owned()]).collect())
    }

    /// True when `other` points at the same or at something inside it.
    pub fn covers(&self, other: &Pointer) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Err(PointerError::Whole);
        }
        if text.len() > limits::POINTER_BYTES_MAX {
            return Err(PointerError::TooLong);
        }
        let rest = text.strip_prefix('/').ok_or(PointerError::Form)?;
        let mut parts = Vec::new();
        for part in rest.split('/') {
            let mut letters = part.chars();
            let mut plain = String::with_capacity(part.len());
            while let Some(letter) = letters.next() {
                plain.push(match letter {
                    '~' => match letters.next() {
                        Some('0') => '~',
                        Some('1') => '/',
                        _ => return Err(PointerError::Form),
                    },
                    letter => letter,
                });
            }
            if plain == super::DIGESTS || plain == super::ELEMENT {
                return Err(PointerError::Reserved);
            }
            parts.push(plain);
        }
        Ok(Pointer(parts))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            write!(f, "/{}", part.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_those_of_the_rfc_and_point_at_a_field() {
        for good in ["/a", "/a/0/b", "/", "/a~0b/c~1d"] {
            assert_eq!(good.parse::<Pointer>().unwrap().to_string(), good);
        }
        let long = format!("/{}", "a".repeat(limits::POINTER_BYTES_MAX));
        for (bad, expected) in [
            ("", PointerError::Whole),
            ("a", PointerError::Form),
            ("/a~2", PointerError::Form),
            ("/a~", PointerError::Form),
            ("/_sd", PointerError::Reserved),
            ("/a/.../b", PointerError::Reserved),
            (&long, PointerError::TooLong),
        ] {
            assert_eq!(bad.parse::<Pointer>(), Err(expected), "{bad:.40}");
        }
        let [a, ab, abc] = ["/a", "/a/b", "/ab"].map(|text| text.parse::<Pointer>().unwrap());
        assert!(a.covers(&ab) && a.covers(&a) && !a.covers(&abc) && !ab.covers(&a));
    }
}
