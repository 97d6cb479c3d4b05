//! Work orders over HTTP, between two appliances that see nothing of each other but files.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::bundle::tar::{TarReader, TarWriter};
use fastness::bundle::transport::{FrameReader, FrameWriter};
use fastness::domain::command::{Command, OrderCommand, OrderContent, OrderRun, RegisterPack};
use fastness::domain::event::Actor;
use fastness::domain::order::AskedRun;
use fastness::domain::payload::orders::WorkorderImported;
use fastness::domain::token::Scope;
use fastness::domain::{OrderId, Timestamp};
use serde_json::{Value, json};

use crate::support::appliance::{Ask, Reply, TestAppliance, files};

/// Ends by itself as soon as it starts: a gate that lets it pass.
const QUICK: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: quick}
spec:
  inputs: {stage: {type: string, default: test}}
  steps:
    - {id: sane, gate: policy, expr: 'inputs.stage in [\"test\", \"live\"]'}
";
/// Waits for a person.
const SLOW: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: slow}
spec:
  steps:
    - {id: people, gate: approval}
";
const RIGHTS: &[Scope] = &[
    Scope::Read,
    Scope::Submit,
    Scope::Approve,
    Scope::Operate,
    Scope::Import,
];

struct Pair {
    hub: TestAppliance,
    plant: TestAppliance,
}

fn enclave(appliance: &TestAppliance) -> String {
    let keys = appliance.get("/api/v1/keys").expect(200);
    keys["enclave"].as_str().unwrap().to_owned()
}

fn pair() -> Pair {
    let pair = Pair {
        hub: TestAppliance::start(),
        plant: TestAppliance::asking(0),
    };
    pair.pin();
    pair
}

fn pem(appliance: &TestAppliance, role: &str) -> String {
    let keys = appliance.get("/api/v1/keys").expect(200);
    keys[role]["pem"].as_str().unwrap().to_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Pair {
    fn pin(&self) {
        let body = json!({"hub": enclave(&self.hub), "ordersKey": pem(&self.hub, "orders")});
        let pinned = self.plant.post("/api/v1/trust/orders-pins", body.to_string());
        assert_eq!(pinned.status, 204, "{}", pinned.json());
    }

    fn body(&self, packs: &[&str], runs: &Value) -> Value {
        let packs: Vec<Value> = packs.iter().map(|source| json!({ "source": source })).collect();
        json!({"for": [enclave(&self.plant)], "packs": packs, "runs": runs})
    }

    /// An issued order, and its file.
    fn issue(&self, body: &Value) -> (String, Vec<u8>) {
        let issued = self.hub.post("/api/v1/work-orders", body.to_string()).expect(201);
        assert_eq!(issued["state"], "issued");
        let id = text(&issued["id"]);
        let file = self.hub.get(&format!("/api/v1/work-orders/{id}/content"));
        assert_eq!(file.status, 200);
        let named = file.header("content-disposition").unwrap().to_owned();
        assert!(named.contains(&format!("{id}.order.tar.zst")), "{named}");
        (id, file.body)
    }

    /// The hub takes an order back: the file that says so.
    fn cancellation(&self, id: &str) -> Vec<u8> {
        let path = format!("/api/v1/work-orders/{id}");
        self.hub
            .post(&format!("{path}/cancel"), r#"{"reason":"no"}"#)
            .expect(200);
        self.hub.get(&format!("{path}/cancellation")).body
    }

    fn quick(&self) -> (String, Vec<u8>) {
        self.issue(&self.body(&[QUICK], &json!([{"pack": "quick", "inputs": {"stage": "live"}}])))
    }

    fn slow(&self) -> (String, Vec<u8>) {
        self.issue(&self.body(
            &[SLOW, QUICK],
            &json!([{"pack": "slow"}, {"name": "q", "pack": "quick"}]),
        ))
    }

    fn import(&self, file: &[u8]) -> Reply {
        self.plant.post("/api/v1/work-orders/import", file)
    }

    fn at_plant(&self, id: &str) -> Value {
        self.plant.get(&format!("/api/v1/work-orders/{id}")).expect(200)
    }

    fn at_hub(&self, id: &str) -> Value {
        self.hub.get(&format!("/api/v1/work-orders/{id}")).expect(200)
    }

    fn act(&self, id: &str, verb: &str) -> Reply {
        self.plant.post(
            &format!("/api/v1/work-orders/{id}/{verb}"),
            r#"{"reason":"so said"}"#,
        )
    }

    /// Carries what happened at the plant to the hub: the manifest that names orders, and the answer.
    fn carry_back(&self, from: u64) -> (Value, Value) {
        let ask = json!({ "from": from }).to_string();
        let exported = self.plant.post("/api/v1/bundles/export", ask).expect(201);
        let path = format!("/api/v1/bundles/{}/content", text(&exported["id"]));
        let file = self.plant.get(&path).body;
        let parts = bundle_parts(&file);
        let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
        let payload = STANDARD.decode(text(&envelope["payload"])).unwrap();
        let statement: Value = serde_json::from_slice(&payload).unwrap();
        let (log, export) = (pem(&self.plant, "log"), pem(&self.plant, "export"));
        let asked = Ask::post("/api/v1/bundles/import", &file)
            .header("x-fastness-log-key", &STANDARD.encode(log))
            .header("x-fastness-export-key", &STANDARD.encode(export))
            .token(&self.hub.admin);
        let imported = self.hub.send(&asked).expect(201);
        (statement["predicate"].clone(), imported)
    }
}

pub fn bundle_parts(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut tar = TarReader::new(FrameReader::new(file).unwrap());
    let mut parts = Vec::new();
    while let Some(entry) = tar.next_entry().unwrap() {
        let mut content = vec![0; entry.size as usize];
        assert_eq!(tar.content(&mut content).unwrap(), content.len());
        parts.push((entry.name, content));
    }
    parts
}

pub fn bundle_file(parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = TarWriter::new(FrameWriter::new(Vec::new()).unwrap());
    for (name, content) in parts {
        tar.begin(name, content.len() as u64).unwrap();
        tar.content(content).unwrap();
    }
    tar.finish().unwrap().finish().unwrap()
}

/// Types of the events about orders, oldest first.
fn told(appliance: &TestAppliance) -> Vec<String> {
    let events = appliance
        .get("/api/v1/events?type=workorder.*&limit=500")
        .expect(200);
    let items = events["items"].as_array().unwrap().iter();
    items.map(|event| text(&event["type"])).collect()
}

#[test]
fn an_order_goes_there_and_its_evidence_comes_back() {
    let pair = pair();
    let (id, file) = pair.quick();
    let taken = pair.import(&file).expect(201);
    assert_eq!(taken["already"], false);
    assert_eq!(taken["order"]["state"], "imported");
    let again = pair.import(&file).expect(200);
    assert_eq!(
        again["already"], true,
        "the same order twice is a no-op that says so"
    );
    let packs = pair.plant.get("/api/v1/packs").expect(200);
    assert_eq!(
        packs["items"],
        json!([]),
        "nothing of it is here before it starts"
    );

    let started = pair.act(&id, "start").expect(200);
    assert_eq!(started["state"], "reported", "{started}");
    let run = text(&started["received"]["startedRuns"][0]["run"]);
    assert_eq!(
        started["received"]["outcomes"],
        json!([{"name": "quick", "run": run, "status": "completed"}])
    );
    let seen = pair.plant.get(&format!("/api/v1/pack-runs/{run}")).expect(200);
    assert_eq!(seen["orderId"], id);
    assert_eq!(seen["correlationId"], id);
    assert_eq!(seen["inputs"], json!({"stage": "live"}));
    let name = format!("order/{}/quick", enclave(&pair.hub));
    assert_eq!(seen["pack"]["name"], name);
    let source = format!("/api/v1/packs/{}/versions/1/source", name.replace('/', "%2F"));
    assert_eq!(pair.plant.get(&source).body, QUICK.as_bytes(), "byte for byte");
    let created = pair.plant.get("/api/v1/events?type=run.created").expect(200);
    assert_eq!(created["items"][0]["payload"]["orderId"], id);
    assert_eq!(pair.act(&id, "start").problem(409), "illegal_transition");
    assert_eq!(pair.import(&file).expect(200)["order"]["state"], "reported");
    assert_eq!(
        told(&pair.plant),
        ["workorder.imported", "workorder.started", "workorder.reported"]
    );

    assert_eq!(pair.at_hub(&id)["state"], "issued", "the hub knows nothing yet");
    let (predicate, imported) = pair.carry_back(0);
    assert_eq!(predicate["orderId"], id);
    assert_eq!(predicate["orderIds"], Value::Null);
    let known = pair.at_hub(&id);
    assert_eq!(known["state"], "reported", "{known}");
    let proof = &known["evidence"][0];
    assert_eq!(proof["matches"], true);
    assert_eq!(proof["enclave"], enclave(&pair.plant));
    assert_eq!(
        (&proof["root"], &proof["size"]),
        (&imported["root"], &imported["size"])
    );
    for (mark, kind) in [
        ("imported", "workorder.imported"),
        ("started", "workorder.started"),
        ("reported", "workorder.reported"),
    ] {
        let path = format!("/api/v1/events/{}", proof["order"][mark]["seq"]);
        assert_eq!(pair.plant.get(&path).expect(200)["type"], kind);
    }
    let listed = pair.hub.get("/api/v1/work-orders").expect(200);
    assert_eq!(listed["items"][0]["id"], id);
    assert_eq!(listed["items"][0]["state"], "reported");
}

#[test]
fn a_bundle_names_every_order_of_which_it_holds_runs_and_no_other() {
    let pair = pair();
    let mut ids = Vec::new();
    let mut sizes = vec![0];
    for _ in 0..2 {
        let (id, file) = pair.quick();
        pair.import(&file).expect(201);
        pair.act(&id, "start").expect(200);
        ids.push(id);
        sizes.push(pair.at_plant(&ids[0])["asOf"].as_u64().unwrap() + 1);
    }
    let (waiting, file) = pair.slow();
    pair.import(&file).expect(201);
    ids.sort();
    let (predicate, _) = pair.carry_back(0);
    assert_eq!(predicate["orderIds"], json!(ids));
    assert_eq!(predicate["orderId"], Value::Null);
    let known = pair.at_hub(&waiting);
    assert_eq!(
        known["state"], "imported",
        "its events say so, though no run does"
    );
}

#[test]
fn a_bundle_that_names_other_orders_than_its_runs_is_refused() {
    let pair = pair();
    let (id, file) = pair.quick();
    pair.import(&file).expect(201);
    pair.act(&id, "start").expect(200);
    let exported = pair.plant.post("/api/v1/bundles/export", "{}").expect(201);
    let path = format!("/api/v1/bundles/{}/content", text(&exported["id"]));
    let file = pair.plant.get(&path).body;
    let keys = pair.plant.engine.keys();
    let check = |claimed: Option<&str>| {
        let mut parts = bundle_parts(&file);
        let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
        let payload = STANDARD.decode(text(&envelope["payload"])).unwrap();
        let payload = String::from_utf8(payload).unwrap();
        let named = format!("\"orderId\":\"{id}\",");
        assert!(payload.contains(&named));
        let other = claimed.map_or_else(String::new, |other| format!("\"orderId\":\"{other}\","));
        let payload = payload.replace(&named, &other);
        parts[0].1 = fastness::bundle::dsse::sign(payload.as_bytes(), &keys.export()).unwrap();
        let forged = bundle_file(&parts);
        let options = fastness::bundle::Options {
            log_key: Some(keys.log().public()),
            export_key: Some(keys.export().public()),
            ..fastness::bundle::Options::none()
        };
        let open = fastness::bundle::order::intake::opener(&forged.into());
        fastness::bundle::verify(&open, options).unwrap().report
    };
    assert_eq!(check(Some(&id)).exit_code, 0);
    for claimed in [None, Some("0190d7c4-0000-7000-8000-000000000000")] {
        let report = check(claimed);
        assert_eq!(report.exit_code, 10, "{report:#?}");
        let failure = report.first_failure().unwrap().to_string();
        assert!(failure.contains("other work orders"), "{failure}");
    }
}

#[test]
fn refused_files_lie_in_quarantine_and_each_attempt_is_an_event() {
    let pair = pair();
    let (id, good) = pair.quick();
    let other = TestAppliance::start();
    let for_other = pair.body(&[QUICK], &json!([{"pack": "quick"}]));
    let mut wrong = for_other.clone();
    wrong["for"] = json!([enclave(&other)]);
    let (_, elsewhere) = pair.issue(&wrong);
    let mut damaged = good.clone();
    damaged.truncate(good.len() / 2);
    let mut parts = bundle_parts(&good);
    let pack = parts
        .iter()
        .position(|part| part.0.starts_with("order/packs/"))
        .unwrap();
    parts[pack].1[60] ^= 1;
    let changed = bundle_file(&parts);

    let exit_code = |reply: Reply, code: u64| {
        let status = reply.status;
        let problem = reply.json();
        assert_eq!(
            (status, problem["code"].as_str()),
            (422, Some("order_refused")),
            "{problem}"
        );
        assert_eq!(problem["report"]["exitCode"], code, "{problem}");
    };
    exit_code(pair.import(&damaged), 14);
    exit_code(pair.import(&changed), 10);
    exit_code(pair.import(&elsewhere), 12);
    exit_code(pair.import(b"no order"), 14);
    // The key of a hub that nobody pinned, and the wrong key given by hand.
    exit_code(other.post("/api/v1/work-orders/import", &good), 12);
    let asked = Ask::post("/api/v1/work-orders/import", &good)
        .header(
            "x-fastness-orders-key",
            &STANDARD.encode(pem(&pair.hub, "export")),
        )
        .token(&pair.plant.admin);
    exit_code(pair.plant.send(&asked), 12);
    assert_eq!(
        pair.plant.get("/api/v1/work-orders").expect(200)["items"],
        json!([])
    );
    let kept = files(&pair.plant.folder().join("quarantine"));
    assert_eq!(
        kept.len(),
        10,
        "each with its note; the same good file with another key is one of them"
    );
    assert_eq!(told(&pair.plant), vec!["workorder.refused"; 5]);
    let refused = pair
        .plant
        .get("/api/v1/events?type=workorder.refused")
        .expect(200);
    let claimed: Vec<&Value> = refused["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["payload"]["orderId"])
        .collect();
    assert!(claimed.contains(&&json!(id)), "{claimed:?}");

    // A key given is pinned with it, and then another is a conflict.
    let asked = Ask::post("/api/v1/work-orders/import", &elsewhere)
        .header(
            "x-fastness-orders-key",
            &STANDARD.encode(pem(&pair.hub, "orders")),
        )
        .token(&other.admin);
    other.send(&asked).expect(201);
    let pin = json!({"hub": enclave(&pair.hub), "ordersKey": pem(&pair.hub, "log")}).to_string();
    assert_eq!(
        other.post("/api/v1/trust/orders-pins", pin).problem(409),
        "pin_conflict"
    );
}

#[test]
fn an_order_is_run_once_in_an_enclave_and_by_one_tenant() {
    let pair = pair();
    pair.plant.create_tenant("other");
    let other = pair.plant.token("otto", RIGHTS, &["other"]);
    let (id, file) = pair.quick();
    pair.import(&file).expect(201);
    let asked = Ask::post("/api/v1/work-orders/import", &file).token(&other);
    let refused = pair.plant.send(&asked);
    assert_eq!(refused.json()["report"]["exitCode"], 13, "{}", refused.json());
    let path = format!("/api/v1/work-orders/{id}");
    assert_eq!(
        pair.plant.send(&Ask::get(&path).token(&other)).problem(404),
        "not_found"
    );
    // The same archive in another frame is the same order.
    let parts = bundle_parts(&file);
    assert_eq!(pair.import(&bundle_file(&parts)).expect(200)["already"], true);
    // Another order under the same id is a fork.
    let mut parts = parts;
    let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let payload = String::from_utf8(STANDARD.decode(text(&envelope["payload"])).unwrap()).unwrap();
    let payload = payload.replace("\"name\":\"quick\",\"pack\"", "\"name\":\"quack\",\"pack\"");
    let keys = pair.hub.engine.keys();
    parts[0].1 = fastness::bundle::dsse::sign(payload.as_bytes(), &keys.orders()).unwrap();
    let fork = pair.import(&bundle_file(&parts));
    assert_eq!(fork.json()["report"]["exitCode"], 13, "{}", fork.json());
}

#[test]
fn two_other_persons_let_an_order_start() {
    let pair = Pair {
        hub: TestAppliance::start(),
        plant: TestAppliance::asking(2),
    };
    pair.pin();
    let token = |person: &str| pair.plant.token(person, RIGHTS, &["default"]);
    let (ada, ada_again, bea, cleo) = (token("ada"), token("ada"), token("bea"), token("cleo"));
    let mut body = pair.body(&[QUICK], &json!([{"pack": "quick"}]));
    body["persons"] = json!(["bea", "dora"]);
    let (id, file) = pair.issue(&body);
    let asked = Ask::post("/api/v1/work-orders/import?start=true", &file).token(&ada);
    let taken = pair.plant.send(&asked).expect(201);
    assert_eq!(taken["order"]["approvalsMissing"], 2);
    assert_eq!(taken["notStarted"]["code"], "order_person", "{taken}");
    let say = |who: &str, verb: &str, body: &Value| {
        let (path, body) = (format!("/api/v1/work-orders/{id}/{verb}"), body.to_string());
        pair.plant.send(&Ask::post(&path, body.as_bytes()).token(who))
    };
    let why = json!({"reason": "looked at it"});
    assert_eq!(say(&ada, "approve", &why).problem(409), "self_approval");
    assert_eq!(
        say(&ada_again, "approve", &why).problem(409),
        "self_approval",
        "a person, not a token"
    );
    assert_eq!(say(&bea, "approve", &json!({})).problem(422), "reason_required");
    let other = json!({"reason": "x", "binding": "0".repeat(64)});
    assert_eq!(say(&bea, "approve", &other).problem(409), "order_fork");
    let looked = json!({"reason": "x", "binding": taken["order"]["received"]["tarSha256"]});
    say(&bea, "approve", &looked).expect(200);
    assert_eq!(say(&bea, "approve", &why).problem(409), "already_approved");
    assert_eq!(say(&bea, "start", &json!({})).problem(409), "approval_missing");
    let both = say(&cleo, "approve", &why).expect(200);
    assert_eq!(both["approvalsMissing"], 0);
    assert_eq!(say(&cleo, "start", &json!({})).problem(409), "order_person");
    let started = say(&bea, "start", &json!({})).expect(200);
    assert_eq!(started["state"], "reported");
    assert_eq!(started["received"]["started"]["by"], "bea");
    assert_eq!(say(&cleo, "approve", &why).problem(409), "illegal_transition");
    // Who may import and not submit does not start by the way.
    let (_, file) = pair.quick();
    let carrier = pair
        .plant
        .token("carl", &[Scope::Import, Scope::Read], &["default"]);
    let asked = Ask::post("/api/v1/work-orders/import?start=true", &file).token(&carrier);
    assert_eq!(
        pair.plant.send(&asked).expect(201)["notStarted"]["code"],
        "scope_required"
    );
}

#[test]
fn a_cancelled_order_does_not_start_or_stops() {
    let pair = pair();
    let (before, file) = pair.slow();
    pair.import(&file).expect(201);
    assert_eq!(pair.act(&before, "cancel").expect(200)["state"], "cancelled");
    assert_eq!(pair.act(&before, "start").problem(409), "illegal_transition");
    assert_eq!(
        pair.act(&before, "cancel").expect(200)["state"],
        "cancelled",
        "again is a no-op"
    );
    let (after, file) = pair.slow();
    pair.import(&file).expect(201);
    let started = pair.act(&after, "start").expect(200);
    assert_eq!(started["state"], "started");
    let stopped = pair.act(&after, "cancel").expect(200);
    assert_eq!(stopped["state"], "reported", "{stopped}");
    let status = |name: &str| {
        let runs = stopped["received"]["outcomes"].as_array().unwrap().iter();
        runs.filter(|run| run["name"] == name)
            .map(|run| text(&run["status"]))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (status("q"), status("slow")),
        (vec!["completed".into()], vec!["cancelled".into()])
    );
    assert_eq!(pair.act(&after, "cancel").expect(200)["state"], "reported");
    let missing = "0190d7c4-0000-7000-8000-000000000000";
    assert_eq!(pair.act(missing, "cancel").problem(404), "not_found");
    assert_eq!(pair.act(missing, "start").problem(404), "not_found");
}

#[test]
fn the_hub_cancels_by_a_file_that_is_carried_too() {
    let pair = pair();
    let recall = |id: &str| {
        let path = format!("/api/v1/work-orders/{id}/cancel");
        let recalled = pair.hub.post(&path, r#"{"reason":"not now"}"#).expect(200);
        assert_eq!(recalled["state"], "recalled");
        let path = format!("/api/v1/work-orders/{id}/cancellation");
        let file = pair.hub.get(&path);
        assert!(
            file.header("content-disposition")
                .unwrap()
                .contains(".cancel.tar.zst")
        );
        file.body
    };
    let (id, file) = pair.slow();
    let none = format!("/api/v1/work-orders/{id}/cancellation");
    assert_eq!(pair.hub.get(&none).problem(404), "not_found");
    pair.import(&file).expect(201);
    pair.act(&id, "start").expect(200);
    let cancellation = recall(&id);
    assert_eq!(recall(&id), cancellation, "a second one changes nothing");
    assert_eq!(
        pair.at_plant(&id)["state"],
        "started",
        "nothing happens before it is carried"
    );
    let taken = pair.import(&cancellation).expect(201);
    assert_eq!(taken["cancellation"], true);
    assert_eq!(taken["order"]["state"], "reported", "{taken}");
    assert_eq!(taken["order"]["received"]["cancelled"]["reason"], "not now");
    assert_eq!(pair.import(&cancellation).expect(200)["already"], true);

    // A cancellation that comes first keeps its order out.
    let (id, file) = pair.quick();
    let cancellation = recall(&id);
    let taken = pair.import(&cancellation).expect(201);
    assert_eq!(taken["order"]["state"], "cancelled");
    let refused = pair.import(&file);
    assert_eq!(refused.json()["report"]["exitCode"], 13, "{}", refused.json());

    // One that comes after the report is refused: what is done is done.
    let (id, file) = pair.quick();
    pair.import(&file).expect(201);
    pair.act(&id, "start").expect(200);
    let late = pair.import(&recall(&id));
    assert_eq!(late.json()["report"]["exitCode"], 13, "{}", late.json());
    assert_eq!(pair.at_plant(&id)["received"]["cancelled"], Value::Null);
    pair.carry_back(0);
    assert_eq!(pair.at_hub(&id)["state"], "reported");
}

#[test]
fn cancellations_of_one_order_at_once_are_one_cancellation() {
    let pair = pair();
    let (id, file) = pair.quick();
    let (cancel, cancellation) = (
        format!("/api/v1/work-orders/{id}/cancel"),
        format!("/api/v1/work-orders/{id}/cancellation"),
    );
    let cancel_one = |number: usize| {
        let body = json!({ "reason": format!("reason {number}") }).to_string();
        let cancelled = pair.hub.post(&cancel, body).expect(200);
        cancelled["issued"]["recalled"].clone()
    };
    let cancel_one = &cancel_one;
    let reasons: Vec<Value> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || cancel_one(number)))
            .collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(reasons[0].is_object(), "{reasons:?}");
    assert!(reasons.iter().all(|reason| *reason == reasons[0]), "{reasons:?}");
    assert_eq!(letters(&pair.hub), 2, "the order, and one cancellation");
    let taken = pair.import(&pair.hub.get(&cancellation).body).expect(201);
    assert_eq!(
        taken["order"]["received"]["cancelled"]["reason"],
        reasons[0]["reason"]
    );
    assert_eq!(pair.import(&file).json()["report"]["exitCode"], 13);
}

#[test]
fn what_was_cancelled_when_the_appliance_ended_is_carried_through_at_the_next_start() {
    let mut pair = pair();
    let (id, file) = pair.slow();
    pair.import(&file).expect(201);
    pair.act(&id, "start").expect(200);
    // Recorded, and then the power went: no run was asked to stop.
    let command = OrderCommand::Cancel {
        id: id.parse().unwrap(),
        reason: "so said".to_owned(),
        by_hub: None,
    };
    let tenant = "default".parse().unwrap();
    pair.plant.command(&tenant, Command::Order(Box::new(command)));
    assert_eq!(pair.at_plant(&id)["state"], "started");
    pair.plant = pair.plant.restart();
    let engine = pair.plant.engine.clone();
    let carried = fastness::bundle::order::intake::finish_cancellations(&engine);
    pair.plant.runtime.block_on(carried).unwrap();
    let order = pair.at_plant(&id);
    assert_eq!(order["state"], "reported", "{order}");
    let outcomes = order["received"]["outcomes"].as_array().unwrap();
    assert!(outcomes.iter().any(|run| run["status"] == "cancelled"));
}

#[test]
fn an_order_that_could_never_start_is_refused_when_it_comes() {
    let pair = pair();
    let long = format!(
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {{name: long}}\nspec:\n  steps:\n    - {{id: a, shell: '# {}'}}\n",
        "x".repeat(110 * 1024)
    );
    let runs = |count: usize| -> Value {
        let runs = (0..count).map(|n| json!({"name": format!("r{n}"), "pack": "long"}));
        runs.collect::<Vec<_>>().into()
    };
    let (_, file) = pair.issue(&pair.body(&[&long], &runs(64)));
    let refused = pair.import(&file).json();
    assert_eq!(refused["report"]["exitCode"], 14, "{refused}");
    assert!(text(&refused["detail"]).contains("acceptance"), "{refused}");
    assert_eq!(told(&pair.plant), ["workorder.refused"]);
    let stored = files(&pair.plant.folder().join("orders"));
    assert!(stored.is_empty(), "it lies in quarantine alone: {stored:?}");
    let (id, file) = pair.issue(&pair.body(&[&long], &runs(40)));
    pair.import(&file).expect(201);
    let started = pair.act(&id, "start").expect(200);
    assert_eq!(started["received"]["startedRuns"].as_array().unwrap().len(), 40);
    assert_eq!(pair.act(&id, "cancel").expect(200)["state"], "reported");
}

#[test]
fn what_comes_back_of_another_order_of_this_id_moves_nothing() {
    let pair = pair();
    let (id, file) = pair.quick();
    let mut parts = bundle_parts(&file);
    let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let payload = String::from_utf8(STANDARD.decode(text(&envelope["payload"])).unwrap()).unwrap();
    let payload = payload.replace("\"name\":\"quick\",\"pack\"", "\"name\":\"quack\",\"pack\"");
    let keys = pair.hub.engine.keys();
    parts[0].1 = fastness::bundle::dsse::sign(payload.as_bytes(), &keys.orders()).unwrap();
    pair.import(&bundle_file(&parts)).expect(201);
    pair.act(&id, "start").expect(200);
    pair.carry_back(0);
    let known = pair.at_hub(&id);
    assert_eq!(known["state"], "issued", "{known}");
    assert_eq!(known["evidence"][0]["matches"], false);
}

#[test]
fn an_order_that_is_issued_twice_with_one_key_is_one_order() {
    let pair = pair();
    let body = pair.body(&[QUICK], &json!([{"pack": "quick"}])).to_string();
    let issue = || {
        let asked = Ask::post("/api/v1/work-orders", body.as_bytes())
            .header("idempotency-key", "order-1")
            .token(&pair.hub.admin);
        pair.hub.send(&asked)
    };
    let first = issue();
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = issue();
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!(told(&pair.hub), ["workorder.issued"]);
}

#[test]
fn what_makes_no_order_is_refused_by_the_hub_with_the_spot() {
    let pair = pair();
    let refuse = |body: Value, status: u16, code: &str, pointer: Option<&str>| {
        let reply = pair.hub.post("/api/v1/work-orders", body.to_string());
        let problem = reply.json();
        assert_eq!(
            (reply.status, problem["code"].as_str()),
            (status, Some(code)),
            "{problem}"
        );
        if let Some(pointer) = pointer {
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        }
    };
    let good = pair.body(&[QUICK], &json!([{"pack": "quick"}]));
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    refuse(with("for", json!(["x"])), 422, "invalid_field", Some("/for/0"));
    refuse(with("for", json!([])), 422, "order_invalid", None);
    refuse(
        with("packs", json!([{"source": "no: pack"}])),
        422,
        "order_invalid",
        Some("/packs/0"),
    );
    refuse(with("packs", json!([{}])), 422, "invalid_field", Some("/packs/0"));
    refuse(
        with("packs", json!([{"name": "gone"}])),
        422,
        "not_found",
        Some("/packs/0"),
    );
    refuse(
        with("runs", json!([{"pack": "quick", "inputs": {"stage": 1}}])),
        422,
        "order_invalid",
        Some("/runs/0/inputs"),
    );
    refuse(
        with("runs", json!([{"pack": "other"}])),
        422,
        "order_invalid",
        None,
    );
    refuse(
        with("expiresAt", json!("2020-01-01T00:00:00.000Z")),
        422,
        "invalid_field",
        Some("/expiresAt"),
    );
    refuse(with("extra", json!(1)), 422, "unknown_field", Some("/extra"));
    assert_eq!(told(&pair.hub), Vec::<String>::new());
    // A pack that is registered here may be sent by its name.
    let asked = Ask::post("/api/v1/packs", QUICK.as_bytes()).header("content-type", "application/yaml");
    pair.hub.send(&asked.token(&pair.hub.admin)).expect(201);
    let (_, file) = pair.issue(&with("packs", json!([{"name": "quick", "version": 1}])));
    pair.import(&file).expect(201);
    // Nobody else registers under such a name.
    let name = format!("order/{}/quick", enclave(&pair.hub));
    let stolen = QUICK.replace("{name: quick}", &format!("{{name: {name}}}"));
    let asked = Ask::post("/api/v1/packs", stolen.as_bytes()).header("content-type", "application/yaml");
    assert_eq!(
        pair.plant.send(&asked.token(&pair.plant.admin)).problem(422),
        "pack_invalid"
    );
}

#[test]
fn what_is_stored_is_what_starts_and_a_restart_changes_nothing() {
    let mut pair = pair();
    let (id, file) = pair.quick();
    pair.import(&file).expect(201);
    let before = pair.at_plant(&id);
    pair.plant = pair.plant.restart();
    assert_eq!(pair.at_plant(&id), before);
    // A stored file that is another is never started.
    let stored = files(&pair.plant.folder().join("orders"));
    let path = stored.first().unwrap();
    let kept = std::fs::read(path).unwrap();
    let (_, other) = pair.slow();
    std::fs::write(path, other).unwrap();
    assert_eq!(pair.act(&id, "start").status, 500);
    assert_eq!(pair.at_plant(&id)["state"], "imported");
    std::fs::write(path, kept).unwrap();
    assert_eq!(pair.act(&id, "start").expect(200)["state"], "reported");
    // The projection says the same when it is folded anew from the ledger.
    let after = pair.at_plant(&id);
    pair.plant = pair.plant.restart_after(|folder| {
        for name in ["state.redb", "state.redb.crc"] {
            std::fs::remove_file(folder.join(name)).unwrap();
        }
    });
    assert_eq!(pair.at_plant(&id), after);
}

#[test]
fn secrets_that_an_order_needs_may_be_set_until_it_starts() {
    let pair = pair();
    let pack = QUICK.replace("spec:\n", "spec:\n  secrets: [SCAN_TOKEN]\n");
    let (id, file) = pair.issue(&pair.body(&[&pack], &json!([{"pack": "quick"}])));
    let asked = Ask::post("/api/v1/work-orders/import?start=true", &file).token(&pair.plant.admin);
    let taken = pair.plant.send(&asked).expect(201);
    assert_eq!(taken["notStarted"]["code"], "unknown_secret");
    assert_eq!(taken["order"]["state"], "imported");
    let set = Ask::new("PUT", "/api/v1/secrets/SCAN_TOKEN", b"value").token(&pair.plant.admin);
    let set = pair
        .plant
        .send(&set.header("content-type", "application/octet-stream"));
    assert!(set.status < 300, "{}", set.json());
    assert_eq!(pair.act(&id, "start").expect(200)["state"], "reported");
}

const GUARDED: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: guarded}
spec:
  inputs: {token: {type: string, sensitive: true}}
  steps:
    - {id: people, gate: approval}
";

#[test]
fn an_order_with_a_sensitive_input_is_neither_issued_nor_taken_in() {
    let pair = pair();
    let runs = json!([{"pack": "guarded", "inputs": {"token": "hunter2"}}]);
    let body = pair.body(&[GUARDED], &runs).to_string();
    let refused = pair.hub.post("/api/v1/work-orders", body);
    assert_eq!(refused.problem(422), "sensitive_input");
    assert_eq!(refused.json()["errors"][0]["pointer"], "/runs/0/inputs/token");
    assert!(!String::from_utf8_lossy(&refused.body).contains("hunter2"));
    assert!(!pair.hub.folder().join("orders").exists());
    // As a hub of before would have written it.
    let spec = fastness::domain::pack::PackSpec::parse(GUARDED.as_bytes()).unwrap();
    let name: fastness::domain::RunName = "guarded".parse().unwrap();
    let content = OrderContent {
        runs: vec![OrderRun {
            inputs: [(
                "token".to_owned(),
                fastness::domain::canonical::Value::String("hunter2".to_owned()),
            )]
            .into(),
            name: name.clone(),
            pack: spec.name.clone(),
        }],
        packs: vec![RegisterPack {
            plan_hash: fastness::domain::pack::plan_hash(&spec),
            source: GUARDED.to_owned(),
            spec,
        }],
    };
    let digest = fastness::domain::Digest::of(b"x");
    let imported = WorkorderImported {
        approvers: 0,
        expires_at: None,
        hub: enclave(&pair.hub).parse().unwrap(),
        key_id: digest,
        order_id: OrderId::derive(Timestamp::from_ms(1), 1, 0),
        origin: "fastness/0123456789abcdef/default".to_owned(),
        persons: Vec::new(),
        runs: vec![AskedRun {
            inputs: Some(digest),
            name,
            pack: content.packs[0].spec.name.clone(),
        }],
        tar_sha256: digest,
    };
    let command = Command::Order(Box::new(OrderCommand::Import(imported, content)));
    let (tenant, actor) = ("default".parse().unwrap(), Actor::system("test"));
    let taken = pair.plant.engine.submit(&tenant, &actor, command);
    let refused = pair.plant.runtime.block_on(taken).unwrap_err();
    assert!(refused.to_string().starts_with("sensitive_input"), "{refused}");
}

fn letters(of: &TestAppliance) -> usize {
    files(&of.folder().join("orders")).len()
}

#[test]
fn what_is_not_recorded_leaves_no_file() {
    let pair = pair();
    let body = pair.body(&[QUICK], &json!([{"pack": "quick"}])).to_string();
    let issue = |key: &str, body: &str| {
        let asked = Ask::post("/api/v1/work-orders", body.as_bytes())
            .header("idempotency-key", key)
            .token(&pair.hub.admin);
        pair.hub.send(&asked)
    };
    for _ in 0..3 {
        issue("order-1", &body).expect(201);
    }
    assert_eq!(letters(&pair.hub), 1, "an answer that is repeated signs nothing");
    let over: Value = {
        let mut plain: Value = serde_json::from_str(&body).unwrap();
        plain["expiresAt"] = json!("2020-01-01T00:00:00.000Z");
        plain
    };
    assert_eq!(issue("order-2", &over.to_string()).status, 422);
    assert_eq!(letters(&pair.hub), 1);
    let (id, file) = pair.quick();
    pair.import(&file).expect(201);
    pair.act(&id, "start").expect(200);
    assert_eq!(letters(&pair.plant), 1);
    // Reported: nothing can be cancelled any more, and the file of the cancellation does not stay.
    let stop = pair.cancellation(&id);
    assert_eq!(pair.import(&stop).status, 422);
    assert_eq!(letters(&pair.plant), 1);
    // One that was cancelled before, by another file: that one counts.
    let (id, file) = pair.slow();
    pair.import(&file).expect(201);
    let stop = pair.cancellation(&id);
    pair.import(&stop).expect(201);
    assert_eq!(letters(&pair.plant), 3);
    let mut parts = bundle_parts(&stop);
    let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let payload = String::from_utf8(STANDARD.decode(text(&envelope["payload"])).unwrap()).unwrap();
    let payload = payload.replace("\"reason\":\"no\"", "\"reason\":\"No\"");
    let keys = pair.hub.engine.keys();
    parts[0].1 = fastness::bundle::dsse::sign(payload.as_bytes(), &keys.orders()).unwrap();
    assert_eq!(pair.import(&bundle_file(&parts)).expect(200)["already"], true);
    assert_eq!(letters(&pair.plant), 3);
}

#[test]
fn where_orders_take_all_room_another_is_refused_and_what_is_held_and_cancellations_are_not() {
    let pair = pair();
    let (id, file) = pair.slow();
    pair.import(&file).expect(201);
    // As if so many had come; the bytes are not really there.
    for at in [&pair.hub, &pair.plant] {
        let full = std::fs::File::create(at.folder().join("orders/much")).unwrap();
        full.set_len(fastness::limits::ORDERS_BYTES_MAX).unwrap();
    }
    let body = pair.body(&[QUICK], &json!([{"pack": "quick"}])).to_string();
    let refused = pair.hub.post("/api/v1/work-orders", body);
    assert_eq!(refused.problem(507), "storage_full");
    assert_eq!(letters(&pair.hub), 2);
    assert_eq!(pair.import(&file).expect(200)["already"], true);
    let stop = pair.cancellation(&id);
    pair.import(&stop).expect(201);
    assert_eq!(pair.at_plant(&id)["state"], "cancelled");
}

/// The same archive in a frame with blocks that hold nothing.
fn padded(file: &[u8]) -> Vec<u8> {
    assert_eq!(file[4], 0x04, "a checksum, and neither size nor dictionary");
    let (header, blocks) = file.split_at(6);
    [header, vec![0; 3 * 200_000].as_slice(), blocks].concat()
}

#[test]
fn what_was_padded_takes_no_room_and_what_was_lost_or_changed_is_stored_again() {
    let pair = pair();
    let (id, file) = pair.slow();
    let wide = padded(&file);
    pair.import(&wide).expect(201);
    let stored = || {
        let paths = files(&pair.plant.folder().join("orders"));
        let read = |path: PathBuf| (std::fs::read(&path).unwrap(), path);
        paths.into_iter().map(read).collect::<Vec<(Vec<u8>, PathBuf)>>()
    };
    let kept = stored();
    assert_eq!(kept.len(), 1);
    let (bytes, path) = &kept[0];
    assert!(bytes.len() < wide.len() / 2, "{} bytes", bytes.len());
    let written = || std::fs::metadata(path).unwrap().ino();
    let before = written();
    for again in [&file, &wide] {
        assert_eq!(pair.import(again).expect(200)["already"], true);
        assert_eq!(written(), before, "it is there and not written again");
    }
    std::fs::write(path, "changed").unwrap();
    pair.import(&wide).expect(200);
    assert_eq!(stored(), kept);
    std::fs::remove_file(path).unwrap();
    pair.import(&wide).expect(200);
    assert_eq!(stored(), kept);
    let stop = pair.cancellation(&id);
    pair.import(&padded(&stop)).expect(201);
    let total: usize = stored().iter().map(|(bytes, _)| bytes.len()).sum();
    assert!(total < wide.len() / 2, "{total} bytes");
}

#[test]
fn what_a_crash_left_of_orders_is_gone_after_the_start() {
    use fastness::bundle::order::letters::{letter_path, sweep};
    let mut pair = pair();
    let (id, file) = pair.slow();
    pair.import(&file).expect(201);
    let stop = pair.cancellation(&id);
    pair.import(&stop).expect(201);
    let named = files(&pair.plant.folder().join("orders"));
    assert_eq!(named.len(), 2);
    // Killed between a file and its event, and while a file was written.
    let left = fastness::domain::Digest::of(b"never recorded");
    pair.plant = pair.plant.restart_after(|folder| {
        let path = letter_path(folder, left);
        std::fs::write(path.with_extension("zst.new"), "half").unwrap();
        std::fs::write(path, &file).unwrap();
    });
    assert_eq!(letters(&pair.plant), 4);
    sweep(&pair.plant.engine).unwrap();
    assert_eq!(files(&pair.plant.folder().join("orders")), named);
    sweep(&pair.hub.engine).unwrap();
    assert_eq!(
        letters(&pair.hub),
        2,
        "the order that was issued, and its cancellation"
    );
}
