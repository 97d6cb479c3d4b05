//! Pausing runs over HTTP: what is held back, what goes on, and what ends a pause.

use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::support::appliance::{Ask, Reply, TestAppliance};

fn start(appliance: &TestAppliance, body: &Value) -> String {
    let run = appliance.post("/api/v1/runs", body.to_string()).expect(201);
    run["id"].as_str().unwrap().to_owned()
}

/// a → b, c beside them; d cleans up.
fn graph() -> Value {
    json!({"jobs": [
        {"name": "a", "type": "t"},
        {"name": "b", "type": "t", "needs": ["a"]},
        {"name": "c", "type": "t"},
        {"name": "d", "type": "t", "needs": ["b", "c"], "always": true},
    ]})
}

fn say(appliance: &TestAppliance, run: &str, verb: &str, reason: &str) -> Reply {
    let body = json!({ "reason": reason }).to_string();
    appliance.post(&format!("/api/v1/runs/{run}/{verb}"), body)
}

fn read(appliance: &TestAppliance, run: &str) -> Value {
    appliance.get(&format!("/api/v1/runs/{run}")).expect(200)
}

/// The steps that a claim gets, and their leases.
fn take(appliance: &TestAppliance, max: u32) -> Vec<Value> {
    let jobs = claim(appliance, json!({ "max": max }))["jobs"].clone();
    jobs.as_array().unwrap().clone()
}

fn names(leases: &[Value]) -> Vec<&str> {
    leases
        .iter()
        .map(|lease| lease["step"].as_str().unwrap())
        .collect()
}

fn end(appliance: &TestAppliance, lease: &Value, outcome: &str) {
    let result = json!({"jobId": lease["id"], "epoch": lease["epoch"], "outcome": outcome});
    complete(appliance, json!({"worker": "w-1", "results": [result]}));
}

#[test]
fn nothing_of_a_paused_run_starts_and_what_runs_goes_on() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, &graph());
    let first = take(&appliance, 1);
    assert_eq!(names(&first), ["a"]);
    let paused = say(&appliance, &run, "pause", "a look at the host").expect(200);
    assert_eq!(
        (&paused["paused"], &paused["status"]),
        (&json!(true), &json!("running"))
    );
    assert_eq!(paused["pauseReason"], "a look at the host");
    let listed = |name: &str| appliance.get("/api/v1/runs").expect(200)["items"][0][name].clone();
    assert_eq!(listed("pauseReason"), "a look at the host");
    end(&appliance, &first[0], "completed");

    assert_eq!(take(&appliance, 8), Vec::<Value>::new());
    let detail = read(&appliance, &run);
    assert_eq!(detail["pauseReason"], "a look at the host");
    for step in [1, 2] {
        assert_eq!(detail["steps"][step]["status"], "scheduled");
        assert_eq!(detail["steps"][step]["waiting"], json!({"for": "paused"}));
    }
    assert_eq!(
        detail["steps"][3]["waiting"],
        json!({"for": "needs", "open": 2, "total": 2})
    );
    let job = detail["steps"][1]["jobId"].as_str().unwrap();
    let job = appliance.get(&format!("/api/v1/jobs/{job}")).expect(200);
    assert_eq!(job["waiting"], json!({"for": "paused"}));

    // Jobs that stand alone are not concerned, nor are other runs.
    let other = start(&appliance, &json!({"jobs": [{"name": "x", "type": "t"}]}));
    let free = take(&appliance, 8);
    assert_eq!(names(&free), ["x"]);
    end(&appliance, &free[0], "completed");
    assert_eq!(read(&appliance, &other)["status"], "completed");

    let resumed = say(&appliance, &run, "resume", "all is well").expect(200);
    assert_eq!(
        (&resumed["paused"], &resumed["pauseReason"]),
        (&json!(false), &Value::Null)
    );
    let rest = take(&appliance, 8);
    assert_eq!(
        names(&rest),
        ["c", "b"],
        "by arrival, as if there had been no pause"
    );
    for lease in &rest {
        end(&appliance, lease, "completed");
    }
    end(&appliance, &take(&appliance, 8)[0], "completed");
    assert_eq!(read(&appliance, &run)["status"], "completed");

    let events = appliance
        .get(&format!("/api/v1/events?run={run}&type=run.*"))
        .expect(200);
    let types = events["items"].as_array().unwrap().iter();
    let types: Vec<&str> = types.map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "run.created",
            "run.started",
            "run.paused",
            "run.resumed",
            "run.completed"
        ]
    );
}

#[test]
fn a_pause_outlives_a_restart() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, &graph());
    say(&appliance, &run, "pause", "maintenance").expect(200);
    let appliance = appliance.restart();
    assert_eq!(take(&appliance, 8), Vec::<Value>::new());
    assert_eq!(read(&appliance, &run)["paused"], true);
    say(&appliance, &run, "resume", "done").expect(200);
    assert_eq!(names(&take(&appliance, 8)), ["a", "c"]);
}

#[test]
fn what_a_worker_gives_back_waits_too() {
    let appliance = TestAppliance::start();
    let run = start(
        &appliance,
        &json!({"jobs": [{"name": "a", "type": "t"}], "maxParallel": 1}),
    );
    let lease = take(&appliance, 1).remove(0);
    say(&appliance, &run, "pause", "hold on").expect(200);
    let path = format!("/api/v1/workers/jobs/{}/release", lease["id"].as_str().unwrap());
    let body = json!({"worker": "w-1", "epoch": lease["epoch"], "reason": "going home"});
    appliance.post(&path, body.to_string()).expect(200);
    assert_eq!(take(&appliance, 8), Vec::<Value>::new());
    say(&appliance, &run, "resume", "").expect(200);
    assert_eq!(names(&take(&appliance, 8)), ["a"]);
}

#[test]
fn a_pause_that_cannot_be_is_refused() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, &graph());
    assert_eq!(
        say(&appliance, &run, "resume", "x").problem(409),
        "run_not_paused"
    );
    say(&appliance, &run, "pause", "x").expect(200);
    assert_eq!(say(&appliance, &run, "pause", "y").problem(409), "run_paused");
    assert_eq!(read(&appliance, &run)["pauseReason"], "x", "nothing changed");

    // Either path leads to the one flag.
    let path = format!("/api/v1/pack-runs/{run}/resume");
    assert_eq!(appliance.post(&path, "").expect(200)["paused"], false);
    say(&appliance, &run, "cancel", "enough").expect(202);
    assert_eq!(
        say(&appliance, &run, "pause", "x").problem(409),
        "illegal_transition"
    );
    assert_eq!(
        say(&appliance, &run, "resume", "x").problem(409),
        "run_not_paused"
    );
    let nobody = "0190a1b2-0000-7000-8000-000000000000";
    assert_eq!(say(&appliance, nobody, "pause", "x").problem(404), "not_found");
    let path = format!("/api/v1/runs/{run}/pause");
    let odd = json!({"reason": "x", "until": "noon"}).to_string();
    assert_eq!(appliance.post(&path, odd).problem(422), "unknown_field");
    appliance.create_tenant("other");
    let foreign = appliance.token("eve", &[fastness::domain::token::Scope::Operate], &["other"]);
    let asked = Ask::post(&path, b"").token(&foreign);
    assert_eq!(appliance.send(&asked).problem(404), "not_found");
}

#[test]
fn cancelling_ends_the_pause_so_that_the_run_can_end() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, &graph());
    say(&appliance, &run, "pause", "hold on").expect(200);
    let cancelled = say(&appliance, &run, "cancel", "never mind").expect(202);
    assert_eq!(cancelled["paused"], false);
    let cleans = take(&appliance, 8);
    assert_eq!(names(&cleans), ["d"]);
    end(&appliance, &cleans[0], "completed");
    assert_eq!(read(&appliance, &run)["status"], "cancelled");
    let was = appliance
        .get(&format!("/api/v1/events?run={run}&type=run.resumed"))
        .expect(200);
    assert_eq!(was["items"][0]["payload"]["reason"], "cancelled");
}

#[test]
fn a_run_that_ends_while_it_is_paused_is_paused_no_more() {
    let appliance = TestAppliance::start();
    let run = start(&appliance, &json!({"jobs": [{"name": "a", "type": "t"}]}));
    let lease = take(&appliance, 1).remove(0);
    say(&appliance, &run, "pause", "hold on").expect(200);
    end(&appliance, &lease, "completed");
    let done = read(&appliance, &run);
    assert_eq!(
        (&done["status"], &done["paused"]),
        (&json!("completed"), &json!(false))
    );
}
