//! The fingerprint of a root of trust: what two people compare, aloud or on paper.

use std::fmt;
use std::str::FromStr;

use super::RootError;
use crate::domain::Digest;

/// SHA-256 of a root's canonical content, shown as 16 groups of four hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// Of a content.
    pub fn of(payload: &[u8]) -> Self {
        Fingerprint(Digest::of(payload))
    }

    /// The digest, for what machines compare.
    pub const fn digest(self) -> Digest {
        self.0
    }

    /// Wraps a digest.
    pub const fn from_digest(digest: Digest) -> Self {
        Fingerprint(digest)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, pair) in self.0.as_bytes().chunks(2).enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            for byte in pair {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = RootError;

    /// Takes all 64 hex digits, with white space, `-` or `:` between them or none, in either case. Never a part of them.
    fn from_str(text: &str) -> Result<Self, RootError> {
        let parts = |letter: &char| !letter.is_whitespace() && !['-', ':'].contains(letter);
        let digits: String = text.to_ascii_lowercase().chars().filter(parts).collect();
        digits
            .parse()
            .map(Fingerprint)
            .map_err(|_| RootError::FingerprintText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_write_it_and_never_in_part() {
        let one = Fingerprint::of(b"root");
        let shown = one.to_string();
        assert_eq!(shown.split(' ').count(), 16);
        assert!(shown.split(' ').all(|group| group.len() == 4));
        let plain = one.digest().to_string();
        for text in [
            &shown,
            &plain,
            &shown.to_uppercase(),
            &shown.replace(' ', "-"),
            &shown.replace(' ', ":\n"),
        ] {
            assert_eq!(text.parse::<Fingerprint>().unwrap(), one, "{text}");
        }
        for text in [
            "",
            &shown[..74],
            &plain[..63],
            &format!("{plain}0"),
            &plain.replace(|c: char| c.is_ascii_digit(), "g"),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
