//! How many foreign ledgers may be held or known by their keys.

use fastness::domain::command::Command;
use fastness::domain::event::Actor;
use fastness::domain::payload::{BundleImported, TrustPinned};
use fastness::domain::{Digest, TenantName};
use fastness::limits;
use serde_json::json;

use super::imports::{export, import, submit};
use crate::support::appliance::TestAppliance;

/// Lets the writer do as many as may be, of ledgers that nobody has.
fn fill(appliance: &TestAppliance, command: impl Fn(String) -> Command) {
    let origins: Vec<String> = (0..limits::IMPORTS_MAX)
        .map(|number| format!("fastness/{number:016x}/default"))
        .collect();
    for some in origins.chunks(1_000) {
        let commands = some.iter().cloned().map(&command).collect();
        let (system, actor) = (TenantName::system(), Actor::system("test"));
        let trip = appliance.engine.trip(&system, &actor, commands, None);
        let answer = appliance.runtime.block_on(trip).unwrap();
        assert!(answer.results.iter().all(Result::is_ok));
    }
}

fn pem(appliance: &TestAppliance) -> String {
    appliance.engine.keys().export().public().to_pem().unwrap()
}

#[test]
fn keys_of_so_many_ledgers_are_pinned_and_no_more() {
    let appliance = TestAppliance::start();
    let key = pem(&appliance);
    fill(&appliance, |origin| {
        Command::PinTrust(Box::new(TrustPinned {
            export_key: key.clone(),
            log_key: key.clone(),
            origin,
            replace: false,
        }))
    });
    let pin = |number: usize, key: &str, replace: bool| {
        let origin = format!("fastness/{number:016x}/default");
        let body = json!({"origin": origin, "logKey": key, "exportKey": key, "replace": replace});
        appliance.post("/api/v1/trust/pins", body.to_string())
    };
    assert_eq!(
        pin(limits::IMPORTS_MAX, &key, false).problem(429),
        "limit_reached"
    );
    let print = json!({"origin": "fastness/ffffffffffffffff/default", "fingerprint": "0".repeat(64)});
    let refused = appliance.post("/api/v1/trust/pins", print.to_string());
    assert_eq!(refused.problem(429), "limit_reached");
    let trust = appliance.get("/api/v1/trust").expect(200);
    assert_eq!(trust["pins"].as_array().unwrap().len(), limits::IMPORTS_MAX);
    // Who is known already is changed as before.
    let other = pem(&TestAppliance::start());
    pin(7, &other, true).expect(204);
}

#[test]
fn so_many_ledgers_are_held_and_no_more() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 1);
    let (_, file) = export(&source, &json!({}));
    fill(&target, |origin| {
        let enclave = origin.split('/').nth(1).unwrap();
        Command::ImportBundle(Box::new(BundleImported {
            first: 0,
            root: Digest::of(origin.as_bytes()),
            size: 1,
            tar_sha256: Digest::of(origin.as_bytes()),
            tenant: format!("foreign:{enclave}/default").parse().unwrap(),
            trust_version: None,
            origin,
        }))
    });
    let refused = import(&target, &target.admin, &source, &file);
    assert_eq!(refused.problem(429), "limit_reached");
    let held = target.get("/api/v1/trust").expect(200);
    assert_eq!(held["pins"], json!([]), "nothing is pinned for it");
}
