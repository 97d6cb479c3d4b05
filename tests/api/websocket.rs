//! The WebSocket: rooms, one delivery for all of them, resume, and every way to end.

use std::time::{Duration, Instant};

use fastness::api::Bounds;
use fastness::domain::leaf_hash;
use fastness::domain::token::Scope;
use fastness::limits;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::jobs::{claim, complete};
use super::packs::{done, run_step, start_run};
use super::streams::submit_many;
use crate::support::appliance::{Ask, TestAppliance};
use crate::support::websocket::{Client, HANDSHAKE, Received, raw, read_frame, shake};

fn submit(appliance: &TestAppliance) -> String {
    let job = appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    job["id"].as_str().unwrap().to_owned()
}

/// What `GET /events` would say: the ledger's own bytes.
fn ledger(appliance: &TestAppliance) -> Vec<String> {
    let ledger = appliance.engine.ledger(&"default".parse().unwrap()).unwrap();
    let events = (0..ledger.size()).map(|seq| ledger.event(fastness::domain::Seq(seq)).unwrap());
    events
        .map(|event| String::from_utf8(event.to_vec()).unwrap())
        .collect()
}

/// Readers of streams that the server holds.
fn subscribers(appliance: &TestAppliance) -> f64 {
    appliance.figure("fastness_stream_subscribers")
}

fn seqs(events: &[Received]) -> Vec<u64> {
    events.iter().map(Received::seq).collect()
}

#[test]
fn a_room_gives_events_until_it_is_left() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance);
    let mut client = Client::open(&appliance);
    let subscribed = client.ask(json!({"type": "subscribe:job", "id": 1, "jobId": job}));
    let room = format!("job:{job}");
    assert_eq!(
        subscribed,
        json!({"type": "ack", "id": 1, "room": room, "asOf": 1})
    );
    claim(&appliance, json!({}));
    let event = client.event();
    assert_eq!((event.name(), event.rooms()), ("job:status", vec![room.as_str()]));
    assert_eq!(event.message["event"]["type"], "job.started");
    let left = client.ask(json!({"type": "unsubscribe:job", "id": "two", "jobId": job}));
    assert_eq!(left["type"], "ack", "{left}");
    assert_eq!(left["room"], room);
    let result = json!({"jobId": job, "epoch": 1, "outcome": "completed"});
    complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    // Silence: the answer to the next message is the next thing that comes.
    let again = client.ask(json!({"type": "unsubscribe:job", "id": 3, "jobId": job}));
    assert_eq!(again["code"], "not_subscribed", "{again}");
    let answer = client.ask(json!({"type": "subscribe:job", "id": 4, "jobId": job, "after": "2"}));
    assert_eq!(answer["type"], "ack");
    let rest = client.events(2);
    assert_eq!(rest[1].message["event"]["type"], "job.completed");
    client.socket.close(None).unwrap();
    assert_eq!(client.close_code(), None);
}

#[test]
fn an_event_of_several_rooms_comes_once_and_names_them() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance);
    let mut client = Client::open(&appliance);
    let rooms = [
        client.subscribe(json!({"type": "subscribe:job", "jobId": job})),
        client.subscribe(json!({"type": "subscribe:workspace:jobs"})),
        client.subscribe(json!({"type": "subscribe:events", "types": ["job.st*", "pack.*"]})),
        client.subscribe(json!({"type": "subscribe:events", "job": job, "types": ["nothing"]})),
    ];
    assert_eq!(rooms[0], format!("job:{job}"));
    assert_eq!(rooms[1], "workspace:default:jobs");
    assert!(
        rooms[2].starts_with("events:") && rooms[2] != rooms[3],
        "{rooms:?}"
    );
    claim(&appliance, json!({}));
    submit(&appliance);
    let (started, created) = (client.event(), client.event());
    assert_eq!(
        started.rooms(),
        rooms[..3].iter().map(String::as_str).collect::<Vec<_>>()
    );
    assert_eq!(
        (created.name(), created.rooms()),
        ("job:created", vec!["workspace:default:jobs"])
    );
    // Everything before, for one more room: those that have seen it do not see it again.
    let events = client.subscribe(json!({"type": "subscribe:events", "after": -1}));
    assert_eq!(events, "events");
    let size = ledger(&appliance).len();
    let past = client.events(size);
    assert_eq!(seqs(&past), (0..size as u64).collect::<Vec<_>>());
    assert!(past.iter().all(|event| event.rooms() == ["events"]), "{past:?}");
    submit(&appliance);
    assert_eq!(client.event().rooms(), ["workspace:default:jobs", "events"]);
}

#[test]
fn another_tenants_job_is_the_same_as_none() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("other");
    let other = appliance.token("other", Scope::ALL, &["other"]);
    let asked = Ask::post("/api/v1/jobs", br#"{"type":"a"}"#).token(&other);
    let job = appliance.send(&asked).expect(201);
    let job = job["id"].as_str().unwrap();
    let mut client = Client::open(&appliance);
    let missing = "0190d7c4-0000-7000-8000-000000000000";
    for (kind, field) in [("job", "jobId"), ("run", "runId"), ("pack-run", "packRunId")] {
        let mut said = [job, missing, "no id at all"].map(|id| {
            client.say(json!({"type": format!("subscribe:{kind}"), "id": 7, field: id}));
            client.next().unwrap()
        });
        said.sort();
        assert_eq!(said[0], said[2], "{kind}");
        let answer: Value = serde_json::from_str(&said[0]).unwrap();
        assert_eq!((&answer["code"], &answer["id"]), (&json!("not_found"), &json!(7)));
    }
    client.subscribe(json!({"type": "subscribe:events"}));
    submit_many(&appliance, "other", 3);
    submit(&appliance);
    assert_eq!(client.event().message["event"]["tenant"], "default");
}

#[test]
fn the_handshake_asks_who_and_from_where() {
    let appliance = TestAppliance::start();
    let bearer = format!("Bearer {}", appliance.admin);
    let token = ("authorization", bearer.as_str());
    let here = format!("http://{}", appliance.address);
    let without = |name: &str| -> Vec<(&str, &str)> {
        let kept = HANDSHAKE.iter().filter(|(known, _)| *known != name);
        kept.copied().chain([token]).collect()
    };
    let plus = |header| [&without("")[..], &[header]].concat();
    let path = "/api/v1/ws";
    let (_, status, headers) = shake(&appliance, path, &plus(("origin", &here)));
    assert_eq!(status, 101);
    for (name, value) in [
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "fastness.v1"),
        ("upgrade", "websocket"),
    ] {
        assert!(
            headers.contains(&(name.to_owned(), value.to_owned())),
            "{headers:?}"
        );
    }
    let known = |name: &str| headers.iter().any(|(known, _)| known == name);
    assert!(
        !known("content-length") && !known("transfer-encoding"),
        "{headers:?}"
    );
    for (headers, status, code) in [
        (HANDSHAKE.to_vec(), 401, "unauthenticated"),
        (plus(("origin", "http://evil.example")), 403, "origin_not_allowed"),
        (plus(("origin", "http://127.0.0.1:1")), 403, "origin_not_allowed"),
        (plus(("origin", "null")), 403, "origin_not_allowed"),
        (without("upgrade"), 426, "upgrade_required"),
        (without("sec-websocket-version"), 426, "upgrade_required"),
        (plus(("content-length", "3")), 400, "body_unexpected"),
        (plus(("transfer-encoding", "chunked")), 400, "body_unexpected"),
        (without("sec-websocket-protocol"), 400, "subprotocol_required"),
        (without("sec-websocket-key"), 400, "invalid_handshake"),
    ] {
        let (mut socket, found, fields) = shake(&appliance, path, &headers);
        let field = |name: &str| {
            let found = fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let mut body = vec![0; field("content-length").unwrap().parse().unwrap()];
        std::io::Read::read_exact(&mut socket, &mut body).unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{headers:?}");
        if status == 426 {
            assert_eq!(field("sec-websocket-version"), Some("13"));
        }
    }
    let in_url = format!("/api/v1/ws?token={}", appliance.admin);
    let (_, status, _) = shake(&appliance, &in_url, &HANDSHAKE);
    assert_eq!(status, 401);
    let (_, status, _) = shake(&appliance, &in_url, &without(""));
    assert_eq!(status, 422);
}

#[test]
fn a_revoked_token_and_an_ended_session_close_with_4401_within_a_second() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("gone", &[Scope::Read], &["default"], None);
    let body = json!({"token": appliance.admin}).to_string();
    let signed = appliance.send(&Ask::post("/api/v1/session", body.as_bytes()));
    let cookie = signed
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let csrf = signed.json()["csrfToken"].as_str().unwrap().to_owned();
    let mut by_token = Client::with(&appliance, "/api/v1/ws", &secret);
    let headers = [&HANDSHAKE[..], &[("cookie", cookie.as_str())]].concat();
    let (socket, status, _) = shake(&appliance, "/api/v1/ws", &headers);
    assert_eq!(status, 101);
    let mut by_session = Client::over(socket);
    for client in [&mut by_token, &mut by_session] {
        client.subscribe(json!({"type": "subscribe:workspace:jobs"}));
    }
    let path = format!("/api/v1/tokens/{id}");
    let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
    let sign_out = Ask::new("DELETE", "/api/v1/session", b"")
        .header("cookie", &cookie)
        .header("x-fastness-csrf", &csrf);
    for (client, ask) in [(&mut by_token, revoke), (&mut by_session, sign_out)] {
        assert_eq!(appliance.send(&ask).status, 204);
        let began = Instant::now();
        assert_eq!(client.close_code(), Some(4401));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
}

#[test]
fn the_end_of_the_server_closes_with_1001() {
    let mut appliance = TestAppliance::start();
    let mut client = Client::open(&appliance);
    client.subscribe(json!({"type": "subscribe:events"}));
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| appliance.stop_server(Duration::from_secs(20)));
        assert_eq!(client.close_code(), Some(1001));
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn what_was_missed_is_exactly_the_ledgers_sequence() {
    let appliance = TestAppliance::start();
    submit_many(&appliance, "default", 300);
    let held = ledger(&appliance);
    for after in [-1_i64, 0, 41, 299, 300] {
        let mut client = Client::open(&appliance);
        client.subscribe(json!({"type": "subscribe:events", "after": after.to_string()}));
        for expected in &held[(after + 1) as usize..] {
            let received = client.event();
            assert_eq!(received.event, *expected);
            let hash = leaf_hash(received.event.as_bytes()).to_string();
            assert_eq!(received.message["hash"], hash);
        }
        let job = json!({"type": "unsubscribe:events", "id": 1});
        assert_eq!(client.ask(job)["asOf"], 300, "after {after}");
    }
    let mut client = Client::open(&appliance);
    for after in [
        json!(301),
        json!("12345678901234567"),
        json!(u64::MAX),
        json!("9".repeat(40)),
    ] {
        let beyond = client.ask(json!({"type": "subscribe:events", "id": 1, "after": after}));
        assert_eq!(beyond["code"], "beyond_end", "{after}");
    }
}

#[test]
fn a_hundred_events_at_once_come_whole_and_in_order() {
    let appliance = TestAppliance::start();
    let mut clients: Vec<_> = (0..8).map(|_| Client::open(&appliance)).collect();
    for client in &mut clients {
        client.subscribe(json!({"type": "subscribe:workspace:jobs"}));
    }
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| submit_many(&appliance, "default", 10));
        }
    });
    let held = ledger(&appliance);
    for client in &mut clients {
        for (index, event) in client.events(100).into_iter().enumerate() {
            assert_eq!(event.event, held[index + 1]);
            assert_eq!(
                event.message["hash"],
                leaf_hash(event.event.as_bytes()).to_string()
            );
        }
    }
}

#[test]
fn rooms_of_jobs_are_read_by_their_index_and_meet_the_live_edge() {
    let appliance = TestAppliance::start();
    let jobs: Vec<String> = (0..5).map(|_| submit(&appliance)).collect();
    submit_many(&appliance, "default", 200);
    claim(&appliance, json!({"max": 5}));
    let mut client = Client::open(&appliance);
    for job in &jobs {
        client.subscribe(json!({"type": "subscribe:job", "jobId": job}));
    }
    // Each asks for the past after the others have met the edge, or still while they read.
    let mut expected = 0;
    let mut seen = Vec::new();
    for job in &jobs {
        let message = json!({"type": "unsubscribe:job", "id": 1, "jobId": job});
        client.say(message);
        client.say(json!({"type": "subscribe:job", "id": 2, "jobId": job, "after": -1}));
        expected += 2;
    }
    let mut acks = 0;
    while seen.len() < expected || acks < 2 * jobs.len() {
        let message = client.json();
        match message["type"].as_str().unwrap() {
            "ack" => acks += 1,
            _ => seen.push(message),
        }
    }
    for job in &jobs {
        let room = json!([format!("job:{job}")]);
        let own: Vec<_> = seen.iter().filter(|message| message["rooms"] == room).collect();
        let types: Vec<_> = own.iter().map(|message| &message["event"]["type"]).collect();
        assert_eq!(types, ["job.created", "job.started"], "{job}");
    }
    let result = json!({"jobId": jobs[3], "epoch": 1, "outcome": "completed"});
    complete(&appliance, json!({"worker": "w-1", "results": [result]}));
    assert_eq!(client.event().message["event"]["type"], "job.completed");
}

#[test]
fn a_pack_runs_room_brings_its_lines_before_the_end_of_their_attempt() {
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    let mut client = Client::open(&appliance);
    client.subscribe(json!({"type": "subscribe:run", "runId": id}));
    let room = client.subscribe(json!({"type": "subscribe:pack-run", "packRunId": id, "after": -1}));
    assert_eq!(room, format!("pack-run:{id}"));
    let many: Vec<String> = (0..1_500).map(|at| format!("line {at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    run_step(&appliance, &many, done());
    run_step(&appliance, &["two"], done());
    run_step(&appliance, &["three"], done());
    let (mut lines, mut names) = (0, Vec::new());
    loop {
        let event = client.event();
        if event.name() == "step:output" {
            lines += 1;
            assert_eq!(event.message["live"], true);
            assert_eq!(event.message["event"]["pos"], lines);
            assert!(event.message.get("cursor").is_none() && event.message.get("hash").is_none());
            assert_eq!(event.rooms(), [room.as_str()]);
            continue;
        }
        if matches!(event.name(), "step:completed") {
            let written = match event.message["event"]["subject"]["step"].as_str().unwrap() {
                "first" => 1_500,
                "second" => 1_501,
                _ => 1_502,
            };
            assert!(lines >= written, "{:?} after {lines} lines", event.message);
        }
        names.push(event.name().to_owned());
        if event.name() == "run:completed" {
            break;
        }
    }
    assert_eq!(lines, 1_502);
    assert_eq!(names[0], "run:created");
}

#[test]
fn a_client_is_heard_while_lines_go_out_and_loses_no_event_of_a_room_that_it_keeps() {
    const LINES: usize = 100_000;
    let appliance = TestAppliance::start();
    let id = start_run(&appliance);
    // A small window, so that the server soon has to wait.
    let socket = raw(&appliance, "/api/v1/ws", &appliance.admin);
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 * 1024).unwrap();
    let mut client = Client::over(socket);
    let kept = client.subscribe(json!({"type": "subscribe:run", "runId": id}));
    client.subscribe(json!({"type": "subscribe:pack-run", "packRunId": id}));
    // The attempt has ended before the first of its lines is read.
    run_step(&appliance, &["x\n".repeat(LINES).as_str()], done());
    let (mut lines, mut left) = (0, None);
    loop {
        let message = client.json();
        match (message["type"].as_str().unwrap(), message["name"].as_str()) {
            ("event", Some("step:output")) => {
                assert!(left.is_none(), "no line comes of a room that was left");
                lines += 1;
                // By now the lines are sent because of the event behind them.
                if lines == LINES / 10 {
                    client.say(json!({"type": "unsubscribe:pack-run", "id": 1, "packRunId": id}));
                }
            }
            ("ack", None) => left = message["asOf"].as_i64(),
            ("event", Some(_)) if message["event"]["type"] == "job.completed" => {
                let seq = message["event"]["seq"].as_i64().unwrap();
                assert!(left.is_some_and(|as_of| as_of < seq), "{left:?}: {message}");
                assert_eq!(message["rooms"], json!([kept]));
                break;
            }
            ("event", Some(_)) => {}
            _ => panic!("{message}"),
        }
    }
    assert!(lines < LINES, "the answer came behind all lines");
}

#[test]
fn progress_is_live_and_in_no_ledger() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance);
    claim(&appliance, json!({}));
    let mut client = Client::open(&appliance);
    let rooms = [
        client.subscribe(json!({"type": "subscribe:job", "jobId": job})),
        client.subscribe(json!({"type": "subscribe:events", "types": ["job.progress"]})),
    ];
    client.subscribe(json!({"type": "subscribe:events", "project": "other"}));
    let path = format!("/api/v1/workers/jobs/{job}/progress");
    let body = json!({"worker": "w-1", "epoch": 1, "percent": 40, "message": "a \"half\""});
    assert_eq!(appliance.post(&path, body.to_string()).status, 204);
    let signal = client.event();
    assert_eq!(
        (signal.name(), signal.rooms()),
        ("job:progress", vec![rooms[0].as_str(), &rooms[1]])
    );
    assert_eq!(signal.message["live"], true);
    assert_eq!(signal.message["event"]["percent"], 40);
    assert_eq!(signal.message["event"]["jobId"], job);
    assert!(signal.message.get("cursor").is_none());
}

#[test]
fn messages_that_do_not_fit_are_told_why() {
    let appliance = TestAppliance::start();
    let mut client = Client::open(&appliance);
    for (text, id, code) in [
        ("", json!(null), "json_unexpected_end"),
        ("[]", json!(null), "invalid_field"),
        (r#"{"type":"subscribe:events"}"#, json!(null), "missing_field"),
        (
            r#"{"type":"subscribe:events","id":1.5}"#,
            json!(null),
            "invalid_field",
        ),
        (
            r#"{"id":1,"id":2,"type":"subscribe:events"}"#,
            json!(null),
            "json_duplicate_key",
        ),
        (r#"{"id":1}"#, json!(1), "missing_field"),
        (r#"{"id":1,"type":"hello"}"#, json!(1), "unknown_type"),
        (
            r#"{"id":1,"type":"subscribe:everything"}"#,
            json!(1),
            "unknown_type",
        ),
        (r#"{"id":1,"type":"subscribe:job"}"#, json!(1), "missing_field"),
        (
            r#"{"id":1,"type":"subscribe:job","jobId":1}"#,
            json!(1),
            "invalid_field",
        ),
        (
            r#"{"id":1,"type":"subscribe:workspace:jobs","jobId":"a"}"#,
            json!(1),
            "unknown_field",
        ),
        (
            r#"{"id":1,"type":"subscribe:events","after":"x"}"#,
            json!(1),
            "invalid_field",
        ),
        (
            r#"{"id":1,"type":"subscribe:events","types":"job.*"}"#,
            json!(1),
            "invalid_field",
        ),
        (
            r#"{"id":"a\"b","type":"unsubscribe:events"}"#,
            json!("a\"b"),
            "not_subscribed",
        ),
    ] {
        client.socket.send(Message::text(text)).unwrap();
        let answer = client.json();
        assert_eq!(answer["type"], "error", "{text}: {answer}");
        assert_eq!(
            (&answer["code"], &answer["id"]),
            (&json!(code), &id),
            "{text}: {answer}"
        );
    }
    client.socket.send(Message::binary(vec![1])).unwrap();
    assert_eq!(client.json()["code"], "text_expected");
    client.subscribe(json!({"type": "subscribe:events"}));
    let again = client.ask(json!({"id": 1, "type": "subscribe:events"}));
    assert_eq!(again["code"], "already_subscribed");
}

#[test]
fn rooms_and_messages_are_bounded() {
    let appliance = TestAppliance::start();
    let mut client = Client::open(&appliance);
    for number in 0..=limits::WS_ROOMS_MAX {
        let glob = format!("x.{number}");
        // Slowly enough for the other bound.
        let answer = loop {
            let answer = client.ask(json!({"id": 1, "type": "subscribe:events", "types": [glob]}));
            if answer["code"] != "rate_limited" {
                break answer;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let is_full = number == limits::WS_ROOMS_MAX;
        assert_eq!(answer["code"] == "too_many_rooms", is_full, "{number}: {answer}");
    }
}

#[test]
fn an_upgraded_connection_keeps_its_place() {
    let appliance = TestAppliance::with_bounds(Bounds {
        connections: 1,
        ..Bounds::default()
    });
    let mut client = Client::open(&appliance);
    client.subscribe(json!({"type": "subscribe:events"}));
    assert_eq!(appliance.get("/livez").status, 503);
    client.socket.close(None).unwrap();
    assert_eq!(client.close_code(), None);
    drop(client);
    let began = Instant::now();
    while appliance.get("/livez").status != 200 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "the place is not given back"
        );
    }
}

#[test]
fn one_that_does_not_read_is_closed_with_4408_and_resumes() {
    const EVENTS: usize = 12;
    let appliance = TestAppliance::with_bounds(Bounds {
        stall: Duration::from_millis(300),
        ..Bounds::default()
    });
    // A small window, so that the server soon has to wait.
    let socket = raw(&appliance, "/api/v1/ws", &appliance.admin);
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 * 1024).unwrap();
    let mut slow = Client::over(socket);
    slow.subscribe(json!({"type": "subscribe:events"}));
    let mut other = Client::open(&appliance);
    other.subscribe(json!({"type": "subscribe:events"}));
    let payload = "x".repeat(900_000);
    let (mut seen, mut code) = (0, None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1..=EVENTS {
                let body = json!({"type": "a", "payload": {"text": payload}}).to_string();
                appliance.post("/api/v1/jobs", body).expect(201);
                // Long messages come in several frames; nobody waits for the other one.
                assert_eq!(other.event().seq(), seq as u64);
            }
        });
        // It begins to read when the server has given it up, but not yet the connection.
        while subscribers(&appliance) > 1.0 {
            std::thread::sleep(Duration::from_millis(20));
        }
        while code.is_none() {
            match slow.next() {
                Ok(_) => seen += 1,
                Err(closed) => code = Some(closed),
            }
        }
    });
    let code = code.unwrap();
    assert_eq!(code, Some(4408));
    assert!(seen < EVENTS, "{seen} were read");
    let mut again = Client::open(&appliance);
    again.subscribe(json!({"type": "subscribe:events", "after": seen}));
    for seq in seen + 1..=EVENTS {
        assert_eq!(again.event().seq(), seq as u64);
    }
}

#[test]
fn a_revoked_token_ends_a_connection_between_frames_however_much_was_on_its_way() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("gone", &[Scope::Read], &["default"], None);
    let socket = raw(&appliance, "/api/v1/ws", &secret);
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 * 1024).unwrap();
    let mut slow = Client::over(socket);
    slow.subscribe(json!({"type": "subscribe:events"}));
    let mut other = Client::open(&appliance);
    other.subscribe(json!({"type": "subscribe:events"}));
    let body = json!({"type": "a", "payload": {"text": "x".repeat(900_000)}}).to_string();
    for _ in 0..12 {
        appliance.post("/api/v1/jobs", body.clone()).expect(201);
        // The slow one has it too by now, as far as its window goes.
        other.event();
    }
    let path = format!("/api/v1/tokens/{id}");
    let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
    assert_eq!(appliance.send(&revoke).status, 204);
    // The library would not take a frame that begins within another.
    let mut seen = 0;
    let code = loop {
        match slow.next() {
            Ok(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(message["event"]["seq"], seen + 1);
                seen += 1;
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, Some(4401));
    assert!(seen < 12, "{seen} were read");
}

#[test]
fn readers_of_one_room_and_of_another_are_sent_what_is_theirs() {
    let appliance = TestAppliance::start();
    let mut all = [Client::open(&appliance), Client::open(&appliance)];
    let rooms = all
        .each_mut()
        .map(|client| client.subscribe(json!({"type": "subscribe:events"})));
    let mut created = Client::open(&appliance);
    let of_created = created.subscribe(json!({"type": "subscribe:events", "types": ["job.created"]}));
    let mut both = Client::open(&appliance);
    both.subscribe(json!({"type": "subscribe:events"}));
    both.subscribe(json!({"type": "subscribe:workspace:jobs"}));
    for _ in 0..3 {
        submit(&appliance);
    }
    let ledger = ledger(&appliance);
    for client in &mut all {
        let events = client.events(ledger.len() - 1);
        assert!(events.iter().all(|event| event.rooms() == [&rooms[0]]));
        let texts: Vec<_> = events.into_iter().map(|event| event.event).collect();
        assert_eq!(texts, ledger[1..]);
    }
    let names = ["job:created"; 3];
    let events = created.events(3);
    assert!(events.iter().map(Received::name).eq(names));
    assert!(events.iter().all(|event| event.rooms() == [&of_created]));
    let events = both.events(ledger.len() - 1);
    assert!(events.iter().any(|event| event.rooms().len() == 2));
    // One that opens a second room is told of both from then on.
    let [first, _] = &mut all;
    first.subscribe(json!({"type": "subscribe:workspace:jobs"}));
    submit(&appliance);
    assert_eq!(first.event().rooms().len(), 2);
}

#[test]
fn one_that_answers_no_ping_is_gone() {
    let appliance = TestAppliance::with_bounds(Bounds {
        stall: Duration::from_millis(500),
        ..Bounds::default()
    });
    let path = "/api/v1/ws?heartbeatMs=1000";
    let mut silent = raw(&appliance, path, &appliance.admin);
    let mut there = Client::with(&appliance, path, &appliance.admin);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                assert!(matches!(there.socket.read(), Ok(Message::Ping(_))));
            }
            let left = there.ask(json!({"id": 1, "type": "unsubscribe:events"}));
            assert_eq!(left["code"], "not_subscribed", "one that answers stays");
        });
        let began = Instant::now();
        let frames: Vec<_> = std::iter::from_fn(|| read_frame(&mut silent)).collect();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(frames[0], (0x89, b"0".to_vec()), "a ping says how far it is");
        let (first, close) = frames.last().unwrap();
        assert_eq!((*first, &close[..2]), (0x88, &4408_u16.to_be_bytes()[..]));
    });
}
