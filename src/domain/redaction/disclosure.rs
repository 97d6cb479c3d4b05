//! One disclosure: its text, its digest, and what is in it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{DIGESTS, ELEMENT};
use crate::domain::Digest;
use crate::domain::canonical::{self, Value, key_fits, write};
use crate::limits;

/// Bytes of a salt: 256 bits.
pub const SALT_BYTES: usize = 32;

/// A salted field, as its text. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Disclosure(String);

impl fmt::Debug for Disclosure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disclosure(…)")
    }
}

/// Why a text is no disclosure of this format. Says nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// Not base64url without padding, or in another than its one form.
    #[error("not base64url without padding")]
    Encoding,
    /// Not canonical JSON `[salt, name, value]`.
    #[error("not the canonical JSON of [salt, name, value]")]
    Form,
    /// The salt is not 256 bits in base64url.
    #[error("the salt is not {SALT_BYTES} bytes in base64url")]
    Salt,
    /// The name is one that the format itself uses.
    #[error("it names _sd or ..., which are reserved")]
    Reserved,
    /// Longer than a disclosure may be.
    #[error("longer than {} bytes", limits::DISCLOSURE_BYTES_MAX)]
    TooLong,
}

/// What is in a disclosure.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// The name of the member.
    pub name: String,
    /// Its value.
    pub value: Value,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Disclosure {
    /// Salts a field.
    pub fn new(salt: &[u8; SALT_BYTES], name: &str, value: &Value) -> Self {
        let parts = Value::Array(vec![
            Value::String(URL_SAFE_NO_PAD.encode(salt)),
            Value::from(name),
            value.clone(),
        ]);
        Disclosure(URL_SAFE_NO_PAD.encode(write(&parts)))
    }

    /// Takes a text, and looks whether it is a disclosure.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, Opened), DisclosureError> {
        let opened = open(text)?;
        Ok((Disclosure(text.to_owned()), opened))
    }

    /// The text, as it is kept and sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands in `_sd` for it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// What is in it.
    ///
    /// # Errors
    /// None for one that was made or parsed here.
    pub fn open(&self) -> Result<Opened, DisclosureError> {
        open(&self.0)
    }
}

fn open(text: &str) -> Result<Opened, DisclosureError> {
    if text.len() > limits::DISCLOSURE_BYTES_MAX {
        return Err(DisclosureError::TooLong);
    }
    let json = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| DisclosureError::Encoding)?;
    let Ok(Value::Array(parts)) = canonical::check(&json) else {
        return Err(DisclosureError::Form);
    };
    let Ok([Value::String(salt), Value::String(name), value]) = <[Value; 3]>::try_from(parts) else {
        return Err(DisclosureError::Form);
    };
    let salt = URL_SAFE_NO_PAD.decode(salt);
    if salt.map_or(0, |salt| salt.len()) != SALT_BYTES {
        return Err(DisclosureError::Salt);
    }
    if name == DIGESTS || name == ELEMENT || has_reserved(&value) {
        return Err(DisclosureError::Reserved);
    }
    if !key_fits(&name) {
        return Err(DisclosureError::Form);
    }
    Ok(Opened { name, value })
}

/// Bounded recursion: no value is deeper than [`limits::JSON_DEPTH_MAX`].
fn has_reserved(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name == DIGESTS || name == ELEMENT || has_reserved(value)),
        Value::Array(items) => items.iter().any(has_reserved),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => false,
    }
}

/// A digest as it stands in `_sd`: base64url without padding.
pub fn write_digest(digest: &Digest) -> String {
    URL_SAFE_NO_PAD.encode(digest.as_bytes())
}

/// Reads a digest as [`write_digest`] gives it; nothing else.
pub fn read_digest(text: &str) -> Option<Digest> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.try_into().ok().map(Digest::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The form of RFC 9901, section 4.2.1, over a salt of ours: computed with `printf`, `basenc` and `sha256sum`.
    #[test]
    fn text_and_digest_are_those_of_the_rfc() {
        let made = Disclosure::new(&[0; SALT_BYTES], "token", &Value::from("hunter2"));
        let json = format!("[\"{}\",\"token\",\"hunter2\"]", "A".repeat(43));
        assert_eq!(made.as_str(), URL_SAFE_NO_PAD.encode(json));
        assert_eq!(
            write_digest(&made.digest()),
            URL_SAFE_NO_PAD.encode(Digest::of(made.as_str().as_bytes()).as_bytes())
        );
        assert_eq!(read_digest(&write_digest(&made.digest())), Some(made.digest()));
        let (again, opened) = Disclosure::parse(made.as_str()).unwrap();
        assert_eq!(
            (again, opened.name.as_str(), opened.value),
            (made.clone(), "token", Value::from("hunter2"))
        );
        assert!(!format!("{made:?}{:?}", made.open()).contains("hunter2"));
    }

    #[test]
    fn what_is_no_disclosure_is_refused() {
        let salt = "A".repeat(43);
        let of = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for (text, expected) in [
            ("=".to_owned(), DisclosureError::Encoding),
            (format!("{}=", of("[1]")), DisclosureError::Encoding),
            (of("{}"), DisclosureError::Form),
            (of(&format!("[\"{salt}\",\"a\"]")), DisclosureError::Form),
            (of(&format!("[\"{salt}\", \"a\",1]")), DisclosureError::Form),
            (of(&format!("[\"{salt}\",\"a\",1.5]")), DisclosureError::Form),
            (of(&format!("[\"{salt}\",\"a/b\",1]")), DisclosureError::Form),
            (of(&format!("[\"{salt}\",\"a\",1,2]")), DisclosureError::Form),
            (of("[\"AAAA\",\"a\",1]"), DisclosureError::Salt),
            (of("[\"\",\"a\",1]"), DisclosureError::Salt),
            (of(&format!("[\"{salt}A\",\"a\",1]")), DisclosureError::Salt),
            (of(&format!("[\"{salt}\",\"_sd\",1]")), DisclosureError::Reserved),
            (of(&format!("[\"{salt}\",\"...\",1]")), DisclosureError::Reserved),
            (
                of(&format!("[\"{salt}\",\"a\",[{{\"_sd\":[]}}]]")),
                DisclosureError::Reserved,
            ),
            (
                "A".repeat(limits::DISCLOSURE_BYTES_MAX + 1),
                DisclosureError::TooLong,
            ),
        ] {
            assert_eq!(Disclosure::parse(&text).unwrap_err(), expected, "{text:.80}");
        }
    }
}
