//! Check 9: roots of trust in a bundle, what they rest on, and the keys that they let sign.

use std::collections::BTreeMap;

use fastness::bundle::{Anchor, Check, Held, HeldTip, Member, Options, Status};
use fastness::domain::Digest;
use fastness::trust::{Fingerprint, PrivateKey, PublicKey, Revocation, Role, RoleKeys, Root, SignedRoot};

use super::fixture::{ORIGIN, Parts, export_key, frontier_at, log_key, options, outcome, writer};

const ENCLAVE: &str = "00112233445566ff";

/// A key that guards nothing; the seed is 32 bytes of this value.
pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::generate(&mut |bytes| bytes.fill(seed))
}

pub(super) fn role(keys: &[PrivateKey], threshold: u32) -> RoleKeys {
    let mut keys: Vec<PublicKey> = keys.iter().map(PrivateKey::public).collect();
    keys.sort_by_key(PublicKey::id);
    RoleKeys { keys, threshold }
}

/// Root keys 1 and 2, of which both sign; the keys of the fixture in their roles.
pub(super) fn content(version: u64) -> Root {
    Root {
        enclave: ENCLAVE.parse().unwrap(),
        revocations: Vec::new(),
        roles: BTreeMap::from([
            (Role::Root, role(&[key(1), key(2)], 2)),
            (Role::Log, role(&[log_key()], 1)),
            (Role::Export, role(&[export_key()], 1)),
        ]),
        version,
    }
}

pub(super) fn signed(root: Root) -> SignedRoot {
    let mut signed = SignedRoot::draft(root).unwrap();
    signed.sign(&key(1));
    signed.sign(&key(2));
    signed
}

pub(super) fn revoking(version: u64, of: &PrivateKey, below: u64) -> SignedRoot {
    let revocation = Revocation {
        key: of.public().id(),
        origin: ORIGIN.to_owned(),
        below,
    };
    signed(Root {
        revocations: vec![revocation],
        ..content(version)
    })
}

/// The bundle over events 5 to 12 with these roots, under these numbers.
pub(super) fn bundle(roots: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut writer = writer(5, 12);
    for (version, document) in roots {
        writer.add_bytes(Member::Root(*version), document.clone());
    }
    writer.set_trust_version(roots.last().map_or(0, |(version, _)| *version));
    let mut bytes = Vec::new();
    writer.write(&export_key(), &mut bytes).unwrap();
    bytes
}

pub(super) fn with(roots: &[SignedRoot]) -> Vec<u8> {
    let numbered = |root: &SignedRoot| (root.root().version, root.to_bytes());
    bundle(&roots.iter().map(numbered).collect::<Vec<_>>())
}

fn by(anchor: &Anchor) -> Options<'_> {
    Options {
        anchor: Some(anchor.clone()),
        ..Options::default()
    }
}

fn by_fingerprint(root: &SignedRoot) -> Anchor {
    Anchor::Fingerprint(root.fingerprint())
}

fn by_root(root: &SignedRoot) -> Anchor {
    Anchor::Root(Box::new(root.clone()))
}

/// Check 9, and the exit code.
fn trust(bundle: &[u8], options: Options<'_>) -> (Check, u8) {
    let report = outcome(bundle, options).report;
    (report.checks[8].clone(), report.exit_code)
}

#[track_caller]
fn good(bundle: &[u8], options: Options<'_>) {
    let (check, code) = trust(bundle, options);
    assert_eq!((check.status, code), (Status::Ok, 0), "{check:?}");
}

/// That the bundle is refused with this code, and that what is said has these words.
#[track_caller]
fn refused(bundle: &[u8], options: Options<'_>, code: u8, says: &str) {
    let report = outcome(bundle, options).report;
    let failure = report
        .first_failure()
        .unwrap_or_else(|| panic!("accepted: {report:#?}"));
    assert_eq!(report.exit_code, code, "{failure:?}");
    assert!(
        failure.to_string().contains(says),
        "{says:?} is not said: {failure}"
    );
}

#[test]
fn a_chain_leads_from_what_people_compared_to_the_keys() {
    let (one, two) = (signed(content(1)), signed(content(2)));
    let file = with(&[one.clone(), two.clone()]);
    good(&file, options());
    for anchor in [
        by_fingerprint(&one),
        by_fingerprint(&two),
        by_root(&one),
        by_root(&two),
    ] {
        good(&file, by(&anchor));
    }
    let stranger = signed(Root {
        enclave: "ffffffffffffffff".parse().unwrap(),
        ..content(1)
    });
    refused(
        &file,
        by(&by_fingerprint(&stranger)),
        12,
        "no root in the chain has the fingerprint",
    );
    refused(&file, Options::default(), 12, "no export key was given");
    // One who only changed what is in the chain is found by the fingerprint, whoever signed the bundle.
    let other = signed(Root {
        roles: content(1)
            .roles
            .into_iter()
            .chain([(Role::Witness, role(&[key(9)], 1))])
            .collect(),
        ..content(1)
    });
    refused(
        &with(&[other.clone(), two.clone()]),
        by(&by_fingerprint(&one)),
        12,
        "fingerprint",
    );
    refused(&with(&[other, two]), by(&by_root(&one)), 13, "fork");
}

#[test]
fn a_bundle_without_roots_verifies_by_keys_or_by_a_root_that_is_given() {
    let file = with(&[]);
    let (check, code) = trust(&file, options());
    assert_eq!((check.status, code), (Status::Skipped, 0), "{check:?}");
    good(&file, by(&by_root(&signed(content(1)))));
    refused(
        &file,
        by(&by_fingerprint(&signed(content(1)))),
        12,
        "no root of trust",
    );
}

#[test]
fn a_root_that_its_own_people_did_not_sign_vouches_for_nothing() {
    let sign = |version: u64, by: &[u8]| {
        let mut root = SignedRoot::draft(content(version)).unwrap();
        by.iter().for_each(|seed| root.sign(&key(*seed)));
        root
    };
    let mut forged = signed(content(1));
    forged.insert(key(1).public().id(), key(1).sign(b"something else"));
    let (none, chained) = (with(&[]), with(&[signed(content(1)), signed(content(2))]));
    for (root, says) in [
        (
            sign(1, &[]),
            "root_own_threshold_unmet: signed by 0 of its own root keys, 2 are needed",
        ),
        (sign(1, &[1]), "root_own_threshold_unmet: signed by 1"),
        // Keys of no role `root` are no voices, however many.
        (sign(1, &[1, 3, 4]), "root_own_threshold_unmet: signed by 1"),
        (sign(2, &[2]), "root_own_threshold_unmet: signed by 1"),
        (sign(3, &[]), "root_own_threshold_unmet: signed by 0"),
        (forged, "root_bad_signature"),
    ] {
        // Whatever the bundle carries: what was given by hand has to stand by itself.
        for file in [&none, &chained] {
            refused(file, by(&by_root(&root)), 12, says);
            let (check, _) = trust(file, by(&by_root(&root)));
            assert_eq!(check.status, Status::Failed, "{check:?}");
        }
    }
    good(&none, by(&by_root(&signed(content(7)))));
}

#[test]
fn a_chain_that_does_not_agree_with_itself_is_refused_with_keys_given_too() {
    let one = signed(content(1));
    let mut unsigned = SignedRoot::draft(content(2)).unwrap();
    unsigned.sign(&key(1));
    let mut new_keys = content(2);
    new_keys.roles.insert(Role::Root, role(&[key(3)], 1));
    let mut usurped = SignedRoot::draft(new_keys).unwrap();
    usurped.sign(&key(3));
    let three = signed(content(3));
    let stranger = signed(Root {
        enclave: "ffffffffffffffff".parse().unwrap(),
        ..content(1)
    });
    let text = |root: &SignedRoot| root.to_bytes();
    for (what, roots, code, says) in [
        (
            "a gap",
            vec![(1, text(&one)), (3, text(&three))],
            11,
            "root 2 is missing",
        ),
        (
            "no first",
            vec![(2, text(&signed(content(2))))],
            11,
            "root 1 is missing",
        ),
        (
            "a version short of signatures",
            vec![(1, text(&one)), (2, text(&unsigned))],
            12,
            "root_old_threshold_unmet",
        ),
        (
            "a version by its own keys alone",
            vec![(1, text(&one)), (2, text(&usurped))],
            12,
            "root_old_threshold_unmet",
        ),
        (
            "another enclave",
            vec![(1, text(&stranger))],
            12,
            "not of this ledger's",
        ),
        (
            "a version under the name of another",
            vec![(1, text(&one)), (2, text(&three))],
            14,
            "root_version_gap",
        ),
        (
            "the same twice",
            vec![(1, text(&one)), (2, text(&one))],
            14,
            "root_roll_back",
        ),
        ("no root", vec![(1, b"{}\n".to_vec())], 14, "root_malformed"),
        ("nothing", vec![(1, Vec::new())], 14, "root_malformed"),
        (
            "too long",
            vec![(1, vec![b' '; (1 << 20) + 1])],
            14,
            "root_malformed",
        ),
    ] {
        let file = bundle(&roots);
        refused(&file, options(), code, says);
        let (check, _) = trust(&file, options());
        assert_eq!(check.status, Status::Failed, "{what}: {check:?}");
        let (_, by_one) = trust(&file, by(&by_fingerprint(&one)));
        assert_ne!(by_one, 0, "{what}");
    }
}

#[test]
fn what_the_manifest_says_of_the_chain_is_true() {
    let mut parts = Parts::of(&with(&[signed(content(1))]));
    parts.sign_again(|statement| statement.predicate.trust_version = 2);
    refused(
        &parts.file(),
        options(),
        10,
        "trustVersion is 2, the newest root is 1",
    );
    let mut parts = Parts::of(&with(&[]));
    parts.sign_again(|statement| statement.predicate.trust_version = 1);
    refused(
        &parts.file(),
        options(),
        10,
        "trustVersion is 1, the newest root is 0",
    );
}

#[test]
fn a_key_counts_in_its_role_alone() {
    let lists = |log: PrivateKey, export: PrivateKey| {
        let mut root = content(1);
        root.roles.insert(Role::Log, role(&[log], 1));
        root.roles.insert(Role::Export, role(&[export], 1));
        signed(root)
    };
    let swapped = lists(export_key(), log_key());
    refused(
        &with(std::slice::from_ref(&swapped)),
        options(),
        12,
        "has the role",
    );
    refused(
        &with(std::slice::from_ref(&swapped)),
        by(&by_root(&swapped)),
        12,
        "signed by the log key",
    );
    let others = lists(key(7), export_key());
    refused(
        &with(std::slice::from_ref(&others)),
        options(),
        12,
        "is not among the keys of the role log",
    );
    refused(
        &with(std::slice::from_ref(&others)),
        by(&by_root(&others)),
        12,
        "not signed by",
    );
    let others = lists(log_key(), key(7));
    refused(
        &with(std::slice::from_ref(&others)),
        options(),
        12,
        "is not among the keys of the role export",
    );
    refused(
        &with(std::slice::from_ref(&others)),
        by(&by_root(&others)),
        12,
        "not by ",
    );
}

#[test]
fn a_revoked_key_counts_below_its_size_and_not_from_there_on() {
    for of in [log_key(), export_key()] {
        let one = signed(content(1));
        for (below, counts) in [(13, true), (12, false), (0, false)] {
            let two = revoking(2, &of, below);
            let file = with(&[one.clone(), two.clone()]);
            // One made before, which knows of the first root alone: what it holds is judged by what is known today.
            let before = with(std::slice::from_ref(&one));
            for (file, anchor) in [
                (&file, by_fingerprint(&one)),
                (&file, by_root(&two)),
                (&before, by_root(&two)),
            ] {
                if counts {
                    good(file, by(&anchor));
                } else {
                    refused(file, by(&anchor), 12, "is revoked in root of trust 2");
                }
            }
            // Who knows of the first root alone cannot know better.
            good(&before, by(&by_fingerprint(&one)));
        }
    }
}

struct Holding {
    tip: u64,
    newest: Option<(u64, Fingerprint)>,
}

impl Held for Holding {
    fn tip(&self, _: &str) -> Result<Option<HeldTip>, String> {
        Ok(Some(HeldTip {
            size: 5,
            root: frontier_at(5).root(),
            trust_version: self.tip,
        }))
    }

    fn root_at(&self, _: &str, size: u64) -> Result<Option<Digest>, String> {
        Ok(Some(frontier_at(size).root()))
    }

    fn root_of_trust(&self, _: &str) -> Result<Option<(u64, Fingerprint)>, String> {
        Ok(self.newest)
    }
}

#[test]
fn an_older_chain_than_one_seen_before_is_a_roll_back_and_another_one_a_fork() {
    let (one, two) = (signed(content(1)), signed(content(2)));
    let other = revoking(2, &log_key(), 1_000);
    let held = |file: &[u8], tip: u64, newest: Option<&SignedRoot>| {
        let holding = Holding {
            tip,
            newest: newest.map(|root| (root.root().version, root.fingerprint())),
        };
        let report = outcome(
            file,
            Options {
                held: Some(&holding),
                ..options()
            },
        )
        .report;
        let words = report
            .first_failure()
            .map(ToString::to_string)
            .unwrap_or_default();
        (report.exit_code, words)
    };
    let (old, new) = (
        with(std::slice::from_ref(&one)),
        with(&[one.clone(), two.clone()]),
    );
    assert_eq!(held(&new, 0, None).0, 0);
    assert_eq!(held(&new, 2, None).0, 0);
    assert_eq!(held(&new, 1, Some(&one)).0, 0);
    assert_eq!(held(&new, 2, Some(&two)).0, 0);
    for (file, tip, newest, says) in [
        (&old, 2, None, "roll-back"),
        (&old, 0, Some(&two), "roll-back"),
        (&with(&[]), 1, None, "roll-back"),
        (&with(&[]), 0, Some(&one), "roll-back"),
        (&new, 2, Some(&other), "fork"),
    ] {
        let (code, words) = held(file, tip, newest);
        assert_eq!(code, 13, "{words}");
        assert!(words.contains(says), "{words}");
    }
}

#[test]
fn the_policy_is_that_of_this_bundle() {
    let check = |policy: &str, code: u8, says: &str| {
        let mut parts = Parts::of(&with(&[]));
        *parts.member("trust/policy") = policy.as_bytes().to_vec();
        parts.sign_again(|_| {});
        refused(&parts.file(), options(), code, says);
    };
    let own = format!(
        "{{\"approval\":\"none\",\"format\":1,\"origin\":\"{ORIGIN}\",\"redaction\":\"none\",\"tenant\":\"acme\"}}\n"
    );
    let mut parts = Parts::of(&with(&[]));
    assert_eq!(*parts.member("trust/policy"), own.as_bytes());
    parts.member("trust/policy").clear();
    parts.sign_again(|_| {});
    assert_eq!(
        outcome(&parts.file(), options()).report.exit_code,
        0,
        "empty says nothing"
    );
    check(&own.replace("acme", "other"), 10, "policy of another ledger");
    check(
        &own.replace(ENCLAVE, "ffffffffffffffff"),
        10,
        "policy of another ledger",
    );
    check(
        &own.replace("\"redaction\":\"none\"", "\"redaction\":\"all\""),
        10,
        "another one than the manifest names",
    );
    check(own.trim_end(), 14, "canonical");
    check(&own.replace(":1,", ": 1,"), 14, "canonical");
    check(&own.replace("\"format\":1", "\"format\":2"), 14, "does not have");
    check(
        &own.replace("{\"approval\"", "{\"a\":1,\"approval\""),
        14,
        "unknown field",
    );
    check(&" ".repeat(200_000), 14, "policy");
}

#[test]
fn roots_stand_in_the_order_of_their_numbers() {
    let roots = [signed(content(1)), signed(content(2))];
    let mut parts = Parts::of(&with(&roots));
    let (one, two) = (
        parts.index("trust/1.root.dsse.json"),
        parts.index("trust/2.root.dsse.json"),
    );
    assert!(parts.index("leaves") < one && one < two && two < parts.index("trust/policy"));
    assert!(parts.index("trust/policy") < parts.index("history.jsonl"));
    parts.0.swap(one, two);
    refused(&parts.file(), options(), 14, "wrong order");
    let mut chain = vec![signed(content(1))];
    chain.extend((2..=11).map(|version| signed(content(version))));
    good(&with(&chain), by(&by_fingerprint(&chain[3])));
}
