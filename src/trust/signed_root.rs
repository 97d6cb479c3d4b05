//! A root of trust in its envelope: DSSE 1.0.2 with as many signatures as people gave, sorted by key id.
//!
//! ```text
//! {"payload":"<base64>","payloadType":"application/vnd.fastness.root+json","signatures":[{"keyid":"<hex>","sig":"<base64>"}…]} LF
//! ```
//! Without signatures it is a draft. What is signed is the encoding `PAE(payloadType, payload)`; a fingerprint is the SHA-256
//! of the payload, so that it stays the same however many sign. Must never take a signature for more than its key's one voice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::root::{Role, Root};
use super::{Fingerprint, KeyId, PrivateKey, RootError, Signature};
use crate::domain::Digest;
use crate::domain::canonical::to_canonical;
use crate::limits;

/// The payload type of roots of trust; no other document has it, so no other signature is one of these.
pub const ROOT_PAYLOAD_TYPE: &str = "application/vnd.fastness.root+json";

/// Pre-authentication encoding: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`.
pub fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len());
    [head.as_bytes(), body].concat()
}

/// A root of trust with its signatures, which are not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoot {
    root: Root,
    payload: Vec<u8>,
    /// Sorted by key id, each once.
    signatures: Vec<(KeyId, Signature)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    payload: String,
    payload_type: String,
    signatures: Vec<WrittenSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    keyid: Digest,
    sig: String,
}

impl SignedRoot {
    /// A root that nobody signed yet.
    ///
    /// # Errors
    /// A rule of the content that it breaks.
    pub fn draft(root: Root) -> Result<Self, RootError> {
        let payload = root.to_bytes()?;
        Ok(SignedRoot {
            root,
            payload,
            signatures: Vec::new(),
        })
    }

    /// Parses an envelope and its content.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, RootError> {
        if bytes.len() > limits::ROOT_BYTES_MAX {
            return Err(RootError::TooLarge(bytes.len()));
        }
        let malformed = |why: String| RootError::Malformed(why);
        let written: Written = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if written.payload_type != ROOT_PAYLOAD_TYPE {
            return Err(RootError::PayloadType(written.payload_type));
        }
        let payload = STANDARD
            .decode(&written.payload)
            .map_err(|_| malformed("payload is not base64".to_owned()))?;
        let mut signatures: Vec<(KeyId, Signature)> = Vec::new();
        for one in &written.signatures {
            let bytes = STANDARD.decode(&one.sig).ok();
            let signature: Option<[u8; 64]> = bytes.and_then(|bytes| bytes.try_into().ok());
            let signature = signature.ok_or_else(|| malformed("sig is not base64 of 64 bytes".to_owned()))?;
            let id = KeyId::from_digest(one.keyid);
            if signatures.iter().any(|(before, _)| *before == id) {
                return Err(RootError::DuplicateSignature(id));
            }
            signatures.push((id, Signature::from_bytes(signature)));
        }
        if !signatures.is_sorted_by_key(|(id, _)| *id) {
            return Err(RootError::Unsorted("signatures"));
        }
        let signed = SignedRoot {
            root: Root::parse(&payload)?,
            payload,
            signatures,
        };
        if signed.to_bytes() != bytes {
            return Err(RootError::NotCanonical);
        }
        Ok(signed)
    }

    /// The envelope: canonical JSON and one LF.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature = |(id, signature): &(KeyId, Signature)| WrittenSignature {
            keyid: id.digest(),
            sig: STANDARD.encode(signature.as_bytes()),
        };
        let mut bytes = to_canonical(&Written {
            payload: STANDARD.encode(&self.payload),
            payload_type: ROOT_PAYLOAD_TYPE.to_owned(),
            signatures: self.signatures.iter().map(signature).collect(),
        });
        bytes.push(b'\n');
        bytes
    }

    /// The content.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// What people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.payload)
    }

    /// Who signed, as the envelope says.
    pub fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().map(|(id, _)| *id)
    }

    /// Adds the signature of `key`. The same key again changes nothing.
    pub fn sign(&mut self, key: &PrivateKey) {
        let signature = key.sign(&pae(ROOT_PAYLOAD_TYPE, &self.payload));
        self.insert(key.public().id(), signature);
    }

    /// Puts in a signature as it is, right or wrong.
    pub fn insert(&mut self, id: KeyId, signature: Signature) {
        self.signatures.retain(|(before, _)| *before != id);
        self.signatures.push((id, signature));
        self.signatures.sort_by_key(|(id, _)| *id);
    }

    /// How many keys of the role `root` in `by` signed this. Each counts once; others are passed over.
    ///
    /// # Errors
    /// [`RootError::BadSignature`]: a signature in the name of such a key does not hold.
    pub fn voices(&self, by: &Root) -> Result<usize, RootError> {
        let message = pae(ROOT_PAYLOAD_TYPE, &self.payload);
        let mut voices = 0;
        for key in by.keys(Role::Root) {
            let id = key.id();
            let Some((_, signature)) = self.signatures.iter().find(|(signer, _)| *signer == id) else {
                continue;
            };
            key.verify(&message, signature)
                .map_err(|_| RootError::BadSignature(id))?;
            voices += 1;
        }
        Ok(voices)
    }

    /// Whether enough of its own root keys signed this: what every version needs, and all that a root can show which comes
    /// alone. Whether these are the right people is for whoever gives it.
    ///
    /// # Errors
    /// [`RootError::OwnThreshold`]; [`RootError::BadSignature`].
    pub fn check_own_voices(&self) -> Result<(), RootError> {
        self.check_voices(&self.root, RootError::OwnThreshold)
    }

    /// Whether enough root keys of the version before signed this.
    ///
    /// # Errors
    /// [`RootError::OldThreshold`]; [`RootError::BadSignature`].
    pub fn check_old_voices(&self, before: &Root) -> Result<(), RootError> {
        self.check_voices(before, RootError::OldThreshold)
    }

    fn check_voices(&self, by: &Root, error: impl FnOnce(usize, u32) -> RootError) -> Result<(), RootError> {
        let needed = by.roles.get(&Role::Root).map_or(u32::MAX, |of| of.threshold);
        let voices = self.voices(by)?;
        if u32::try_from(voices).is_ok_and(|voices| voices >= needed) {
            Ok(())
        } else {
            Err(error(voices, needed))
        }
    }
}
