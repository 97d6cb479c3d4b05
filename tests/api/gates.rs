//! Gates over HTTP: who may answer, what they are bound to, and what a run comes to.

use fastness::domain::token::Scope;
use serde_json::{Value, json};

use crate::support::appliance::{Ask, Reply, TestAppliance};

const PACK: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: release}
spec:
  inputs: {stage: {type: string, default: test}}
  steps:
    - {id: sane, gate: policy, expr: 'inputs.stage in [\"test\", \"live\"]'}
    - {id: people, needs: [sane], gate: approval, approvers: 2}
    - {id: last, needs: [people], when: 'inputs.stage == \"live\"', gate: approval}
";

struct House {
    appliance: TestAppliance,
    ada: String,
    bea: String,
    cleo: String,
}

fn house() -> House {
    let appliance = TestAppliance::start();
    let asked = Ask::post("/api/v1/packs", PACK.as_bytes()).header("content-type", "application/yaml");
    let made = appliance.send(&asked.token(&appliance.admin));
    assert_eq!(made.status, 201, "{}", made.json());
    let scopes = [Scope::Read, Scope::Submit, Scope::Approve];
    let token = |person: &str| appliance.token(person, &scopes, &["default"]);
    let (ada, bea, cleo) = (token("ada"), token("bea"), token("cleo"));
    House {
        appliance,
        ada,
        bea,
        cleo,
    }
}

impl House {
    fn start(&self, inputs: &Value) -> String {
        let body = json!({"pack": "release", "inputs": inputs}).to_string();
        let asked = Ask::post("/api/v1/pack-runs", body.as_bytes())
            .header("content-type", "application/json")
            .token(&self.ada);
        let run = self.appliance.send(&asked).expect(201);
        run["id"].as_str().unwrap().to_owned()
    }

    fn say(&self, who: &str, run: &str, place: &str, body: &Value) -> Reply {
        let path = format!("/api/v1/pack-runs/{run}/gates/{place}");
        let body = body.to_string();
        let asked = Ask::post(&path, body.as_bytes())
            .header("content-type", "application/json")
            .token(who);
        self.appliance.send(&asked)
    }

    fn timeline(&self, run: &str) -> Value {
        let path = format!("/api/v1/runs/{run}/timeline");
        self.appliance.get(&path).expect(200)["rows"].clone()
    }

    fn run(&self, run: &str) -> Value {
        self.appliance
            .get(&format!("/api/v1/pack-runs/{run}"))
            .expect(200)
    }
}

fn why() -> Value {
    json!({"reason": "looked at it"})
}

#[test]
fn a_start_that_is_sent_again_is_answered_as_it_was() {
    let house = house();
    let start = || {
        let asked = Ask::post(
            "/api/v1/pack-runs",
            br#"{"pack": "release", "inputs": {"stage": "live"}}"#,
        )
        .header("content-type", "application/json")
        .header("idempotency-key", "start-1")
        .token(&house.ada);
        house.appliance.send(&asked)
    };
    let first = start();
    assert_eq!(first.header("idempotency-replayed"), None);
    let first = first.expect(201);
    assert_eq!(first["status"], "waiting", "{first}");
    let run = first["id"].as_str().unwrap();
    // What came later is no part of the answer.
    let answered = house.say(&house.bea, run, "people/approve", &why());
    assert_eq!(answered.status, 200, "{}", answered.json());
    let again = start();
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(201), first);
}

#[test]
fn two_other_persons_let_a_run_go_on() {
    let house = house();
    let run = house.start(&json!({}));
    let waiting = house.run(&run);
    assert_eq!(waiting["status"], "waiting");
    assert_eq!(
        waiting["steps"][0]["status"], "completed",
        "the policy let it pass"
    );
    assert_eq!(waiting["steps"][1]["status"], "waiting");
    assert_eq!(waiting["steps"][1]["gate"]["approvers"], 2);

    let place = "people/approve";
    assert_eq!(
        house.say(&house.ada, &run, place, &why()).problem(409),
        "self_approval"
    );
    let binding = waiting["steps"][1]["gate"]["binding"].clone();
    let seen = json!({"reason": "as shown", "binding": binding});
    house.say(&house.bea, &run, place, &seen).expect(200);
    assert_eq!(
        house.say(&house.bea, &run, place, &why()).problem(409),
        "already_approved"
    );
    // Another token of the same person is the same person.
    let scopes = [Scope::Approve];
    let again = house.appliance.token("bea", &scopes, &["default"]);
    assert_eq!(
        house.say(&again, &run, place, &why()).problem(409),
        "already_approved"
    );
    let half = house.run(&run);
    assert_eq!(half["status"], "waiting");
    assert_eq!(half["steps"][1]["gate"]["approvals"][0]["person"], "bea");
    let asking = house.timeline(&run);
    assert_eq!(
        asking.as_array().unwrap().len(),
        1,
        "a policy takes no time: {asking}"
    );
    assert_eq!(
        (&asking[0]["name"], &asking[0]["jobId"]),
        (&json!("people"), &Value::Null)
    );
    assert_eq!(asking[0]["spans"][0]["kind"], "waiting");
    assert_eq!(asking[0]["spans"][0]["to"], Value::Null, "it asks still");

    let done = house.say(&house.cleo, &run, place, &why()).expect(200);
    assert_eq!(done["status"], "completed");
    let done = house.run(&run);
    assert_eq!(done["steps"][1]["status"], "completed");
    assert_eq!(done["steps"][2]["status"], "skipped");
    // As it was at any event, gates and all.
    let last = done["asOf"].as_u64().unwrap();
    let at = |seq: u64| {
        house
            .appliance
            .get(&format!("/api/v1/runs/{run}/at/{seq}"))
            .expect(200)
    };
    assert_eq!(at(last)["steps"], done["steps"]);
    assert_eq!(at(half["asOf"].as_u64().unwrap())["steps"], half["steps"]);
    let asked = house.timeline(&run);
    assert_eq!(asked[0]["spans"][0]["from"], done["steps"][1]["startedAt"]);
    assert_eq!(asked[0]["spans"][0]["to"], done["steps"][1]["endedAt"]);
    assert_eq!(
        house.say(&house.cleo, &run, place, &why()).problem(409),
        "illegal_transition"
    );
}

#[test]
fn a_gate_is_bound_to_what_was_looked_at() {
    let house = house();
    let (one, other) = (house.start(&json!({"stage": "live"})), house.start(&json!({})));
    let of = |run: &str| house.run(run)["steps"][1]["gate"]["binding"].clone();
    assert_ne!(of(&one), of(&other), "other inputs, another binding");
    let swapped = json!({"reason": "wrong window", "binding": of(&other)});
    let refused = house.say(&house.bea, &one, "people/approve", &swapped);
    assert_eq!(refused.problem(409), "gate_changed");
    assert_eq!(house.run(&one)["steps"][1]["gate"]["approvals"], json!([]));
}

#[test]
fn a_rejected_gate_and_a_false_policy_fail_the_run() {
    let house = house();
    let run = house.start(&json!({"stage": "live"}));
    let rejected = house.say(
        &house.bea,
        &run,
        "people/reject",
        &json!({"reason": "not on a friday"}),
    );
    assert_eq!(rejected.expect(200)["status"], "failed");
    let run = house.run(&run);
    assert_eq!(run["steps"][1]["status"], "failed");
    assert_eq!(run["steps"][1]["error"]["message"], "not on a friday");
    assert_eq!(run["steps"][2]["reason"], "upstream_failed");

    let refused = house.start(&json!({"stage": "moon"}));
    let refused = house.run(&refused);
    assert_eq!(
        (&refused["status"], &refused["steps"][0]["status"]),
        (&json!("failed"), &json!("failed"))
    );
}

#[test]
fn a_run_that_waits_can_be_cancelled() {
    let house = house();
    let run = house.start(&json!({}));
    let path = format!("/api/v1/pack-runs/{run}/cancel");
    let cancelled = house.appliance.post(&path, r#"{"reason":"enough"}"#).expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(house.run(&run)["steps"][1]["status"], "cancelled");
    let asked = house.timeline(&run);
    assert!(asked[0]["spans"][0]["to"].is_string(), "over: {asked}");
}

#[test]
fn what_is_no_answer_is_refused() {
    let house = house();
    let run = house.start(&json!({}));
    let say = |who: &str, place: &str, body: Value| house.say(who, &run, place, &body);
    assert_eq!(
        say(&house.bea, "people/approve", json!({})).problem(422),
        "reason_required"
    );
    assert_eq!(
        say(&house.bea, "people/approve", json!({"reason": "x", "why": 1})).problem(422),
        "unknown_field"
    );
    assert_eq!(
        say(&house.bea, "sane/approve", why()).problem(409),
        "illegal_transition"
    );
    assert_eq!(
        say(&house.bea, "nothing/approve", why()).problem(404),
        "not_found"
    );
    let long = json!({"reason": "x".repeat(10_000)});
    assert_eq!(
        say(&house.bea, "people/approve", long).problem(422),
        "invalid_field"
    );
    let reader = house
        .appliance
        .token("dan", &[Scope::Read, Scope::Operate], &["default"]);
    assert_eq!(
        house.say(&reader, &run, "people/approve", &why()).problem(403),
        "scope_required"
    );
    house.appliance.create_tenant("other");
    let foreign = house.appliance.token("eve", &[Scope::Approve], &["other"]);
    assert_eq!(
        house.say(&foreign, &run, "people/approve", &why()).problem(404),
        "not_found"
    );
    assert_eq!(house.run(&run)["status"], "waiting", "nothing changed");
}
