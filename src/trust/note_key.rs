//! A public key under the name by which signed notes refer to it (C2SP signed-note), and its one-line text form.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{PublicKey, TrustError};
use crate::domain::Hasher;

/// Signature type of plain Ed25519 in signed notes.
const ED25519: u8 = 0x01;

/// A verifier key: `<name>+<8 hex of the note key id>+<base64 of 0x01 and the key>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: PublicKey,
}

impl NoteKey {
    /// Names a key.
    ///
    /// # Errors
    /// [`TrustError::NoteKeyText`] when the name is empty or holds a space, a plus or a control character.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, TrustError> {
        if !is_note_name(name) {
            return Err(TrustError::NoteKeyText);
        }
        Ok(NoteKey {
            name: name.to_owned(),
            key,
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The 4 bytes that stand before each signature: a hash over name, type and key, cut short. A hint only.
    pub fn id(&self) -> [u8; 4] {
        let mut hasher = Hasher::default();
        hasher.update(self.name.as_bytes());
        hasher.update(&[b'\n', ED25519]);
        hasher.update(self.key.as_bytes());
        let [a, b, c, d, ..] = *hasher.finish().as_bytes();
        [a, b, c, d]
    }
}

/// True for what a signed note allows as a key's name.
fn is_note_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|letter| letter == '+' || letter.is_whitespace() || letter.is_control())
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = [ED25519; 33];
        typed[1..].copy_from_slice(self.key.as_bytes());
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(typed))
    }
}

impl FromStr for NoteKey {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_id), Some(typed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(TrustError::NoteKeyText);
        };
        let typed = STANDARD.decode(typed).map_err(|_| TrustError::NoteKeyText)?;
        let Ok([ED25519, bytes @ ..]) = <[u8; 33]>::try_from(typed) else {
            return Err(TrustError::NoteKeyText);
        };
        let key = NoteKey::new(name, PublicKey::from_bytes(&bytes)?)?;
        // One form only: this also compares the id.
        if key.to_string() == text {
            Ok(key)
        } else {
            Err(TrustError::NoteKeyText)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::PrivateKey;

    #[test]
    fn the_verifier_key_of_the_go_checksum_database_is_read_and_written() {
        // A published key made by another implementation.
        let line = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key: NoteKey = line.parse().unwrap();
        assert_eq!(key.name(), "sum.golang.org");
        assert_eq!(key.to_string(), line);
    }

    #[test]
    fn malformed_verifier_keys_are_refused() {
        let key = PrivateKey::generate(&mut |bytes| bytes.fill(1)).public();
        let good = NoteKey::new("fastness/0123456789abcdef/acme", key)
            .unwrap()
            .to_string();
        assert!(good.parse::<NoteKey>().is_ok());
        let (name, rest) = good.split_once('+').unwrap();
        let (id, typed) = rest.split_once('+').unwrap();
        let bad = [
            format!("other+{id}+{typed}"),
            format!("{name}+{}+{typed}", id.to_uppercase() + "0"),
            format!("{name}+00000000+{typed}"),
            format!("{name}+{id}+{typed}\n"),
            format!("{name}+{id}+{}", &typed[..43]),
            format!("{name}+{id}+B{}", &typed[1..]),
            format!("{name}+{id}"),
            format!("+{id}+{typed}"),
            String::new(),
        ];
        for text in bad {
            assert!(text.parse::<NoteKey>().is_err(), "{text}");
        }
        assert!(NoteKey::new("a b", key).is_err());
        assert!(NoteKey::new("a\u{2003}b", key).is_err());
    }
}
