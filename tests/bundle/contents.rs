//! Artifacts and logs in a bundle: each that history names is there, or said to be missing.

use std::io::Cursor;

use fastness::bundle::manifest::Contents;
use fastness::bundle::{BundleWriter, Member, Range, frontier};
use fastness::domain::{Digest, leaf_hash};
use fastness::ledger::Frontier;
use serde_json::{Value, json};

use super::fixture::{ORIGIN, checkpoint, export_key, log_key, range, refused, report};
use crate::api::imports::{export, import, noted};
use crate::api::jobs::{claim, complete};
use crate::support::appliance::{Ask, TestAppliance, files};

const JOB: &str = "0190d7c4-0000-7000-8000-000000000000";
const MADE: &[u8] = b"what was made";
const SAID: &[u8] = b"what was said";

/// Two events: one that names an artifact, one that names logs, of which one stream is empty.
fn events() -> [Vec<u8>; 2] {
    let event = |seq: u64, name: &str, payload: Value| {
        let text = json!({"actor": {"id": "w", "kind": "worker"}, "at": "2026-01-31T12:00:00.000Z", "payload": payload,
            "schema": "fastness.event/v1", "seq": seq, "subject": {"job": JOB}, "tenant": "acme", "type": name, "version": 1});
        text.to_string().into_bytes()
    };
    let artifact =
        json!({"mime": "text/plain", "name": "a.txt", "sha256": Digest::of(MADE), "size": MADE.len()});
    let log = |bytes: &[u8]| json!({"bytes": bytes.len(), "lines": 1, "sha256": Digest::of(bytes)});
    let logs = json!({"indexSha256": Digest::of(b"i"), "stderr": log(b""), "stdout": log(SAID)});
    [
        event(0, "artifact.created", json!({"artifact": artifact, "attempt": 1})),
        event(
            1,
            "job.completed",
            json!({"attempt": 1, "epoch": 1, "logs": logs}),
        ),
    ]
}

/// A bundle of these events that carries `files`, and says so as `contents`.
fn bundle(contents: Option<Contents>, files: &[(Member, &'static [u8])]) -> Vec<u8> {
    let events = events();
    let mut tree = Frontier::default();
    events.iter().for_each(|event| tree.push(leaf_hash(event)));
    let range = Range {
        contents,
        root: tree.root(),
        ..range(0, 2)
    };
    let mut writer = BundleWriter::new(range.clone());
    writer.add_bytes(Member::Checkpoint, checkpoint(&log_key(), ORIGIN, 2, &range.root));
    writer.add_bytes(
        Member::CheckpointPrev,
        checkpoint(&log_key(), ORIGIN, 0, &range.prev_root),
    );
    writer.add_bytes(Member::Frontier, frontier::write(&Frontier::default()));
    let history = events.map(|event| [event, b"\n".to_vec()].concat()).concat();
    writer
        .add_history(Box::new(move || Ok(Box::new(Cursor::new(history.clone())))))
        .unwrap();
    for (member, bytes) in files {
        writer.add_bytes(*member, bytes.to_vec());
    }
    let mut out = Vec::new();
    writer.write(&export_key(), &mut out).unwrap();
    out
}

fn contents(with: &[&str], missing: &[&[u8]]) -> Option<Contents> {
    let mut missing: Vec<Digest> = missing.iter().map(|bytes| Digest::of(bytes)).collect();
    missing.sort();
    let with = with.iter().map(|with| (*with).to_owned()).collect();
    Some(Contents { missing, with })
}

fn artifact(bytes: &'static [u8]) -> (Member, &'static [u8]) {
    (Member::Artifact(Digest::of(bytes)), bytes)
}

fn log(bytes: &'static [u8]) -> (Member, &'static [u8]) {
    (Member::Log(Digest::of(bytes)), bytes)
}

#[test]
fn what_is_named_is_there_or_said_to_be_missing() {
    let both = ["artifacts", "logs"];
    for (name, good) in [
        ("nothing asked for", bundle(None, &[])),
        (
            "all there",
            bundle(contents(&both, &[]), &[artifact(MADE), log(SAID), log(b"")]),
        ),
        (
            "artifacts alone",
            bundle(contents(&["artifacts"], &[]), &[artifact(MADE)]),
        ),
        (
            "one is missing",
            bundle(contents(&both, &[MADE]), &[log(SAID), log(b"")]),
        ),
        (
            "all are missing",
            bundle(contents(&both, &[MADE, SAID, b""]), &[]),
        ),
    ] {
        let report = report(&good);
        assert!(report.ok, "{name}: {report:#?}");
    }
    // An event that was changed names nothing any more; it is told of, and not what it would have named.
    let good = bundle(contents(&both, &[]), &[artifact(MADE), log(SAID), log(b"")]);
    let mut changed = super::fixture::Parts::of(&good);
    let history = changed.member("history.jsonl");
    let place = history
        .windows(8)
        .position(|eight| eight == b"00.000Z\"")
        .unwrap();
    history[place + 6] = b'z';
    let first = refused(&changed.file(), 10);
    assert_eq!(
        (first.n, first.seq, first.member.as_deref()),
        (3, Some(0), Some("audit/history.jsonl")),
        "{first:?}"
    );
    let silent = refused(&bundle(contents(&both, &[]), &[log(SAID), log(b"")]), 11);
    assert_eq!(
        (silent.n, silent.seq, silent.line),
        (3, Some(0), Some(1)),
        "{silent:?}"
    );
    let silent = refused(&bundle(contents(&both, &[b""]), &[artifact(MADE)]), 11);
    assert_eq!((silent.n, silent.seq), (3, Some(1)), "{silent:?}");
    for (name, bad) in [
        (
            "no event names it",
            bundle(
                contents(&both, &[]),
                &[artifact(MADE), artifact(b"more"), log(SAID), log(b"")],
            ),
        ),
        (
            "not asked for",
            bundle(contents(&["logs"], &[]), &[artifact(MADE), log(SAID), log(b"")]),
        ),
        (
            "missing and there",
            bundle(contents(&["artifacts"], &[MADE]), &[artifact(MADE)]),
        ),
        (
            "missing and named by no event",
            bundle(contents(&["artifacts"], &[b"x"]), &[artifact(MADE)]),
        ),
    ] {
        assert_eq!(refused(&bad, 10).n, 3, "{name}");
    }
}

#[test]
fn every_way_an_attempt_ends_brings_its_log() {
    let source = TestAppliance::start();
    let ended = |outcome: &str| {
        let job = source
            .post("/api/v1/jobs", r#"{"type":"t","retries":{"max":0}}"#)
            .expect(201);
        let id = job["id"].as_str().unwrap().to_owned();
        assert_eq!(claim(&source, json!({}))["jobs"][0]["id"], id.as_str());
        let said = format!("{outcome} said this\n");
        let path = format!("/api/v1/workers/jobs/{id}/logs?worker=w-1&epoch=1&stream=stderr&offset=0");
        assert!(source.post(&path, &said).status < 300);
        if outcome == "cancelled" {
            source
                .post(&format!("/api/v1/jobs/{id}/cancel"), r#"{"reason":"r"}"#)
                .expect(202);
        }
        if outcome == "released" {
            let body = json!({"worker": "w-1", "epoch": 1, "reason": "r"}).to_string();
            let path = format!("/api/v1/workers/jobs/{id}/release");
            assert!(source.post(&path, body).status < 300);
            source
                .post(&format!("/api/v1/jobs/{id}/cancel"), r#"{"reason":"r"}"#)
                .expect(200);
        } else {
            let mut result = json!({"jobId": id, "epoch": 1, "outcome": outcome});
            if outcome == "failed" {
                result["error"] = json!({"class": "other", "message": "m"});
            }
            complete(&source, json!({"worker": "w-1", "results": [result]}));
        }
        Digest::of(said.as_bytes())
    };
    let digests: Vec<Digest> = ["completed", "failed", "cancelled", "released"]
        .map(ended)
        .to_vec();
    let size = source.get("/api/v1/ledger/state").expect(200)["size"]
        .as_u64()
        .unwrap();
    // From the first event on, and from one behind the beginning of the last attempt.
    let first_of_all = json!({"with": ["logs"]});
    let ends_alone = json!({"with": ["logs"], "from": size - 2});
    for (body, expected) in [(first_of_all, &digests[..]), (ends_alone, &digests[3..])] {
        let (exported, file) = export(&source, &body);
        assert!(exported.get("missing").is_none(), "{exported}");
        let parts = super::fixture::Parts::of(&file);
        for digest in expected {
            let name = format!("audit/logs/{digest}");
            assert!(
                parts.0.iter().any(|(member, _)| *member == name),
                "{body}: {name}"
            );
        }
    }
}

#[test]
fn what_was_pruned_is_said_by_answer_manifest_and_event() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    source.post("/api/v1/jobs", r#"{"type":"t"}"#).expect(201);
    let id = claim(&source, json!({}))["jobs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (name, bytes) in [("a", b"kept".as_slice()), ("b", b"pruned")] {
        let path = format!(
            "/api/v1/workers/jobs/{id}/artifacts/{name}?worker=w-1&epoch=1&sha256={}",
            Digest::of(bytes)
        );
        source
            .send(&Ask::new("PUT", &path, bytes).token(&source.admin))
            .expect(201);
    }
    let pruned = Digest::of(b"pruned");
    let lying = files(&source.folder().join("output"));
    let lying = lying
        .iter()
        .filter(|path| path.to_string_lossy().contains(&pruned.to_string()[4..]));
    assert_eq!(lying.map(std::fs::remove_file).map(Result::unwrap).count(), 1);
    let (exported, file) = export(&source, &json!({"with": ["artifacts"]}));
    assert_eq!(exported["missing"], json!([pruned]));
    assert_eq!(noted(&source, "bundle.exported")[0].1["missing"], 1);
    let imported = import(&target, &target.admin, &source, &file).expect(201);
    assert_eq!(imported["report"]["ok"], true);
    let whole = source.post("/api/v1/bundles/export", "{}").expect(201);
    assert!(
        whole.get("missing").is_none(),
        "what was not asked for is not missing"
    );
}
