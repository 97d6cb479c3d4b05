//! The ledger over HTTP, checked as somebody who trusts nobody would.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::domain::{Digest, leaf_hash};
use fastness::ledger::{SignedCheckpoint, TreeHead, verify_consistency, verify_inclusion};
use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::TestAppliance;

fn hashes(value: &Value) -> Vec<Digest> {
    let texts = value.as_array().unwrap().iter();
    texts
        .map(|text| {
            let bytes = STANDARD.decode(text.as_str().unwrap()).unwrap();
            Digest::from_bytes(bytes.try_into().unwrap())
        })
        .collect()
}

fn head(appliance: &TestAppliance, query: &str) -> TreeHead {
    let reply = appliance.get(&format!("/api/v1/ledger/checkpoint{query}"));
    assert_eq!(reply.status, 200);
    let signed = SignedCheckpoint::parse(&reply.body).unwrap();
    let origin = appliance.engine.origin(&"default".parse().unwrap()).unwrap();
    let key = appliance.engine.keys().log().public();
    signed.verify(&origin, &key).unwrap().head
}

#[test]
fn what_a_stream_delivers_is_what_the_checkpoint_covers() {
    let appliance = TestAppliance::start();
    for at in 0..5 {
        appliance
            .post("/api/v1/jobs", format!(r#"{{"type":"t{at}"}}"#))
            .expect(201);
    }
    let head = head(&appliance, "");
    assert_eq!(head.size, 6);
    let mut stream = appliance.follow("/api/v1/stream?after=-1");
    for seq in 0..head.size {
        let message = stream.next_event().unwrap();
        assert_eq!(message.id, Some(seq.to_string()));
        let hash = leaf_hash(message.data.as_bytes());
        let proven = appliance
            .get(&format!("/api/v1/events/{seq}?proof=1"))
            .expect(200);
        assert_eq!(proven["hash"], hash.to_string());
        assert_eq!(
            (&proven["index"], &proven["size"]),
            (&json!(seq), &json!(head.size))
        );
        verify_inclusion(&hash, seq, head.size, &hashes(&proven["hashes"]), &head.root).unwrap();
        let event = appliance.get(&format!("/api/v1/events/{seq}"));
        assert_eq!(event.body, message.data.as_bytes(), "the exact bytes");
        let proof = appliance
            .get(&format!("/api/v1/ledger/proof/inclusion?seq={seq}"))
            .expect(200);
        assert_eq!(
            (&proof["leafHash"], &proof["hashes"]),
            (&proven["hash"], &proven["hashes"])
        );
    }
    assert_eq!(appliance.get("/api/v1/events/6").problem(404), "not_found");
}

#[test]
fn the_ledger_only_grows_and_proves_it() {
    let appliance = TestAppliance::start();
    for _ in 0..9 {
        appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    }
    let (old, new) = (head(&appliance, "?size=4"), head(&appliance, "?size=10"));
    let proof = appliance
        .get("/api/v1/ledger/proof/consistency?from=4&to=10")
        .expect(200);
    verify_consistency(old, new, &hashes(&proof["hashes"])).unwrap();
    for path in [
        "/api/v1/ledger/checkpoint?size=11",
        "/api/v1/ledger/proof/consistency?from=4&to=11",
        "/api/v1/ledger/proof/consistency?from=5&to=4",
        "/api/v1/ledger/proof/consistency",
        "/api/v1/ledger/proof/inclusion",
        "/api/v1/ledger/proof/inclusion?seq=10",
        "/api/v1/ledger/proof/inclusion?seq=4&size=4",
        "/api/v1/ledger/state?size=11",
    ] {
        assert_eq!(appliance.get(path).problem(422), "invalid_parameter", "{path}");
    }
}

#[test]
fn an_earlier_state_has_the_digest_it_had_then() {
    let appliance = TestAppliance::start();
    let mut digests = Vec::new();
    for at in 0..4 {
        let payload = ["", r#","payload":null"#, r#","payload":1.5"#, r#","payload":{}"#][at];
        appliance
            .post("/api/v1/jobs", format!(r#"{{"type":"t{at}"{payload}}}"#))
            .expect(201);
        let lease = claim(&appliance, json!({}))["jobs"][0].clone();
        let result = json!({"jobId": lease["id"], "epoch": 1, "outcome": "completed", "output": null});
        complete(&appliance, json!({"worker": "w-1", "results": [result]}));
        digests.push(appliance.get("/api/v1/ledger/state").expect(200));
    }
    for then in &digests {
        let again = appliance
            .get(&format!("/api/v1/ledger/state?size={}", then["size"]))
            .expect(200);
        assert_eq!(again, *then);
    }
    let distinct: std::collections::BTreeSet<_> = digests
        .iter()
        .map(|then| then["stateDigest"].to_string())
        .collect();
    assert_eq!(distinct.len(), digests.len());
}

#[test]
fn events_are_listed_by_filter_and_page() {
    let appliance = TestAppliance::start();
    for at in 0..30 {
        let body = json!({"type": "a", "correlationId": format!("c-{}", at % 3), "project": "p"});
        appliance.post("/api/v1/jobs", body.to_string()).expect(201);
    }
    let first = appliance.get("/api/v1/events?after=-1&limit=1").expect(200);
    assert_eq!(first["items"][0]["type"], "ledger.opened");
    assert_eq!(first["asOf"], 30);
    for (filter, expected) in [
        ("?after=-1", 31),
        ("?after=10", 20),
        ("?type=job.*", 30),
        ("?type=ledger.*&type=job.created", 31),
        ("?correlationId=c-1", 10),
        ("?project=p&correlationId=c-2", 10),
        ("?type=nothing", 0),
    ] {
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let page = appliance
                .get(&format!("/api/v1/events{filter}&limit=7{cursor}"))
                .expect(200);
            count += page["items"].as_array().unwrap().len();
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(count, expected, "{filter}");
    }
}
