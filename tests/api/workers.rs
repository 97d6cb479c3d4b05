//! The worker protocol besides output: steps, release, progress, own events, the registry, claims over several tenants.

use fastness::domain::token::Scope;
use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::{Ask, Reply, TestAppliance};

/// Submits a job and claims it.
pub fn leased(appliance: &TestAppliance) -> String {
    let body = r#"{"type":"a","retries":{"max":3,"initialMs":10,"capMs":10}}"#;
    let job = appliance.post("/api/v1/jobs", body).expect(201);
    let lease = &claim(appliance, json!({}))["jobs"][0];
    assert_eq!(lease["id"], job["id"]);
    assert_eq!(lease["tenant"], "default");
    job["id"].as_str().unwrap().to_owned()
}

pub fn call(appliance: &TestAppliance, job: &str, what: &str, mut body: Value) -> Reply {
    for (key, value) in [("worker", json!("w-1")), ("epoch", json!(1))] {
        if body.get(key).is_none() {
            body[key] = value;
        }
    }
    let path = format!("/api/v1/workers/jobs/{job}/{what}");
    appliance.post(&path, body.to_string())
}

/// The events of a job, without the first two.
pub fn events(appliance: &TestAppliance, job: &str) -> Vec<Value> {
    let page = appliance.get(&format!("/api/v1/jobs/{job}/events")).expect(200);
    page["items"].as_array().unwrap()[2..].to_vec()
}

pub fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn every_call_names_its_lease() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let nobody = "0190d7c4-0000-7000-8000-000000000000";
    let calls = [
        ("heartbeat", json!({})),
        ("progress", json!({"percent": 1})),
        ("steps", json!({"id": "s", "event": "started"})),
        ("events", json!({"type": "x.a"})),
        ("release", json!({"reason": "r"})),
    ];
    for (what, body) in calls {
        for wrong in [json!({"epoch": 2}), json!({"worker": "w-2"})] {
            let mut asked = body.clone();
            for (key, value) in wrong.as_object().unwrap() {
                asked[key] = value.clone();
            }
            let reply = call(&appliance, &job, what, asked);
            assert_eq!(reply.problem(409), "stale_epoch", "{what} {wrong}");
        }
        let reply = call(&appliance, nobody, what, body.clone());
        assert_eq!(reply.problem(404), "not_found", "{what}");
        // That of another tenant looks the same.
        appliance.create_tenant(&format!("other-{what}"));
        let other = appliance.token("other", Scope::ALL, &[&format!("other-{what}")]);
        let path = |id: &str| format!("/api/v1/workers/jobs/{id}/{what}");
        let mut asked = body;
        asked["worker"] = "w-1".into();
        asked["epoch"] = 1.into();
        let text = asked.to_string();
        let send = |path: &str| {
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            appliance.send(
                &Ask::post(path, text.as_bytes())
                    .token(&other)
                    .header("traceparent", trace),
            )
        };
        let (foreign, missing) = (send(&path(&job)), send(&path(nobody)));
        assert_eq!((foreign.status, foreign.body), (404, missing.body), "{what}");
    }
    assert_eq!(types(&events(&appliance, &job)), [""; 0]);
    // The report of another worker is not taken either.
    let result = json!({"jobId": job, "epoch": 1, "outcome": "completed"});
    let done = complete(&appliance, json!({"worker": "w-2", "results": [result]}));
    assert_eq!(done["results"][0]["code"], "stale_epoch");
}

#[test]
fn steps_are_recorded_in_order() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    for (id, event, more) in [
        ("fetch", "started", json!({"detail": "from the mirror"})),
        ("fetch", "completed", json!({"exitCode": 0})),
        ("scan", "started", json!({})),
        ("scan", "failed", json!({"exitCode": 3, "detail": "no signature"})),
    ] {
        let mut body = more;
        (body["id"], body["event"]) = (id.into(), event.into());
        let recorded = call(&appliance, &job, "steps", body).expect(200);
        assert!(recorded["asOf"].is_u64());
    }
    let events = events(&appliance, &job);
    assert_eq!(
        types(&events),
        ["step.started", "step.completed", "step.started", "step.failed"]
    );
    let failed = json!({"attempt": 1, "detail": "no signature", "epoch": 1, "exitCode": 3, "id": "scan"});
    assert_eq!(events[3]["payload"], failed);
    for (body, pointer) in [
        (json!({"id": "A", "event": "started"}), "/id"),
        (json!({"id": "a", "event": "over"}), "/event"),
        (json!({"id": "a", "event": "started", "exitCode": 1}), "/exitCode"),
    ] {
        let reply = call(&appliance, &job, "steps", body.clone());
        assert_eq!(reply.problem(422), "invalid_field", "{body}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{body}");
    }
}

#[test]
fn a_released_job_is_ready_again_and_its_attempt_is_no_failure() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let released = call(&appliance, &job, "release", json!({"reason": "stopping"})).expect(200);
    assert_eq!(released["status"], "scheduled");
    let reply = call(&appliance, &job, "release", json!({"reason": "stopping"}));
    assert_eq!(reply.problem(409), "stale_epoch");
    let lease = claim(&appliance, json!({"worker": "w-2"}))["jobs"][0].clone();
    assert_eq!(
        (
            &lease["epoch"],
            &lease["attempt"],
            &lease["retryHint"]["failures"]
        ),
        (&json!(2), &json!(2), &json!(0))
    );
    appliance
        .post(&format!("/api/v1/jobs/{job}/cancel"), "")
        .expect(202);
    let body = json!({"worker": "w-2", "epoch": 2, "reason": "stopping"});
    let released = call(&appliance, &job, "release", body).expect(200);
    assert_eq!(released["status"], "cancelled");
}

#[test]
fn progress_and_heartbeats_cost_no_event() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let place = format!("/api/v1/jobs/{job}");
    let tenant = "default".parse().unwrap();
    let size = || appliance.engine.ledger(&tenant).unwrap().size();
    let batches = || appliance.engine.stats().batches;
    let before = (size(), batches());
    assert!(appliance.get(&place).expect(200).get("progress").is_none());
    for percent in [0, 40, 100] {
        call(&appliance, &job, "heartbeat", json!({})).expect(200);
        let reply = call(
            &appliance,
            &job,
            "progress",
            json!({"percent": percent, "message": "m"}),
        );
        assert_eq!(reply.status, 204);
        let progress = appliance.get(&place).expect(200)["progress"].clone();
        assert_eq!(
            (&progress["percent"], &progress["message"]),
            (&json!(percent), &json!("m"))
        );
    }
    assert_eq!((size(), batches()), before, "neither an event nor a flush");
    let long = "x".repeat(512);
    assert_eq!(
        call(
            &appliance,
            &job,
            "progress",
            json!({"percent": 1, "message": long})
        )
        .status,
        204
    );
    for (body, pointer) in [
        (json!({"percent": 101}), "/percent"),
        (json!({"percent": -1}), "/percent"),
        (json!({"percent": 1.5}), "/percent"),
        (json!({"percent": 1, "message": format!("{long}x")}), "/message"),
    ] {
        let reply = call(&appliance, &job, "progress", body.clone());
        assert_eq!(reply.problem(422), "invalid_field", "{body}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let result = json!({"jobId": job, "epoch": 1, "outcome": "completed"});
    complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    assert!(appliance.get(&place).expect(200).get("progress").is_none());
}

#[test]
fn own_events_are_typed_or_named_and_bounded() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let report = |body: Value| call(&appliance, &job, "events", body);
    let digest = "a".repeat(64);
    report(json!({"type": "ai.tool_called", "payload": {"tool": "grep", "durationMs": 12, "inputSha256": digest}}))
        .expect(200);
    report(json!({"type": "ai.tokens_used", "payload": {"model": "m", "inputTokens": 5, "outputTokens": 6}}))
        .expect(200);
    report(json!({"type": "x.scan.found", "payload": {"cve": "CVE-1", "n": 3}})).expect(200);
    report(json!({"type": "x.float", "payload": 1.5})).expect(200);
    report(json!({"type": "x.bare"})).expect(200);
    let events = events(&appliance, &job);
    let expected = [
        "ai.tool_called",
        "ai.tokens_used",
        "x.reported",
        "x.reported",
        "x.reported",
    ];
    assert_eq!(types(&events), expected);
    let own = json!({"attempt": 1, "epoch": 1, "name": "x.scan.found", "payload": {"cve": "CVE-1", "n": 3}});
    assert_eq!(events[2]["payload"], own);
    assert_eq!(events[3]["payload"]["payloadText"], "1.5");
    let made = json!({"name": "a.txt", "sha256": digest});
    for (body, status, pointer) in [
        (json!({"type": "job.completed"}), 422, "/type"),
        (json!({"type": "x."}), 422, "/type"),
        (json!({"type": "x.A"}), 422, "/type"),
        (
            json!({"type": "ai.tool_called", "payload": {"tool": ""}}),
            422,
            "/payload/tool",
        ),
        (
            json!({"type": "ai.tool_called", "payload": {"tool": "t", "odd": 1}}),
            422,
            "/payload/odd",
        ),
        (
            json!({"type": "ai.tokens_used", "payload": {"model": "m"}}),
            422,
            "/payload/inputTokens",
        ),
        (
            json!({"type": "ai.artifact_created", "payload": made}),
            422,
            "/payload/name",
        ),
        (
            json!({"type": "x.big", "payload": "x".repeat(64 * 1024 - 1)}),
            413,
            "/payload",
        ),
    ] {
        let reply = report(body.clone());
        reply.problem(status);
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{}", reply.json());
    }
    report(json!({"type": "x.big", "payload": "x".repeat(64 * 1024 - 2)})).expect(200);
}

#[test]
fn what_is_reported_under_one_lease_is_bounded() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    call(&appliance, &job, "events", json!({"type": "x.a"})).expect(200);
                }
            });
        }
    });
    let reply = call(&appliance, &job, "events", json!({"type": "x.a"}));
    assert_eq!(reply.problem(429), "limit_reached");
    let reply = call(&appliance, &job, "steps", json!({"id": "a", "event": "started"}));
    assert_eq!(reply.problem(429), "limit_reached");
}

#[test]
fn a_worker_is_registered_once_drained_and_lost() {
    let appliance = TestAppliance::start();
    let offer = json!({"labels": {"os": "linux"}, "types": ["a*"]});
    for _ in 0..2 {
        assert_eq!(claim(&appliance, offer.clone()), json!({"jobs": []}));
    }
    let workers = || appliance.get("/api/v1/workers").expect(200)["items"].clone();
    let worker = workers()[0].clone();
    assert_eq!(
        (
            &worker["name"],
            &worker["labels"],
            &worker["types"],
            &worker["queues"]
        ),
        (
            &json!("w-1"),
            &json!({"os": "linux"}),
            &json!(["a*"]),
            &json!(["default"])
        )
    );
    assert_eq!(
        (&worker["draining"], &worker["lost"], &worker["runningJobs"]),
        (&json!(false), &json!(false), &json!(0))
    );
    assert!(worker["lastClaimAgeMs"].is_u64() && worker["lastSeenAt"].is_string());

    let job = leased(&appliance);
    assert_eq!(workers()[0]["runningJobs"], 1);
    let drain = |body: &str| appliance.post("/api/v1/workers/w-1/drain", body);
    std::thread::scope(|scope| {
        // A claim that waits is answered as well.
        let waiting = scope.spawn(|| claim(&appliance, json!({"waitMs": 20000, "queues": ["none"]})));
        while workers()[0]["queues"] != json!(["none"]) {
            std::thread::yield_now();
        }
        assert_eq!(
            drain(r#"{"reason":"host goes down"}"#).expect(200)["draining"],
            true
        );
        assert_eq!(waiting.join().unwrap(), json!({"drain": true, "jobs": []}));
    });
    assert_eq!(workers()[0]["drainReason"], "host goes down");
    appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    assert_eq!(claim(&appliance, json!({})), json!({"drain": true, "jobs": []}));
    assert_eq!(
        call(&appliance, &job, "heartbeat", json!({})).expect(200)["drain"],
        true
    );
    let appliance = appliance.restart();
    let drain = |name: &str, body: &str| appliance.post(&format!("/api/v1/workers/{name}/drain"), body);
    assert_eq!(claim(&appliance, json!({})), json!({"drain": true, "jobs": []}));
    assert_eq!(drain("w-1", r#"{"drain":false}"#).expect(200)["draining"], false);
    drain("w-1", r#"{"drain":false}"#).expect(200);
    assert_eq!(drain("w-9", "{}").problem(404), "not_found");
    assert_eq!(
        claim(&appliance, json!({"leaseMs": 1000}))["jobs"][0]["type"],
        "a"
    );

    // Another worker waits for what the first one lets go; then the first one is lost, once.
    let again = json!({"worker": "w-2", "waitMs": 30000});
    let retried = claim(&appliance, again)["jobs"][0].clone();
    assert_eq!(retried["attempt"], 2);
    let lost = |events: Value| {
        let events = events["items"].as_array().unwrap().clone();
        events
            .iter()
            .map(|event| event["payload"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let page = |glob: &str| appliance.get(&format!("/api/v1/events?type={glob}")).expect(200);
    assert_eq!(lost(page("worker.registered")), ["w-1", "w-2"]);
    assert_eq!(page("worker.drained")["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_worker_whose_leases_ran_out_is_lost_once_and_its_late_report_is_noted_once() {
    let appliance = TestAppliance::start();
    let body = r#"{"type":"a","retries":{"max":3,"initialMs":10,"capMs":10}}"#;
    let job = appliance.post("/api/v1/jobs", body).expect(201);
    claim(&appliance, json!({"leaseMs": 1000}));
    let retried = claim(&appliance, json!({"worker": "w-2", "waitMs": 30000}))["jobs"][0].clone();
    assert_eq!((&retried["id"], &retried["epoch"]), (&job["id"], &json!(2)));
    let names = |kind: &str| {
        let page = appliance.get(&format!("/api/v1/events?type={kind}")).expect(200);
        page["items"].as_array().unwrap().len()
    };
    assert_eq!(names("worker.lost"), 1);
    let worker = |name: &str| {
        let list = appliance.get("/api/v1/workers").expect(200);
        let found = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["name"] == name)
            .cloned();
        found.unwrap()
    };
    assert_eq!(worker("w-1")["lost"], true);
    let late = || {
        let result = json!({"jobId": job["id"], "epoch": 1, "outcome": "completed"});
        complete(&appliance, json!({"worker": "w-1", "results": [result]}))["results"][0].clone()
    };
    for _ in 0..3 {
        let result = late();
        assert_eq!(
            (&result["accepted"], &result["code"]),
            (&json!(false), &json!("stale_epoch"))
        );
    }
    assert_eq!(names("job.late_report"), 1);
    claim(&appliance, json!({}));
    assert_eq!(worker("w-1")["lost"], false, "it was seen again");
}

#[test]
fn a_report_sent_again_is_answered_as_it_was_and_only_its_holder_may_be_late() {
    let appliance = TestAppliance::start();
    let report = |job: &str, worker: &str, epoch: u64, outcome: &str| {
        let mut result = json!({"jobId": job, "epoch": epoch, "outcome": outcome});
        if outcome == "failed" {
            result["error"] = json!({"class": "exit", "message": "m", "retryable": true});
        }
        complete(&appliance, json!({"worker": worker, "results": [result]}))["results"][0].clone()
    };
    let count = |kind: &str| {
        let page = appliance.get(&format!("/api/v1/events?type={kind}")).expect(200);
        page["items"].as_array().unwrap().len()
    };
    let (late, ends) = (|| count("job.late_report"), || count("job.failed"));
    let stale = |answer: Value| {
        assert_eq!(
            (&answer["accepted"], &answer["code"]),
            (&json!(false), &json!("stale_epoch")),
            "{answer}"
        );
    };
    let job = leased(&appliance);
    let failed = report(&job, "w-1", 1, "failed");
    assert_eq!(
        (&failed["accepted"], &failed["status"]),
        (&json!(true), &json!("failed"))
    );
    assert_eq!(report(&job, "w-1", 1, "failed"), failed);
    stale(report(&job, "w-2", 1, "failed"));
    assert_eq!((late(), ends()), (0, 1), "nothing is recorded of what came again");
    stale(report(&job, "w-1", 1, "completed"));
    assert_eq!((late(), ends()), (1, 1), "what says something else is noted");
    // It is answered like that while the next attempt runs, too.
    let next = claim(
        &appliance,
        json!({"worker": "w-2", "waitMs": 20000, "leaseMs": 1000}),
    );
    assert_eq!(next["jobs"][0]["epoch"], 2);
    assert_eq!(report(&job, "w-1", 1, "failed"), failed);
    // The second lease runs out. Nobody but its holder is late with a report of it, and nobody with one of the first.
    let third = claim(&appliance, json!({"worker": "w-3", "waitMs": 20000}));
    assert_eq!(third["jobs"][0]["epoch"], 3);
    stale(report(&job, "w-1", 2, "completed"));
    stale(report(&job, "w-1", 1, "failed"));
    assert_eq!(late(), 1);
    stale(report(&job, "w-2", 2, "completed"));
    stale(report(&job, "w-2", 2, "completed"));
    assert_eq!(late(), 2, "noted once");
    let done = report(&job, "w-3", 3, "completed");
    assert_eq!(done["status"], "completed");
    assert_eq!(report(&job, "w-3", 3, "completed"), done);
}

#[test]
fn an_epoch_that_never_was_is_not_over() {
    let appliance = TestAppliance::start();
    let job = leased(&appliance);
    let beat = |epoch: u64| {
        let body = json!({"worker": "w-1", "epoch": epoch}).to_string();
        let reply = appliance.post(&format!("/api/v1/workers/jobs/{job}/heartbeat"), body);
        assert_eq!(reply.problem(409), "stale_epoch");
        reply.json()["detail"].as_str().unwrap().to_owned()
    };
    let report = |epoch: u64| {
        let result = json!({"jobId": job, "epoch": epoch, "outcome": "completed", "output": epoch});
        let answer = complete(&appliance, json!({"worker": "w-1", "results": [result]}));
        answer["results"][0].clone()
    };
    let never = |epoch: u64| format!("epoch {epoch} was never granted");
    for epoch in [0, 2, 9] {
        assert!(beat(epoch).starts_with(&never(epoch)));
        let refused = report(epoch);
        assert_eq!(refused["code"], "stale_epoch");
        let detail = refused["detail"].as_str().unwrap();
        assert!(detail.starts_with(&never(epoch)), "{detail}");
    }
    assert_eq!(report(1)["accepted"], true);
    assert!(beat(1).starts_with("the lease is over"), "{}", beat(1));
    assert!(
        beat(2).starts_with(&never(2)),
        "the job is not running: {}",
        beat(2)
    );
}

#[test]
fn a_report_that_is_not_the_same_is_no_report_sent_again() {
    let appliance = TestAppliance::start();
    let report = |job: &str, change: &dyn Fn(&mut Value)| {
        let error = json!({"class": "exit", "code": "E7", "message": "m", "retryable": false});
        let mut result =
            json!({"jobId": job, "epoch": 1, "outcome": "failed", "exitCode": 7, "error": error});
        change(&mut result);
        complete(&appliance, json!({"worker": "w-1", "results": [result]}))["results"][0].clone()
    };
    type Change<'c> = &'c dyn Fn(&mut Value);
    let changes: [(&str, Change<'_>); 6] = [
        ("message", &|result| result["error"]["message"] = json!("other")),
        ("retryable", &|result| result["error"]["retryable"] = json!(true)),
        ("code", &|result| result["error"]["code"] = json!("E8")),
        ("class", &|result| result["error"]["class"] = json!("timeout")),
        ("exit code", &|result| result["exitCode"] = json!(8)),
        ("outcome", &|result| {
            result["outcome"] = json!("completed");
            result.as_object_mut().unwrap().remove("error");
        }),
    ];
    for (what, change) in changes {
        let job = leased(&appliance);
        let first = report(&job, &|_| {});
        assert_eq!(first["status"], "failed", "{first}");
        assert_eq!(report(&job, &|_| {}), first, "the same again");
        let other = report(&job, change);
        assert_eq!(
            (&other["accepted"], &other["code"]),
            (&json!(false), &json!("stale_epoch")),
            "{what}: {other}"
        );
        assert_eq!(report(&job, &|_| {}), first, "{what}: the same is still the same");
    }
    // What is cut when it is recorded is the same when it comes again.
    let job = leased(&appliance);
    let long = |result: &mut Value| result["error"]["message"] = json!("x".repeat(20_000));
    let first = report(&job, &long);
    assert_eq!(report(&job, &long), first);
    assert_eq!(first["accepted"], true);
}

#[test]
fn a_claim_may_name_several_tenants_within_the_token() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("acme");
    appliance.create_tenant("closed");
    let token = appliance.token("several", Scope::ALL, &["default", "acme"]);
    for tenant in ["default", "acme", "default", "acme"] {
        let asked = Ask::post("/api/v1/jobs", br#"{"type":"a"}"#).token(&token);
        appliance
            .send(&asked.header("x-fastness-tenant", tenant))
            .expect(201);
    }
    let ask = |body: Value| {
        let text = body.to_string();
        appliance.send(&Ask::post("/api/v1/workers/claim", text.as_bytes()).token(&token))
    };
    assert_eq!(ask(json!({"worker": "w"})).problem(403), "tenant_required");
    let body = json!({"worker": "w", "tenants": ["default", "closed"]});
    assert_eq!(ask(body).problem(403), "tenant_forbidden");
    let tenants: Vec<_> = (0..4)
        .map(|_| {
            let claimed = ask(json!({"worker": "w", "tenants": ["default", "acme"]})).expect(200);
            claimed["jobs"][0]["tenant"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_ne!(tenants[0], tenants[1], "served in turn: {tenants:?}");
    assert_eq!(tenants[..2], tenants[2..], "served in turn: {tenants:?}");
}

#[test]
fn a_claim_that_waits_gets_nothing_once_its_token_is_revoked() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("w-9", &[Scope::Claim], &["default"], None);
    let known = || appliance.get("/api/v1/workers").expect(200)["items"].clone();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let body = br#"{"worker":"w-9","waitMs":3000}"#;
            let asked = Ask::post("/api/v1/workers/claim", body).header("content-type", "application/json");
            appliance.send(&asked.token(&secret)).expect(200)
        });
        while known() == json!([]) {
            std::thread::yield_now();
        }
        let path = format!("/api/v1/tokens/{id}");
        let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
        assert!(appliance.send(&revoke).status < 300);
        let job = appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
        assert_eq!(waiting.join().unwrap()["jobs"], json!([]));
        // It is there for those who still may.
        assert_eq!(claim(&appliance, json!({}))["jobs"][0]["id"], job["id"]);
    });
}
