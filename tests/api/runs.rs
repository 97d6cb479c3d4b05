//! Runs of graphs over HTTP: creation, refusal, cancellation, what was true then, replay in part.

use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::{Ask, TestAppliance};

fn start(appliance: &TestAppliance, jobs: Value) -> Value {
    let body = json!({ "jobs": jobs }).to_string();
    appliance.post("/api/v1/runs", body).expect(201)
}

/// Does everything that can be done; jobs whose step is listed fail.
fn work(appliance: &TestAppliance, failing: &[&str]) -> usize {
    let mut done = 0;
    loop {
        let jobs = claim(appliance, json!({"max": 64}))["jobs"].clone();
        let leases = jobs.as_array().unwrap();
        if leases.is_empty() {
            return done;
        }
        let results: Vec<Value> = leases.iter().map(|lease| end_of(lease, failing)).collect();
        done += results.len();
        complete(appliance, json!({"worker": "w-1", "results": results}));
    }
}

fn end_of(lease: &Value, failing: &[&str]) -> Value {
    let mut result = json!({"jobId": lease["id"], "epoch": lease["epoch"], "outcome": "completed"});
    let step = lease["step"].as_str().unwrap();
    if failing.contains(&step) {
        result["outcome"] = json!("failed");
        result["error"] = json!({"message": "no", "retryable": false});
    } else {
        result["output"] = json!({ "from": step });
    }
    result
}

fn outcomes(appliance: &TestAppliance, run: &Value) -> Vec<(String, String)> {
    let id = run["id"].as_str().unwrap();
    let detail = appliance.get(&format!("/api/v1/runs/{id}")).expect(200);
    let steps = detail["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| {
            let text = |name: &str| step[name].as_str().unwrap().to_owned();
            (text("id"), text("status"))
        })
        .collect()
}

fn status(appliance: &TestAppliance, run: &Value) -> String {
    let id = run["id"].as_str().unwrap();
    let detail = appliance.get(&format!("/api/v1/runs/{id}")).expect(200);
    detail["status"].as_str().unwrap().to_owned()
}

/// a → b → c, and d beside them; e cleans up.
fn diamond() -> Value {
    json!([
        {"name": "a", "type": "t"},
        {"name": "b", "type": "t", "needs": ["a"]},
        {"name": "c", "type": "t", "needs": ["b"]},
        {"name": "d", "type": "t", "needs": ["a"]},
        {"name": "e", "type": "t", "needs": ["c", "d"], "always": true},
    ])
}

#[test]
fn a_graph_runs_in_its_order_and_ends_as_its_jobs_do() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, diamond());
    assert_eq!((&run["status"], &run["pack"]), (&json!("pending"), &Value::Null));
    assert_eq!(work(&appliance, &[]), 5);
    assert_eq!(status(&appliance, &run), "completed");

    let run = start(&appliance, diamond());
    work(&appliance, &["b"]);
    assert_eq!(status(&appliance, &run), "partially_failed");
    let expected = [
        ("a", "completed"),
        ("b", "failed"),
        ("c", "cancelled"),
        ("d", "completed"),
        ("e", "completed"),
    ];
    let expected = expected.map(|(name, status)| (name.to_owned(), status.to_owned()));
    assert_eq!(outcomes(&appliance, &run), expected);

    let run = start(&appliance, diamond());
    work(&appliance, &["a"]);
    assert_eq!(status(&appliance, &run), "failed");
}

#[test]
fn a_run_is_read_as_it_was_at_every_event() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, diamond());
    let id = run["id"].as_str().unwrap();
    let mut told = Vec::new();
    loop {
        let now = appliance.get(&format!("/api/v1/runs/{id}")).expect(200);
        told.push(now);
        let lease = claim(&appliance, json!({}))["jobs"][0].clone();
        if lease.is_null() {
            break;
        }
        let running = appliance.get(&format!("/api/v1/runs/{id}")).expect(200);
        told.push(running);
        let results = json!([end_of(&lease, &["b"])]);
        complete(&appliance, json!({"worker": "w-1", "results": results}));
    }
    assert!(told.len() >= 8);
    for then in told {
        let at = appliance
            .get(&format!("/api/v1/runs/{id}/at/{}", then["asOf"]))
            .expect(200);
        assert_eq!(at, then);
    }
    assert_eq!(
        appliance.get(&format!("/api/v1/runs/{id}/at/0")).problem(404),
        "not_found"
    );
    assert_eq!(
        appliance.get(&format!("/api/v1/runs/{id}/at/99999")).problem(422),
        "beyond_end"
    );
}

#[test]
fn a_part_of_a_run_is_done_again_and_the_rest_is_kept() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, diamond());
    let replay = |id: &Value, body: Value| {
        let path = format!("/api/v1/runs/{}/replay", id.as_str().unwrap());
        appliance.post(&path, body.to_string())
    };
    assert_eq!(
        replay(&run["id"], json!({"failed": true})).problem(409),
        "illegal_transition"
    );
    work(&appliance, &["b"]);
    let preview = replay(&run["id"], json!({"failed": true, "dryRun": true})).expect(200);
    assert_eq!(
        (&preview["steps"], &preview["reused"]),
        (&json!(["b", "c", "e"]), &json!(["a", "d"]))
    );
    let again = replay(&run["id"], json!({"failed": true})).expect(201);
    assert_eq!(
        (&again["replayOf"], &again["progress"]),
        (&run["id"], &json!({"done": 2, "total": 5}))
    );
    assert_eq!(work(&appliance, &[]), 3);
    assert_eq!(status(&appliance, &again), "completed");
    assert_eq!(
        status(&appliance, &run),
        "partially_failed",
        "the old run stays as it was"
    );
    let whole = replay(&again["id"], json!({"steps": ["a"]})).expect(201);
    assert_eq!(whole["progress"]["done"], 0);
    for (body, code) in [
        (json!({"steps": ["x"]}), "invalid_field"),
        (json!({"steps": []}), "invalid_field"),
        (json!({}), "invalid_field"),
        (json!({"steps": ["a"], "failed": true}), "invalid_field"),
    ] {
        assert_eq!(replay(&again["id"], body).problem(422), code);
    }
    let letters = appliance.get("/api/v1/dead-letters?status=all").expect(200);
    assert_eq!(letters["items"][0]["resolved"]["how"], "replayed");
}

#[test]
fn what_is_no_graph_is_refused_whole() {
    let appliance = TestAppliance::start();
    let before = appliance.get("/api/v1/runs").expect(200)["asOf"].clone();
    let job = |name: &str, needs: &[&str]| json!({"name": name, "type": "t", "needs": needs});
    for (jobs, code, words) in [
        (json!([]), "too_large", "1 to 10000"),
        (
            json!([job("a", &["b"]), job("b", &["c"]), job("c", &["a"])]),
            "cycle",
            "a -> b -> c -> a",
        ),
        (json!([job("a", &["a"])]), "cycle", "a -> a"),
        (json!([job("a", &["x"])]), "invalid_field", "a needs x"),
        (
            json!([job("a", &[]), job("a", &[])]),
            "invalid_field",
            "a names two jobs",
        ),
        (
            json!([job("a", &[]), job("b", &["a", "a"])]),
            "invalid_field",
            "twice",
        ),
        (
            json!([{"name": "a", "type": "t", "priority": 10}]),
            "invalid_field",
            "0 to 9",
        ),
        (
            json!([{"name": "a", "type": "t", "odd": 1}]),
            "unknown_field",
            "odd",
        ),
    ] {
        let reply = appliance.post("/api/v1/runs", json!({ "jobs": jobs }).to_string());
        let status = if code == "too_large" { 413 } else { 422 };
        assert_eq!(reply.problem(status), code, "{jobs}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(
        appliance.get("/api/v1/runs").expect(200)["asOf"],
        before,
        "nothing changed"
    );
}

#[test]
fn ten_thousand_jobs_in_a_ring_are_refused_and_in_a_row_are_taken() {
    let appliance = TestAppliance::start();
    let ring = |closed: bool| {
        let jobs = (0..10_000).map(|index: u32| match index {
            0 if closed => json!({"name": "j0", "type": "t", "needs": ["j9999"]}),
            0 => json!({"name": "j0", "type": "t"}),
            _ => json!({"name": format!("j{index}"), "type": "t", "needs": [format!("j{}", index - 1)]}),
        });
        json!({ "jobs": jobs.collect::<Vec<_>>() }).to_string()
    };
    let refused = appliance.post("/api/v1/runs", ring(true));
    assert_eq!(refused.problem(422), "cycle");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.starts_with("a cycle of 10000 jobs: ") && detail.len() < 1_000,
        "{detail}"
    );
    let run = appliance.post("/api/v1/runs", ring(false)).expect(201);
    assert_eq!(run["progress"]["total"], 10_000);
    let claimed = claim(&appliance, json!({"max": 64}));
    assert_eq!(claimed["jobs"].as_array().unwrap().len(), 1);
}

#[test]
fn one_of_twenty_runs_is_cancelled_and_one_fails_and_the_others_do_not_notice() {
    let appliance = TestAppliance::start();
    let runs: Vec<Value> = (0..20).map(|_| start(&appliance, diamond())).collect();
    let ids: Vec<&str> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
    let cancelled = appliance
        .post(&format!("/api/v1/runs/{}/cancel", ids[3]), "")
        .expect(202);
    assert_eq!(cancelled["status"], "pending");
    let mut leases = claim(&appliance, json!({"max": 64}))["jobs"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        leases.len(),
        20,
        "19 first jobs, and what the cancelled run still does"
    );
    loop {
        let results: Vec<Value> = leases
            .iter()
            .map(|lease| {
                let failing: &[&str] = if lease["runId"] == ids[7] { &["b"] } else { &[] };
                end_of(lease, failing)
            })
            .collect();
        complete(&appliance, json!({"worker": "w-1", "results": results}));
        leases = claim(&appliance, json!({"max": 64}))["jobs"]
            .as_array()
            .unwrap()
            .clone();
        if leases.is_empty() {
            break;
        }
    }
    for (index, run) in runs.iter().enumerate() {
        let expected = match index {
            3 => "cancelled",
            7 => "partially_failed",
            _ => "completed",
        };
        assert_eq!(status(&appliance, run), expected, "run {index}");
        if expected == "completed" {
            let events = appliance.get(&format!("/api/v1/events?run={}&limit=500", ids[index]));
            let types: Vec<String> = (events.expect(200)["items"].as_array().unwrap().iter())
                .map(|event| event["type"].as_str().unwrap().to_owned())
                .collect();
            assert!(
                !types
                    .iter()
                    .any(|name| name.contains("cancel") || name.contains("fail"))
            );
            assert_eq!(types.len(), 1 + 5 + 1 + 4 + 5 + 5 + 1, "{types:?}");
        }
    }
}

#[test]
fn a_graph_with_a_key_is_started_once() {
    let appliance = TestAppliance::start();
    let body = json!({"jobs": diamond()}).to_string();
    let ask = Ask::post("/api/v1/runs", body.as_bytes()).token(&appliance.admin);
    let ask = ask.header("idempotency-key", "r-1");
    let first = appliance.send(&ask).expect(201);
    work(&appliance, &[]);
    let again = appliance.send(&ask);
    assert_eq!(again.expect(201), first);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(
        appliance.get("/api/v1/runs").expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
