//! Replay of dead letters: the preview and the answer count what is done, not what was chosen.

use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::TestAppliance;

fn fail_all(appliance: &TestAppliance, error: &str) {
    loop {
        let jobs = claim(appliance, json!({"max": 256}))["jobs"].clone();
        let failed = |lease: &Value| {
            let error = json!({"message": error, "retryable": false});
            json!({"jobId": lease["id"], "epoch": lease["epoch"], "outcome": "failed", "error": error})
        };
        let results: Vec<Value> = jobs.as_array().unwrap().iter().map(failed).collect();
        if results.is_empty() {
            return;
        }
        complete(appliance, json!({"worker": "w-1", "results": results}));
    }
}

/// A run of three jobs that fail alone and one that needs the first of them; and the letters, by step.
fn failed_run(appliance: &TestAppliance) -> (String, Vec<String>) {
    let jobs = json!([
        {"name": "a", "type": "left"},
        {"name": "b", "type": "left"},
        {"name": "c", "type": "right"},
        {"name": "d", "type": "right", "needs": ["a"]},
    ]);
    let run = appliance.post("/api/v1/runs", json!({ "jobs": jobs }).to_string());
    let run = run.expect(201)["id"].as_str().unwrap().to_owned();
    fail_all(appliance, "no");
    let letters = appliance
        .get(&format!("/api/v1/dead-letters?run={run}"))
        .expect(200);
    let mut letters: Vec<&Value> = letters["items"].as_array().unwrap().iter().collect();
    letters.sort_by_key(|letter| letter["step"].as_str().unwrap());
    assert_eq!(letters.len(), 3);
    let id = |letter: &&Value| letter["id"].as_str().unwrap().to_owned();
    (run, letters.iter().map(id).collect())
}

fn replay(appliance: &TestAppliance, body: Value) -> Value {
    appliance
        .post("/api/v1/dead-letters/replay", body.to_string())
        .expect(200)
}

fn open(appliance: &TestAppliance) -> Value {
    appliance.get("/api/v1/dead-letters/stats").expect(200)["open"].clone()
}

fn note(appliance: &TestAppliance, letter: &str) {
    let body = json!({"note": "seen to"}).to_string();
    appliance
        .post(&format!("/api/v1/dead-letters/{letter}/resolve"), body)
        .expect(200);
}

#[test]
fn a_letter_of_a_run_counts_with_all_that_its_replay_resolves() {
    let appliance = TestAppliance::start();
    let (run, letters) = failed_run(&appliance);
    for body in [
        json!({"ids": [letters[1]], "dryRun": true}),
        json!({"filter": {"run": run, "type": "left"}, "dryRun": true}),
    ] {
        let seen = replay(&appliance, body);
        assert_eq!((&seen["count"], &seen["again"]), (&json!(3), &json!(4)), "{seen}");
        assert_eq!((&seen["runs"], &seen["more"]), (&json!([run]), &json!(false)));
    }
    assert_eq!(open(&appliance), 3, "a preview changes nothing");
    let done = replay(&appliance, json!({"ids": [letters[1]]}));
    assert_eq!((&done["count"], &done["again"]), (&json!(3), &json!(4)), "{done}");
    assert_eq!(done["refused"], json!([]));
    assert_eq!(open(&appliance), 0);
}

#[test]
fn a_letter_that_somebody_saw_to_is_not_counted() {
    let appliance = TestAppliance::start();
    let (_, letters) = failed_run(&appliance);
    note(&appliance, &letters[0]);
    let seen = replay(&appliance, json!({"ids": [letters[2]], "dryRun": true}));
    assert_eq!((&seen["count"], &seen["again"]), (&json!(2), &json!(4)), "{seen}");
    let done = replay(&appliance, json!({"ids": [letters[2]]}));
    assert_eq!((&done["count"], &done["again"]), (&json!(2), &json!(4)), "{done}");
}

#[test]
fn letters_that_are_replayed_at_once_are_counted_once() {
    let appliance = TestAppliance::start();
    let jobs = 40;
    for index in 0..jobs {
        let job = json!({"type": "scan", "payload": index, "retries": {"max": 0}}).to_string();
        appliance.post("/api/v1/jobs", job).expect(201);
    }
    fail_all(&appliance, "no");
    failed_run(&appliance);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let ask = || replay(&appliance, json!({"filter": {}}));
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let sum = |name: &str| -> u64 { answers.iter().map(|answer| answer[name].as_u64().unwrap()).sum() };
    assert_eq!((sum("count"), sum("again")), (jobs + 3, jobs + 4), "{answers:?}");
    for answer in &answers {
        let refused = answer["refused"].as_array().unwrap();
        for refused in refused {
            assert_eq!(refused["code"], "illegal_transition", "{refused}");
        }
    }
    assert_eq!(open(&appliance), 0);
}

#[test]
fn more_tells_of_letters_that_go_with_none_of_those_taken() {
    let appliance = TestAppliance::start();
    let items: Vec<Value> = (0..1_001)
        .map(|index| json!({"type": "scan", "payload": index, "retries": {"max": 0}}))
        .collect();
    for chunk in items.chunks(1_000) {
        let body = json!({ "items": chunk }).to_string();
        let reply = appliance.post("/api/v1/jobs/batch", body);
        assert!(reply.status < 300, "{}", reply.json());
    }
    fail_all(&appliance, "no");
    let first = replay(&appliance, json!({"filter": {"type": "scan"}}));
    assert_eq!((&first["count"], &first["more"]), (&json!(1_000), &json!(true)));
    let second = replay(&appliance, json!({"filter": {"type": "scan"}}));
    assert_eq!((&second["count"], &second["more"]), (&json!(1), &json!(false)));
}
