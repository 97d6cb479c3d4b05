//! Ed25519 keys and signatures (RFC 8032), in PKCS#8 and SPKI form (RFC 8410).
//!
//! Private keys are written as PKCS#8 version 1, without the public key: OpenSSL 3.0 cannot read version 2.
//! Both versions are read. Verification is strict only.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::spki::der::pem::{self, LineEnding};
use ed25519_dalek::pkcs8::spki::der::zeroize::{Zeroize, Zeroizing};
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePublicKey, KeypairBytes, PublicKeyBytes,
};

use super::TrustError;
use crate::domain::Digest;

/// DER of `SubjectPublicKeyInfo` up to the 32 key bytes (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// DER of a PKCS#8 version 1 `PrivateKeyInfo` up to the 32 secret bytes (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A signing key. Wiped when dropped; its `Debug` shows the public half alone.
#[derive(Clone)]
pub struct PrivateKey(ed25519_dalek::SigningKey);

/// A verifying key: a canonical point of large order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

/// A signature: 64 bytes, not yet checked against anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// SHA-256 of a public key's DER SPKI. A hint that names a key; trust never follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

/// Names an enclave for good: the first 16 hex digits of the id of its first log key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnclaveId(String);

/// A secret that never leaves this host.
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// HMAC-SHA-256 (RFC 2104) of `message`.
    pub fn authenticate(&self, message: &[u8]) -> Digest {
        Digest::from_bytes(hmac(&self.0, message))
    }

    /// 64 hex digits, 16 of their SHA-256, and LF. The text is wiped when dropped.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(82));
        for byte in self.0 {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        let check = Digest::of(text.as_bytes()).to_string();
        text.push(' ');
        text.push_str(&check[..16]);
        text.push('\n');
        text
    }

    /// Reads what [`Secret::to_text`] writes.
    pub(super) fn from_text(text: &[u8]) -> Option<Self> {
        let (digits, check) = text.strip_suffix(b"\n")?.split_at_checked(64)?;
        let expected = Digest::of(digits).to_string();
        if check.strip_prefix(b" ")? != &expected.as_bytes()[..16] {
            return None;
        }
        let (digits, _) = digits.as_chunks::<2>();
        let digits: &[[u8; 2]; 32] = digits.try_into().ok()?;
        let mut secret = [0; 32];
        for (byte, pair) in secret.iter_mut().zip(digits) {
            let [high, low] = pair.map(|digit| match digit {
                b'0'..=b'9' => Some(digit - b'0'),
                b'a'..=b'f' => Some(digit - b'a' + 10),
                _ => None,
            });
            *byte = high? << 4 | low?;
        }
        Some(Secret(secret))
    }
}

fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    use hmac::{KeyInit, Mac};
    // A key is filled up with zeros to a block, as the RFC says.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = hmac::Hmac::<sha2::Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl PrivateKey {
    /// Makes a key from 32 bytes that `random` fills; they must be fit for keys.
    pub fn generate(random: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed);
        PrivateKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message`. The same key and message always give the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// A secret of this host for another use, named by `label`: HMAC-SHA-256 of the label under the private key.
    pub fn derive(&self, label: &str) -> Secret {
        Secret(hmac(self.0.as_bytes(), label.as_bytes()))
    }

    /// PKCS#8 version 1 PEM. The text is wiped when dropped.
    ///
    /// # Errors
    /// [`TrustError::Encoding`] never, with a key that exists.
    pub fn to_pem(&self) -> Result<impl Deref<Target = String> + use<>, TrustError> {
        // By hand: the library's encoder leaves a copy of the secret on the stack.
        let mut der = Zeroizing::new([0; 48]);
        der[..16].copy_from_slice(&PKCS8_PREFIX);
        der[16..].copy_from_slice(self.0.as_bytes());
        pem::encode_string("PRIVATE KEY", LineEnding::LF, &*der)
            .map(Zeroizing::new)
            .map_err(|_| TrustError::Encoding)
    }

    /// Reads PKCS#8 PEM, version 1 or 2. A public key that stands in it must be the right one.
    ///
    /// # Errors
    /// [`TrustError::PrivateKeyText`].
    pub fn from_pem(text: &str) -> Result<Self, TrustError> {
        let mut pair = KeypairBytes::from_pkcs8_pem(text).map_err(|_| TrustError::PrivateKeyText)?;
        let key = ed25519_dalek::SigningKey::try_from(&pair).map_err(|_| TrustError::PrivateKeyText);
        // The pair wipes itself only with a feature of its crate that ours does not switch on.
        pair.secret_key.zeroize();
        Ok(PrivateKey(key?))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public().id())
    }
}

impl PublicKey {
    /// Takes the 32 bytes of RFC 8032.
    ///
    /// # Errors
    /// [`TrustError::PublicKeyPoint`] for bytes off the curve, of low order or not canonical.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, TrustError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| TrustError::PublicKeyPoint)?;
        // Decompression takes encodings of y that exceed the field's prime; each key must have one form only.
        if key.is_weak() || key.to_edwards().compress().as_bytes() != bytes {
            return Err(TrustError::PublicKeyPoint);
        }
        Ok(PublicKey(key))
    }

    /// The 32 bytes of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// DER of the SPKI structure.
    pub fn to_der(&self) -> [u8; 44] {
        let mut der = [0; 44];
        der[..12].copy_from_slice(&SPKI_PREFIX);
        der[12..].copy_from_slice(self.as_bytes());
        der
    }

    /// Reads DER of the SPKI structure.
    ///
    /// # Errors
    /// [`TrustError::PublicKeyText`] or [`TrustError::PublicKeyPoint`].
    pub fn from_der(der: &[u8]) -> Result<Self, TrustError> {
        let bytes = der.strip_prefix(&SPKI_PREFIX);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        PublicKey::from_bytes(bytes.ok_or(TrustError::PublicKeyText)?)
    }

    /// SPKI PEM.
    ///
    /// # Errors
    /// [`TrustError::Encoding`] never, with a key that exists.
    pub fn to_pem(&self) -> Result<String, TrustError> {
        PublicKeyBytes(*self.as_bytes())
            .to_public_key_pem(LineEnding::LF)
            .map_err(|_| TrustError::Encoding)
    }

    /// Reads SPKI PEM.
    ///
    /// # Errors
    /// [`TrustError::PublicKeyText`] or [`TrustError::PublicKeyPoint`].
    pub fn from_pem(text: &str) -> Result<Self, TrustError> {
        let bytes = PublicKeyBytes::from_public_key_pem(text).map_err(|_| TrustError::PublicKeyText)?;
        PublicKey::from_bytes(&bytes.0)
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(&self.to_der()))
    }

    /// Checks a signature by the strict rules: S below L, no low-order points, no cofactor.
    ///
    /// # Errors
    /// [`TrustError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), TrustError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .verify_strict(message, &signature)
            .map_err(|_| TrustError::BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

impl Signature {
    /// Wraps the 64 bytes of RFC 8032.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Signature(bytes)
    }

    /// The 64 bytes of RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

impl KeyId {
    /// Takes a digest for the id of a key.
    pub const fn from_digest(digest: Digest) -> Self {
        KeyId(digest)
    }

    /// The id as a digest.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EnclaveId {
    /// The enclave whose first log key this is.
    pub fn of(genesis_log_key: &PublicKey) -> Self {
        let mut text = genesis_log_key.id().to_string();
        text.truncate(16);
        EnclaveId(text)
    }

    /// The 16 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnclaveId {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 16 && text.bytes().all(hex) {
            Ok(EnclaveId(text.to_owned()))
        } else {
            Err(TrustError::EnclaveIdText)
        }
    }
}

impl fmt::Display for EnclaveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EnclaveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::pkcs8::EncodePrivateKey;

    use super::*;

    /// The key of RFC 8410, section 10.3, in both versions.
    const RFC_V1: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const RFC_V2: &str = "-----BEGIN PRIVATE KEY-----\n\
        MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
        Z9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PRIVATE KEY-----\n";
    const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let mut bytes = [0; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
        }
        bytes
    }

    #[test]
    fn both_versions_of_pkcs8_are_read_and_version_1_is_written() {
        for text in [RFC_V1, RFC_V2] {
            let key = PrivateKey::from_pem(text).unwrap();
            assert_eq!(&*key.to_pem().unwrap(), RFC_V1);
            assert_eq!(key.public().to_pem().unwrap(), RFC_PUBLIC);
        }
        assert_eq!(
            PublicKey::from_pem(RFC_PUBLIC).unwrap().to_pem().unwrap(),
            RFC_PUBLIC
        );
    }

    #[test]
    fn a_version_2_file_with_another_public_key_is_refused() {
        let key = PrivateKey::generate(&mut |bytes| bytes.fill(7));
        let pair = KeypairBytes {
            secret_key: [8; 32],
            public_key: Some(PublicKeyBytes(*key.public().as_bytes())),
        };
        let text = pair.to_pkcs8_pem(LineEnding::LF).unwrap();
        assert!(matches!(
            PrivateKey::from_pem(&text),
            Err(TrustError::PrivateKeyText)
        ));
    }

    #[test]
    fn texts_that_are_no_keys_are_refused() {
        for text in [
            "",
            RFC_PUBLIC,
            &RFC_V1[..60],
            &RFC_V1.replace("MC4CAQAwBQYDK2Vw", "MC4CAQAwBQYDK2Vx"),
        ] {
            assert!(PrivateKey::from_pem(text).is_err(), "{text}");
        }
        for text in ["", RFC_V1, &RFC_PUBLIC.replace("K2Vw", "K2Vx")] {
            assert!(PublicKey::from_pem(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signing_gives_the_vectors_of_rfc_8032() {
        let vectors = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "r",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ];
        for (seed, public, message, signature) in vectors {
            let key = PrivateKey::generate(&mut |bytes| bytes.copy_from_slice(&hex::<32>(seed)));
            assert_eq!(key.public().as_bytes(), &hex::<32>(public));
            assert_eq!(key.sign(message.as_bytes()).as_bytes(), &hex::<64>(signature));
            let signature = Signature::from_bytes(hex(signature));
            assert!(key.public().verify(message.as_bytes(), &signature).is_ok());
            assert!(key.public().verify(b"other", &signature).is_err());
        }
    }

    #[test]
    fn a_signature_with_s_above_the_group_order_is_refused() {
        let key = PrivateKey::generate(&mut |bytes| bytes.fill(3));
        let mut bytes = *key.sign(b"message").as_bytes();
        // S + L signs the same message for a lax verifier.
        let order: [u8; 32] = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut carry = 0_u16;
        for (byte, add) in bytes[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        let refused = key.public().verify(b"message", &Signature::from_bytes(bytes));
        assert!(matches!(refused, Err(TrustError::BadSignature)));
    }

    /// The order of the group, little-endian.
    const ORDER: [u64; 4] = [
        0x5812_631a_5cf5_d3ed,
        0x14de_f9de_a2f7_9cd6,
        0,
        0x1000_0000_0000_0000,
    ];

    /// `a + b` modulo the order; both are below it.
    fn add(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
        let (mut sum, mut carry) = ([0; 4], 0_u128);
        for index in 0..4 {
            let wide = u128::from(a[index]) + u128::from(b[index]) + carry;
            sum[index] = wide as u64;
            carry = wide >> 64;
        }
        let below = sum.iter().rev().lt(ORDER.iter().rev());
        if below {
            return sum;
        }
        let mut borrow = false;
        for index in 0..4 {
            let (first, under) = sum[index].overflowing_sub(ORDER[index]);
            let (second, again) = first.overflowing_sub(u64::from(borrow));
            sum[index] = second;
            borrow = under || again;
        }
        sum
    }

    /// The little-endian number `factor` times `b`, modulo the order.
    fn times(factor: &[u8], b: [u64; 4]) -> [u64; 4] {
        let mut product = [0; 4];
        for bit in (0..factor.len() * 8).rev() {
            product = add(product, product);
            if factor[bit / 8] >> (bit % 8) & 1 == 1 {
                product = add(product, b);
            }
        }
        product
    }

    #[test]
    fn a_signature_that_holds_by_the_lax_rules_alone_is_refused() {
        use sha2::{Digest as _, Sha512};
        let seed = [9; 32];
        let key = PrivateKey::generate(&mut |bytes| bytes.copy_from_slice(&seed));
        let mut secret: [u8; 64] = Sha512::digest(seed).into();
        secret[0] &= 248;
        secret[31] = secret[31] & 63 | 64;
        // R is the neutral element, so that S = H(R, A, M) times the secret solves the equation.
        let mut signature = [0; 64];
        signature[0] = 1;
        let challenge = Sha512::new()
            .chain_update(&signature[..32])
            .chain_update(key.public().as_bytes())
            .chain_update(b"message")
            .finalize();
        let s = times(&challenge, times(&secret[..32], [1, 0, 0, 0]));
        for (bytes, word) in signature[32..].chunks_mut(8).zip(s) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let lax = ed25519_dalek::Signature::from_bytes(&signature);
        assert!(ed25519_dalek::Verifier::verify(&key.public().0, b"message", &lax).is_ok());
        let strict = key.public().verify(b"message", &Signature::from_bytes(signature));
        assert!(matches!(strict, Err(TrustError::BadSignature)));
    }

    #[test]
    fn low_order_and_non_canonical_public_keys_are_refused() {
        let refused = [
            // The neutral element, the point of order 2, and one of order 8.
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            // y = p + 3, which is y = 3 in another dress; and x = 0 with the sign bit set.
            "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0100000000000000000000000000000000000000000000000000000000000080",
            // Not on the curve.
            "0200000000000000000000000000000000000000000000000000000000000000",
        ];
        for text in refused {
            assert!(PublicKey::from_bytes(&hex(text)).is_err(), "{text}");
        }
        let three = hex("0300000000000000000000000000000000000000000000000000000000000000");
        assert!(
            PublicKey::from_bytes(&three).is_ok(),
            "the canonical form of the fourth one is a key"
        );
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let key = PrivateKey::generate(&mut |bytes| bytes.fill(0xab));
        let shown = format!("{key:?} {:?}", key.public());
        assert!(!shown.contains("abab") && !shown.contains("171, 171"), "{shown}");
    }

    #[test]
    fn the_enclave_id_begins_the_key_id() {
        let key = PublicKey::from_pem(RFC_PUBLIC).unwrap();
        let id = EnclaveId::of(&key);
        assert_eq!(id.as_str().len(), 16);
        assert!(key.id().to_string().starts_with(id.as_str()));
        assert_eq!(id.as_str().parse::<EnclaveId>().unwrap(), id);
        assert!("0123456789ABCDEF".parse::<EnclaveId>().is_err());
        assert!("0123".parse::<EnclaveId>().is_err());
    }
}
