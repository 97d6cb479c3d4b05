//! Streams: each event once, in order, from anywhere; the lines of an attempt before its end; an end in time.

use std::time::{Duration, Instant};

use fastness::domain::command::{Command, SubmitJob};
use fastness::domain::event::Actor;
use fastness::domain::job::JobSpec;
use fastness::domain::token::Scope;
use fastness::domain::{TenantName, canonical};
use serde_json::{Value, json};

use super::jobs::{claim, complete};
use super::packs::{done, finished_pack_run, run_step, start_run, take_step};
use crate::support::appliance::{Ask, EventStream, Message, TestAppliance};
use crate::support::program::until;
use crate::support::random::Random;

pub fn submit_many(appliance: &TestAppliance, tenant: &str, count: usize) {
    let tenant: TenantName = tenant.parse().unwrap();
    let command = Command::SubmitJob(Box::new(SubmitJob {
        spec: JobSpec {
            timeout_ms: 60_000,
            ..JobSpec::of_type("a")
        }
        .into(),
        payload: canonical::Payload::parse(b"{}").unwrap(),
        correlation_id: None,
        idempotency: None,
        replay_of: None,
        sensitive: fastness::domain::redaction::Sensitive::default(),
    }));
    let actor = Actor::system("test");
    let trip = appliance.engine.trip(&tenant, &actor, vec![command; count], None);
    let answer = appliance.runtime.block_on(trip).unwrap();
    assert!(answer.results.iter().all(Result::is_ok));
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages
        .iter()
        .map(|message| message.id.as_ref().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_reader_that_is_cut_off_again_and_again_gets_each_event_once() {
    const EVENTS: u64 = 2_000;
    let seed = 7;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let appliance = TestAppliance::start();
    appliance.create_tenant("other");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut random = Random::new(seed + 1);
            let mut left = EVENTS as usize;
            while left > 0 {
                let count = left.min(1 + random.below(40) as usize);
                // Another tenant's events go by in between.
                submit_many(&appliance, "other", 1);
                submit_many(&appliance, "default", count);
                left -= count;
            }
        });
        let mut seen: Vec<Message> = Vec::new();
        while seen.len() as u64 <= EVENTS {
            let after = seen
                .last()
                .and_then(|last| last.id.clone())
                .unwrap_or("-1".to_owned());
            let asked = Ask::get("/api/v1/stream?after=-1&heartbeatMs=1000").token(&appliance.admin);
            let mut stream = appliance.stream(&asked.header("last-event-id", &after));
            let take = 1 + random.below(300);
            for _ in 0..take {
                if seen.len() as u64 > EVENTS {
                    break;
                }
                seen.push(stream.next_event().unwrap());
            }
        }
        assert_eq!(seqs(&seen), (0..=EVENTS).collect::<Vec<_>>());
        writer.join().unwrap();
    });
}

/// A claimed job whose reports fill a stream, and its epoch.
fn claim_one(appliance: &TestAppliance) -> (String, Value) {
    appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    let claimed = claim(appliance, json!({"max": 1}));
    let job = claimed["jobs"][0]["id"].as_str().unwrap();
    (job.to_owned(), claimed["jobs"][0]["epoch"].clone())
}

/// Reports an event of 60 kB of a job.
fn report_much(appliance: &TestAppliance, (job, epoch): &(String, Value), number: usize) {
    let text = "x".repeat(60_000);
    let body = json!({
        "worker": "w-1", "epoch": epoch, "type": "x.note", "payload": {"number": number, "text": text}
    });
    let path = format!("/api/v1/workers/jobs/{job}/events");
    appliance.post(&path, body.to_string()).expect(200);
}

/// How often a reader was too slow for the live edge.
fn fallbacks(appliance: &TestAppliance) -> f64 {
    appliance.figure("fastness_stream_fallbacks_total")
}

#[test]
fn a_reader_that_falls_behind_is_caught_up_from_the_ledger() {
    let mut appliance = TestAppliance::start();
    appliance.receive_bytes_max = Some(64 * 1024);
    let job = claim_one(&appliance);
    let mut stream = appliance.follow("/api/v1/stream?after=-1");
    assert_eq!(stream.next_event().unwrap().event, "ledger.opened");
    // More batches than are kept for a subscriber, and more bytes than sockets hold, while it reads nothing.
    let batches = fastness::limits::STREAM_BATCHES_MAX + 200;
    for number in 0..batches {
        report_much(&appliance, &job, number);
    }
    let last = 2 + batches as u64;
    for seq in 1..=last {
        let message = stream.next().unwrap();
        assert_ne!(message.event, "heartbeat", "what comes next does not come");
        assert_eq!(message.id, Some(seq.to_string()));
    }
    assert!(fallbacks(&appliance) > 0.0, "the reader was never too slow");
    submit_many(&appliance, "default", 1);
    assert_eq!(
        stream.next_event().unwrap().id,
        Some((last + 1).to_string()),
        "back at the live edge"
    );
}

/// Long events fill the memory that is held for readers before there are many batches of them.
#[test]
fn a_reader_that_falls_behind_by_bytes_is_caught_up_from_the_ledger() {
    let mut appliance = TestAppliance::start();
    appliance.receive_bytes_max = Some(64 * 1024);
    let mut still = appliance.follow("/api/v1/stream?after=-1");
    assert_eq!(still.next_event().unwrap().event, "ledger.opened");
    let text = "x".repeat(fastness::limits::BODY_BYTES_MAX - 1_000);
    let events = fastness::limits::STREAM_HELD_BYTES_MAX / text.len() + 8;
    assert!(events < fastness::limits::STREAM_BATCHES_MAX / 2);
    for _ in 0..events {
        let job = json!({"type": "t", "payload": {"text": text}}).to_string();
        appliance.post("/api/v1/jobs", job).expect(201);
    }
    for seq in 1..=events {
        let message = still.next_event().unwrap();
        assert_eq!(message.id, Some(seq.to_string()), "{}", message.event);
    }
    assert!(fallbacks(&appliance) > 0.0, "all of it was held for the reader");
    submit_many(&appliance, "default", 1);
    assert_eq!(
        still.next_event().unwrap().id,
        Some((events + 1).to_string()),
        "back at the live edge"
    );
}

#[test]
fn filters_let_through_what_they_name() {
    let appliance = TestAppliance::start();
    let submit = |correlation_id: &str| {
        let body = json!({"type": "a", "correlationId": correlation_id}).to_string();
        appliance.post("/api/v1/jobs", body).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (one, _) = (submit("c-1"), submit("c-2"));
    let mut by_correlation = appliance.follow("/api/v1/stream?correlationId=c-2&after=-1");
    let mut by_type = appliance.follow("/api/v1/stream?type=job.sta*&type=ledger.*&after=-1");
    let mut by_job = appliance.follow(&format!("/api/v1/stream?job={one}&after=-1"));
    let mut from_now = appliance.follow("/api/v1/stream?type=job.*");
    claim(&appliance, json!({"max": 2}));
    let types = |stream: &mut EventStream, count: usize| -> Vec<String> {
        (0..count).map(|_| stream.next_event().unwrap().event).collect()
    };
    assert_eq!(types(&mut by_correlation, 2), ["job.created", "job.started"]);
    assert_eq!(
        types(&mut by_type, 3),
        ["ledger.opened", "job.started", "job.started"]
    );
    assert_eq!(types(&mut by_job, 2), ["job.created", "job.started"]);
    assert_eq!(types(&mut from_now, 2), ["job.started", "job.started"]);
    let asked = format!("/api/v1/stream?job={one}&run={one}");
    assert_eq!(appliance.get(&asked).problem(422), "invalid_parameter");
}

#[test]
fn a_correlation_id_brings_just_its_own_in_lists_and_in_streams() {
    let appliance = TestAppliance::start();
    let mut ids = Vec::new();
    // One id begins with another; jobs without one stand in between.
    for at in 0..30 {
        let body = match at % 3 {
            0 => json!({"type": "a", "correlationId": "c-1"}),
            1 => json!({"type": "b", "correlationId": "c-17"}),
            _ => json!({"type": "a"}),
        };
        let job = appliance.post("/api/v1/jobs", body.to_string()).expect(201);
        ids.push(job["id"].as_str().unwrap().to_owned());
    }
    // seq 0 is the ledger's first event, then one event a job.
    let of = |rest: u64| -> Vec<u64> { (0..30).filter(|at| at % 3 == rest).map(|at| at + 1).collect() };
    for (filter, expected) in [
        ("correlationId=c-1".to_owned(), of(0)),
        ("correlationId=c-17".to_owned(), of(1)),
        ("correlationId=c".to_owned(), vec![]),
        ("correlationId=c-1&type=job.*".to_owned(), of(0)),
        ("correlationId=c-1&type=run.*".to_owned(), vec![]),
        (format!("correlationId=c-1&job={}", ids[3]), vec![4]),
        (format!("correlationId=c-1&job={}", ids[4]), vec![]),
    ] {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let asked = format!("/api/v1/events?{filter}&limit=3{cursor}");
            let page = appliance.get(&asked).expect(200);
            let items = page["items"].as_array().unwrap();
            listed.extend(items.iter().map(|event| event["seq"].as_u64().unwrap()));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(listed, expected, "listed by {filter}");
        let mut stream = appliance.follow(&format!("/api/v1/stream?{filter}&after=-1&heartbeatMs=1000"));
        // A heartbeat tells when the reader is at the end; what came before it is all there is.
        let messages = std::iter::from_fn(|| {
            loop {
                let message = stream.next()?;
                if message.event != "heartbeat" {
                    return Some(message);
                }
                if message.json()["asOf"] == 30 {
                    return None;
                }
            }
        });
        assert_eq!(
            seqs(&messages.collect::<Vec<_>>()),
            expected,
            "streamed by {filter}"
        );
    }
    // Caught up from the middle, then live, without double.
    let mut stream = appliance.follow("/api/v1/stream?correlationId=c-17&after=20");
    for (correlation_id, seq) in [("c-1", 31), ("c-17", 32)] {
        let body = json!({"type": "a", "correlationId": correlation_id}).to_string();
        let job = appliance.post("/api/v1/jobs", body).expect(201);
        assert_eq!(job["seq"], seq);
    }
    let found: Vec<_> = (0..4).map(|_| stream.next_event().unwrap()).collect();
    assert_eq!(seqs(&found), [23, 26, 29, 32]);
}

fn filtered_rest(mut stream: EventStream) -> Vec<String> {
    let rest = stream.rest().into_iter();
    let events = rest.filter(|message| message.event != "heartbeat");
    events.map(|message| message.event).collect()
}

#[test]
fn a_stream_of_a_job_ends_with_it() {
    let appliance = TestAppliance::start();
    let job = appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    let id = job["id"].as_str().unwrap();
    let path = format!("/api/v1/stream/jobs/{id}");
    let mut live = appliance.follow(&format!("{path}?after=-1"));
    let filtered = appliance.follow(&format!("{path}?after=-1&type=job.created"));
    assert_eq!(
        live.headers
            .iter()
            .find(|(name, _)| name == "x-accel-buffering")
            .unwrap()
            .1,
        "no"
    );
    assert_eq!(live.next_event().unwrap().event, "job.created");
    claim(&appliance, json!({}));
    let result = json!({"jobId": id, "epoch": 1, "outcome": "completed"});
    complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    let rest = live.rest();
    let types: Vec<_> = rest.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(types, ["job.started", "job.completed", "end"]);
    assert_eq!(rest[2].json(), json!({"seq": 4, "status": "completed"}));
    assert_eq!(rest[2].id, None);
    let rest = filtered_rest(filtered);
    assert_eq!(
        rest,
        ["job.created", "end"],
        "what ends it does not pass its filter"
    );
    let late = appliance.follow(&path).rest();
    assert_eq!(late.len(), 1, "over already: {late:?}");
    assert_eq!(late[0].json(), json!({"seq": 4, "status": "completed"}));
    let again = appliance.follow(&format!("{path}?after=1")).rest();
    assert_eq!(
        again
            .iter()
            .map(|message| message.event.as_str())
            .collect::<Vec<_>>(),
        ["job.started", "job.completed", "end"]
    );
}

#[test]
fn a_pack_runs_lines_come_before_the_end_of_their_attempt() {
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let path = format!("/api/v1/stream/pack-runs/{id}");
    let mut live = appliance.follow(&format!("{path}?after=-1.-1"));
    assert_eq!(live.next_event().unwrap().event, "run.created");
    let count = 1_700;
    let many: Vec<String> = (0..count).map(|at| format!("line {at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    run_step(&appliance, &many, done());
    run_step(&appliance, &["two"], done());
    run_step(&appliance, &["three"], done());
    let followed = live.rest();
    let later = appliance.follow(&format!("{path}?after=-1")).rest();
    for (messages, missing) in [(&followed, 1), (&later, 0)] {
        assert_eq!(messages.last().unwrap().event, "end");
        assert_eq!(messages.last().unwrap().json()["status"], "completed");
        let mut lines = 0;
        let mut seq = missing as i64 - 1;
        let mut pos = 0;
        for message in &messages[..messages.len() - 1] {
            let (at, upto) = message.id.as_ref().unwrap().split_once('.').unwrap();
            match message.event.as_str() {
                "step.output" => {
                    lines += 1;
                    assert_eq!(message.json()["pos"].to_string(), upto);
                    assert_eq!((at.parse(), upto.parse()), (Ok(seq), Ok(pos + 1)), "{message:?}");
                    pos += 1;
                }
                name => {
                    let found: i64 = message.json()["seq"].as_i64().unwrap();
                    assert!(found > seq, "{message:?}");
                    seq = found;
                    assert_eq!((at.parse(), upto.parse()), (Ok(seq), Ok(pos)), "{message:?}");
                    if matches!(name, "job.completed" | "step.completed") {
                        let step = message.json()["subject"]["step"].as_str().unwrap().to_owned();
                        let written = match step.as_str() {
                            "first" => count,
                            "second" => count + 1,
                            _ => count + 2,
                        };
                        assert!(lines >= written, "{name} of {step} after {lines} lines");
                    }
                }
            }
        }
        assert_eq!(lines, count + 2);
    }
    // From anywhere in the middle on, exactly the rest.
    for at in [0, 1, 3, 500, later.len() - 2] {
        let after = later[at].id.clone().unwrap();
        let rest = appliance.follow(&format!("{path}?after={after}")).rest();
        // Between lines and events no order is promised but the one above.
        let sorted = |messages: &[Message]| {
            let mut data: Vec<String> = messages.iter().map(|message| message.data.clone()).collect();
            data.sort();
            data
        };
        assert!(sorted(&rest) == sorted(&later[at + 1..]), "after {after}");
    }
    let log = appliance
        .follow(&format!("/api/v1/pack-runs/{id}/logs?follow=true&step=second"))
        .rest();
    let types: Vec<_> = log.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(types, ["step.output", "end"]);
    assert_eq!(log[0].json()["line"], "two");
    assert_eq!(log[0].id, Some((count + 1).to_string()));
}

#[test]
fn a_heartbeat_amid_lines_tells_of_no_event_that_was_not_sent() {
    let mut appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let text = "x".repeat(400);
    for _ in 0..3 {
        run_step(&appliance, &vec![text.as_str(); 2_500], done());
    }
    appliance.receive_bytes_max = Some(8_192);
    let mut stream = appliance.follow(&format!(
        "/api/v1/stream/pack-runs/{id}?after=-1&heartbeatMs=1000"
    ));
    let (mut told, mut beats, mut read) = (-1, 0, 0);
    while let Some(message) = stream.next() {
        read += 1;
        if read % 100 == 0 {
            // A reader that lets the server wait, again and again.
            std::thread::sleep(Duration::from_millis(60));
        }
        let name = message.event.as_str();
        if !matches!(name, "step.output" | "heartbeat" | "gap" | "end") {
            let seq = message.json()["seq"].as_i64().unwrap();
            assert!(seq > told, "{name} {seq} after {told} was told as sent");
        }
        if let Some(id) = &message.id {
            let (at, _) = id.split_once('.').unwrap();
            told = at.parse().unwrap();
        }
        beats += usize::from(name == "heartbeat");
    }
    assert!(beats > 0, "nothing beat in between");
}

#[test]
fn lines_that_a_crash_took_are_told_as_lost_to_who_had_read_up_to_them() {
    use fastness::output::{AttemptAsk, AttemptKey, RunScope, Stream};
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let job = take_step(&appliance).unwrap();
    let at = fastness::domain::Timestamp::from_ms(appliance.engine.clock().wall_ms());
    let key = AttemptKey {
        scope: RunScope {
            tenant: "default".parse().unwrap(),
            run: job.run.unwrap(),
        },
        job: job.id,
        attempt: job.attempt,
    };
    let ask = AttemptAsk {
        key,
        step: job.name.clone(),
        bytes_max: 1 << 20,
    };
    let mut log = appliance.output.attempt(&ask, at).unwrap();
    log.append(Stream::Stdout, b"one\ntwo\nthree\n", at).unwrap();
    drop(log);
    // Not ended: as if the power had gone.
    let appliance = appliance.restart();
    for (after, lines) in [("-1.-1", 3), ("-1.1", 2), ("-1.3", 0)] {
        let path = format!("/api/v1/stream/pack-runs/{id}?after={after}&heartbeatMs=60000");
        let mut stream = appliance.follow(&path);
        let mut read = 0;
        let gap = loop {
            let message = stream.next().unwrap();
            match message.event.as_str() {
                "step.output" => read += 1,
                "gap" => break message,
                "heartbeat" => panic!("nothing is told as lost after {after}"),
                _ => {}
            }
        };
        assert_eq!(read, lines, "{after}");
        let told = gap.json();
        assert_eq!(
            (&told["of"], &told["from"]),
            (&json!("lines"), &json!(4)),
            "{told}"
        );
        let to = told["to"].as_u64().unwrap();
        assert!(to > 4 && gap.id.unwrap().ends_with(&format!(".{to}")));
    }
    let mut log = appliance.output.attempt(&ask, at).unwrap();
    log.append(Stream::Stdout, b"four\n", at).unwrap();
    log.finish(at).unwrap();
    // Nothing was left open this time: it is told where it was, and not once more behind the end.
    let appliance = appliance.restart();
    let path = format!("/api/v1/stream/pack-runs/{id}?after=-1.-1&heartbeatMs=1000");
    let mut stream = appliance.follow(&path);
    let mut told = Vec::new();
    loop {
        let message = stream.next().unwrap();
        match message.event.as_str() {
            "step.output" | "gap" => told.push(message.event),
            "heartbeat" if told.len() > 4 => break,
            _ => {}
        }
    }
    let output = "step.output";
    assert_eq!(told, [output, output, output, "gap", output]);
}

#[test]
fn a_log_that_is_not_followed_takes_the_heartbeat_all_the_same() {
    let appliance = TestAppliance::start();
    let id = finished_pack_run(&appliance);
    let ask = |beat: u32| appliance.get(&format!("/api/v1/pack-runs/{id}/logs?heartbeatMs={beat}"));
    assert_eq!(ask(1_000).status, 200);
    assert_eq!(ask(999).problem(422), "invalid_parameter");
    for (attempt, status) in [("2147483647", 200), ("2147483648", 422)] {
        let path = format!("/api/v1/pack-runs/{id}/logs?attempt={attempt}");
        assert_eq!(appliance.get(&path).status, status, "{attempt}");
    }
}

#[test]
fn a_position_beyond_the_last_line_is_refused() {
    let appliance = TestAppliance::start();
    let id = finished_pack_run(&appliance);
    let log = format!("/api/v1/pack-runs/{id}/logs");
    let lines = appliance.get(&log);
    assert_eq!(lines.status, 200);
    let last = lines.body.split(|byte| *byte == b'\n').rev().nth(1).unwrap();
    let last: Value = serde_json::from_slice(last).unwrap();
    let last = last["pos"].as_u64().unwrap();
    let jobs = appliance.get("/api/v1/jobs").expect(200);
    let job = jobs["items"][0]["id"].as_str().unwrap().to_owned();
    let of_job = format!("/api/v1/jobs/{job}/logs");
    assert_eq!(appliance.get(&format!("{log}?after={last}")).status, 200);
    assert_eq!(appliance.get(&format!("{log}?after=3.{last}")).status, 200);
    assert_eq!(appliance.get(&format!("{of_job}?after={last}")).status, 200);
    let events = format!("/api/v1/stream/pack-runs/{id}");
    assert_eq!(
        appliance
            .follow(&format!("{events}?after=0.{last}"))
            .rest()
            .last()
            .unwrap()
            .event,
        "end"
    );
    for beyond in [
        (last + 1).to_string(),
        "12345678901234567".to_owned(),
        "9".repeat(40),
    ] {
        for path in [
            format!("{log}?after={beyond}"),
            format!("{log}?after=0.{beyond}"),
            format!("{log}?follow=true&after={beyond}"),
            format!("{of_job}?after={beyond}"),
            format!("{events}?after=0.{beyond}"),
        ] {
            assert_eq!(appliance.get(&path).problem(422), "beyond_end", "{path}");
        }
        for (path, id) in [
            (format!("{log}?follow=true"), beyond.clone()),
            (events.clone(), format!("0.{beyond}")),
        ] {
            let ask = Ask::get(&path)
                .token(&appliance.admin)
                .header("last-event-id", &id);
            assert_eq!(appliance.send(&ask).problem(422), "beyond_end", "{path} {id}");
        }
    }
}

#[test]
fn a_quiet_stream_says_how_far_it_is() {
    let appliance = TestAppliance::start();
    let mut stream = appliance.follow("/api/v1/stream?type=nothing&heartbeatMs=1000&after=-1");
    appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    let began = Instant::now();
    let beat = stream.next().unwrap();
    assert_eq!(
        (beat.event.as_str(), beat.id.as_deref()),
        ("heartbeat", Some("1"))
    );
    assert_eq!(beat.json()["asOf"], 1);
    assert!(stream.next().is_some());
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_quiet_stream_of_a_job_says_how_far_its_tenant_is() {
    let appliance = TestAppliance::start();
    let job = appliance
        .post("/api/v1/jobs", r#"{"type":"a","hold":true}"#)
        .expect(201);
    let job = job["id"].as_str().unwrap();
    let mut stream = appliance.follow(&format!("/api/v1/stream/jobs/{job}?heartbeatMs=1000&after=-1"));
    assert_eq!(stream.next_event().unwrap().id.as_deref(), Some("1"));
    submit_many(&appliance, "default", 20);
    let beat = std::iter::from_fn(|| stream.next())
        .take(10)
        .find(|message| message.json()["asOf"] == 21);
    assert_eq!(beat.and_then(|beat| beat.id).as_deref(), Some("21"));
    appliance
        .post(&format!("/api/v1/jobs/{job}/schedule"), "{}")
        .expect(200);
    assert_eq!(stream.next_event().unwrap().id.as_deref(), Some("22"));
}

#[test]
fn one_who_watches_a_job_and_falls_behind_gets_each_event_once() {
    let mut appliance = TestAppliance::start();
    appliance.receive_bytes_max = Some(64 * 1024);
    let claimed = claim_one(&appliance);
    let (job, epoch) = &claimed;
    let path = format!("/api/v1/stream/jobs/{job}?after=-1");
    let mut stream = appliance.follow(&path);
    assert_eq!(stream.next_event().unwrap().event, "job.created");
    // More bytes than sockets hold, in more batches than are kept for one who watches a job; others' events between.
    let reports = fastness::limits::STREAM_BATCHES_WATCHED_MAX + 100;
    for number in 0..reports {
        report_much(&appliance, &claimed, number);
        submit_many(&appliance, "default", 1 + number % 3);
    }
    let mut expected = Vec::new();
    let mut after = "-1".to_owned();
    while expected.len() < reports + 2 {
        let page = appliance
            .get(&format!("/api/v1/events?job={job}&after={after}"))
            .expect(200);
        let items = page["items"].as_array().unwrap();
        expected.extend(items.iter().map(|event| event["seq"].as_u64().unwrap()));
        after = expected.last().unwrap().to_string();
    }
    for seq in &expected[1..] {
        let message = stream.next().unwrap();
        assert_ne!(message.event, "heartbeat", "what comes next does not come");
        assert_eq!(message.id, Some(seq.to_string()));
    }
    assert!(fallbacks(&appliance) > 0.0, "the reader was never too slow");
    let result = json!({"jobId": job, "epoch": epoch, "outcome": "completed"});
    complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    assert_eq!(
        stream.next_event().unwrap().event,
        "job.completed",
        "back at the live edge"
    );
}

#[test]
fn streams_end_within_a_second_of_their_tokens_revocation() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("gone", &[Scope::Read], &["default"], None);
    let run = start_run(&appliance);
    let job = appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    let mut streams: Vec<_> = [
        "/api/v1/stream".to_owned(),
        format!("/api/v1/stream/jobs/{}", job["id"].as_str().unwrap()),
        format!("/api/v1/stream/runs/{run}"),
        format!("/api/v1/stream/pack-runs/{run}"),
        format!("/api/v1/pack-runs/{run}/logs?follow=true"),
    ]
    .iter()
    .map(|path| appliance.stream(&Ask::get(path).token(&secret)))
    .collect();
    let path = format!("/api/v1/tokens/{id}");
    let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
    assert_eq!(appliance.send(&revoke).status, 204);
    let revoked = Instant::now();
    for stream in &mut streams {
        assert_eq!(stream.next_event(), None);
    }
    assert!(
        revoked.elapsed() < Duration::from_secs(1),
        "{:?}",
        revoked.elapsed()
    );
}

#[test]
fn a_reader_that_leaves_much_lying_is_cut_off_when_its_token_is_revoked() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("gone", &[Scope::Read], &["default"], None);
    let items = vec![json!({"type": "a", "payload": {"text": "x".repeat(2_000)}}); 400];
    for _ in 0..4 {
        let body = json!({ "items": items }).to_string();
        appliance.post("/api/v1/jobs/batch", body).expect(200);
    }
    let held = || appliance.figure("fastness_stream_subscribers") > 0.0;
    let mut narrow = appliance.connect_narrow(4_096);
    let asked = Ask::get("/api/v1/stream?after=-1").token(&secret);
    std::io::Write::write_all(&mut narrow, &asked.bytes(appliance.address)).unwrap();
    until("the stream is open", held);
    // It reads a little and then no more: the rest lies in the sockets and before them.
    let mut some = [0; 1_000];
    std::io::Read::read_exact(&mut narrow, &mut some).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let path = format!("/api/v1/tokens/{id}");
    let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
    let began = Instant::now();
    assert_eq!(appliance.send(&revoke).status, 204);
    until("the reader is let go", || !held());
    // Left to itself it would be held for half a minute.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Cut off, not ended behind what lies before the sockets: an end would be an empty chunk.
    std::thread::sleep(Duration::from_secs(1));
    let mut rest = Vec::new();
    let drained = std::io::Read::read_to_end(&mut narrow, &mut rest);
    assert!(!rest.is_empty() && !rest.ends_with(b"0\r\n\r\n"), "{drained:?}");
}

#[test]
fn streams_and_waiting_claims_end_when_the_server_stops() {
    let mut appliance = TestAppliance::start();
    let mut stream = appliance.follow("/api/v1/stream");
    let admin = appliance.admin.clone();
    let claim = Ask::post("/api/v1/workers/claim", br#"{"worker":"w","waitMs":30000}"#).token(&admin);
    let mut waiting = appliance.connect();
    std::io::Write::write_all(&mut waiting, &claim.bytes(appliance.address)).unwrap();
    // The claim has been taken when the server answers what was asked after it.
    assert_eq!(appliance.get("/livez").status, 200);
    let began = Instant::now();
    appliance.stop_server(Duration::from_secs(20));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The claim's worker may have been told of before the end.
    while let Some(message) = stream.next_event() {
        assert_eq!(message.event, "worker.registered");
    }
}
