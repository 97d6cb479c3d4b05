//! What the specifications themselves print as examples, kept as data with their sources in `tests/vectors/`.
//!
//! A vector that could not be had is named in its file, never made up; where another implementation is at hand, it first
//! confirms that a file says what the specification does.

use std::path::Path;

use base64::Engine as _;
use fastness::bundle::dsse;
use fastness::domain::{Digest, canonical, leaf_hash};
use fastness::ledger::{
    Frontier, LedgerError, SignedNote, Subtrees, TreeHead, consistency_proof, frontier_at, inclusion_proof,
    verify_consistency, verify_inclusion,
};
use fastness::trust::{NoteKey, PrivateKey, PublicKey, Signature};
use serde_json::Value;

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name);
    let value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(
        value["source"].as_str().unwrap().len() > 10,
        "{name} names its source"
    );
    value
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn array<const N: usize>(value: &Value, key: &str) -> [u8; N] {
    bytes(text(value, key)).try_into().unwrap()
}

#[test]
fn ed25519_signs_and_verifies_as_rfc_8032_prints() {
    let file = read("ed25519.json");
    for test in list(&file, "tests") {
        let name = text(test, "name");
        let seed: [u8; 32] = array(test, "seed");
        let message = bytes(text(test, "message"));
        let signature: [u8; 64] = array(test, "signature");
        let key = PrivateKey::generate(&mut |bytes| bytes.copy_from_slice(&seed));
        assert_eq!(key.public().as_bytes(), &array::<32>(test, "public"), "{name}");
        assert_eq!(key.sign(&message).as_bytes(), &signature, "{name}");
        let signature = Signature::from_bytes(signature);
        assert!(key.public().verify(&message, &signature).is_ok(), "{name}");
        assert!(
            key.public()
                .verify(&[&message[..], b"x"].concat(), &signature)
                .is_err(),
            "{name}"
        );
    }
    assert_eq!(list(&file, "tests").len(), 5);
}

#[test]
fn of_the_twelve_edge_cases_of_ed25519_the_one_that_strict_rules_allow_is_accepted() {
    let file = read("ed25519-edge.json");
    let mut lax = 0;
    for test in list(&file, "tests") {
        let public: [u8; 32] = array(test, "public");
        let message = bytes(text(test, "message"));
        let signature: [u8; 64] = array(test, "signature");
        let holds = PublicKey::from_bytes(&public)
            .is_ok_and(|key| key.verify(&message, &Signature::from_bytes(signature)).is_ok());
        assert_eq!(
            holds,
            test["holds"].as_bool().unwrap(),
            "case {}: {}",
            text(test, "name"),
            text(test, "what")
        );
        // The lax rules of the same library take more of them, so that the file holds what it is meant to.
        let parsed = ed25519_dalek::Signature::from_bytes(&signature);
        let verified = ed25519_dalek::VerifyingKey::from_bytes(&public)
            .map(|key| ed25519_dalek::Verifier::verify(&key, &message, &parsed));
        lax += u32::from(matches!(verified, Ok(Ok(()))));
    }
    assert_eq!(list(&file, "tests").len(), 12);
    assert!(lax >= 4, "{lax}");
}

struct Leaves(Vec<Digest>);

impl Subtrees for Leaves {
    fn subtree(&self, height: u32, index: u64) -> Result<Digest, LedgerError> {
        let mut tree = Frontier::default();
        let from = (index << height) as usize;
        self.0[from..from + (1 << height)]
            .iter()
            .for_each(|leaf| tree.push(*leaf));
        Ok(tree.root())
    }
}

#[test]
fn roots_and_proofs_are_those_of_the_reference_implementation_of_certificate_transparency() {
    let file = read("rfc6962.json");
    let leaves: Vec<Digest> = list(&file, "leaves")
        .iter()
        .map(|leaf| leaf_hash(&bytes(leaf.as_str().unwrap())))
        .collect();
    let leaves = Leaves(leaves);
    let head = |size: u64| TreeHead {
        size,
        root: file["roots"][size as usize].as_str().unwrap().parse().unwrap(),
    };
    for size in 0..=8 {
        assert_eq!(
            frontier_at(&leaves, size).unwrap().root(),
            head(size).root,
            "size {size}"
        );
    }
    let proof = |test: &Value| -> Vec<Digest> {
        let hashes = list(test, "proof").iter();
        hashes
            .map(|hash| hash.as_str().unwrap().parse().unwrap())
            .collect()
    };
    for test in list(&file, "inclusion") {
        let (index, size) = (test["index"].as_u64().unwrap(), test["size"].as_u64().unwrap());
        let (right, leaf) = (proof(test), leaves.0[index as usize]);
        assert_eq!(inclusion_proof(&leaves, index, size).unwrap(), right, "{test}");
        assert_eq!(
            verify_inclusion(&leaf, index, size, &right, &head(size).root),
            Ok(()),
            "{test}"
        );
        assert!(
            verify_inclusion(&leaf, index, size, &right, &head(size - 1).root).is_err(),
            "{test}"
        );
    }
    for test in list(&file, "consistency") {
        let (from, to) = (test["from"].as_u64().unwrap(), test["to"].as_u64().unwrap());
        let right = proof(test);
        assert_eq!(consistency_proof(&leaves, from, to).unwrap(), right, "{test}");
        assert_eq!(verify_consistency(head(from), head(to), &right), Ok(()), "{test}");
        let other = TreeHead {
            size: from,
            root: head(from - 1).root,
        };
        assert!(verify_consistency(other, head(to), &right).is_err(), "{test}");
    }
}

/// What another implementation of RFC 8785 gives.
fn oracle(json: &str) -> String {
    let value: Value = serde_json::from_str(json).unwrap();
    serde_json_canonicalizer::to_string(&value).unwrap()
}

/// Holds a text against the profile: taken as `right`, or refused with the code written down.
fn profile(test: &Value, given: &str, right: &str) {
    let parsed = canonical::parse(given.as_bytes());
    match (test["refused"].as_str(), parsed) {
        (None, Ok(value)) => assert_eq!(canonical::write(&value), right.as_bytes(), "{test}"),
        (Some(code), Err(error)) => assert_eq!(error.kind.code(), code, "{test}"),
        (expected, found) => panic!("{expected:?}, not {found:?}: {test}"),
    }
}

#[test]
fn numbers_of_rfc_8785_are_taken_or_refused_as_written_down() {
    let file = read("jcs-numbers.json");
    for test in list(&file, "tests") {
        let number = f64::from_bits(u64::from_str_radix(text(test, "ieee754"), 16).unwrap());
        let json = text(test, "json");
        assert_eq!(
            serde_json_canonicalizer::to_string(&number).unwrap(),
            json,
            "{test}"
        );
        profile(test, json, json);
    }
    let refused = list(&file, "tests")
        .iter()
        .filter(|test| !test["refused"].is_null());
    assert_eq!((list(&file, "tests").len(), refused.count()), (24, 22));
}

#[test]
fn documents_of_the_author_of_rfc_8785_are_taken_or_refused_as_written_down() {
    let file = read("jcs-documents.json");
    for test in list(&file, "tests") {
        let (input, output) = (text(test, "input"), text(test, "output"));
        assert_eq!(oracle(input), output, "{test}");
        profile(test, input, output);
    }
    assert_eq!(list(&file, "tests").len(), 6);
}

#[test]
fn notes_of_others_are_read_verified_and_written_back() {
    let file = read("notes.json");
    for test in list(&file, "tests") {
        let note = text(test, "note");
        let parsed = SignedNote::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.to_string(), note);
        if let Some(key) = test["key"].as_str() {
            let key: NoteKey = key.parse().unwrap();
            parsed.verify(&key).unwrap();
            let changed = SignedNote::parse(note.replacen("you", "we", 1).as_bytes()).unwrap();
            assert!(changed.verify(&key).is_err());
        }
    }
}

#[test]
fn the_pre_authentication_encoding_is_the_one_of_the_dsse_protocol() {
    for test in list(&read("dsse.json"), "tests") {
        let encoded = dsse::pae(text(test, "type"), text(test, "body").as_bytes());
        assert_eq!(encoded, text(test, "pae").as_bytes());
    }
    // The length is that of the bytes, and what is signed cannot run over into the type.
    let encoded = dsse::pae(
        "t",
        base64::engine::general_purpose::STANDARD
            .decode("w6k=")
            .unwrap()
            .as_slice(),
    );
    assert_eq!(encoded, "DSSEv1 1 t 2 \u{e9}".as_bytes());
}
