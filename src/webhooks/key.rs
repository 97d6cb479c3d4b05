//! Keys of webhooks and what they sign, as Standard Webhooks says: `{id}.{timestamp}.{body}`.
//!
//! A secret is in no text of an error and no `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{KeyInit, Mac};

use crate::domain::webhook::SignatureKind;
use crate::limits;
use crate::trust::PrivateKey;

const SHARED: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// What signs the requests of a webhook.
pub struct SigningKey {
    /// As the operator has it.
    text: String,
    material: Material,
}

enum Material {
    /// Filled up with zeros to a block of SHA-256, as RFC 2104 says.
    Shared(Box<[u8; limits::WEBHOOK_SECRET_BYTES_MAX]>),
    Pair(Box<PrivateKey>),
}

/// The text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a secret is whsec_ and {} to {} bytes in base64, or whsk_ and the 32 bytes of an Ed25519 seed in base64",
    limits::WEBHOOK_SECRET_BYTES_MIN,
    limits::WEBHOOK_SECRET_BYTES_MAX
)]
pub struct KeyError;

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl SigningKey {
    /// Draws a key; `random` must be fit for keys.
    ///
    /// # Errors
    /// Never.
    pub fn draw(kind: SignatureKind, random: &mut dyn FnMut(&mut [u8])) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        random(&mut bytes);
        let prefix = match kind {
            SignatureKind::HmacSha256 => SHARED,
            SignatureKind::Ed25519 => PRIVATE,
        };
        SigningKey::read(&format!("{prefix}{}", STANDARD.encode(bytes)))
    }

    /// Reads a key as the operator has it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let decoded = |base64: &str| STANDARD.decode(base64).map_err(|_| KeyError);
        let material = if let Some(base64) = text.strip_prefix(SHARED) {
            let bytes = decoded(base64)?;
            if !(limits::WEBHOOK_SECRET_BYTES_MIN..=limits::WEBHOOK_SECRET_BYTES_MAX).contains(&bytes.len()) {
                return Err(KeyError);
            }
            let mut block = Box::new([0; limits::WEBHOOK_SECRET_BYTES_MAX]);
            block[..bytes.len()].copy_from_slice(&bytes);
            Material::Shared(block)
        } else {
            let bytes = decoded(text.strip_prefix(PRIVATE).ok_or(KeyError)?)?;
            let (seed, public) = bytes.split_at_checked(32).ok_or(KeyError)?;
            let key = PrivateKey::generate(&mut |into| into.copy_from_slice(seed));
            // Some write the public half behind the seed.
            if !public.is_empty() && public != key.public().as_bytes() {
                return Err(KeyError);
            }
            Material::Pair(Box::new(key))
        };
        Ok(SigningKey {
            text: text.to_owned(),
            material,
        })
    }

    /// As the operator has it: for its file, and the one answer that shows it.
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// How it signs.
    pub fn kind(&self) -> SignatureKind {
        match self.material {
            Material::Shared(_) => SignatureKind::HmacSha256,
            Material::Pair(_) => SignatureKind::Ed25519,
        }
    }

    /// What verifies its signatures, where that is no secret.
    pub fn public_key(&self) -> Option<String> {
        match &self.material {
            Material::Shared(_) => None,
            Material::Pair(key) => Some(format!("{PUBLIC}{}", STANDARD.encode(key.public().as_bytes()))),
        }
    }

    /// A signature as the header carries it.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let head = format!("{id}.{timestamp_s}.");
        match &self.material {
            Material::Shared(block) => {
                let block: &[u8; 64] = block;
                let mut mac = hmac::Hmac::<sha2::Sha256>::new(block.into());
                mac.update(head.as_bytes());
                mac.update(body);
                format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
            }
            Material::Pair(key) => {
                let signature = key.sign(&[head.as_bytes(), body].concat());
                format!("v1a,{}", STANDARD.encode(signature.as_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{PublicKey, Signature};

    /// From the tests of the reference libraries of Standard Webhooks.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_reference_vector_of_standard_webhooks_holds() {
        let key = SigningKey::read(SECRET).unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!((key.kind(), key.public_key()), (SignatureKind::HmacSha256, None));
        assert!(!format!("{key:?}").contains("MfKQ"));
    }

    /// RFC 8032, section 7.1, test 1: the seed and its public key.
    #[test]
    fn a_pair_signs_what_its_public_half_verifies() {
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
        let public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let key = SigningKey::read(&format!("whsk_{seed}")).unwrap();
        assert_eq!(key.kind(), SignatureKind::Ed25519);
        assert_eq!(key.public_key(), Some(format!("whpk_{public}")));
        let signature = key.sign("msg_1", 7, b"{}");
        let bytes = STANDARD.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let public = PublicKey::from_bytes(&STANDARD.decode(public).unwrap().try_into().unwrap()).unwrap();
        let signature = Signature::from_bytes(bytes.try_into().unwrap());
        public.verify(b"msg_1.7.{}", &signature).unwrap();
        let both = [STANDARD.decode(seed).unwrap(), public.as_bytes().to_vec()].concat();
        let long = SigningKey::read(&format!("whsk_{}", STANDARD.encode(&both))).unwrap();
        assert_eq!(long.public_key(), key.public_key());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let of = |prefix: &str, bytes: usize| format!("{prefix}{}", STANDARD.encode(vec![7; bytes]));
        for good in [of("whsec_", 24), of("whsec_", 64), of("whsk_", 32)] {
            assert!(SigningKey::read(&good).is_ok(), "{good}");
        }
        for bad in [
            String::new(),
            "hunter2".to_owned(),
            "whsec_hunter2!".to_owned(),
            of("", 32),
            of("whsec_", 23),
            of("whsec_", 65),
            of("whsk_", 31),
            of("whsk_", 64),
            of("whpk_", 32),
        ] {
            let refused = SigningKey::read(&bad).unwrap_err().to_string();
            assert!(
                !refused.contains("hunter2") && !refused.contains("BwcH"),
                "{refused}"
            );
        }
        let drawn = SigningKey::draw(SignatureKind::Ed25519, &mut |bytes| bytes.fill(1)).unwrap();
        assert!(drawn.secret().starts_with("whsk_"));
    }
}
