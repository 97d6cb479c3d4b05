//! Roots of trust that must be refused, each named by its code; and what must hold of those that are not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::trust::{
    Chain, Distrust, PrivateKey, PublicKey, Revocation, Role, RoleKeys, Root, RootError, Signature,
    SignedRoot, judge,
};

use crate::support::random::Random;

const ENCLAVE: &str = "00112233445566ff";
const LEDGER: &str = "fastness/00112233445566ff/acme";
const OTHER_LEDGER: &str = "fastness/00112233445566ff/other";

/// A key that guards nothing; the seed is 32 bytes of this value.
fn key(seed: u8) -> PrivateKey {
    PrivateKey::generate(&mut |bytes| bytes.fill(seed))
}

fn public(seed: u8) -> PublicKey {
    key(seed).public()
}

fn role(seeds: &[u8], threshold: u32) -> RoleKeys {
    let mut keys: Vec<PublicKey> = seeds.iter().map(|seed| public(*seed)).collect();
    keys.sort_by_key(PublicKey::id);
    RoleKeys { keys, threshold }
}

/// Root keys 1, 2, 3, of which two sign; log key 11, export key 12, orders key 13.
fn content(version: u64) -> Root {
    Root {
        enclave: ENCLAVE.parse().unwrap(),
        revocations: Vec::new(),
        roles: BTreeMap::from([
            (Role::Root, role(&[1, 2, 3], 2)),
            (Role::Log, role(&[11], 1)),
            (Role::Export, role(&[12], 1)),
            (Role::Orders, role(&[13], 1)),
        ]),
        version,
    }
}

fn signed(root: Root, seeds: &[u8]) -> SignedRoot {
    let mut signed = SignedRoot::draft(root).unwrap();
    for seed in seeds {
        signed.sign(&key(*seed));
    }
    signed
}

fn first() -> SignedRoot {
    signed(content(1), &[1, 2])
}

/// The code with which a chain of `first` and these is refused; `ok` when it is not.
fn code_of(roots: &[SignedRoot]) -> &'static str {
    let documents: Vec<Vec<u8>> = roots.iter().map(SignedRoot::to_bytes).collect();
    match Chain::of(documents.iter().map(Vec::as_slice)) {
        Ok(_) => "ok",
        Err((_, error)) => error.code(),
    }
}

fn revoked(seed: u8, origin: &str, below: u64) -> Revocation {
    Revocation {
        key: public(seed).id(),
        origin: origin.to_owned(),
        below,
    }
}

#[test]
fn a_chain_is_taken_or_refused_by_name() {
    let next = |change: &dyn Fn(&mut Root), seeds: &[u8]| {
        let mut root = content(2);
        change(&mut root);
        root.sort();
        vec![first(), signed(root, seeds)]
    };
    let same: &dyn Fn(&mut Root) = &|_| {};
    let new_keys: &dyn Fn(&mut Root) = &|root| {
        root.roles.insert(Role::Root, role(&[4, 5], 2));
    };
    let revoke: &dyn Fn(&mut Root) = &|root| root.revocations.push(revoked(11, LEDGER, 100));
    let cases: &[(&str, Vec<SignedRoot>, &str)] = &[
        ("as it should be", next(same, &[1, 3]), "ok"),
        ("all three", next(same, &[1, 2, 3]), "ok"),
        (
            "new keys, old and new signed",
            next(new_keys, &[1, 2, 4, 5]),
            "ok",
        ),
        (
            "nobody signed the first",
            vec![signed(content(1), &[])],
            "root_own_threshold_unmet",
        ),
        (
            "one signed the first",
            vec![signed(content(1), &[1])],
            "root_own_threshold_unmet",
        ),
        (
            "a stranger signed with one",
            vec![signed(content(1), &[1, 9])],
            "root_own_threshold_unmet",
        ),
        (
            "a log key signed with one",
            vec![signed(content(1), &[1, 11])],
            "root_own_threshold_unmet",
        ),
        (
            "the old threshold is missing",
            next(new_keys, &[1, 4, 5]),
            "root_old_threshold_unmet",
        ),
        (
            "only the new keys signed",
            next(new_keys, &[4, 5]),
            "root_old_threshold_unmet",
        ),
        (
            "the new threshold is missing",
            next(new_keys, &[1, 2, 4]),
            "root_own_threshold_unmet",
        ),
        (
            "only the old keys signed",
            next(new_keys, &[1, 2]),
            "root_own_threshold_unmet",
        ),
        (
            "the chain begins with 2",
            vec![signed(content(2), &[1, 2])],
            "root_version_gap",
        ),
        (
            "3 after 1",
            vec![first(), signed(content(3), &[1, 2])],
            "root_version_gap",
        ),
        ("1 after 1", vec![first(), first()], "root_roll_back"),
        (
            "another 1 after 1",
            vec![
                first(),
                signed(
                    Root {
                        roles: content(1)
                            .roles
                            .into_iter()
                            .filter(|(role, _)| *role != Role::Orders)
                            .collect(),
                        ..content(1)
                    },
                    &[1, 2],
                ),
            ],
            "root_fork",
        ),
        (
            "1 again after 2",
            [next(same, &[1, 2]), vec![first()]].concat(),
            "root_roll_back",
        ),
        (
            "another enclave",
            next(
                &|root| root.enclave = "ffffffffffffffff".parse().unwrap(),
                &[1, 2],
            ),
            "root_other_enclave",
        ),
        (
            "a revocation that is gone",
            [next(revoke, &[1, 2]), vec![signed(content(3), &[1, 2])]].concat(),
            "root_revocation_dropped",
        ),
        (
            "a revocation that was moved on",
            [
                next(revoke, &[1, 2]),
                vec![signed(
                    Root {
                        revocations: vec![revoked(11, LEDGER, 101)],
                        ..content(3)
                    },
                    &[1, 2],
                )],
            ]
            .concat(),
            "root_revocation_dropped",
        ),
        (
            "a revoked key that counts in one more ledger",
            [
                next(revoke, &[1, 2]),
                vec![signed(
                    Root {
                        revocations: vec![revoked(11, LEDGER, 100), revoked(11, OTHER_LEDGER, 1)],
                        ..content(3)
                    },
                    &[1, 2],
                )],
            ]
            .concat(),
            "root_revocation_dropped",
        ),
        (
            "a revocation that was moved back",
            [
                next(revoke, &[1, 2]),
                vec![signed(
                    Root {
                        revocations: vec![revoked(11, LEDGER, 50)],
                        ..content(3)
                    },
                    &[1, 2],
                )],
            ]
            .concat(),
            "ok",
        ),
    ];
    for (what, chain, expected) in cases {
        assert_eq!(code_of(chain), *expected, "{what}");
    }
}

#[test]
fn a_revoked_key_that_was_left_out_does_not_come_back() {
    let mut second = content(2);
    second.revocations.push(revoked(11, LEDGER, 100));
    let mut third = content(3);
    third.roles.insert(Role::Log, role(&[14], 1));
    let chain = [first(), signed(second, &[1, 2]), signed(third, &[1, 2])];
    assert_eq!(code_of(&chain), "ok");
    let back = [chain.as_slice(), &[signed(content(4), &[1, 2])]].concat();
    assert_eq!(code_of(&back), "root_revocation_dropped");
}

#[test]
fn a_content_that_cannot_be_is_refused_by_name() {
    let check = |what: &str, change: &dyn Fn(&mut Root), expected: &str| {
        let mut root = content(1);
        change(&mut root);
        let code = SignedRoot::draft(root).map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(code, expected, "{what}");
    };
    let set = |of: Role, keys: RoleKeys| move |root: &mut Root| drop(root.roles.insert(of, keys.clone()));
    check("nothing wrong", &|_| {}, "ok");
    check(
        "no threshold",
        &set(Role::Root, role(&[1, 2], 0)),
        "root_threshold",
    );
    check(
        "more than there are",
        &set(Role::Root, role(&[1, 2], 3)),
        "root_threshold",
    );
    check("all there are", &set(Role::Root, role(&[1, 2], 2)), "ok");
    check(
        "a role without keys",
        &set(Role::Witness, role(&[], 0)),
        "root_threshold",
    );
    check(
        "two log signatures",
        &set(Role::Log, role(&[11, 14], 2)),
        "root_threshold",
    );
    check(
        "two export signatures",
        &set(Role::Export, role(&[12, 14], 2)),
        "root_threshold",
    );
    check("two witnesses", &set(Role::Witness, role(&[21, 22], 2)), "ok");
    check(
        "a key twice in a role",
        &set(Role::Log, role(&[11, 11], 1)),
        "root_duplicate_key",
    );
    check(
        "a root key that signs logs",
        &set(Role::Log, role(&[1], 1)),
        "root_duplicate_key",
    );
    check(
        "a log key that signs bundles",
        &set(Role::Export, role(&[11], 1)),
        "root_duplicate_key",
    );
    let mut unsorted = role(&[1, 2, 3], 2);
    unsorted.keys.reverse();
    check("keys out of order", &set(Role::Root, unsorted), "root_not_sorted");
    for (role, code) in [
        (Role::Root, "root_role_missing"),
        (Role::Log, "root_role_missing"),
        (Role::Export, "root_role_missing"),
        (Role::Orders, "ok"),
    ] {
        check(role.as_str(), &|root| drop(root.roles.remove(&role)), code);
    }
    check("version 0", &|root| root.version = 0, "root_version");
    check("version 257", &|root| root.version = 257, "root_version");
    let revoke = |list: Vec<Revocation>| move |root: &mut Root| root.revocations.clone_from(&list);
    check("a revocation", &revoke(vec![revoked(11, LEDGER, 0)]), "ok");
    check(
        "of a stranger",
        &revoke(vec![revoked(9, LEDGER, 5)]),
        "root_revocation",
    );
    check(
        "of a root key",
        &revoke(vec![revoked(1, LEDGER, 5)]),
        "root_revocation",
    );
    check(
        "for another enclave",
        &revoke(vec![revoked(11, "fastness/ffffffffffffffff/acme", 5)]),
        "root_revocation",
    );
    check(
        "beyond all sizes",
        &revoke(vec![revoked(11, LEDGER, 1 << 53)]),
        "root_revocation",
    );
    check(
        "twice",
        &revoke(vec![revoked(11, LEDGER, 5), revoked(11, LEDGER, 6)]),
        "root_not_sorted",
    );
}

/// What is signed as JSON, changed as text and signed again by all three root keys.
fn forged(change: impl Fn(String) -> String) -> &'static str {
    let payload = String::from_utf8(content(1).to_bytes().unwrap()).unwrap();
    let payload = change(payload);
    let pae = fastness::trust::pae(fastness::trust::ROOT_PAYLOAD_TYPE, payload.as_bytes());
    let mut signatures: Vec<String> = [1, 2, 3]
        .map(|seed| {
            let sig = STANDARD.encode(key(seed).sign(&pae).as_bytes());
            format!("{{\"keyid\":\"{}\",\"sig\":\"{sig}\"}}", public(seed).id())
        })
        .to_vec();
    signatures.sort();
    let document = format!(
        "{{\"payload\":\"{}\",\"payloadType\":\"{}\",\"signatures\":[{}]}}\n",
        STANDARD.encode(payload),
        fastness::trust::ROOT_PAYLOAD_TYPE,
        signatures.join(",")
    );
    SignedRoot::parse(document.as_bytes()).map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn a_content_written_otherwise_is_refused_whoever_signed_it() {
    let id = |seed: u8| public(seed).id().to_string();
    assert_eq!(forged(|text| text), "ok");
    for (from, to, expected) in [
        (":1}", ": 1}", "root_malformed"),
        (":1}", ":1,\"version\":1}", "root_malformed"),
        (":1}", ":1,\"z\":1}", "root_malformed"),
        (":1}", ":1.0}", "root_malformed"),
        ("\"version\":1}", "\"version\":-1}", "root_malformed"),
        ("root-of-trust:v1", "root-of-trust:v2", "root_malformed"),
        (ENCLAVE, "00112233445566FF", "root_malformed"),
        ("\"orders\"", "\"payments\"", "root_unknown_role"),
        (
            "\"spki\":\"MCowBQYDK2VwAyEA",
            "\"spki\":\"MCowBQYDK2VwAyEB",
            "root_malformed",
        ),
        ("\"spki\":\"MCow", "\"spki\":\"MCo", "root_malformed"),
        (&id(11), &id(12), "root_keyid_of_another"),
        (&id(11), &id(11).to_uppercase(), "root_malformed"),
    ] {
        let found = forged(|text| {
            assert!(text.contains(from), "{from} is not in {text}");
            text.replacen(from, to, 1)
        });
        assert_eq!(found, expected, "{from} → {to}");
    }
}

#[test]
fn an_envelope_written_otherwise_is_refused() {
    let good = String::from_utf8(first().to_bytes()).unwrap();
    let code = |text: &str| SignedRoot::parse(text.as_bytes()).map_or_else(|error| error.code(), |_| "ok");
    assert_eq!(code(&good), "ok");
    let (begin, end) = (good.find('[').unwrap() + 1, good.find(']').unwrap());
    let list = &good[begin..end];
    let (one, two) = list
        .split_once("},")
        .map(|(a, b)| (format!("{a}}}"), b.to_owned()))
        .unwrap();
    for (what, text, expected) in [
        ("no LF", good.trim_end().to_owned(), "root_not_canonical"),
        (
            "a space",
            good.replace("\",\"sig", "\", \"sig"),
            "root_not_canonical",
        ),
        (
            "another type",
            good.replace("fastness.root", "in-toto"),
            "root_payload_type",
        ),
        (
            "a surplus field",
            good.replace("{\"payload\"", "{\"extra\":1,\"payload\""),
            "root_malformed",
        ),
        (
            "signatures out of order",
            good.replace(list, &format!("{two},{one}")),
            "root_not_sorted",
        ),
        (
            "one key counted twice",
            good.replace(list, &format!("{one},{one}")),
            "root_duplicate_signature",
        ),
        ("nothing", String::new(), "root_malformed"),
        ("too long", " ".repeat(1 << 21), "root_too_large"),
    ] {
        assert_eq!(code(&text), expected, "{what}");
    }
}

#[test]
fn a_trusted_key_id_with_the_signature_of_another_key_is_refused() {
    let mut root = signed(content(1), &[1]);
    let message = fastness::trust::pae(
        fastness::trust::ROOT_PAYLOAD_TYPE,
        &content(1).to_bytes().unwrap(),
    );
    root.insert(public(2).id(), key(1).sign(&message));
    assert_eq!(code_of(std::slice::from_ref(&root)), "root_bad_signature");
    // Nor does a signature over the content itself, without its type, or one that was made for a bundle.
    for other in [
        key(2).sign(&content(1).to_bytes().unwrap()),
        key(2).sign(&fastness::trust::pae(
            "application/vnd.in-toto+json",
            &content(1).to_bytes().unwrap(),
        )),
        Signature::from_bytes([0; 64]),
    ] {
        root.insert(public(2).id(), other);
        assert_eq!(code_of(std::slice::from_ref(&root)), "root_bad_signature");
    }
    root.sign(&key(2));
    assert_eq!(code_of(&[root]), "ok");
}

#[test]
fn a_key_counts_in_its_role_and_below_the_size_of_its_revocation() {
    let mut root = content(2);
    root.revocations = vec![revoked(11, LEDGER, 100), revoked(11, OTHER_LEDGER, 0)];
    root.sort();
    let judged = |of: Role, seed: u8, origin: &str, size: u64| judge(&root, of, &public(seed), origin, size);
    assert!(judged(Role::Log, 11, LEDGER, 0).is_ok());
    assert!(judged(Role::Log, 11, LEDGER, 99).is_ok());
    assert!(judged(Role::Export, 12, LEDGER, 1 << 40).is_ok());
    for (of, seed, origin, size) in [
        (Role::Log, 11, LEDGER, 100),
        (Role::Log, 11, LEDGER, 101),
        (Role::Log, 11, OTHER_LEDGER, 0),
        // A ledger that the revocation does not name.
        (Role::Log, 11, "fastness/00112233445566ff/new", 0),
    ] {
        let refused = judged(of, seed, origin, size);
        assert!(
            matches!(refused, Err(Distrust::Revoked { .. })),
            "{origin} at {size}: {refused:?}"
        );
    }
    for (of, seed) in [
        (Role::Log, 12),
        (Role::Export, 11),
        (Role::Log, 1),
        (Role::Root, 11),
    ] {
        let refused = judged(of, seed, LEDGER, 1);
        assert!(
            matches!(refused, Err(Distrust::OtherRole { .. })),
            "{of} {seed}: {refused:?}"
        );
    }
    assert!(matches!(
        judged(Role::Log, 9, LEDGER, 1),
        Err(Distrust::NotListed { .. })
    ));
}

#[test]
fn whatever_is_made_is_read_back_and_every_changed_byte_is_found() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut root = content(1 + random.below(200));
        let keys = 1 + random.below(6);
        let seeds: Vec<u8> = (0..keys).map(|place| 40 + place as u8).collect();
        root.roles
            .insert(Role::Root, role(&seeds, 1 + random.below(keys) as u32));
        if random.below(2) == 0 {
            root.revocations = vec![revoked(11, LEDGER, random.below(1 << 40)), revoked(12, LEDGER, 7)];
        }
        root.sort();
        let root = signed(root, &seeds);
        let bytes = root.to_bytes();
        let read = SignedRoot::parse(&bytes).unwrap();
        assert_eq!(read, root, "seed {seed}");
        assert_eq!(read.fingerprint(), root.fingerprint());
        assert_eq!(read.voices(read.root()), Ok(seeds.len()), "seed {seed}");
        for _ in 0..60 {
            let (place, bit) = (random.below(bytes.len() as u64) as usize, random.below(8));
            let mut changed = bytes.clone();
            changed[place] ^= 1 << bit;
            let whole = SignedRoot::parse(&changed).and_then(|root| root.voices(root.root()));
            // A signer's id that is nobody's takes its voice away; everything else is refused.
            assert!(whole != Ok(seeds.len()), "seed {seed}: bit {bit} of byte {place}");
        }
    }
}

#[test]
fn a_refused_root_leaves_the_chain_as_it_was() {
    let mut chain = Chain::begin(first()).unwrap();
    let before = chain.clone();
    for bad in [
        signed(content(2), &[1]),
        signed(content(3), &[1, 2]),
        signed(
            Root {
                enclave: "ffffffffffffffff".parse().unwrap(),
                ..content(2)
            },
            &[1, 2],
        ),
    ] {
        assert!(chain.push(bad).is_err());
        assert_eq!(chain, before);
    }
    let refused = chain.push(first());
    assert_eq!(refused, Err(RootError::RollBack { held: 1, found: 1 }));
    chain.push(signed(content(2), &[2, 3])).unwrap();
    assert_eq!(chain.newest().root().version, 2);
}
