//! Every case of a job's life, over HTTP: hold, retries, dead letters, replay, bounds, requirements, keys.

use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::{Ask, Reply, TestAppliance};

fn submit(appliance: &TestAppliance, body: Value) -> String {
    let job = appliance.post("/api/v1/jobs", body.to_string()).expect(201);
    job["id"].as_str().unwrap().to_owned()
}

fn read(appliance: &TestAppliance, id: &str) -> Value {
    appliance.get(&format!("/api/v1/jobs/{id}")).expect(200)
}

fn act(appliance: &TestAppliance, id: &str, verb: &str) -> Reply {
    appliance.post(&format!("/api/v1/jobs/{id}/{verb}"), r#"{"reason":"a test"}"#)
}

/// Claims one job and reports its end.
fn run_one(appliance: &TestAppliance, outcome: Value) -> Option<String> {
    let jobs = claim(appliance, json!({"waitMs": 5_000}))["jobs"].clone();
    let lease = jobs.get(0)?;
    let mut result = outcome;
    result["jobId"] = lease["id"].clone();
    result["epoch"] = lease["epoch"].clone();
    let done = complete(appliance, json!({"worker": "w-1", "results": [result]}));
    assert_eq!(done["results"][0]["accepted"], true, "{done}");
    Some(lease["id"].as_str().unwrap().to_owned())
}

fn failed(message: &str) -> Value {
    json!({"outcome": "failed", "error": {"class": "exit", "message": message}})
}

fn states(appliance: &TestAppliance, id: &str) -> Vec<String> {
    let history = appliance.get(&format!("/api/v1/jobs/{id}/history")).expect(200);
    let items = history["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["to"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_held_job_waits_until_somebody_schedules_it() {
    let appliance = TestAppliance::start();
    let id = submit(&appliance, json!({"type": "a", "hold": true}));
    let job = read(&appliance, &id);
    assert_eq!((&job["status"], &job["held"]), (&json!("pending"), &json!(true)));
    assert_eq!(job["waiting"], json!({"for": "hold"}));
    assert_eq!(claim(&appliance, json!({}))["jobs"], json!([]));
    let scheduled = act(&appliance, &id, "schedule").expect(200);
    assert_eq!(scheduled["status"], "scheduled");
    assert_eq!(
        act(&appliance, &id, "schedule").problem(409),
        "illegal_transition"
    );
    assert_eq!(
        run_one(&appliance, json!({"outcome": "completed"})),
        Some(id.clone())
    );
    assert_eq!(
        states(&appliance, &id),
        ["pending", "scheduled", "running", "completed"]
    );

    let later = json!({"type": "a", "hold": true, "notBefore": "2999-01-01T00:00:00.000Z"});
    let id = submit(&appliance, later);
    let unheld = act(&appliance, &id, "schedule").expect(200);
    assert_eq!(
        (&unheld["status"], &unheld["held"]),
        (&json!("pending"), &json!(false))
    );
    assert_eq!(unheld["waiting"]["for"], "not_before");
}

#[test]
fn three_retries_are_four_attempts_three_reentries_and_one_dead_letter() {
    let appliance = TestAppliance::start();
    let retries = json!({"max": 3, "initialMs": 10, "capMs": 20, "jitter": "none"});
    let id = submit(&appliance, json!({"type": "scan", "retries": retries}));
    for attempt in 1..=4 {
        let outcome = failed(&format!("cannot open /srv/{attempt}"));
        assert_eq!(
            run_one(&appliance, outcome),
            Some(id.clone()),
            "attempt {attempt}"
        );
        let job = read(&appliance, &id);
        assert_eq!(
            (&job["attempt"], &job["failures"]),
            (&json!(attempt), &json!(attempt))
        );
    }
    let job = read(&appliance, &id);
    assert_eq!(
        (&job["status"], &job["nextAttemptAt"]),
        (&json!("failed"), &Value::Null)
    );
    let all = states(&appliance, &id);
    assert_eq!(all.iter().filter(|state| *state == "scheduled").count(), 1 + 3);
    let letters = appliance.get("/api/v1/dead-letters").expect(200);
    assert_eq!(letters["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&letters["items"][0]["id"], &letters["items"][0]["attempt"]),
        (&json!(id), &json!(4))
    );

    // The same job once more, its failures counted from 0.
    let again = act(&appliance, &id, "retry").expect(200);
    assert_eq!(
        (&again["status"], &again["failures"]),
        (&json!("scheduled"), &json!(0))
    );
    let letters = appliance.get("/api/v1/dead-letters?status=resolved").expect(200);
    assert_eq!(letters["items"][0]["resolved"]["how"], "retried");
    assert_eq!(
        run_one(&appliance, json!({"outcome": "completed"})),
        Some(id.clone())
    );
    assert_eq!(act(&appliance, &id, "retry").problem(409), "illegal_transition");
    assert_eq!(act(&appliance, &id, "cancel").problem(409), "illegal_transition");
    assert_eq!(read(&appliance, &id)["attempt"], 5);
}

#[test]
fn dead_letters_are_clustered_previewed_replayed_and_resolved() {
    let appliance = TestAppliance::start();
    for index in 0..3 {
        submit(
            &appliance,
            json!({"type": "scan", "payload": index, "retries": {"max": 0}}),
        );
        run_one(&appliance, failed(&format!("host-{index} does not answer"))).unwrap();
    }
    submit(&appliance, json!({"type": "mail", "retries": {"max": 0}}));
    let mail = run_one(&appliance, failed("no such mailbox")).unwrap();
    let clusters = appliance.get("/api/v1/error-clusters").expect(200);
    let mut counts: Vec<u64> = (clusters["items"].as_array().unwrap().iter())
        .map(|cluster| cluster["open"].as_u64().unwrap())
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 3]);
    let stats = appliance.get("/api/v1/dead-letters/stats").expect(200);
    assert_eq!(
        (&stats["open"], &stats["openByType"]["scan"]),
        (&json!(4), &json!(3))
    );

    let of_scan = appliance.get("/api/v1/dead-letters?type=sc*").expect(200);
    let cluster = &of_scan["items"][0]["fingerprint"];
    let replay = |body: Value| appliance.post("/api/v1/dead-letters/replay", body.to_string());
    let before = appliance.get("/api/v1/jobs").expect(200)["asOf"].clone();
    let preview = replay(json!({"cluster": cluster, "dryRun": true})).expect(200);
    assert_eq!((&preview["count"], &preview["more"]), (&json!(3), &json!(false)));
    assert_eq!(
        appliance.get("/api/v1/jobs").expect(200)["asOf"],
        before,
        "a preview changes nothing"
    );
    let done = replay(json!({"cluster": cluster})).expect(200);
    assert_eq!(done["jobs"].as_array().unwrap().len(), 3);
    let first = done["jobs"][0].as_str().unwrap();
    let old = read(&appliance, first)["replayOf"].as_str().unwrap().to_owned();
    assert_eq!(read(&appliance, &old)["status"], "failed");
    assert_eq!(replay(json!({"cluster": cluster})).expect(200)["count"], 0);
    assert_eq!(replay(json!({"ids": [old]})).problem(409), "illegal_transition");
    assert_eq!(
        replay(json!({"ids": [], "cluster": cluster})).problem(422),
        "invalid_field"
    );

    let resolve = |note: &str| {
        let body = json!({ "note": note }).to_string();
        appliance.post(&format!("/api/v1/dead-letters/{mail}/resolve"), body)
    };
    assert_eq!(resolve(" ").problem(422), "reason_required");
    assert_eq!(
        resolve("the mailbox is gone for good").expect(200)["resolved"]["how"],
        "noted"
    );
    assert_eq!(resolve("again").problem(409), "illegal_transition");
    assert_eq!(appliance.get("/api/v1/dead-letters/stats").expect(200)["open"], 0);
}

#[test]
fn a_concurrency_key_holds_jobs_back_and_says_so() {
    let appliance = TestAppliance::start();
    let bound = |limit: u32| json!({"type": "a", "concurrency": {"key": "host-7", "limit": limit}});
    let ids: Vec<String> = (0..3).map(|_| submit(&appliance, bound(2))).collect();
    let granted = claim(&appliance, json!({"max": 10}));
    assert_eq!(granted["jobs"].as_array().unwrap().len(), 2);
    let waiting = &read(&appliance, &ids[2])["waiting"];
    assert_eq!(
        *waiting,
        json!({"for": "concurrency", "key": "host-7", "limit": 2, "running": 2})
    );
    let result = json!({"jobId": ids[0], "epoch": 1, "outcome": "completed"});
    let done = complete(
        &appliance,
        json!({"worker": "w-1", "results": [result], "claim": {"max": 10}}),
    );
    assert_eq!(
        done["jobs"][0]["id"],
        json!(ids[2]),
        "the place is given on in the same call"
    );
    for (limit, key) in [(0, "host-7"), (1_000_001, "host-7"), (1, ""), (1, "a b")] {
        let body = json!({"type": "a", "concurrency": {"key": key, "limit": limit}}).to_string();
        assert_eq!(appliance.post("/api/v1/jobs", body).problem(422), "invalid_field");
    }
}

#[test]
fn only_a_worker_that_offers_what_a_job_requires_gets_it() {
    let appliance = TestAppliance::start();
    let id = submit(
        &appliance,
        json!({"type": "a", "requires": {"os": "linux", "zone": "plant"}}),
    );
    for labels in [
        json!({}),
        json!({"os": "linux"}),
        json!({"os": "linux", "zone": "office"}),
    ] {
        assert_eq!(claim(&appliance, json!({ "labels": labels }))["jobs"], json!([]));
    }
    let labels = json!({"os": "linux", "zone": "plant", "gpu": "none"});
    assert_eq!(
        claim(&appliance, json!({ "labels": labels }))["jobs"][0]["id"],
        json!(id)
    );
}

#[test]
fn an_attempt_that_lasts_too_long_fails_however_well_its_worker_renews() {
    let appliance = TestAppliance::start();
    let id = submit(
        &appliance,
        json!({"type": "a", "timeoutMs": 100, "retries": {"max": 0}}),
    );
    assert_eq!(claim(&appliance, json!({}))["jobs"][0]["id"], json!(id));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while read(&appliance, &id)["status"] == "running" {
        assert!(std::time::Instant::now() < deadline, "it never times out");
        std::thread::yield_now();
    }
    let job = read(&appliance, &id);
    assert_eq!(
        (&job["status"], &job["error"]["class"]),
        (&json!("failed"), &json!("timeout"))
    );
    let result = json!({"jobId": id, "epoch": 1, "outcome": "completed"});
    let late = complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    assert_eq!(late["results"][0]["code"], "stale_epoch");
}

#[test]
fn the_same_request_with_a_key_is_done_once_and_answered_alike() {
    let appliance = TestAppliance::start();
    let ask = |key: &str, body: &str| {
        let ask = Ask::post("/api/v1/jobs", body.as_bytes()).token(&appliance.admin);
        appliance.send(&ask.header("idempotency-key", key))
    };
    let first = ask("k-1", r#"{"type":"a","payload":{"x":1}}"#);
    let job = first.expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    claim(&appliance, json!({}));
    let again = ask("k-1", r#"{ "payload": {"x": 1}, "type": "a" }"#);
    assert_eq!(
        again.expect(201),
        job,
        "the answer of then, though the job runs now"
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(ask("k-1", r#"{"type":"b"}"#).problem(409), "idempotency_conflict");
    assert_eq!(
        ask("k-2", r#"{"type":"a","priority":99}"#).problem(422),
        "invalid_field"
    );
    ask("k-2", r#"{"type":"a"}"#).expect(201);
    for bad in ["", "a b", &"k".repeat(129)] {
        assert_eq!(
            ask(bad, r#"{"type":"a"}"#).problem(422),
            "invalid_field",
            "{bad:?}"
        );
    }
    let both = r#"{"type":"a","idempotencyKey":"k-3"}"#;
    assert_eq!(ask("k-4", both).problem(422), "invalid_field");

    let items = json!({"items": [
        {"type": "a", "idempotencyKey": "i-1"}, {"type": "a", "idempotencyKey": "i-1"},
        {"type": "b", "idempotencyKey": "i-1"}, {"type": "a"},
    ]});
    let answer = appliance
        .post("/api/v1/jobs/batch", items.to_string())
        .expect(200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0]["job"], results[1]["job"]);
    assert_eq!(results[1]["idempotencyReplayed"], true);
    assert_eq!(results[2]["error"]["code"], "idempotency_conflict");
    assert_eq!(results[3]["status"], 201);
}

#[test]
fn keys_of_one_tenant_are_not_those_of_another() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("acme");
    let other = appliance.token("ada", fastness::domain::token::Scope::ALL, &["acme"]);
    let ask = |token: &str, body: &str| {
        let ask = Ask::post("/api/v1/jobs", body.as_bytes()).token(token);
        appliance.send(&ask.header("idempotency-key", "k-1"))
    };
    ask(&appliance.admin, r#"{"type":"a"}"#).expect(201);
    let theirs = ask(&other, r#"{"type":"b"}"#);
    theirs.expect(201);
    assert_eq!(theirs.header("idempotency-replayed"), None);
}

#[test]
fn nobody_writes_a_step_of_a_pack_by_hand() {
    let appliance = TestAppliance::start();
    for (body, pointer) in [
        (json!({"type": "pack.step"}), "/type"),
        (json!({"type": "a", "queue": "local"}), "/queue"),
    ] {
        let refused = appliance.post("/api/v1/jobs", body.to_string());
        assert_eq!(refused.problem(422), "reserved");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer);
        let mut node = body.clone();
        node["name"] = json!("n");
        let graph = json!({"jobs": [node]}).to_string();
        assert_eq!(appliance.post("/api/v1/runs", graph).problem(422), "reserved");
    }
}

#[test]
fn a_dead_letter_is_replayed_once_however_often_it_is_asked_for() {
    let appliance = TestAppliance::start();
    for index in 0..5 {
        submit(
            &appliance,
            json!({"type": "scan", "payload": index, "retries": {"max": 0}}),
        );
        run_one(&appliance, failed("no")).unwrap();
    }
    let letters = appliance.get("/api/v1/dead-letters").expect(200);
    let id = letters["items"][0]["id"].clone();
    let replay = |body: Value| {
        let answer = appliance.post("/api/v1/dead-letters/replay", body.to_string());
        answer.expect(200)["jobs"].as_array().unwrap().len()
    };
    assert_eq!(replay(json!({"ids": [id, id, id]})), 1);
    let made: usize = std::thread::scope(|scope| {
        let asking = (0..4).map(|_| scope.spawn(|| replay(json!({"filter": {"type": "scan"}}))));
        let asking: Vec<_> = asking.collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).sum()
    });
    assert_eq!(made, 4);
    let key = Ask::post("/api/v1/jobs/x/replay", b"{}").token(&appliance.admin);
    assert_eq!(
        appliance.send(&key.header("idempotency-key", "a b")).problem(404),
        "not_found"
    );
}

#[test]
fn keys_of_replays_are_held_to_the_same_form() {
    let appliance = TestAppliance::start();
    let id = submit(&appliance, json!({"type": "a"}));
    run_one(&appliance, json!({"outcome": "completed"})).unwrap();
    let path = format!("/api/v1/jobs/{id}/replay");
    let replay = |key: &str| {
        let ask = Ask::post(&path, b"{}").token(&appliance.admin);
        appliance.send(&ask.header("idempotency-key", key))
    };
    for bad in ["", "a b", &"k".repeat(129)] {
        assert_eq!(replay(bad).problem(422), "invalid_field", "{bad:?}");
    }
    let first = replay("k").expect(201);
    assert_eq!(replay("k").expect(201), first);
}
