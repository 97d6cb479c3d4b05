//! Signed notes (C2SP signed-note): a text, an empty line, and lines that sign the text.
//!
//! ```text
//! <text, one or more lines>
//!
//! — <key name> <base64 of 4 bytes of key id and the signature>
//! ```
//! Read strictly: what this module accepts has exactly one way of being written.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::Digest;
use crate::limits;
use crate::trust::{NoteKey, PrivateKey, Signature, TrustError};

/// Why a note, checkpoint or proof is refused.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// Beyond the bound on notes or on their signatures.
    #[error("the note is longer, or has more signatures, than allowed")]
    TooLarge,
    /// Not UTF-8, or with control characters, or without a last newline.
    #[error("the note is not a text of whole lines")]
    NotText,
    /// No empty line, or nothing behind it.
    #[error("the note has no signatures behind an empty line")]
    NoSignatures,
    /// A line among the signatures is none.
    #[error("signature line {line} of the note is malformed")]
    SignatureLine { line: usize },
    /// Not signed by the key asked for. Says nothing about other keys.
    #[error("the note is not signed by {key}")]
    NotSignedBy { key: String },
    /// Signed in the name of the key asked for, but wrongly.
    #[error("the signature of {key} on the note does not hold")]
    BadSignature { key: String },
    /// The text is not a checkpoint.
    #[error("the checkpoint is malformed: {what}")]
    Checkpoint { what: &'static str },
    /// The checkpoint is of another log.
    #[error("the checkpoint is of {found}, not of {expected}")]
    OtherOrigin { expected: String, found: String },
    /// The text is not a proof.
    #[error("the proof is malformed: {what}")]
    Proof { what: &'static str },
    /// The proof's hashes do not lead to its checkpoint's root.
    #[error(transparent)]
    DoesNotHold(#[from] super::ProofError),
    /// The key's name cannot stand in a note.
    #[error(transparent)]
    Key(#[from] TrustError),
}

/// A parsed note. Its text must not be used before a signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NoteSignature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl SignedNote {
    /// Signs `text`, which consists of whole lines, under `name`.
    ///
    /// # Errors
    /// [`NoteError::NotText`], [`NoteError::Key`].
    pub fn sign(text: String, name: &str, key: &PrivateKey) -> Result<Self, NoteError> {
        check_text(&text)?;
        let named = NoteKey::new(name, key.public())?;
        let signature = NoteSignature {
            name: name.to_owned(),
            id: named.id(),
            bytes: key.sign(text.as_bytes()).as_bytes().to_vec(),
        };
        Ok(SignedNote {
            text,
            signatures: vec![signature],
        })
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] for whatever is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > limits::NOTE_BYTES_MAX {
            return Err(NoteError::TooLarge);
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::NotText)?;
        check_text(note)?;
        // The last empty line parts text and signatures; the text may have others.
        let Some((text, signatures)) = note.rsplit_once("\n\n") else {
            return Err(NoteError::NoSignatures);
        };
        if text.is_empty() || signatures.is_empty() {
            return Err(NoteError::NoSignatures);
        }
        let lines: Vec<&str> = signatures.split_terminator('\n').collect();
        if lines.len() > limits::NOTE_SIGNATURES_MAX {
            return Err(NoteError::TooLarge);
        }
        let signatures = (1..)
            .zip(lines)
            .map(|(number, line)| read_line(line).ok_or(NoteError::SignatureLine { line: number }));
        Ok(SignedNote {
            text: format!("{text}\n"),
            signatures: signatures.collect::<Result<_, _>>()?,
        })
    }

    /// The signed text: whole lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks the signatures of this key; those of others are passed over, as the specification demands.
    ///
    /// # Errors
    /// [`NoteError::NotSignedBy`] without one; [`NoteError::BadSignature`] when one of them does not hold.
    pub fn verify(&self, key: &NoteKey) -> Result<(), NoteError> {
        let id = key.id();
        let mut signed = false;
        for signature in &self.signatures {
            if signature.name != key.name() || signature.id != id {
                continue;
            }
            let holds = <[u8; 64]>::try_from(signature.bytes.as_slice()).is_ok_and(|bytes| {
                key.key()
                    .verify(self.text.as_bytes(), &Signature::from_bytes(bytes))
                    .is_ok()
            });
            if !holds {
                return Err(NoteError::BadSignature { key: key.to_string() });
            }
            signed = true;
        }
        if signed {
            Ok(())
        } else {
            Err(NoteError::NotSignedBy { key: key.to_string() })
        }
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let bytes = [&signature.id, signature.bytes.as_slice()].concat();
            writeln!(f, "— {} {}", signature.name, STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    let control = |byte: u8| byte < 0x20 && byte != b'\n';
    if text.ends_with('\n') && !text.bytes().any(control) {
        Ok(())
    } else {
        Err(NoteError::NotText)
    }
}

fn read_line(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    if name.is_empty() || name.contains(|letter: char| letter == '+' || letter.is_whitespace()) {
        return None;
    }
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, signature) = bytes.split_first_chunk()?;
    (!signature.is_empty()).then(|| NoteSignature {
        name: name.to_owned(),
        id: *id,
        bytes: signature.to_vec(),
    })
}

/// A number without sign or leading zeros.
pub(super) fn read_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A hash in base64.
pub(super) fn read_hash(text: &str) -> Option<Digest> {
    let bytes = STANDARD.decode(text).ok()?;
    <[u8; 32]>::try_from(bytes).ok().map(Digest::from_bytes)
}

/// A hash in base64.
pub(super) fn write_hash(hash: &Digest) -> String {
    STANDARD.encode(hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> PrivateKey {
        PrivateKey::generate(&mut |bytes| bytes.fill(fill))
    }

    fn named(fill: u8, name: &str) -> NoteKey {
        NoteKey::new(name, key(fill).public()).unwrap()
    }

    #[test]
    fn a_note_of_another_implementation_is_read_and_verified() {
        // A published test note of the reference implementation in Go, with the key it names.
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let peter: NoteKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
            .parse()
            .unwrap();
        let parsed = SignedNote::parse(note.as_bytes()).unwrap();
        parsed.verify(&peter).unwrap();
        assert_eq!(parsed.to_string(), note);
    }

    #[test]
    fn signatures_hold_for_their_key_and_text_only() {
        let note = SignedNote::sign("a\n\nb\n".to_owned(), "log", &key(1)).unwrap();
        let parsed = SignedNote::parse(note.to_string().as_bytes()).unwrap();
        assert_eq!(parsed, note);
        parsed.verify(&named(1, "log")).unwrap();
        for other in [named(2, "log"), named(1, "other")] {
            assert!(matches!(
                parsed.verify(&other),
                Err(NoteError::NotSignedBy { .. })
            ));
        }
        let changed = note.to_string().replacen('a', "c", 1);
        let changed = SignedNote::parse(changed.as_bytes()).unwrap();
        assert!(matches!(
            changed.verify(&named(1, "log")),
            Err(NoteError::BadSignature { .. })
        ));
    }

    #[test]
    fn signatures_of_unknown_keys_are_passed_over_and_one_bad_known_one_refuses() {
        let good = SignedNote::sign("a\n".to_owned(), "log", &key(1))
            .unwrap()
            .to_string();
        let more = good.clone() + "— witness AAAAAAAA\n";
        SignedNote::parse(more.as_bytes())
            .unwrap()
            .verify(&named(1, "log"))
            .unwrap();
        let other = SignedNote::sign("b\n".to_owned(), "log", &key(1))
            .unwrap()
            .to_string();
        let bad = good + other.lines().last().unwrap() + "\n";
        let refused = SignedNote::parse(bad.as_bytes())
            .unwrap()
            .verify(&named(1, "log"));
        assert!(matches!(refused, Err(NoteError::BadSignature { .. })));
    }

    #[test]
    fn malformed_notes_are_refused() {
        let good = SignedNote::sign("text\n".to_owned(), "log", &key(1))
            .unwrap()
            .to_string();
        let line = good.lines().last().unwrap();
        let encoded = line.rsplit(' ').next().unwrap();
        let many = format!("text\n\n{}", format!("{line}\n").repeat(17));
        let long = format!("{}\n\n{line}\n", "x".repeat(limits::NOTE_BYTES_MAX));
        let bad = [
            String::new(),
            "text\n".to_owned(),
            "text\n\n".to_owned(),
            format!("\n\n{line}\n"),
            format!("text\n{line}\n"),
            format!("text\n\n{line}"),
            format!("text\r\n\n{line}\n"),
            format!("te\txt\n\n{line}\n"),
            format!("text\n\n{line}\n\n"),
            format!("text\n\n{line}\nmore\n"),
            format!("text\n\n{}\n", line.replace('—', "-")),
            format!("text\n\n— log  {encoded}\n"),
            format!("text\n\n—  {encoded}\n"),
            format!("text\n\n— lo+g {encoded}\n"),
            format!("text\n\n— lo\u{a0}g {encoded}\n"),
            format!("text\n\n— log {encoded} \n"),
            format!("text\n\n— log {}\n", encoded.trim_end_matches('=')),
            format!("text\n\n— log {}\n", &encoded[..5]),
            "text\n\n— log AAAAAA==\n".to_owned(),
            "text\n\n— log AAAAAB==\n".to_owned(),
            "text\n\n— log \n".to_owned(),
            many,
            long,
        ];
        for text in bad {
            assert!(SignedNote::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(SignedNote::parse(b"text\xff\n\n").is_err());
        let sixteen = format!("text\n\n{}", format!("{line}\n").repeat(16));
        assert!(SignedNote::parse(sixteen.as_bytes()).is_ok());
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(read_number("0"), Some(0));
        assert_eq!(read_number("18446744073709551615"), Some(u64::MAX));
        for text in [
            "",
            "00",
            "01",
            "+1",
            "-0",
            " 1",
            "18446744073709551616",
            "1_0",
            "٣",
        ] {
            assert_eq!(read_number(text), None, "{text}");
        }
    }
}
