//! Manifests, checkpoints, frontiers and lines that must be refused although container and digests hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::bundle::manifest::Statement;
use fastness::bundle::{Check, Options, Status, dsse};
use fastness::domain::{Digest, leaf_hash};
use fastness::trust::PrivateKey;

use super::fixture::{
    ORIGIN, Parts, checkpoint, export_key, frontier_at, log_key, options, outcome, refused,
};

fn envelope(text: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut envelope = serde_json::from_str(text).unwrap();
    change(&mut envelope);
    format!("{envelope}\n").into_bytes()
}

#[track_caller]
fn manifest(bytes: Vec<u8>, code: u8, why: &str) {
    let mut parts = Parts::small();
    parts.0[0].1 = bytes;
    let check = refused(&parts.file(), code);
    assert_eq!(
        (check.n, check.member.as_deref()),
        (2, Some("audit/manifest.dsse.json")),
        "{check:?}"
    );
    assert!(check.detail.as_ref().unwrap().contains(why), "{check:?}");
}

#[test]
fn hostile_envelopes_are_refused() {
    let good = String::from_utf8(Parts::small().0[0].1.clone()).unwrap();
    let payload = Parts::small().statement().to_bytes().unwrap();
    let sign = |key: &PrivateKey, message: &[u8]| STANDARD.encode(key.sign(message).as_bytes());
    let signature = |sig: String| envelope(&good, |e| e["signatures"][0]["sig"] = sig.into());
    manifest(
        envelope(&good, |e| e["payloadType"] = "text/plain".into()),
        14,
        "payloadType",
    );
    manifest(signature(sign(&export_key(), &payload)), 10, "does not hold");
    manifest(
        envelope(&good, |e| e["signatures"] = serde_json::json!([])),
        14,
        "0 signatures",
    );
    let one = serde_json::from_str::<serde_json::Value>(&good).unwrap()["signatures"][0].clone();
    manifest(
        envelope(&good, |e| e["signatures"] = serde_json::json!([one, one])),
        14,
        "2 signatures",
    );
    manifest(
        good.replace("{\"payload\":", "{\"payload\":\"\",\"payload\":")
            .into(),
        14,
        "duplicate field",
    );
    manifest(good.replace(":\"", ": \"").into(), 14, "canonical form");
    manifest(good.trim_end().into(), 14, "canonical form");
    let pae = dsse::pae(dsse::PAYLOAD_TYPE, &payload);
    manifest(signature(sign(&log_key(), &pae)), 10, "does not hold");
    let id = export_key().public().id().to_string();
    manifest(
        good.replace(&id, &id.to_uppercase()).into(),
        14,
        "64 lowercase hex",
    );
    manifest(good.replace(&id, &"0".repeat(64)).into(), 10, "keyid");
    let stranger = PrivateKey::generate(&mut |bytes| bytes.fill(0x33));
    manifest(dsse::sign(&payload, &stranger).unwrap(), 12, "not by the given");
    manifest(
        dsse::sign(&payload, &log_key()).unwrap(),
        12,
        "log key, which does not sign bundles",
    );
}

#[test]
fn a_signature_with_s_beyond_the_group_order_is_refused() {
    let good = String::from_utf8(Parts::small().0[0].1.clone()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&good).unwrap();
    let mut signature = STANDARD
        .decode(value["signatures"][0]["sig"].as_str().unwrap())
        .unwrap();
    // S + L, where L = 2^252 + 27742317777372353535851937790883648493, little-endian.
    let order = u128::to_le_bytes(27_742_317_777_372_353_535_851_937_790_883_648_493);
    let mut carry = 0;
    for (index, byte) in signature[32..].iter_mut().enumerate() {
        let add = order
            .get(index)
            .copied()
            .unwrap_or(if index == 31 { 0x10 } else { 0 });
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    manifest(
        envelope(&good, |e| {
            e["signatures"][0]["sig"] = STANDARD.encode(signature).into()
        }),
        10,
        "does not hold",
    );
}

#[test]
fn hostile_payloads_are_refused() {
    let payload = String::from_utf8(Parts::small().statement().to_bytes().unwrap()).unwrap();
    let check = |changed: String, code: u8, why: &str| {
        assert_ne!(changed, payload);
        manifest(dsse::sign(changed.as_bytes(), &export_key()).unwrap(), code, why);
    };
    check(payload.replace("\"first\":5", "\"first\": 5"), 14, "canonical");
    check(
        payload.replace("\"first\":5", "\"first\":5.0"),
        14,
        "not the statement",
    );
    check(
        payload.replace("\"first\":5", "\"first\":5,\"first\":5"),
        14,
        "duplicate field",
    );
    check(
        payload.replace("\"first\":5", "\"extra\":0,\"first\":5"),
        14,
        "unknown field",
    );
    check(
        payload.replace("\"first\":5", "\"first\":13"),
        14,
        "ends before it begins",
    );
    check(payload.replace("\"format\":1", "\"format\":2"), 14, "format");
    check(
        payload.replace("audit-bundle:v1", "work-order:v1"),
        14,
        "predicateType",
    );
    check(payload.replace("Statement/v1", "Statement/v0.1"), 14, "_type");
    check(
        payload.replace("00112233445566ff", "00112233445566FF"),
        14,
        "origin",
    );
    let root = frontier_at(12).root().to_string();
    check(
        payload.replace(&root, &root.to_uppercase()),
        14,
        "64 lowercase hex",
    );
    let value: serde_json::Value = serde_json::from_str(&payload).unwrap();
    let subject = value["subject"][0].to_string();
    check(
        payload.replace(&subject, &format!("{subject},{subject}")),
        14,
        "not the same members",
    );
    let twice = |list: &str, text: String| {
        let item = value.pointer(list).unwrap().to_string();
        text.replacen(&item, &format!("{item},{item}"), 1)
    };
    check(
        twice("/subject/0", twice("/predicate/files/0", payload.clone())),
        14,
        "duplicate",
    );
    let without =
        |list: &str, text: String| text.replacen(&format!("{},", value.pointer(list).unwrap()), "", 1);
    let index = value["subject"]
        .as_array()
        .unwrap()
        .iter()
        .position(|s| s["name"] == "audit/leaves")
        .unwrap();
    let changed = without(
        &format!("/subject/{index}"),
        without(&format!("/predicate/files/{index}"), payload.clone()),
    );
    check(changed, 11, "audit/leaves is not among");
}

/// A bundle whose exporter signed `change`.
#[track_caller]
fn signed(code: u8, n: u8, change: impl FnOnce(&mut Parts), state: impl FnOnce(&mut Statement)) -> Check {
    let mut parts = Parts::small();
    change(&mut parts);
    parts.sign_again(state);
    let check = refused(&parts.file(), code);
    assert_eq!(check.n, n, "{check:?}");
    check
}

#[test]
fn range_and_roots_must_be_those_of_the_checkpoints() {
    signed(10, 4, |_| {}, |s| s.predicate.size = 11);
    signed(10, 4, |_| {}, |s| s.predicate.root = Digest::of(b"x"));
    signed(10, 4, |_| {}, |s| s.predicate.prev_root = Digest::of(b"x"));
    signed(10, 4, |_| {}, |s| s.predicate.origin.push_str("/g2"));
}

#[test]
fn hostile_checkpoints_are_refused() {
    let root = frontier_at(12).root();
    let good = String::from_utf8(checkpoint(&log_key(), ORIGIN, 12, &root)).unwrap();
    let put = |note: String, code: u8, why: &str| {
        let check = signed(
            code,
            4,
            |parts| *parts.member("checkpoint") = note.into_bytes(),
            |_| {},
        );
        assert_eq!(check.member.as_deref(), Some("audit/checkpoint"));
        assert!(check.detail.as_ref().unwrap().contains(why), "{check:?}");
    };
    let other = |key: &PrivateKey| String::from_utf8(checkpoint(key, ORIGIN, 12, &root)).unwrap();
    put(other(&export_key()), 12, "not signed by");
    // The right name and key id before a signature of someone else.
    let (head, line) = good.split_once("\n\n").unwrap();
    let forged = other(&export_key());
    let forged = STANDARD
        .decode(forged.trim_end().rsplit_once(' ').unwrap().1)
        .unwrap();
    let right = STANDARD
        .decode(line.trim_end().rsplit_once(' ').unwrap().1)
        .unwrap();
    let mixed = STANDARD.encode([&right[..4], &forged[4..]].concat());
    put(
        format!("{head}\n\n\u{2014} {ORIGIN} {mixed}\n"),
        10,
        "does not hold",
    );
    let wrong_id = STANDARD.encode([&forged[..4], &right[4..]].concat());
    put(
        format!("{head}\n\n\u{2014} {ORIGIN} {wrong_id}\n"),
        12,
        "not signed by",
    );
    put(good.replace("\n12\n", "\n012\n"), 14, "not a size");
    put(good.replace("\n\n", "\n"), 14, "empty line");
    put(good.replace('\u{2014}', "-"), 14, "signature line 1");
    put(good.trim_end().to_owned(), 14, "whole lines");
    put(good.replace("\n12\n", "\n12\nextension\n"), 14, "three lines");
    put(good.replace("\n12\n", "\n13\n"), 10, "does not hold");
    put(
        String::from_utf8(checkpoint(&log_key(), ORIGIN, 13, &root)).unwrap(),
        10,
        "size and root",
    );
    // What a witness adds is not judged.
    let mut parts = Parts::small();
    *parts.member("checkpoint") =
        format!("{good}\u{2014} witness {}\n", STANDARD.encode([0; 68])).into_bytes();
    parts.sign_again(|_| {});
    assert!(super::fixture::report(&parts.file()).ok);
}

#[test]
fn hostile_frontiers_are_refused() {
    let put = |change: &dyn Fn(&mut Vec<u8>), code: u8, why: &str| {
        let check = signed(code, 6, |parts| change(parts.member("frontier")), |_| {});
        assert_eq!(check.member.as_deref(), Some("audit/frontier"));
        assert!(check.detail.as_ref().unwrap().contains(why), "{check:?}");
    };
    put(&|bytes| bytes.truncate(45), 14, "2 hashes, not 1");
    put(&|bytes| bytes.extend_from_within(..45), 14, "2 hashes, not 3");
    put(&|bytes| bytes.rotate_left(45), 10, "prevRoot");
    put(&|bytes| bytes.truncate(89), 14, "no LF");
    put(&|bytes| bytes[0] = b'*', 14, "base64");
}

#[test]
fn hostile_lines_are_refused_with_line_and_event() {
    let put = |from: &str, to: &str, code: u8, why: &str| {
        let change = |parts: &mut Parts| {
            let history = parts.member("history.jsonl");
            let text = String::from_utf8(history.clone()).unwrap();
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            let changed = lines[2].replacen(from, to, 1);
            assert_ne!(lines[2], changed);
            lines[2] = &changed;
            *history = lines.concat().into_bytes();
            parts.leaves_again();
        };
        let check = signed(code, 5, change, |_| {});
        let place = (check.member.as_deref(), check.line, check.seq);
        assert_eq!(
            place,
            (Some("audit/history.jsonl"), Some(3), Some(7)),
            "{check:?}"
        );
        assert!(check.detail.as_ref().unwrap().contains(why), "{check:?}");
    };
    put("\"version\":1", "\"version\":1.5", 14, "fraction");
    put("\"version\":1", "\"version\":1.0", 14, "fraction");
    put("\"version\":1", "\"version\":-0", 14, "-0");
    put("\"version\":1", "\"version\":1e0", 14, "exponent");
    put("\"version\":1", "\"version\":9007199254740992", 14, "2^53-1");
    put("\"version\":1", "\"version\":2", 14, "not known here");
    put("job.completed", "job.improved", 14, "not known here");
    put("\"attempt\":1,", "", 14, "missing field `attempt`");
    put(
        "\"version\":1",
        "\"version\":1,\"version\":1",
        14,
        "twice in one object",
    );
    put(
        "\"version\":1",
        "\"version\":1,\"zone\":1",
        14,
        "unknown field `zone`",
    );
    put("\"version\":1", "\"version\": 1", 14, "canonical");
    put("\"tenant\":\"acme\",", "", 14, "missing field `tenant`");
    put("\"tenant\":\"acme\"", "\"tenant\":\"acne\"", 10, "tenant acne");
    put(
        "\"tenant\":\"acme\"",
        "\"tenant\":\"\\u0061cme\"",
        14,
        "canonical",
    );
    put("\"text\":\"", "\"text\":\"\\ud800", 14, "surrogate");
    put(
        "[[],",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],",
        14,
        "nested too deep",
    );
    put("fastness.event/v1", "fastness.event/v2", 14, "schema");
    put("\"seq\":7", "\"seq\":8", 10, "seq is 8 where 7 belongs");
    put("\"seq\":7", "\"seq\":-7", 14, "envelope");
    put("\"seq\":7", "\"seq\":\"7\"", 14, "envelope");
    put(
        "\"at\":\"2026",
        "\"at\":\"2025",
        10,
        "before that of the event before",
    );
    put("Z\",\"payload", "+00:00\",\"payload", 14, "milliseconds and Z");
    put("{\"actor\"", "\u{feff}{\"actor\"", 14, "byte order mark");
    put("{\"actor\"", "\n{\"actor\"", 14, "too early");
}

#[test]
fn non_nfc_text_is_kept() {
    let mut parts = Parts::small();
    *parts.member("jobs.jsonl") = "{\"id\":\"e\u{301}\"}\n".as_bytes().to_vec();
    parts.sign_again(|_| {});
    assert!(super::fixture::report(&parts.file()).ok);
}

#[test]
fn a_signed_bundle_with_other_events_fails_by_its_tree() {
    let change = |parts: &mut Parts| {
        let history = String::from_utf8(parts.member("history.jsonl").clone()).unwrap();
        *parts.member("history.jsonl") = history.replacen("\"s7\"", "\"s8\"", 1).into_bytes();
        parts.leaves_again();
    };
    let check = signed(10, 6, change, |_| {});
    assert!(check.detail.unwrap().contains("do not lead to the root"));
    let change = |parts: &mut Parts| {
        *parts.member("leaves") = format!("{}\n", &leaf_hash(b"").to_string()[..16])
            .repeat(7)
            .into_bytes()
    };
    let check = signed(10, 6, change, |_| {});
    assert_eq!(check.member.as_deref(), Some("audit/leaves"));
}

#[test]
fn a_signed_bundle_short_of_events_is_incomplete() {
    let change = |parts: &mut Parts| {
        let history = parts.member("history.jsonl");
        let last = history[..history.len() - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap();
        history.truncate(last + 1);
        parts.leaves_again();
    };
    assert_eq!(
        signed(11, 5, change, |_| {}).detail.unwrap(),
        "6 events where the range has 7"
    );
    let check = signed(14, 5, unended, |_| {});
    assert_eq!(
        (check.line, check.detail.as_deref()),
        (Some(7), Some("no LF at its end"))
    );
}

#[test]
fn state_files_must_be_canonical_sorted_and_counted() {
    let put = |bytes: &'static [u8], line: u64, why: &str| {
        let check = signed(
            14,
            5,
            |parts| *parts.member("jobs.jsonl") = bytes.to_vec(),
            |_| {},
        );
        assert_eq!(
            (check.member.as_deref(), check.line),
            (Some("audit/jobs.jsonl"), Some(line))
        );
        assert!(check.detail.as_ref().unwrap().contains(why), "{check:?}");
    };
    put(b"{\"id\":\"b\"}\n{\"id\":\"a\"}\n", 2, "out of order");
    put(b"{\"id\":\"a\"}\n{\"id\":\"a\"}\n", 2, "there twice");
    put(b"{\"id\": \"a\"}\n", 1, "canonical");
    put(b"{}\n", 1, "neither id nor name");
    put(b"{\"id\":\"a\"}", 1, "no LF");
    let lines = |s: &mut Statement| {
        let file = s
            .predicate
            .files
            .iter_mut()
            .find(|file| file.name == "audit/runs.jsonl")
            .unwrap();
        file.lines = Some(4);
    };
    assert!(
        signed(14, 5, |_| {}, lines)
            .detail
            .unwrap()
            .contains("counts other lines")
    );
}

#[test]
fn an_artifact_is_named_by_its_digest_and_disclosures_belong_to_events() {
    let change = |parts: &mut Parts| {
        let at = parts
            .0
            .iter()
            .position(|part| part.0.starts_with("audit/artifacts/"))
            .unwrap();
        parts.0[at].1.push(b'x');
    };
    assert!(
        signed(10, 3, change, |_| {})
            .detail
            .unwrap()
            .contains("unlike its name")
    );
    let change =
        |parts: &mut Parts| *parts.member("disclosures.jsonl") = b"{\"d\":\"x\",\"seq\":5}\n".to_vec();
    signed(14, 7, change, |_| {});
    // Of the form, and of no event: the others are in `disclosures.rs`.
    let made = fastness::domain::redaction::Disclosure::new(
        &[1; 32],
        "a",
        &fastness::domain::canonical::Value::Null,
    );
    let line = format!("{{\"d\":\"{}\",\"seq\":5}}\n", made.as_str());
    let change = move |parts: &mut Parts| *parts.member("disclosures.jsonl") = line.clone().into_bytes();
    signed(10, 7, change, |_| {});
}

#[test]
fn without_keys_nothing_is_trusted_but_the_rest_is_still_checked() {
    let bundle = super::fixture::bundle(5, 12);
    let report = outcome(&bundle, Options::default()).report;
    assert_eq!((report.ok, report.exit_code), (false, 12));
    let failed = report
        .checks
        .iter()
        .filter(|check| check.status == Status::Failed)
        .map(|check| check.n);
    assert_eq!(failed.collect::<Vec<_>>(), [2, 4]);
    let report = outcome(
        &bundle,
        Options {
            log_key: None,
            ..options()
        },
    )
    .report;
    assert_eq!((report.exit_code, report.first_failure().unwrap().n), (12, 4));
    let swapped = Options {
        log_key: options().export_key,
        export_key: options().log_key,
        ..Options::default()
    };
    assert_eq!(outcome(&bundle, swapped).report.exit_code, 12);
}

fn unended(parts: &mut Parts) {
    parts.member("history.jsonl").pop();
}
