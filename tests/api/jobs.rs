//! Jobs and workers: from submission to the end, over HTTP.

use serde_json::{Value, json};

use crate::support::appliance::{Ask, TestAppliance};

pub fn claim(appliance: &TestAppliance, more: Value) -> Value {
    let mut body = json!({"worker": "w-1"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    appliance
        .post("/api/v1/workers/claim", body.to_string())
        .expect(200)
}

pub fn complete(appliance: &TestAppliance, body: Value) -> Value {
    appliance
        .post("/api/v1/workers/complete", body.to_string())
        .expect(200)
}

fn texts<'v>(list: &'v Value, name: &str) -> Vec<&'v str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item[name].as_str().unwrap_or("null"))
        .collect()
}

#[test]
fn a_job_goes_from_submission_to_completion() {
    let appliance = TestAppliance::start();
    let payload = r#"{ "image":"a", "cvss": 9.80 }"#;
    let body = format!(
        r#"{{"type":"scan.image","payload":{payload},"priority":7,"project":"core","correlationId":"c-17","labels":{{"os":"linux"}}}}"#
    );
    let reply = appliance.post("/api/v1/jobs", body);
    let job = reply.expect(201);
    let id = job["id"].as_str().unwrap();
    let place = format!("/api/v1/jobs/{id}");
    assert_eq!(reply.header("location"), Some(place.as_str()));
    assert_eq!(
        (&job["status"], &job["attempt"]),
        (&json!("scheduled"), &json!(0))
    );
    let read = appliance.get(&place);
    assert_eq!(
        read.json()["waiting"],
        json!({"for": "ready", "priority": 7, "queue": "default"})
    );
    let text = String::from_utf8(read.body.clone()).unwrap();
    assert!(
        text.contains(&format!(r#""payload":{payload}"#)),
        "the text of the payload is kept: {text}"
    );

    let claimed = claim(&appliance, json!({"types": ["scan.*"], "leaseMs": 30000}));
    let lease = &claimed["jobs"][0];
    assert_eq!(
        (&lease["id"], &lease["attempt"], &lease["epoch"]),
        (&job["id"], &json!(1), &json!(1))
    );
    assert_eq!(lease["idempotencyKey"], format!("{id}:1"));
    assert_eq!(lease["payload"]["cvss"], 9.8);
    assert_eq!(claim(&appliance, json!({}))["jobs"], json!([]));
    let beat = |epoch: u64, worker: &str| {
        let body = json!({"worker": worker, "epoch": epoch}).to_string();
        appliance.post(&format!("/api/v1/workers/jobs/{id}/heartbeat"), body)
    };
    let renewed = beat(1, "w-1").expect(200);
    assert_eq!(
        (&renewed["cancelRequested"], &renewed["drain"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(beat(2, "w-1").problem(409), "stale_epoch");
    assert_eq!(beat(1, "w-2").problem(409), "stale_epoch");

    let results = json!([
        {"jobId": id, "epoch": 9, "outcome": "completed"},
        {"jobId": "no-id", "epoch": 1, "outcome": "completed"},
        {"jobId": id, "epoch": 1, "outcome": "completed", "output": {"found": 3}, "exitCode": 0},
        {"jobId": id, "epoch": 1, "outcome": "completed"},
    ]);
    let done = complete(&appliance, json!({"worker": "w-1", "results": results}));
    assert_eq!(
        texts(&done["results"], "code"),
        ["stale_epoch", "not_found", "null", "stale_epoch"]
    );
    assert_eq!(done["results"][2]["accepted"], true);
    assert_eq!(
        done["results"][3]["accepted"], false,
        "a late report is noted, not applied"
    );
    assert_eq!(beat(1, "w-1").problem(409), "stale_epoch");

    let ended = appliance.get(&place).expect(200);
    assert_eq!(
        (&ended["status"], &ended["output"]),
        (&json!("completed"), &json!({"found": 3}))
    );
    assert_eq!(ended["waiting"], Value::Null);
    let history = appliance.get(&format!("{place}/history")).expect(200);
    assert_eq!(texts(&history["items"], "from"), ["null", "scheduled", "running"]);
    assert_eq!(
        texts(&history["items"], "to"),
        ["scheduled", "running", "completed"]
    );
    assert_eq!(
        history["items"][1]["actor"],
        json!({"id": "w-1", "kind": "worker"})
    );
    let events = appliance.get(&format!("{place}/events")).expect(200);
    let types = ["job.created", "job.started", "job.completed", "job.late_report"];
    assert_eq!(texts(&events["items"], "type"), types);
    assert_eq!(
        appliance.post(&format!("{place}/cancel"), "").problem(409),
        "illegal_transition"
    );
}

#[test]
fn a_batch_answers_each_item_by_itself() {
    let appliance = TestAppliance::start();
    let body = json!({"items": [
        {"type": "a"}, {"type": "b", "odd": 1}, {"type": "c", "priority": 77}, {"type": "d", "payload": [1.5]},
    ]});
    let results = appliance.post("/api/v1/jobs/batch", body.to_string()).expect(200);
    let results = results["results"].as_array().unwrap();
    let statuses: Vec<_> = results
        .iter()
        .map(|result| result["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 422, 422, 201]);
    assert_eq!(results[1]["error"]["errors"][0]["pointer"], "/items/1/odd");
    assert_eq!(results[2]["error"]["errors"][0]["pointer"], "/items/2/priority");
    assert_eq!(results[3]["index"], 3);
    let list = appliance.get("/api/v1/jobs").expect(200);
    let mut types = texts(&list["items"], "type");
    types.sort_unstable();
    assert_eq!(types, ["a", "d"], "the others were not made");
    let summary = appliance.get("/api/v1/jobs/summary").expect(200);
    assert_eq!(summary["counts"]["scheduled"], 2);
}

#[test]
fn lists_are_paged_without_gap_or_double() {
    let appliance = TestAppliance::start();
    for chunk in 0..3 {
        let items: Vec<_> = (0..70)
            .map(|at| json!({"type": format!("t{}", (chunk * 70 + at) % 7)}))
            .collect();
        appliance
            .post("/api/v1/jobs/batch", json!({"items": items}).to_string())
            .expect(200);
    }
    for (filter, expected) in [
        ("", 210),
        ("&type=t3", 30),
        ("&type=t*&status=scheduled", 210),
        ("&queue=none", 0),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = appliance
                .get(&format!("/api/v1/jobs?limit=17{filter}{cursor}"))
                .expect(200);
            seen.extend(texts(&page["items"], "id").into_iter().map(str::to_owned));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), expected, "{filter}");
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]), "{filter}");
    }
}

#[test]
fn a_waiting_claim_gets_the_job_that_comes() {
    let appliance = TestAppliance::start();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| claim(&appliance, json!({"waitMs": 20000})));
        appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
        assert_eq!(waiting.join().unwrap()["jobs"][0]["type"], "a");
    });
    for (body, pointer) in [
        (json!({"worker": "w", "leaseMs": 999}), "/leaseMs"),
        (json!({"worker": "w", "leaseMs": 3_600_001}), "/leaseMs"),
        (json!({"worker": "w", "waitMs": 30_001}), "/waitMs"),
        (json!({"worker": "w", "max": 0}), "/max"),
        (json!({"worker": "w", "queues": []}), "/queues"),
        (json!({"worker": "local"}), "/worker"),
        (json!({"queues": ["a"]}), "/worker"),
    ] {
        let reply = appliance.post("/api/v1/workers/claim", body.to_string());
        assert_eq!(reply.status, 422, "{body}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[test]
fn completing_can_claim_the_next_job_in_the_same_call() {
    let appliance = TestAppliance::start();
    for _ in 0..3 {
        appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    }
    let mut lease = claim(&appliance, json!({}))["jobs"][0].clone();
    for left in (0..3).rev() {
        let result = json!({"jobId": lease["id"], "epoch": lease["epoch"], "outcome": "completed"});
        let body = json!({"worker": "w-1", "results": [result], "claim": {"max": 1}});
        let answer = complete(&appliance, body);
        assert_eq!(answer["results"][0]["status"], "completed");
        assert_eq!(answer["jobs"].as_array().unwrap().len(), usize::from(left > 0));
        lease = answer["jobs"][0].clone();
    }
}

#[test]
fn a_running_job_is_asked_to_stop_and_a_failed_one_waits_for_its_retry() {
    let appliance = TestAppliance::start();
    let body = r#"{"type":"a","retries":{"max":1,"initialMs":60000,"capMs":60000,"jitter":"none"}}"#;
    let job = appliance.post("/api/v1/jobs", body).expect(201);
    let id = job["id"].as_str().unwrap();
    let place = format!("/api/v1/jobs/{id}");
    claim(&appliance, json!({}));
    let error = json!({"class": "http_429", "message": "slow down"});
    let failed = json!({"jobId": id, "epoch": 1, "outcome": "failed", "error": error});
    complete(&appliance, json!({"worker": "w-1", "results": [failed]}));
    let job = appliance.get(&place).expect(200);
    assert_eq!(
        (&job["status"], &job["error"]["class"]),
        (&json!("failed"), &json!("http_429"))
    );
    assert_eq!(
        (&job["waiting"]["for"], &job["waiting"]["eligibleAt"]),
        (&json!("retry"), &job["nextAttemptAt"])
    );
    let cancelled = appliance
        .post(&format!("{place}/cancel"), r#"{"reason":"enough"}"#)
        .expect(200);
    assert_eq!(
        (&cancelled["status"], &cancelled["reason"]),
        (&json!("cancelled"), &json!("enough"))
    );

    let later = r#"{"type":"b","notBefore":"2999-01-01T00:00:00Z"}"#;
    let later = appliance.post("/api/v1/jobs", later).expect(201);
    assert_eq!(later["status"], "pending");
    assert_eq!(
        later["waiting"],
        json!({"for": "not_before", "eligibleAt": "2999-01-01T00:00:00.000Z"})
    );

    let running = appliance.post("/api/v1/jobs", r#"{"type":"c"}"#).expect(201);
    let id = running["id"].as_str().unwrap();
    claim(&appliance, json!({}));
    let path = format!("/api/v1/jobs/{id}/cancel");
    let asked = Ask::post(&path, b"")
        .token(&appliance.admin)
        .header("x-fastness-reason", "by header");
    assert_eq!(appliance.send(&asked).expect(202)["cancelRequested"], "by header");
    let beat = format!("/api/v1/workers/jobs/{id}/heartbeat");
    let renewed = appliance.post(&beat, r#"{"worker":"w-1","epoch":1}"#).expect(200);
    assert_eq!(renewed["cancelRequested"], true);
}
