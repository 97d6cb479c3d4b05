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
    let root_of = |enclave: &str| {
        let origin = format!("fastness/{enclave}/default");
        let body = json!({"origin": origin, "fingerprint": "0".repeat(64)});
        appliance.post("/api/v1/trust/pins", body.to_string())
    };
    root_of(&"e".repeat(16)).expect(204);
    fill(&appliance, |origin| {
        Command::PinTrust(Box::new(TrustPinned {
            export_key: key.clone(),
            log_key: key.clone(),
            origin,
            replace: false,
        }))
    });
    let pin_keys = |origin: String, key: &str, replace: bool| {
        let body = json!({"origin": origin, "logKey": key, "exportKey": key, "replace": replace});
        appliance.post("/api/v1/trust/pins", body.to_string())
    };
    let pin = |number: usize, key: &str, replace: bool| {
        pin_keys(format!("fastness/{number:016x}/default"), key, replace)
    };
    assert_eq!(
        pin(limits::IMPORTS_MAX, &key, false).problem(429),
        "limit_reached"
    );
    assert_eq!(root_of(&"f".repeat(16)).problem(429), "limit_reached");
    // Keys count by their ledger, whatever is known of its enclave; a root counts by the enclave.
    for (enclave, tenant) in [("e".repeat(16), "default"), (format!("{:016x}", 7), "other")] {
        let refused = pin_keys(format!("fastness/{enclave}/{tenant}"), &key, false);
        assert_eq!(refused.problem(429), "limit_reached");
    }
    root_of(&"e".repeat(16)).expect(204);
    root_of(&format!("{:016x}", 7)).expect(204);
    let trust = appliance.get("/api/v1/trust").expect(200);
    assert_eq!(trust["pins"].as_array().unwrap().len(), limits::IMPORTS_MAX);
    // Who is known already is changed as before.
    let other = pem(&TestAppliance::start());
    pin(7, &other, true).expect(204);
}

#[test]
fn so_many_ledgers_are_held_and_no_more() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
    submit(&source, 1);
    let (_, file) = export(&source, &json!({}));
    let waits = TestAppliance::start();
    submit(&waits, 2);
    let (_, first) = export(&waits, &json!({"to": 2}));
    import(&target, &target.admin, &waits, &first).expect(202);
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
    // A ledger that waits has its place.
    let (_, longer) = export(&waits, &json!({}));
    for file in [&first, &longer] {
        import(&target, &target.admin, &waits, file).expect(202);
    }
    let held = target.get("/api/v1/trust").expect(200);
    assert_eq!(held["pins"], json!([]), "nothing is pinned for it");
}
