//! The published JSON Schemas of what is in a bundle say what the types say, and a real bundle keeps to them.

use std::io::Read;

use fastness::bundle::dsse::Envelope;
use fastness::bundle::manifest::{Contents, Predicate, Statement};
use fastness::bundle::tar::TarReader;
use fastness::bundle::transport::FrameReader;
use fastness::domain::job::{Artifact, AttemptLogs, Job, OutputDigest};
use fastness::domain::run::Run;
use fastness::domain::state::Pack;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::imports::export;
use crate::api::jobs::{claim, complete};
use crate::pack_schema::refusal;
use crate::support::appliance::{Ask, TestAppliance};

const EVENT: &str = include_str!("../../bundles/schemas/event.v1.schema.json");
const MANIFEST: &str = include_str!("../../bundles/schemas/bundle-manifest.v1.schema.json");
const RECORDS: &str = include_str!("../../bundles/schemas/records.v1.schema.json");
const DISCLOSURE: &str = include_str!("../../bundles/schemas/disclosure.v1.schema.json");

fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Holds a value against a schema, or a part of one.
#[track_caller]
fn keeps(schema: &Value, part: &str, value: &Value) {
    let shape = schema.pointer(part).unwrap();
    assert_eq!(refusal(schema, shape, value, ""), None, "{value}");
}

fn breaks(schema: &Value, part: &str, value: &Value) -> bool {
    refusal(schema, schema.pointer(part).unwrap(), value, "").is_some()
}

/// The fields of a type that knows no others, by what it says of one that it does not know.
fn fields<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_str::<T>(r#"{"no such field":0}"#) else {
        panic!("it takes any field")
    };
    let text = error.to_string();
    let (_, known) = text.split_once("expected ").unwrap_or_else(|| panic!("{text}"));
    let mut names: Vec<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    names.sort();
    names
}

fn described(schema: &Value, part: &str) -> Vec<String> {
    let shape = schema.pointer(part).unwrap();
    assert_eq!(shape["additionalProperties"], false, "{part}");
    shape["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_schemas_have_exactly_the_fields_of_the_types() {
    let (manifest, records) = (schema(MANIFEST), schema(RECORDS));
    assert_eq!(described(&manifest, ""), fields::<Statement>());
    assert_eq!(described(&manifest, "/$defs/predicate"), fields::<Predicate>());
    assert_eq!(
        described(&manifest, "/$defs/predicate/properties/contents"),
        fields::<Contents>()
    );
    assert_eq!(described(&records, "/$defs/job"), fields::<Job>());
    assert_eq!(described(&records, "/$defs/run"), fields::<Run>());
    assert_eq!(described(&records, "/$defs/pack"), fields::<Pack>());
    assert_eq!(described(&records, "/$defs/artifact"), fields::<Artifact>());
    assert_eq!(described(&records, "/$defs/logs"), fields::<AttemptLogs>());
    assert_eq!(described(&records, "/$defs/output"), fields::<OutputDigest>());
}

/// The members of a bundle.
fn members(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = Vec::new();
    FrameReader::new(file).unwrap().read_to_end(&mut tar).unwrap();
    let mut reader = TarReader::new(tar.as_slice());
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = vec![0; entry.size as usize];
        assert_eq!(reader.content(&mut content).unwrap(), content.len());
        found.push((entry.name, content));
    }
    found
}

#[test]
fn a_real_bundle_keeps_to_them() {
    let source = TestAppliance::start();
    let pack = "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: p}\nspec:\n  steps: [{id: a, run: [\"true\"]}]\n";
    let pushed = Ask::new("POST", "/api/v1/packs", pack.as_bytes())
        .token(&source.admin)
        .header("content-type", "application/yaml");
    source.send(&pushed).expect(201);
    source.post("/api/v1/pack-runs", r#"{"pack":"p"}"#).expect(201);
    source
        .post("/api/v1/jobs", r#"{"type":"t","hold":true}"#)
        .expect(201);
    for outcome in ["completed", "failed"] {
        source
            .post(
                "/api/v1/jobs",
                r#"{"type":"t","retries":{"max":0},"correlationId":"c"}"#,
            )
            .expect(201);
        let lease = claim(&source, json!({}))["jobs"][0].clone();
        let path = format!(
            "/api/v1/workers/jobs/{}/logs?worker=w-1&epoch=1&stream=stdout&offset=0",
            lease["id"].as_str().unwrap()
        );
        assert!(source.post(&path, "a line\n").status < 300);
        let error = json!({"class": "other", "message": "m"});
        let mut result = json!({"jobId": lease["id"], "epoch": 1, "outcome": outcome});
        if outcome == "failed" {
            result["error"] = error;
        } else {
            result["output"] = json!({"deep": [1, null]});
        }
        complete(&source, json!({"worker": "w-1", "results": [result]}));
    }
    let (_, file) = export(&source, &json!({"with": ["artifacts", "logs"]}));
    let (event, manifest, records) = (schema(EVENT), schema(MANIFEST), schema(RECORDS));
    let mut lines = std::collections::BTreeMap::new();
    for (name, content) in members(&file) {
        let part = match name.as_str() {
            "audit/manifest.dsse.json" => {
                let statement = Envelope::parse(&content).unwrap().payload;
                let statement: Value = serde_json::from_slice(&statement).unwrap();
                keeps(&manifest, "", &statement);
                let mut other = statement.clone();
                other["predicate"]["exportedAt"] = json!("now");
                assert!(breaks(&manifest, "", &other));
                other = statement;
                other["subject"][0]["digest"]["sha256"] = json!("AB");
                assert!(breaks(&manifest, "", &other));
                continue;
            }
            "audit/history.jsonl" => (&event, ""),
            "audit/jobs.jsonl" => (&records, "/$defs/job"),
            "audit/runs.jsonl" => (&records, "/$defs/run"),
            "audit/packs.jsonl" => (&records, "/$defs/pack"),
            _ => continue,
        };
        for line in content.split_inclusive(|byte| *byte == b'\n') {
            let value: Value = serde_json::from_slice(line).unwrap();
            keeps(part.0, part.1, &value);
            let mut other = value;
            other["surplus"] = json!(1);
            assert!(breaks(part.0, part.1, &other), "{name}");
            *lines.entry(name.clone()).or_insert(0) += 1;
        }
    }
    let counted: Vec<_> = lines
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    assert_eq!(
        counted[1..],
        ["audit/jobs.jsonl 4", "audit/packs.jsonl 1", "audit/runs.jsonl 1"],
        "{counted:?}"
    );
}

#[test]
fn a_disclosure_is_a_text_and_its_event() {
    let schema = schema(DISCLOSURE);
    keeps(&schema, "", &json!({"d": "WyJzYWx0IiwibmFtZSIsMV0", "seq": 7}));
    for bad in [
        json!({"d": "WyJ=", "seq": 7}),
        json!({"d": "", "seq": 7}),
        json!({"d": "a", "seq": -1}),
        json!({"d": "a"}),
        json!({"d": "a", "seq": 1, "name": "x"}),
    ] {
        assert!(breaks(&schema, "", &bad), "{bad}");
    }
}
