//! Secrets over HTTP: values go in and never come out, names and authors are told, packs are held to them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fastness::domain::token::Scope;
use serde_json::{Value, json};

use crate::support::appliance::{Ask, Reply, TestAppliance, files};

const VALUE: &str = "correct-horse-battery-staple";

fn put(appliance: &TestAppliance, name: &str, value: &[u8]) -> Reply {
    let path = format!("/api/v1/secrets/{name}");
    let asked = Ask::new("PUT", &path, value).header("content-type", "application/octet-stream");
    appliance.send(&asked.token(&appliance.admin))
}

fn delete(appliance: &TestAppliance, name: &str) -> Reply {
    let path = format!("/api/v1/secrets/{name}");
    appliance.send(&Ask::new("DELETE", &path, b"").token(&appliance.admin))
}

fn register(appliance: &TestAppliance, secrets: &str) {
    let pack = format!(
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {{name: scan}}\nspec:\n  steps:\n  - {{id: a, run: [x], \
         secrets: {secrets}}}\n"
    );
    let asked = Ask::post("/api/v1/packs", pack.as_bytes()).header("content-type", "application/yaml");
    assert_eq!(appliance.send(&asked.token(&appliance.admin)).status, 201);
}

#[test]
fn a_value_goes_in_and_never_comes_out() {
    let appliance = TestAppliance::start();
    let made = put(&appliance, "SCAN_TOKEN", VALUE.as_bytes()).expect(201);
    assert_eq!(
        (&made["name"], &made["setBy"]),
        (&json!("SCAN_TOKEN"), &json!("admin"))
    );
    let again = put(&appliance, "SCAN_TOKEN", VALUE.as_bytes()).expect(200);
    assert!(again["seq"].as_u64() > made["seq"].as_u64());
    put(&appliance, "OTHER", b"\0\xff").expect(201);

    let list = appliance.get("/api/v1/secrets").expect(200);
    let names = list["items"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|item| item["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["SCAN_TOKEN", "OTHER"]);
    let one = appliance.get("/api/v1/secrets/SCAN_TOKEN").expect(200);
    assert_eq!(one, again);

    let events = appliance.get("/api/v1/events?type=secret.*").expect(200);
    let events = events["items"].as_array().unwrap();
    assert_eq!(events.len(), 3);
    for event in events {
        let payload = event["payload"].as_object().unwrap();
        let fields: Vec<&String> = payload.keys().collect();
        assert_eq!(fields, ["name", "version"]);
        assert_eq!(event["actor"]["id"], "admin");
    }

    let holding: Vec<PathBuf> = files(appliance.folder())
        .into_iter()
        .filter(|file| {
            let content = std::fs::read(file).unwrap();
            content
                .windows(VALUE.len())
                .any(|window| window == VALUE.as_bytes())
        })
        .collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    assert!(holding[0].starts_with(appliance.folder().join("secrets/default")));
    let mode = std::fs::metadata(&holding[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(delete(&appliance, "SCAN_TOKEN").status, 204);
    assert!(!holding[0].exists());
    assert_eq!(
        appliance.get("/api/v1/secrets/SCAN_TOKEN").problem(404),
        "not_found"
    );
    assert_eq!(delete(&appliance, "SCAN_TOKEN").problem(404), "not_found");
}

#[test]
fn a_run_begins_only_with_all_its_secrets() {
    let appliance = TestAppliance::start();
    register(&appliance, "[A_KEY, B_KEY]");
    let start = || appliance.post("/api/v1/pack-runs", r#"{"pack":"scan"}"#);
    put(&appliance, "A_KEY", b"a").expect(201);
    let refused = start();
    assert_eq!(refused.problem(422), "unknown_secret");
    assert!(refused.json()["detail"].as_str().unwrap().contains("B_KEY"));
    put(&appliance, "B_KEY", b"b").expect(201);
    let run = start().expect(201);
    let id = run["id"].as_str().unwrap();
    let job = appliance.get(&format!("/api/v1/runs/{id}")).expect(200)["steps"][0]["jobId"].clone();
    let job = appliance
        .get(&format!("/api/v1/jobs/{}", job.as_str().unwrap()))
        .expect(200);
    assert_eq!(
        job["payload"]["secrets"],
        json!(["A_KEY", "B_KEY"]),
        "names, and nothing else"
    );

    appliance
        .post(&format!("/api/v1/runs/{id}/cancel"), "")
        .expect(200);
    assert_eq!(delete(&appliance, "A_KEY").status, 204);
    let again = appliance.post(&format!("/api/v1/runs/{id}/replay"), r#"{"failed":true}"#);
    assert_eq!(again.problem(422), "unknown_secret");
}

#[test]
fn what_is_no_secret_is_refused() {
    let appliance = TestAppliance::start();
    assert_eq!(put(&appliance, "SCAN-TOKEN", b"x").problem(422), "invalid_field");
    assert_eq!(put(&appliance, "..%2Fx", b"x").problem(422), "invalid_field");
    assert_eq!(put(&appliance, "EMPTY", b"").problem(422), "invalid_field");
    let large = vec![b'x'; fastness::limits::SECRET_BYTES_MAX + 1];
    assert_eq!(put(&appliance, "LARGE", &large).problem(413), "too_large");
    put(&appliance, "LARGE", &large[1..]).expect(201);
    let path = "/api/v1/secrets/TEXT";
    let asked = Ask::new("PUT", path, b"{}").header("content-type", "application/json");
    let refused = appliance.send(&asked.token(&appliance.admin));
    assert_eq!(refused.problem(415), "unsupported_media_type");
    let operator = appliance.token("olga", &[Scope::Operate, Scope::Read], &["default"]);
    let asked = Ask::get("/api/v1/secrets").token(&operator);
    assert_eq!(appliance.send(&asked).problem(403), "scope_required");
}

#[test]
fn secrets_of_one_tenant_are_not_there_for_another() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("other");
    put(&appliance, "KEY", b"x").expect(201);
    let other = appliance.token("eve", &[Scope::Admin], &["other"]);
    let asked = Ask::get("/api/v1/secrets/KEY").token(&other);
    assert_eq!(appliance.send(&asked).problem(404), "not_found");
    let list: Value = appliance
        .send(&Ask::get("/api/v1/secrets").token(&other))
        .expect(200);
    assert_eq!(list["items"], json!([]));
}

#[test]
fn secrets_are_there_after_a_restart() {
    let appliance = TestAppliance::start();
    put(&appliance, "KEY", b"x").expect(201);
    let appliance = appliance.restart();
    assert_eq!(appliance.get("/api/v1/secrets/KEY").expect(200)["name"], "KEY");
    put(&appliance, "KEY", b"y").expect(200);
}
