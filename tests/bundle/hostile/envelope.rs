//! Manifests that are not what the exporter's key signed, or not in the one form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::bundle::dsse;
use fastness::bundle::manifest::Statement;
use fastness::domain::Digest;
use fastness::trust::PrivateKey;
use serde_json::Value;

use super::super::fixture::{Parts, export_key, frontier_at, log_key};
use super::{Case, FIRST, Given, SIZE, Script, Section};

pub fn cases() -> Vec<Case> {
    let mut all = envelopes();
    all.extend(signers());
    all.extend(keys());
    all.extend(payloads());
    all.extend(lists());
    all
}

fn case(name: &'static str, wrong: &'static str, manifest: Vec<u8>) -> Case {
    let mut parts = Parts::small();
    assert_ne!(parts.0[0].1, manifest, "{name} changes something");
    parts.0[0].1 = manifest;
    Case::new(Section::Envelope, name, wrong, parts.file()).member("manifest.dsse.json")
}

fn good() -> String {
    String::from_utf8(Parts::small().0[0].1.clone()).unwrap()
}

fn payload() -> Vec<u8> {
    Parts::small().statement().to_bytes().unwrap()
}

fn edited(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut envelope = serde_json::from_str(&good()).unwrap();
    change(&mut envelope);
    format!("{envelope}\n").into_bytes()
}

fn signature(bytes: &[u8]) -> Vec<u8> {
    edited(|envelope| envelope["signatures"][0]["sig"] = STANDARD.encode(bytes).into())
}

fn own_signature() -> Vec<u8> {
    let envelope: Value = serde_json::from_str(&good()).unwrap();
    STANDARD
        .decode(envelope["signatures"][0]["sig"].as_str().unwrap())
        .unwrap()
}

fn envelopes() -> Vec<Case> {
    let good = good();
    let one = serde_json::from_str::<Value>(&good).unwrap()["signatures"][0].clone();
    let id = export_key().public().id().to_string();
    let mut stray = payload();
    stray[10] ^= 1;
    vec![
        case(
            "envelope-payload-type",
            "The envelope says that it holds plain text.",
            edited(|e| e["payloadType"] = "text/plain".into()),
        )
        .refused(14, 2, "payloadType"),
        case(
            "envelope-no-signature",
            "The envelope has no signature.",
            edited(|e| e["signatures"] = serde_json::json!([])),
        )
        .refused(14, 2, "0 signatures"),
        case(
            "envelope-two-signatures",
            "The envelope has its signature twice.",
            edited(|e| e["signatures"] = serde_json::json!([one, one])),
        )
        .refused(14, 2, "2 signatures"),
        case(
            "envelope-duplicate-key",
            "The envelope has two payloads, of which one reader takes the first and another the last.",
            good.replace("{\"payload\":", "{\"payload\":\"\",\"payload\":")
                .into(),
        )
        .refused(14, 2, "duplicate field"),
        case(
            "envelope-unknown-field",
            "The envelope has a field that nobody reads.",
            good.replace("{\"payload\":", "{\"extra\":1,\"payload\":").into(),
        )
        .refused(14, 2, "unknown field"),
        case(
            "envelope-with-spaces",
            "The envelope is written with spaces.",
            good.replace(":\"", ": \"").into(),
        )
        .refused(14, 2, "canonical form"),
        case(
            "envelope-without-line-feed",
            "The envelope does not end with a line feed.",
            good.trim_end().into(),
        )
        .refused(14, 2, "canonical form"),
        case("envelope-not-json", "The envelope is cut off.", good[..40].into()).refused(14, 2, "EOF"),
        case(
            "envelope-keyid-upper-case",
            "The key's id is written in upper case.",
            good.replace(&id, &id.to_uppercase()).into(),
        )
        .refused(14, 2, "64 lowercase hex"),
        case(
            "envelope-keyid-of-another-key",
            "The right key signed, under the id of another one.",
            good.replace(&id, &"0".repeat(64)).into(),
        )
        .refused(10, 2, "keyid"),
        case(
            "envelope-payload-flipped-bit",
            "A bit of the payload is flipped.",
            edited(|e| e["payload"] = STANDARD.encode(&stray).into()),
        )
        .refused(10, 2, "does not hold"),
        case(
            "envelope-payload-not-base64",
            "The payload is base64 without its padding.",
            unpadded(),
        )
        .refused(14, 2, "payload is not base64"),
    ]
}

/// A payload whose base64 needs padding, and lacks it.
fn unpadded() -> Vec<u8> {
    let payload = payload();
    let more = (0..3)
        .map(|n| [payload.clone(), vec![b' '; n]].concat())
        .find(|text| text.len() % 3 != 0)
        .unwrap();
    edited(|e| e["payload"] = STANDARD.encode(more).trim_end_matches('=').into())
}

/// S + L, where L = 2^252 + 27742317777372353535851937790883648493, little-endian: the same signature for a lax verifier.
fn beyond_the_order(mut signature: Vec<u8>) -> Vec<u8> {
    let order = u128::to_le_bytes(27_742_317_777_372_353_535_851_937_790_883_648_493);
    let mut carry = 0;
    for (index, byte) in signature[32..].iter_mut().enumerate() {
        let last = if index == 31 { 0x10 } else { 0 };
        let add = order.get(index).copied().unwrap_or(last);
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    signature
}

fn signers() -> Vec<Case> {
    let (good, payload) = (good(), payload());
    let pae = dsse::pae(dsse::PAYLOAD_TYPE, &payload);
    let stranger = PrivateKey::generate(&mut |bytes| bytes.fill(0x33));
    let id = export_key().public().id().to_string();
    let mut flipped = own_signature();
    flipped[40] ^= 1;
    let mut low_r = own_signature();
    low_r[..32].fill(0);
    low_r[0] = 1;
    let mut wild_r = own_signature();
    wild_r[..32].fill(0xff);
    let forged = String::from_utf8(dsse::sign(&payload, &stranger).unwrap()).unwrap();
    let forged = forged.replace(&stranger.public().id().to_string(), &id);
    assert!(good.contains(&id));
    vec![
        case(
            "signature-over-the-payload",
            "The export key signed the payload itself and not its envelope, as it might for another purpose.",
            signature(export_key().sign(&payload).as_bytes()),
        )
        .refused(10, 2, "does not hold"),
        case(
            "signature-flipped-bit",
            "A bit of the signature is flipped.",
            signature(&flipped),
        )
        .refused(10, 2, "does not hold"),
        case(
            "signature-of-63-bytes",
            "The signature lacks its last byte.",
            signature(&own_signature()[..63]),
        )
        .refused(14, 2, "not 64 bytes"),
        case(
            "signature-of-another-key-under-the-trusted-id",
            "A stranger signed under the id of the export key.",
            forged.into_bytes(),
        )
        .refused(10, 2, "does not hold"),
        case(
            "signature-of-the-log-key-under-the-trusted-id",
            "The log key signed under the id of the export key.",
            signature(log_key().sign(&pae).as_bytes()),
        )
        .refused(10, 2, "does not hold"),
        case(
            "signature-of-a-stranger",
            "A stranger signed in its own name.",
            dsse::sign(&payload, &stranger).unwrap(),
        )
        .refused(12, 2, "not by "),
        case(
            "signature-of-the-log-key",
            "The log key signed, whose role it is to sign checkpoints alone.",
            dsse::sign(&payload, &log_key()).unwrap(),
        )
        .refused(12, 2, "log key, which does not sign bundles"),
        case(
            "signature-beyond-the-group-order",
            "The signature's S is written as S + L, which lax verifiers take for the same.",
            signature(&beyond_the_order(own_signature())),
        )
        .refused(10, 2, "does not hold"),
        case(
            "signature-of-low-order",
            "The signature's R is the neutral element of the curve.",
            signature(&low_r),
        )
        .refused(10, 2, "does not hold"),
        case(
            "signature-not-on-the-curve",
            "The signature's R is no point in its one form.",
            signature(&wild_r),
        )
        .refused(10, 2, "does not hold"),
    ]
}

/// Keys that no verifier may take: with one of low order a signature over anything can be made without a secret.
fn keys() -> Vec<Case> {
    let pem = |raw: [u8; 32]| {
        let der = [&export_key().public().to_der()[..12], &raw].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        )
    };
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xf0, 0x7f);
    // R and S of the neutral element hold for a key of the neutral element, whatever was signed.
    let mut forged = [0; 64];
    forged[0] = 1;
    let forge = |raw: [u8; 32]| {
        let der = [&export_key().public().to_der()[..12], &raw].concat();
        edited(|e| {
            e["signatures"][0]["sig"] = STANDARD.encode(forged).into();
            e["signatures"][0]["keyid"] = Digest::of(&der).to_string().into();
        })
    };
    let refuse = |case: Case, raw: [u8; 32]| {
        let case = case.given(Given::ExportPem(pem(raw)));
        Case {
            code: 2,
            member: None,
            ..case
        }
    };
    vec![
        refuse(
            case(
                "key-of-low-order",
                "The key given is the neutral element, for which a signature over anything can be forged.",
                forge(neutral),
            ),
            neutral,
        ),
        refuse(
            case(
                "key-not-canonical",
                "The key given is a point written in another form than its one.",
                forge(not_canonical),
            ),
            not_canonical,
        ),
    ]
}

fn signed(name: &'static str, wrong: &'static str, payload: String) -> Case {
    case(
        name,
        wrong,
        dsse::sign(payload.as_bytes(), &export_key()).unwrap(),
    )
}

fn payloads() -> Vec<Case> {
    let text = String::from_utf8(payload()).unwrap();
    let put = |name, wrong, from: &str, to: &str| {
        assert!(text.contains(from), "{name}: {from}");
        signed(name, wrong, text.replacen(from, to, 1))
    };
    let (root, first) = (frontier_at(SIZE).root().to_string(), format!("\"first\":{FIRST}"));
    // Of a member whose name does not hold it too.
    let subjects = Parts::small().statement().subject;
    let checkpoint = subjects.iter().find(|subject| subject.name == "audit/checkpoint");
    let digest = checkpoint.unwrap().digest.sha256.to_string();
    vec![
        put(
            "payload-with-spaces",
            "The statement is written with a space.",
            &first,
            "\"first\": 5",
        )
        .refused(14, 2, "canonical"),
        put(
            "payload-fraction",
            "The range begins at 5.0.",
            &first,
            "\"first\":5.0",
        )
        .refused(14, 2, "not the statement"),
        put(
            "payload-duplicate-key",
            "The range begins twice.",
            &first,
            "\"first\":5,\"first\":5",
        )
        .refused(14, 2, "duplicate field"),
        put(
            "payload-unknown-field",
            "The statement has a field that nobody reads.",
            "\"files\":",
            "\"extra\":0,\"files\":",
        )
        .refused(14, 2, "unknown field"),
        put(
            "payload-not-utf8-escape",
            "The tenant is written with an escape that it does not need.",
            "\"tenant\":\"acme\"",
            "\"tenant\":\"\\u0061cme\"",
        )
        .refused(14, 2, "canonical"),
        put(
            "payload-range-ends-before-it-begins",
            "The range ends before it begins.",
            &first,
            "\"first\":13",
        )
        .refused(14, 2, "ends before it begins"),
        put(
            "payload-format",
            "The statement is of format 2.",
            "\"format\":1",
            "\"format\":2",
        )
        .refused(14, 2, "format"),
        put(
            "payload-of-a-work-order",
            "The statement is that of a work order.",
            "audit-bundle:v1",
            "work-order:v1",
        )
        .refused(14, 2, "predicateType"),
        put(
            "payload-statement-type",
            "The statement is of in-toto's older form.",
            "Statement/v1",
            "Statement/v0.1",
        )
        .refused(14, 2, "_type"),
        put(
            "payload-origin-upper-case",
            "The origin is written in upper case.",
            "00112233445566ff",
            "00112233445566FF",
        )
        .refused(14, 2, "origin"),
        put(
            "payload-origin-of-another-tenant",
            "The origin is that of another tenant.",
            "66ff/acme\"",
            "66ff/zeta\"",
        )
        .refused(14, 2, "origin"),
        put(
            "payload-root-upper-case",
            "The root is written in upper case.",
            &root,
            &root.to_uppercase(),
        )
        .refused(14, 2, "64 lowercase hex"),
        put(
            "payload-digest-upper-case",
            "A member's digest is written in upper case.",
            &digest,
            &digest.to_uppercase(),
        )
        .refused(14, 2, "64 lowercase hex"),
    ]
}

fn lists() -> Vec<Case> {
    let text = String::from_utf8(payload()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let item = |list: &str| value.pointer(list).unwrap().to_string();
    let twice = |list: &str, text: &str| text.replacen(&item(list), &format!("{0},{0}", item(list)), 1);
    let without = |list: &str, text: &str| text.replacen(&format!("{},", item(list)), "", 1);
    let swap = |list: &str, text: &str| {
        let (a, b) = (item(&format!("{list}/0")), item(&format!("{list}/1")));
        text.replacen(&format!("{a},{b}"), &format!("{b},{a}"), 1)
    };
    let leaves = value["subject"]
        .as_array()
        .unwrap()
        .iter()
        .position(|s| s["name"] == "audit/leaves")
        .unwrap();
    let no_leaves = without(
        &format!("/subject/{leaves}"),
        &without(&format!("/predicate/files/{leaves}"), &text),
    );
    let first_name = Parts::small().statement().predicate.files[0].name.clone();
    let size = |change: fn(&mut Statement)| {
        let mut parts = Parts::small();
        parts.sign_again(change);
        String::from_utf8(parts.statement().to_bytes().unwrap()).unwrap()
    };
    vec![
        signed(
            "subject-twice",
            "A member is listed twice among the subjects.",
            twice("/subject/0", &text),
        )
        .refused(14, 2, "not the same members"),
        signed(
            "subject-twice-and-counted-twice",
            "A member is listed and counted twice.",
            twice("/subject/0", &twice("/predicate/files/0", &text)),
        )
        .refused(14, 2, "duplicate"),
        signed(
            "subjects-in-another-order",
            "The subjects are not sorted.",
            swap("/subject", &swap("/predicate/files", &text)),
        )
        .refused(14, 2, "out of order"),
        signed(
            "subject-of-a-member-that-cannot-be",
            "A subject has a name that no member has.",
            text.replace("audit/checkpoint\"", "audit/checkpoint.aaa\""),
        )
        .refused(14, 2, "no possible subject"),
        signed(
            "subject-missing",
            "A member that each bundle has is not listed.",
            no_leaves,
        )
        .refused(11, 2, "audit/leaves is not among"),
        signed(
            "subject-size",
            "A member is counted with another size.",
            size(|s| s.predicate.files[0].size += 1),
        )
        .refused(10, 3, "bytes where the manifest says")
        .member(first_name.strip_prefix("audit/").unwrap())
        .script(Script::Other(
            14,
            "the script calls sizes and lines that are others a manifest that is not in its form",
        )),
        signed(
            "subject-lines",
            "A member is counted with another number of lines.",
            size(|s| {
                s.predicate
                    .files
                    .iter_mut()
                    .filter_map(|file| file.lines.as_mut())
                    .for_each(|lines| *lines += 1);
            }),
        )
        .refused(14, 5, "counts other lines")
        .member("history.jsonl"),
    ]
}
