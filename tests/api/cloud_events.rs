//! Events as CloudEvents 1.0: one by one, in batches, in streams; and who gets which form.

use std::collections::BTreeMap;

use fastness::domain::{Timestamp, leaf_hash};
use fastness::trust::EnclaveId;
use serde_json::{Value, json};

use super::jobs::{claim, complete};
use super::packs::{done, run_step, start_run};
use crate::support::appliance::{Ask, EventStream, Message, Reply, TestAppliance};

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

fn ask(appliance: &TestAppliance, path: &str, accept: &str) -> Reply {
    appliance.send(&Ask::get(path).token(&appliance.admin).header("accept", accept))
}

/// The CloudEvent of one event, as text.
fn one(appliance: &TestAppliance, seq: u64) -> String {
    let reply = ask(appliance, &format!("/api/v1/events/{seq}"), ONE);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some(ONE)));
    String::from_utf8(reply.body).unwrap()
}

/// What the specification asks of any event, in its JSON format.
fn check_attributes(event: &Value) {
    let members = event.as_object().unwrap();
    for name in ["specversion", "id", "source", "type"] {
        assert!(
            members[name].as_str().is_some_and(|text| !text.is_empty()),
            "{name}: {event}"
        );
    }
    for (name, value) in members.iter().filter(|(name, _)| *name != "data") {
        assert!(name.len() <= 20, "{name}");
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "{name}"
        );
        let text = value
            .as_str()
            .unwrap_or_else(|| panic!("{name} is text: {event}"));
        assert!(
            !text.is_empty() && !text.chars().any(char::is_control),
            "{name}: {text:?}"
        );
    }
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["datacontenttype"], "application/json");
    let time: Timestamp = event["time"].as_str().unwrap().parse().unwrap();
    assert_eq!(event["time"], time.to_string());
}

fn types(streamed: &[Message]) -> Vec<&str> {
    streamed.iter().map(|message| message.event.as_str()).collect()
}

#[test]
fn a_cloud_event_tells_what_its_event_does_and_can_be_checked() {
    let appliance = TestAppliance::start();
    let body = json!({"type": "a", "correlationId": "c-1", "payload": {"é": [1, "\u{1}"]}});
    let job = appliance.post("/api/v1/jobs", body.to_string()).expect(201);
    let id = job["id"].as_str().unwrap();
    let run = start_run(&appliance);
    claim(&appliance, json!({}));
    let enclave = EnclaveId::of(&appliance.engine.keys().log().public());
    let size = appliance
        .engine
        .ledger(&"default".parse().unwrap())
        .unwrap()
        .size();
    let (mut sequences, mut subjects) = (Vec::new(), BTreeMap::new());
    for seq in 0..size {
        let text = one(&appliance, seq);
        let event: Value = serde_json::from_str(&text).unwrap();
        check_attributes(&event);
        let exact = appliance.get(&format!("/api/v1/events/{seq}"));
        let envelope = exact.json();
        let data = String::from_utf8(exact.body.clone()).unwrap();
        assert!(
            text.contains(&format!("\"data\":{data},")),
            "the exact bytes: {text}"
        );
        assert_eq!(event["id"], seq.to_string());
        assert_eq!(event["type"], envelope["type"]);
        assert_eq!(event["time"], envelope["at"]);
        assert_eq!(event["source"], format!("urn:fastness:ledger:{enclave}:default"));
        assert_eq!(event["ledgerhash"], leaf_hash(&exact.body).to_string());
        assert_eq!(event.get("correlationid"), envelope.get("correlationId"));
        sequences.push(event["sequence"].as_str().unwrap().to_owned());
        subjects.insert(
            envelope["type"].as_str().unwrap().to_owned(),
            event["subject"].clone(),
        );
    }
    assert!(sequences.is_sorted() && sequences.iter().all(|text| text.len() == 20));
    assert_eq!(subjects["ledger.opened"], Value::Null);
    assert_eq!(subjects["run.created"], format!("run:{run}"));
    assert_eq!(subjects["worker.registered"], "worker:w-1");
    let started = one(&appliance, size - 1);
    assert!(started.contains("job:"), "{started}");
    assert!(one(&appliance, 1).contains(&format!("\"subject\":\"job:{id}\"")));
    assert_eq!(
        ask(&appliance, "/api/v1/events/4000", ONE).problem(404),
        "not_found"
    );
}

#[test]
fn a_batch_holds_what_a_list_does_and_links_to_what_follows() {
    let appliance = TestAppliance::start();
    for at in 0..9 {
        let correlation_id = ["c:/1@x", "c-2"][at % 2];
        let body = json!({"type": "a", "correlationId": correlation_id});
        appliance.post("/api/v1/jobs", body.to_string()).expect(201);
    }
    let hostile = "c%3A%2f1%40x";
    for (query, expected) in [
        ("type=job.*&type=ledger.*", (0..10).collect::<Vec<u64>>()),
        ("after=4", (5..10).collect()),
        (&format!("%63orrelationId={hostile}&%61fter=2"), vec![3, 5, 7, 9]),
        (
            "correlationId=c-2&from=2020-01-01T00:00:00%2B01:00",
            vec![2, 4, 6, 8],
        ),
        ("type=nothing", vec![]),
        ("type=%22%3E%3B%0d%0a&correlationId=%c3%bc", vec![]),
    ] {
        let (mut texts, mut path) = (Vec::new(), format!("/api/v1/events?{query}&limit=3"));
        loop {
            let reply = ask(&appliance, &path, BATCH);
            assert_eq!(
                (reply.status, reply.header("content-type")),
                (200, Some(BATCH)),
                "{path}"
            );
            assert_eq!(reply.header("vary"), Some("accept"));
            let events = reply.json();
            let events = events.as_array().unwrap();
            assert!(events.len() <= 3);
            texts.extend(events.iter().map(|event| {
                check_attributes(event);
                event["id"].as_str().unwrap().parse::<u64>().unwrap()
            }));
            let singles: Vec<_> = events
                .iter()
                .map(|event| one(&appliance, event["id"].as_str().unwrap().parse().unwrap()))
                .collect();
            assert_eq!(
                reply.body,
                format!("[{}]", singles.join(",")).as_bytes(),
                "the same bytes"
            );
            let Some(link) = reply.header("link") else { break };
            let next = link
                .strip_prefix("<?")
                .unwrap()
                .strip_suffix(">; rel=\"next\"")
                .unwrap();
            path = format!("/api/v1/events?{next}");
        }
        assert_eq!(texts, expected, "{query}");
    }
}

#[test]
fn each_client_gets_the_form_it_accepts_or_is_told_there_is_none() {
    let appliance = TestAppliance::start();
    const JSON: &str = "application/json";
    for (accept, of_one, of_list) in [
        ("*/*", Some(JSON), Some(JSON)),
        ("application/json, text/plain", Some(JSON), Some(JSON)),
        (ONE, Some(ONE), None),
        (BATCH, None, Some(BATCH)),
        (
            "application/cloudevents+json, application/cloudevents-batch+json",
            Some(ONE),
            Some(BATCH),
        ),
        (
            "application/cloudevents+json;q=0.9, application/json;q=0.8",
            Some(ONE),
            Some(JSON),
        ),
        ("application/json;q=0, */*", Some(ONE), Some(BATCH)),
        ("text/html", None, None),
        ("application/json;q=0", None, None),
        (";;;,,,q=1", None, None),
        ("application/json;q=2", None, None),
    ] {
        for (path, expected) in [("/api/v1/events/0", of_one), ("/api/v1/events", of_list)] {
            let reply = ask(&appliance, path, accept);
            assert_eq!(reply.header("vary"), Some("accept"), "{accept} on {path}");
            match expected {
                Some(kind) => assert_eq!(
                    (reply.status, reply.header("content-type")),
                    (200, Some(kind)),
                    "{accept} on {path}"
                ),
                None => assert_eq!(reply.problem(406), "not_acceptable", "{accept} on {path}"),
            }
        }
    }
    assert_eq!(
        appliance.get("/api/v1/events/0").header("content-type"),
        Some(JSON)
    );
    // A proof has one form.
    let proven = "/api/v1/events/0?proof=1";
    assert_eq!(ask(&appliance, proven, ONE).problem(406), "not_acceptable");
    let both = ask(&appliance, proven, "application/cloudevents+json, */*;q=0.1");
    assert_eq!(both.expect(200)["index"], 0);
}

/// `<seq>`, or `<seq>.<position>` for a pack run.
fn seq_of(message: &Message) -> u64 {
    let id = message.id.as_deref().unwrap();
    id.split('.').next().unwrap().parse().unwrap()
}

/// Reads a stream up to an event and compares each with what stands in the ledger.
fn check_stream(appliance: &TestAppliance, stream: &mut EventStream, count: usize) -> Vec<Message> {
    let messages: Vec<_> = (0..count).map(|_| stream.next_event().unwrap()).collect();
    for message in &messages {
        assert_eq!(message.data, one(appliance, seq_of(message)), "{message:?}");
        assert_eq!(message.event, message.json()["type"].as_str().unwrap());
    }
    messages
}

#[test]
fn streams_send_cloud_events_to_who_asks_and_envelopes_to_the_others() {
    let appliance = TestAppliance::start();
    let body = json!({"type": "a", "correlationId": "c-1"}).to_string();
    let job = appliance.post("/api/v1/jobs", body).expect(201);
    let id = job["id"].as_str().unwrap();
    let format = "format=cloudevents&after=-1";
    let mut all = appliance.follow(&format!("/api/v1/stream?{format}"));
    let mut again = appliance.follow(&format!("/api/v1/stream?{format}"));
    let mut filtered = appliance.follow(&format!("/api/v1/stream?{format}&type=job.st*"));
    let mut plain = appliance.follow("/api/v1/stream?after=-1&format=envelope");
    let mut of_job = appliance.follow(&format!("/api/v1/stream/jobs/{id}?{format}"));
    // From the past.
    let past = check_stream(&appliance, &mut all, 2);
    assert_eq!(types(&past), ["ledger.opened", "job.created"]);
    assert_eq!(check_stream(&appliance, &mut again, 2), past);
    assert_eq!(types(&check_stream(&appliance, &mut of_job, 1)), ["job.created"]);
    for seq in 0..2 {
        let exact = appliance.get(&format!("/api/v1/events/{seq}")).body;
        assert_eq!(plain.next_event().unwrap().data.as_bytes(), exact);
    }
    // Live.
    claim(&appliance, json!({}));
    let result = json!({"jobId": id, "epoch": 1, "outcome": "completed"});
    complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    let live = check_stream(&appliance, &mut all, 3);
    assert_eq!(check_stream(&appliance, &mut again, 3), live);
    let seqs: Vec<_> = live.iter().map(|message| message.id.clone().unwrap()).collect();
    assert_eq!(seqs, ["2", "3", "4"]);
    assert_eq!(
        types(&check_stream(&appliance, &mut filtered, 1)),
        ["job.started"]
    );
    for seq in 2..5 {
        let exact = appliance.get(&format!("/api/v1/events/{seq}")).body;
        assert_eq!(plain.next_event().unwrap().data.as_bytes(), exact);
    }
    check_stream(&appliance, &mut of_job, 2);
    // What is no event keeps its form.
    let end = of_job.next_event().unwrap();
    assert_eq!(
        (end.event.as_str(), end.json()["status"].as_str()),
        ("end", Some("completed"))
    );
}

#[test]
fn a_pack_runs_stream_sends_cloud_events_beside_its_lines() {
    let appliance = TestAppliance::start();
    let run = start_run(&appliance);
    let path = format!("/api/v1/stream/pack-runs/{run}?format=cloudevents&after=-1.-1");
    let mut live = appliance.follow(&path);
    check_stream(&appliance, &mut live, 1);
    for step in ["one", "two", "three"] {
        run_step(&appliance, &[step], done());
    }
    let mut followed = live.rest();
    let late = appliance.follow(&path).rest();
    assert_eq!(late.len(), followed.len() + 1);
    followed.extend(late);
    let (mut events, mut lines) = (0, 0);
    for message in &followed {
        match message.event.as_str() {
            "step.output" => {
                lines += 1;
                assert!(message.json()["line"].is_string());
            }
            "end" => assert_eq!(message.json()["status"], "completed"),
            _ => {
                events += 1;
                assert_eq!(message.data, one(&appliance, seq_of(message)));
            }
        }
    }
    assert!(events > 12 && lines == 6, "{events} events, {lines} lines");
    let of_run = format!("/api/v1/stream/runs/{run}?format=cloudevents&after=-1");
    check_stream(&appliance, &mut appliance.follow(&of_run), 3);
}

#[test]
fn a_format_that_is_none_is_refused() {
    let appliance = TestAppliance::start();
    let job = appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    let run = start_run(&appliance);
    for path in [
        "/api/v1/stream".to_owned(),
        format!("/api/v1/stream/jobs/{}", job["id"].as_str().unwrap()),
        format!("/api/v1/stream/runs/{run}"),
        format!("/api/v1/stream/pack-runs/{run}"),
    ] {
        for query in [
            "format=",
            "format=CloudEvents",
            "format=cloudevents%00",
            "format=cloudevents%20",
            "format=xml",
            "format=cloudevents&format=cloudevents",
        ] {
            // A stream that begins would not end.
            let stream = appliance.follow(&format!("{path}?{query}"));
            assert_eq!(stream.status, 422, "{path}?{query}");
            let reply = appliance.get(&format!("{path}?{query}"));
            assert_eq!(reply.problem(422), "invalid_parameter", "{path}?{query}");
            assert_eq!(reply.json()["errors"][0]["pointer"], "/query/format");
        }
    }
}
