//! Policies and roots of trust that are not this bundle's, and signers that they do not let sign.

use fastness::trust::{Role, Root, SignedRoot};
use serde_json::Value;

use super::super::fixture::{Parts, export_key, log_key};
use super::super::trust::{bundle, content, key, revoking, role, signed, with};
use super::held::{Fork, Holding};
use super::{Case, FIRST, Given, SIZE, Script, Section};

pub fn cases() -> Vec<Case> {
    let mut all = policies();
    all.extend(chains());
    all.extend(documents());
    all.extend(signers());
    all.extend(seen());
    all
}

fn case(name: &'static str, wrong: &'static str, file: Vec<u8>) -> Case {
    Case::new(Section::Trusted, name, wrong, file)
}

fn policies() -> Vec<Case> {
    let put = |name, wrong, from: &str, to: &str| {
        let mut parts = Parts::small();
        let policy = parts.member("trust/policy");
        let before = String::from_utf8(policy.clone()).unwrap();
        *policy = before.replacen(from, to, 1).into_bytes();
        assert_ne!(before.as_bytes(), policy.as_slice(), "{name}");
        parts.sign_again(|_| {});
        case(name, wrong, parts.file()).member("trust/policy")
    };
    let another = "another ledger";
    let mut missing = Parts::small();
    missing.0.remove(missing.index("trust/policy"));
    let mut unlisted = missing.clone();
    unlisted.sign_again(|statement| {
        statement
            .subject
            .retain(|subject| subject.name != "audit/trust/policy");
        statement
            .predicate
            .files
            .retain(|file| file.name != "audit/trust/policy");
    });
    let mut silent = Parts::small();
    silent.member("trust/policy").clear();
    silent.sign_again(|_| {});
    vec![
        put(
            "policy-of-another-tenant",
            "The policy is that of another tenant.",
            "\"tenant\":\"acme\"",
            "\"tenant\":\"zeta\"",
        )
        .refused(10, 9, another),
        put(
            "policy-of-another-ledger",
            "The policy is that of another enclave's ledger.",
            "00112233445566ff",
            "ff66554433221100",
        )
        .refused(10, 9, another),
        put(
            "policy-of-another-redaction",
            "The policy names another redaction than the manifest.",
            "\"redaction\":\"none\"",
            "\"redaction\":\"full\"",
        )
        .refused(10, 9, another),
        put(
            "policy-of-an-unknown-approval",
            "The policy asks for an approval that this format does not know.",
            "\"approval\":\"none\"",
            "\"approval\":\"two\"",
        )
        .refused(14, 9, "does not have"),
        put(
            "policy-with-spaces",
            "The policy is written with a space.",
            "\"format\":1",
            "\"format\": 1",
        )
        .refused(14, 9, "canonical"),
        case("policy-missing", "The policy is left out.", missing.file())
            .refused(11, 3, "missing")
            .member("trust/policy"),
        case(
            "policy-missing-and-not-listed",
            "The policy is left out, and the manifest does not list it.",
            unlisted.file(),
        )
        .refused(11, 2, "audit/trust/policy")
        .member("manifest.dsse.json"),
        case(
            "policy-silent",
            "The policy is empty, which says nothing: this is a good bundle.",
            silent.file(),
        ),
    ]
}

/// Version 2, signed by these root keys alone.
fn second(roots: &[u8]) -> SignedRoot {
    let mut draft = SignedRoot::draft(content(2)).unwrap();
    for seed in roots {
        draft.sign(&key(*seed));
    }
    draft
}

fn chains() -> Vec<Case> {
    let one = signed(content(1));
    let mut usurping = content(2);
    usurping.roles.insert(Role::Root, role(&[key(3)], 1));
    let mut usurped = SignedRoot::draft(usurping).unwrap();
    usurped.sign(&key(3));
    let mut newest_left_out = Parts::of(&with(std::slice::from_ref(&one)));
    newest_left_out.sign_again(|statement| statement.predicate.trust_version = 2);
    let stranger = signed(Root {
        enclave: "ffffffffffffffff".parse().unwrap(),
        ..content(1)
    });
    vec![
        case(
            "root-of-strangers",
            "The newest root was signed by its own keys alone, which nobody before had named.",
            with(&[one.clone(), usurped]),
        )
        .refused(12, 9, "root_old_threshold_unmet")
        .member("trust/2.root.dsse.json"),
        case(
            "root-short-of-signatures",
            "The newest root was signed by one person where two must.",
            with(&[one.clone(), second(&[1])]),
        )
        .refused(12, 9, "threshold_unmet")
        .member("trust/2.root.dsse.json"),
        case(
            "root-left-out",
            "A root between the first and the newest is left out.",
            with(&[one.clone(), signed(content(3))]),
        )
        .refused(11, 9, "root 2 is missing")
        .member("trust/3.root.dsse.json"),
        case(
            "root-newest-left-out",
            "The newest root is left out, and with it what it revokes.",
            newest_left_out.file(),
        )
        .refused(10, 9, "trustVersion is 2, the newest root is 1")
        .member("manifest.dsse.json"),
        case(
            "root-under-another-number",
            "The third root stands where the second belongs.",
            bundle(&[(1, one.to_bytes()), (2, signed(content(3)).to_bytes())]),
        )
        .refused(14, 9, "root_version_gap")
        .member("trust/2.root.dsse.json"),
        case(
            "root-of-another-enclave",
            "The root of trust is that of another enclave.",
            with(&[stranger]),
        )
        .refused(12, 9, "not of this ledger's"),
        case(
            "roots-two-good",
            "Two roots, each signed as it must be: this is a good bundle.",
            with(&[one, second(&[1, 2])]),
        ),
    ]
}

fn documents() -> Vec<Case> {
    let changed = |name, wrong, change: &dyn Fn(&mut Value)| {
        let text = signed(content(1)).to_bytes();
        let mut envelope: Value = serde_json::from_slice(&text).unwrap();
        change(&mut envelope);
        let file = bundle(&[(1, format!("{envelope}\n").into_bytes())]);
        case(name, wrong, file).member("trust/1.root.dsse.json")
    };
    vec![
        changed(
            "root-with-one-signature-counted-twice",
            "One person's signature stands in the root twice, to be counted as that of two.",
            &|envelope| envelope["signatures"][1] = envelope["signatures"][0].clone(),
        )
        .refused(14, 9, "root_duplicate_signature"),
        changed(
            "root-with-a-swapped-signature",
            "A signature stands in the root under the id of another person's key.",
            &|envelope| envelope["signatures"][1]["sig"] = envelope["signatures"][0]["sig"].clone(),
        )
        .refused(12, 9, "root_bad_signature"),
        changed(
            "root-of-another-payload-type",
            "The root's envelope says that it holds a bundle's statement.",
            &|envelope| envelope["payloadType"] = "application/vnd.in-toto+json".into(),
        )
        .refused(14, 9, "root_payload_type"),
    ]
}

fn signers() -> Vec<Case> {
    let lists = |log: &_, export: &_| {
        let mut root = content(1);
        root.roles.insert(Role::Log, role(std::slice::from_ref(log), 1));
        root.roles
            .insert(Role::Export, role(std::slice::from_ref(export), 1));
        with(&[signed(root)])
    };
    let revoked = |of: &_, below| with(&[signed(content(1)), revoking(2, of, below)]);
    vec![
        case(
            "signer-log-key-revoked",
            "The log key is revoked from the size of this checkpoint on.",
            revoked(&log_key(), SIZE),
        )
        .refused(12, 9, "is revoked in root of trust 2")
        .member("checkpoint"),
        case(
            "signer-export-key-revoked",
            "The export key is revoked from the size of this bundle on.",
            revoked(&export_key(), SIZE),
        )
        .refused(12, 9, "is revoked in root of trust 2")
        .member("manifest.dsse.json"),
        case(
            "signer-revoked-later",
            "The log key is revoked for larger sizes alone: this is a good bundle.",
            revoked(&log_key(), SIZE + 1),
        ),
        case(
            "signer-log-key-unlisted",
            "The root of trust names another log key.",
            lists(&key(7), &export_key()),
        )
        .refused(12, 9, "is not among the keys of the role log")
        .member("checkpoint"),
        case(
            "signer-export-key-unlisted",
            "The root of trust names another export key.",
            lists(&log_key(), &key(7)),
        )
        .refused(12, 9, "is not among the keys of the role export")
        .member("manifest.dsse.json"),
        case(
            "signers-in-each-others-role",
            "The root of trust lets the log key sign bundles, and the export key checkpoints.",
            lists(&export_key(), &log_key()),
        )
        .refused(12, 9, "has the role")
        .member("manifest.dsse.json"),
    ]
}

/// What only somebody finds who has seen more than the bundle, or compared something else than keys.
fn seen() -> Vec<Case> {
    let (one, two) = (signed(content(1)), signed(content(2)));
    let held = |name, wrong, file| {
        case(name, wrong, file)
            .given(Given::Held(Holding::new(FIRST, Fork::No, 2)))
            .script(Script::Leaves(
                "the script holds nothing; which root was seen before is left to the importer",
            ))
    };
    let compared = |name, wrong, file, root: &SignedRoot| {
        case(name, wrong, file)
            .given(Given::Fingerprint(root.fingerprint()))
            .script(Script::Leaves("the script goes by keys, never by a fingerprint"))
    };
    vec![
        held(
            "root-roll-back",
            "The second root of trust was seen before, and the bundle knows of the first alone.",
            with(std::slice::from_ref(&one)),
        )
        .refused(13, 9, "root of trust 1 after 2"),
        held(
            "root-roll-back-to-none",
            "The second root of trust was seen before, and the bundle knows of none.",
            with(&[]),
        )
        .refused(13, 9, "root of trust 0 after 2"),
        held(
            "root-as-new-as-seen",
            "The second root of trust was seen before, and the bundle knows of it: this is a good bundle.",
            with(&[one.clone(), two.clone()]),
        ),
        compared(
            "root-not-the-one-compared",
            "No root of trust in the bundle has the fingerprint that people compared.",
            with(std::slice::from_ref(&one)),
            &two,
        )
        .refused(12, 2, "fingerprint")
        .member("manifest.dsse.json"),
        compared(
            "root-revokes-what-the-first-allowed",
            "People compared the first root of trust, and the second revokes the log key.",
            with(&[one.clone(), revoking(2, &log_key(), SIZE)]),
            &one,
        )
        .refused(12, 9, "is revoked in root of trust 2")
        .member("checkpoint")
        .script(Script::Same),
        compared(
            "root-compared",
            "People compared the first root of trust, which leads to the second: this is a good bundle.",
            with(&[one.clone(), two]),
            &one,
        ),
    ]
}
