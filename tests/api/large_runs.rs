//! The largest graph that can be made can also be cancelled, fail whole, and be done again.

use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::TestAppliance;

const JOBS: usize = 10_000;

/// A run of ten thousand jobs with names as long as they may be.
fn largest(appliance: &TestAppliance) -> String {
    for length in (6..=63).rev().step_by(3) {
        let jobs: Vec<Value> = (0..JOBS)
            .map(|index| json!({"name": format!("{index:0length$}"), "type": "a"}))
            .collect();
        let body = json!({"jobs": jobs, "correlationId": "c".repeat(16)}).to_string();
        let reply = appliance.post("/api/v1/runs", body);
        if reply.status == 201 {
            return reply.json()["id"].as_str().unwrap().to_owned();
        }
        assert_eq!(reply.problem(413), "too_large");
    }
    panic!("no graph of ten thousand jobs is taken");
}

fn status(appliance: &TestAppliance, run: &str) -> String {
    let run = appliance.get(&format!("/api/v1/runs/{run}")).expect(200);
    run["status"].as_str().unwrap().to_owned()
}

fn fail_all(appliance: &TestAppliance) {
    loop {
        let jobs = claim(appliance, json!({"max": 256}))["jobs"].clone();
        let failed = |lease: &Value| {
            let error = json!({"message": "no", "retryable": false});
            json!({"jobId": lease["id"], "epoch": lease["epoch"], "outcome": "failed", "error": error})
        };
        let results: Vec<Value> = jobs.as_array().unwrap().iter().map(failed).collect();
        if results.is_empty() {
            return;
        }
        complete(appliance, json!({"worker": "w-1", "results": results}));
    }
}

#[test]
fn the_largest_graph_is_cancelled_and_replayed_with_all_its_letters() {
    let appliance = TestAppliance::start();
    let run = largest(&appliance);
    let cancel = |run: &str| {
        let body = json!({"reason": "r".repeat(4_096)}).to_string();
        let reply = appliance.post(&format!("/api/v1/runs/{run}/cancel"), body);
        assert!(reply.status < 300, "{}", reply.json());
    };
    cancel(&run);
    assert_eq!(status(&appliance, &run), "cancelled");
    let jobs = appliance.get("/api/v1/jobs?limit=1").expect(200);
    assert_eq!(jobs["items"][0]["reason"], "run_cancelled");

    let run = largest(&appliance);
    fail_all(&appliance);
    assert_eq!(status(&appliance, &run), "failed");
    let open = || appliance.get("/api/v1/dead-letters/stats").expect(200)["open"].clone();
    assert_eq!(open(), JOBS);
    let place = format!("/api/v1/runs/{run}/replay");
    let seen = appliance
        .post(&place, r#"{"failed":true,"dryRun":true}"#)
        .expect(200);
    assert_eq!(seen["count"], JOBS);
    // Those of one run go together, however many they are.
    let letters = |dry_run: bool| {
        let body = json!({"filter": {"run": run, "type": "a*"}, "dryRun": dry_run});
        appliance
            .post("/api/v1/dead-letters/replay", body.to_string())
            .expect(200)
    };
    let seen = letters(true);
    assert_eq!((&seen["count"], &seen["more"]), (&json!(JOBS), &json!(false)));
    assert_eq!(seen["again"], JOBS);
    assert_eq!((&seen["runs"], &seen["refused"]), (&json!([run]), &json!([])));
    let cluster = appliance.get("/api/v1/error-clusters").expect(200)["items"][0]["fingerprint"].clone();
    let body = json!({"cluster": cluster, "dryRun": true}).to_string();
    let by_cluster = appliance.post("/api/v1/dead-letters/replay", body).expect(200);
    assert_eq!(by_cluster["count"], JOBS);
    let done = letters(false);
    assert_eq!(
        (&done["count"], &done["again"], &done["more"]),
        (&json!(JOBS), &json!(JOBS), &json!(false))
    );
    assert_eq!(
        (done["runs"].as_array().unwrap().len(), &done["refused"]),
        (1, &json!([]))
    );
    assert_eq!(open(), 0);
    let letter = appliance
        .get("/api/v1/dead-letters?status=resolved&limit=1")
        .expect(200)["items"][0]
        .clone();
    assert_eq!(letter["resolved"]["how"], "replayed");
    assert_eq!(letters(true)["count"], 0, "they are resolved");
    cancel(done["runs"][0].as_str().unwrap());
    // What is rebuilt from the ledger is the same.
    let appliance = appliance.restart();
    let stats = appliance.get("/api/v1/dead-letters/stats").expect(200);
    assert_eq!((&stats["open"], &stats["total"]), (&json!(0), &json!(JOBS)));
}
