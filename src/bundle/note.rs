//! Reading a signed checkpoint (C2SP signed-note, tlog-checkpoint) for verification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::Digest;
use crate::trust::{NoteKey, PublicKey, Signature};

/// Why a checkpoint does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoteError {
    #[error("malformed signed note: {0}")]
    Malformed(&'static str),
    #[error("no signature by the log key {0}")]
    OtherKey(String),
    #[error("the signature by the log key does not hold")]
    BadSignature,
}

/// A checkpoint as read; its signatures are not yet checked.
#[derive(Debug)]
pub(super) struct Checkpoint {
    pub(super) origin: String,
    pub(super) size: u64,
    pub(super) root: Digest,
    text: Vec<u8>,
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

impl Checkpoint {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let malformed = NoteError::Malformed;
        let note = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        let split = note
            .rfind("\n\n")
            .ok_or(malformed("no blank line before the signatures"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(malformed("no LF at the end"))?;
        let signatures = lines.split('\n').map(signature_line).collect::<Result<_, _>>()?;
        let mut fields = text.trim_end_matches('\n').split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(malformed("not the three lines of a checkpoint"));
        };
        let number: u64 = size.parse().map_err(|_| malformed("the size is no number"))?;
        let hash = STANDARD
            .decode(root)
            .map_err(|_| malformed("the root is not base64"))?;
        let hash: [u8; 32] = hash
            .try_into()
            .map_err(|_| malformed("the root is not 32 bytes"))?;
        if number.to_string() != size || origin.is_empty() || text != format!("{origin}\n{size}\n{root}\n") {
            return Err(malformed("not the three lines of a checkpoint"));
        }
        Ok(Checkpoint {
            origin: origin.to_owned(),
            size: number,
            root: Digest::from_bytes(hash),
            text: text.as_bytes().to_vec(),
            signatures,
        })
    }

    /// Checks the signature of `key`; other signatures are those of witnesses and are not judged here.
    pub(super) fn check_signature(&self, key: PublicKey) -> Result<(), NoteError> {
        let key =
            NoteKey::new(&self.origin, key).map_err(|_| NoteError::Malformed("an origin no key can have"))?;
        let mut ours = self
            .signatures
            .iter()
            .filter(|(name, id, _)| name == key.name() && *id == key.id());
        let Some((_, _, signature)) = ours.next() else {
            return Err(NoteError::OtherKey(key.key().id().to_string()));
        };
        let signature: [u8; 64] = signature
            .as_slice()
            .try_into()
            .map_err(|_| NoteError::BadSignature)?;
        key.key()
            .verify(&self.text, &Signature::from_bytes(signature))
            .map_err(|_| NoteError::BadSignature)
    }
}

fn signature_line(line: &str) -> Result<(String, [u8; 4], Vec<u8>), NoteError> {
    let malformed = NoteError::Malformed("a signature line");
    let (name, encoded) = line
        .strip_prefix("\u{2014} ")
        .and_then(|rest| rest.split_once(' '))
        .ok_or(malformed.clone())?;
    let bytes = STANDARD.decode(encoded).map_err(|_| malformed.clone())?;
    let (id, signature) = bytes.split_first_chunk::<4>().ok_or(malformed)?;
    Ok((name.to_owned(), *id, signature.to_vec()))
}
