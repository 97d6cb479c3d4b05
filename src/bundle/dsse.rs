//! The envelope around the manifest: DSSE 1.0.2 with exactly one signature.
//!
//! ```text
//! {"payload":"<base64>","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"<64 hex>","sig":"<base64>"}]} LF
//! ```
//! What is signed is PAE(payloadType, payload), never the payload itself. `keyid` is the SHA-256 of the signing
//! key's DER SPKI: a hint for people, never a reason to trust. There is one way to write an envelope, and the
//! parser accepts no other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::domain::Digest;
pub use crate::trust::pae;
use crate::trust::{PrivateKey, PublicKey, Signature};

/// The only payload type.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// Why bytes are not such an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not this JSON object.
    #[error("not a DSSE envelope: {0}")]
    Json(String),
    /// Another payload type.
    #[error("payloadType is not {PAYLOAD_TYPE}")]
    PayloadType,
    /// No signature, or more than one.
    #[error("{0} signatures instead of one")]
    Signatures(usize),
    /// Not base64, padded, without stray bits.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// Not 64 bytes.
    #[error("the signature is not 64 bytes")]
    SignatureLength,
    /// The same envelope written in another way.
    #[error("the envelope is not in canonical form with one LF at its end")]
    NotCanonical,
}

/// An envelope as parsed; its signature is not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The key that signed, as the envelope says.
    pub key_id: Digest,
    /// What was signed.
    pub payload: Vec<u8>,
    /// By whom, to be seen.
    pub signature: Signature,
}

impl Envelope {
    /// Parses.
    ///
    /// # Errors
    /// The reason for which this is not an envelope.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let parsed: Written =
            serde_json::from_slice(bytes).map_err(|e| EnvelopeError::Json(e.to_string()))?;
        if parsed.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType);
        }
        let [one] = parsed.signatures.as_slice() else {
            return Err(EnvelopeError::Signatures(parsed.signatures.len()));
        };
        let signature = STANDARD
            .decode(&one.sig)
            .map_err(|_| EnvelopeError::Base64("sig"))?;
        let signature: [u8; 64] = signature.try_into().map_err(|_| EnvelopeError::SignatureLength)?;
        let key_id = one.keyid;
        if write(&parsed)? != bytes {
            return Err(EnvelopeError::NotCanonical);
        }
        let payload = STANDARD
            .decode(parsed.payload)
            .map_err(|_| EnvelopeError::Base64("payload"))?;
        Ok(Envelope {
            key_id,
            payload,
            signature: Signature::from_bytes(signature),
        })
    }

    /// True when `key` signed this.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify(&pae(PAYLOAD_TYPE, &self.payload), &self.signature)
            .is_ok()
    }
}

/// Signs `payload` and writes the envelope.
///
/// # Errors
/// None in practice: writing into memory.
pub fn sign(payload: &[u8], key: &PrivateKey) -> Result<Vec<u8>, EnvelopeError> {
    let signature = key.sign(&pae(PAYLOAD_TYPE, payload));
    let one = OneSignature {
        keyid: key.public().id().digest(),
        sig: STANDARD.encode(signature.as_bytes()),
    };
    write(&Written {
        payload: STANDARD.encode(payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![one],
    })
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    payload: String,
    payload_type: String,
    signatures: Vec<OneSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneSignature {
    keyid: Digest,
    sig: String,
}

fn write(envelope: &Written) -> Result<Vec<u8>, EnvelopeError> {
    let mut bytes = serde_json::to_vec(envelope).map_err(|e| EnvelopeError::Json(e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::generate(&mut |bytes| bytes.fill(seed))
    }

    #[test]
    fn pae_is_the_example_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            *b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn what_was_signed_is_signed_by_that_key_and_no_other() {
        let bytes = sign(b"{}", &key(1)).unwrap();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.payload, b"{}");
        assert!(envelope.is_signed_by(&key(1).public()));
        assert!(!envelope.is_signed_by(&key(2).public()));
        let mut raw = envelope.clone();
        raw.signature = key(1).sign(b"{}");
        assert!(
            !raw.is_signed_by(&key(1).public()),
            "a signature over the payload instead of its PAE"
        );
    }

    #[test]
    fn other_ways_to_write_an_envelope_are_refused() {
        let good = String::from_utf8(sign(b"{}", &key(1)).unwrap()).unwrap();
        let check = |bytes: String, why: &str| {
            let error = Envelope::parse(bytes.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{bytes}: {error}");
        };
        check(good.trim_end().to_owned(), "canonical form");
        check(good.replace(":\"e30=\"", ": \"e30=\""), "canonical form");
        check(good.replace("in-toto", "other"), "payloadType");
        check(
            good.replace(
                "\"payload\":\"e30=\"",
                "\"payload\":\"e30=\",\"payload\":\"e30=\"",
            ),
            "duplicate field",
        );
        check(
            good.replace("\"payload\":\"e30=\"", "\"extra\":1,\"payload\":\"e30=\""),
            "unknown field",
        );
        check(good.replace("e30=", "e30"), "payload is not base64");
        check(good.replace("e30=", "e31="), "payload is not base64");
        let (start, end) = (good.find('[').unwrap(), good.find(']').unwrap());
        let one = &good[start + 1..end];
        check(good.replace(one, ""), "0 signatures");
        check(good.replace(one, &format!("{one},{one}")), "2 signatures");
        let id = key(1).public().id().to_string();
        check(good.replace(&id, &id.to_uppercase()), "64 lowercase hex");
    }
}
