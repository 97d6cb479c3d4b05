//! Peers that are silent, slow or too many, and the end of the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fastness::api::Bounds;
use fastness::domain::TenantName;
use fastness::domain::canonical::Payload;
use fastness::domain::command::{Command, SubmitJob};
use fastness::domain::event::Actor;
use fastness::domain::job::JobSpec;

use crate::support::appliance::{Ask, Reply, TestAppliance};

const SHORT: Duration = Duration::from_millis(200);

/// Reads until the peer is gone; how many bytes came.
fn drain(mut socket: impl Read) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return total,
            Ok(read) => total += read,
        }
    }
}

#[test]
fn a_silent_or_dripping_head_is_cut_off() {
    let appliance = TestAppliance::with_bounds(Bounds {
        head: SHORT,
        ..Bounds::default()
    });
    for bytes in [&b""[..], b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: "] {
        let began = Instant::now();
        let mut socket = appliance.connect();
        socket.write_all(bytes).unwrap();
        drain(socket);
        assert!(began.elapsed() >= SHORT && began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let appliance = TestAppliance::with_bounds(Bounds {
        body: SHORT,
        ..Bounds::default()
    });
    for path in ["/api/v1/jobs", "/api/v1/packs"] {
        let asked = Ask::post(path, br#"{"type":"a"}"#).token(&appliance.admin);
        let bytes = asked.bytes(appliance.address);
        let mut socket = appliance.connect();
        socket.write_all(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(
            Reply::read(BufReader::new(socket)).problem(408),
            "body_timeout",
            "{path}"
        );
    }
}

#[test]
fn one_connection_too_many_is_told_to_come_back() {
    let appliance = TestAppliance::with_bounds(Bounds {
        connections: 2,
        ..Bounds::default()
    });
    let keep = |socket: &mut std::net::TcpStream| {
        socket
            .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        assert!(socket.read(&mut [0; 4_096]).unwrap() > 0);
    };
    let mut held: Vec<_> = (0..2).map(|_| appliance.connect()).collect();
    held.iter_mut().for_each(keep);
    let mut third = String::new();
    // Nothing is sent: an answer to unread bytes could be lost with the connection.
    let _ = appliance.connect().read_to_string(&mut third);
    assert!(third.starts_with("HTTP/1.1 503 "), "{third:?}");
    assert!(third.contains("retry-after: 1"), "{third:?}");
    held.pop();
    let began = Instant::now();
    let came_back = || {
        let mut socket = appliance.connect();
        let _ = socket.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 200 ")
    };
    while !came_back() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the place is free again"
        );
    }
}

#[test]
fn a_reader_that_takes_nothing_is_closed_and_can_resume() {
    const EVENTS: usize = 60;
    let appliance = TestAppliance::with_bounds(Bounds {
        stall: SHORT,
        ..Bounds::default()
    });
    let asked = Ask::get("/api/v1/stream?after=-1").token(&appliance.admin);
    let mut stalled = appliance.connect();
    stalled.write_all(&asked.bytes(appliance.address)).unwrap();
    let tenant: TenantName = "default".parse().unwrap();
    let text = format!("\"{}\"", "x".repeat(900_000));
    for _ in 0..EVENTS {
        let job = SubmitJob {
            spec: JobSpec {
                timeout_ms: 60_000,
                ..JobSpec::of_type("a")
            }
            .into(),
            payload: Payload::parse(text.as_bytes()).unwrap(),
            correlation_id: None,
            idempotency: None,
            replay_of: None,
            sensitive: fastness::domain::redaction::Sensitive::default(),
        };
        let actor = Actor::system("test");
        let submitted = appliance
            .engine
            .submit(&tenant, &actor, Command::SubmitJob(Box::new(job)));
        appliance.runtime.block_on(submitted).unwrap();
    }
    // More than the sockets hold: the server waits, then gives up and forgets the reader.
    let began = Instant::now();
    loop {
        if appliance.figure("fastness_stream_subscribers") == 0.0 {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the stalled reader is still held"
        );
    }
    assert!(drain(stalled) < EVENTS * 900_000);
    let mut resumed = appliance.follow("/api/v1/stream?after=-1");
    for seq in 0..=EVENTS {
        assert_eq!(resumed.next_event().unwrap().id, Some(seq.to_string()));
    }
}

#[test]
fn an_open_request_is_answered_before_the_end_and_cut_off_after_its_deadline() {
    let mut appliance = TestAppliance::start();
    let asked = Ask::post("/api/v1/jobs", br#"{"type":"a"}"#).token(&appliance.admin);
    let bytes = asked.bytes(appliance.address);
    let (head, last) = bytes.split_at(bytes.len() - 1);
    let (mut prompt, mut never) = (appliance.connect(), appliance.connect());
    for socket in [&mut prompt, &mut never] {
        socket.write_all(head).unwrap();
    }
    // Both are being read once a later request was answered.
    assert_eq!(appliance.get("/livez").status, 200);
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| appliance.stop_server(Duration::from_secs(2)));
        prompt.write_all(last).unwrap();
        Reply::read(BufReader::new(prompt)).expect(201);
        assert_eq!(drain(never), 0);
    });
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// Sends bytes and reads one answer, with its body; the connection stays open.
fn converse(reader: &mut BufReader<TcpStream>, bytes: &[u8]) -> Reply {
    reader.get_mut().write_all(bytes).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = reader.read_until(b'\n', &mut head).unwrap();
        assert!(read > 0, "the connection ended within a head");
    }
    let text = String::from_utf8(head.clone()).unwrap().to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    head.extend(body);
    Reply::read(head.as_slice())
}

#[test]
fn an_answer_before_the_body_says_whether_the_connection_ends() {
    let appliance = TestAppliance::start();
    let admin = format!("authorization: Bearer {}\r\n", appliance.admin);
    let head = |path: &str, more: &str| {
        let address = appliance.address;
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{more}\r\n")
    };
    let large = "content-length: 50000000\r\n";
    let over = format!("content-length: 2000000\r\n{admin}");
    let (chunked, waiting) = (
        "transfer-encoding: chunked\r\n",
        format!("{large}expect: 100-continue\r\n"),
    );
    for (asked, status) in [
        (head("/api/v1/jobs", large) + "{", 401),
        (head("/api/v1/jobs", chunked) + "1\r\n{\r\n", 401),
        (head("/api/v1/jobs", &waiting), 401),
        (head("/api/v1/jobs?nonsense=1", &(large.to_owned() + &admin)), 422),
        (head("/api/v1/jobs", &over) + &" ".repeat(1_999_000), 413),
    ] {
        let mut reader = BufReader::new(appliance.connect());
        let reply = converse(&mut reader, asked.as_bytes());
        assert_eq!(reply.status, status, "{}", &asked[..60]);
        assert_eq!(reply.header("connection"), Some("close"), "{status}");
        assert!(!reply.headers.iter().any(|(_, value)| value == "100"));
        assert_eq!(drain(reader), 0, "and it does end");
    }
    // What is here already is taken in, and the connection goes on.
    let mut reader = BufReader::new(appliance.connect());
    for asked in [
        head("/api/v1/jobs", "content-length: 12\r\n") + r#"{"type":"a"}"#,
        head("/api/v1/jobs", chunked) + "1\r\n{\r\n0\r\n\r\n",
        head("/api/v1/jobs", &format!("content-length: 20000\r\n{admin}")) + &" ".repeat(20_000),
        head("/api/v1/jobs", &format!("content-length: 12\r\n{admin}")) + r#"{"type":"a"}"#,
        head("/api/v1/jobs", ""),
    ] {
        let reply = converse(&mut reader, asked.as_bytes());
        assert_eq!(reply.header("connection"), None, "{}", reply.status);
    }
}
