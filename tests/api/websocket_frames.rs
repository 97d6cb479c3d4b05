//! The WebSocket frame by frame: what RFC 6455 demands of a server, and clients that mean no good.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use fastness::limits;
use serde_json::{Value, json};

use super::streams::submit_many;
use crate::support::appliance::TestAppliance;
use crate::support::websocket::{Client, HANDSHAKE, frame, raw, read_frame, read_head};

const TEXT: u8 = 0x81;
const FIRST: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

fn open(appliance: &TestAppliance) -> std::net::TcpStream {
    raw(appliance, "/api/v1/ws", &appliance.admin)
}

fn subscribe(id: u64) -> Vec<u8> {
    json!({"type": "subscribe:events", "id": id})
        .to_string()
        .into_bytes()
}

/// The next text.
fn answer(socket: &mut std::net::TcpStream) -> Value {
    let (first, payload) = read_frame(socket).unwrap();
    assert_eq!(first, TEXT, "{payload:?}");
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn fragments_are_put_together_and_pings_between_them_answered() {
    let appliance = TestAppliance::start();
    let mut socket = open(&appliance);
    let message = subscribe(1);
    let (begin, rest) = message.split_at(10);
    let (middle, end) = rest.split_at(3);
    let frames = [
        frame(FIRST, true, begin),
        frame(PING, true, b"between"),
        frame(MORE, true, middle),
        frame(MORE, true, b""),
        frame(PONG, true, b"of its own accord"),
        frame(LAST, true, end),
    ];
    // Byte by byte: no frame lies whole in one read.
    for byte in frames.concat() {
        socket.write_all(&[byte]).unwrap();
    }
    assert_eq!(read_frame(&mut socket).unwrap(), (PONG, b"between".to_vec()));
    assert_eq!(answer(&mut socket)["type"], "ack");
    submit_many(&appliance, "default", 1);
    assert_eq!(answer(&mut socket)["name"], "job:created");
}

#[test]
fn what_comes_in_one_piece_with_the_handshake_is_not_lost() {
    let appliance = TestAppliance::start();
    let mut socket = appliance.connect();
    let mut request = format!("GET /api/v1/ws HTTP/1.1\r\nhost: {}\r\n", appliance.address);
    for (name, value) in HANDSHAKE {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("authorization: Bearer {}\r\n\r\n", appliance.admin));
    let bytes = [request.as_bytes(), &frame(TEXT, true, &subscribe(1))].concat();
    socket.write_all(&bytes).unwrap();
    read_head(&mut socket);
    assert_eq!(answer(&mut socket)["type"], "ack");
}

#[test]
fn what_may_not_come_is_answered_with_its_code() {
    let appliance = TestAppliance::start();
    let mut other = Client::open(&appliance);
    other.subscribe(json!({"type": "subscribe:events"}));
    let long = vec![b'a'; limits::WS_MESSAGE_BYTES_MAX + 1];
    let half = vec![b'a'; limits::WS_MESSAGE_BYTES_MAX / 2 + 1];
    let halves = [frame(FIRST, true, &half), frame(LAST, true, &half)].concat();
    let endless = [
        &frame(TEXT, true, &[])[..1],
        &[0xff],
        &u64::MAX.to_be_bytes()[..],
        &[0; 4],
    ]
    .concat();
    let close_1 = frame(CLOSE, true, &[3]);
    for (name, bytes, code) in [
        ("unmasked", frame(TEXT, false, &subscribe(1)), 1002),
        ("reserved bit 1", frame(TEXT | 0x40, true, b"{}"), 1002),
        ("reserved bit 2", frame(TEXT | 0x20, true, b"{}"), 1002),
        ("reserved bit 3", frame(TEXT | 0x10, true, b"{}"), 1002),
        ("reserved data opcode", frame(0x83, true, b""), 1002),
        ("reserved control opcode", frame(0x8b, true, b""), 1002),
        ("fragmented ping", frame(0x09, true, b""), 1002),
        ("long ping", frame(PING, true, &[0; 126]), 1002),
        ("continuation of nothing", frame(LAST, true, b"a"), 1002),
        (
            "text within fragments",
            [frame(FIRST, true, b"a"), frame(TEXT, true, b"b")].concat(),
            1002,
        ),
        ("wrong UTF-8", frame(TEXT, true, b"\xc3\x28"), 1007),
        ("cut UTF-8", frame(TEXT, true, b"\xe2\x82"), 1007),
        ("overlong UTF-8", frame(TEXT, true, b"\xc0\xaf"), 1007),
        ("surrogate", frame(TEXT, true, b"\xed\xa0\x80"), 1007),
        (
            "wrong UTF-8 over fragments",
            [frame(FIRST, true, b"\xe2"), frame(LAST, true, b"\x28")].concat(),
            1007,
        ),
        ("too long", frame(TEXT, true, &long), 1009),
        ("too long in fragments", halves, 1009),
        ("longer than anything", endless, 1009),
        ("close of one byte", close_1, 1002),
    ] {
        let mut socket = open(&appliance);
        socket.write_all(&bytes).unwrap();
        let (first, payload) = read_frame(&mut socket).unwrap_or_else(|| panic!("{name}: no frame"));
        assert_eq!(first, CLOSE, "{name}: {payload:?}");
        assert_eq!(payload[..2], u16::to_be_bytes(code), "{name}");
        assert!(std::str::from_utf8(&payload[2..]).is_ok());
        assert_eq!(read_frame(&mut socket), None, "{name}: then the end");
    }
    // Nobody else notices.
    submit_many(&appliance, "default", 1);
    assert_eq!(other.event().seq(), 1);
}

#[test]
fn a_character_may_lie_in_two_fragments_and_a_message_be_as_long_as_may_be() {
    let appliance = TestAppliance::start();
    let mut socket = open(&appliance);
    let message = "{\"id\":\"\u{20ac}\",\"type\":\"subscribe:events\"}".as_bytes();
    let bytes = [
        frame(FIRST, true, &message[..8]),
        frame(LAST, true, &message[8..]),
    ];
    socket.write_all(&bytes.concat()).unwrap();
    assert_eq!(answer(&mut socket)["id"], "\u{20ac}");
    let mut long = br#"{"id":1,"type":"unsubscribe:events"}"#.to_vec();
    long.resize(limits::WS_MESSAGE_BYTES_MAX, b' ');
    socket.write_all(&frame(TEXT, true, &long)).unwrap();
    assert_eq!(answer(&mut socket)["type"], "ack");
}

#[test]
fn a_close_is_echoed_and_the_server_hangs_up_first() {
    let appliance = TestAppliance::start();
    for (sent, echoed) in [
        (vec![], vec![]),
        (vec![0x03, 0xe8], vec![0x03, 0xe8]),
        (
            [&[0x0f, 0xa0], &b"own"[..]].concat(),
            [&[0x0f, 0xa0], &b"own"[..]].concat(),
        ),
    ] {
        let mut socket = open(&appliance);
        socket.write_all(&frame(CLOSE, true, &sent)).unwrap();
        let began = Instant::now();
        assert_eq!(read_frame(&mut socket), Some((CLOSE, echoed)));
        assert_eq!(read_frame(&mut socket), None);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    // A code that may not be sent.
    let mut socket = open(&appliance);
    socket
        .write_all(&frame(CLOSE, true, &1005_u16.to_be_bytes()))
        .unwrap();
    let (first, payload) = read_frame(&mut socket).unwrap();
    assert_eq!((first, &payload[..2]), (CLOSE, &1002_u16.to_be_bytes()[..]));
}

#[test]
fn one_that_hangs_up_without_a_word_leaves_nothing_behind() {
    let appliance = TestAppliance::start();
    for how in [Shutdown::Write, Shutdown::Both] {
        let mut socket = open(&appliance);
        socket.write_all(&frame(TEXT, true, &subscribe(1))).unwrap();
        assert_eq!(answer(&mut socket)["type"], "ack");
        socket.write_all(&frame(FIRST, true, b"half a mess")).unwrap();
        socket.shutdown(how).unwrap();
        let began = Instant::now();
        loop {
            if appliance.figure("fastness_stream_subscribers") == 0.0 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "{how:?}: still held");
        }
    }
}

#[test]
fn a_flood_is_cut_off_and_nobody_else_notices() {
    let appliance = TestAppliance::start();
    let mut other = Client::open(&appliance);
    other.subscribe(json!({"type": "subscribe:events"}));
    let floods = [
        frame(PING, true, &[0; 125]),
        frame(PONG, true, b""),
        frame(TEXT, true, b"{}"),
    ];
    std::thread::scope(|scope| {
        for flood in &floods {
            let appliance = &appliance;
            scope.spawn(move || {
                let mut socket = open(appliance);
                let mut reader = socket.try_clone().unwrap();
                let reading = std::thread::spawn(move || {
                    let (mut frames, mut last) = (0_u32, None);
                    while let Some(frame) = read_frame(&mut reader) {
                        frames += 1;
                        last = Some(frame);
                    }
                    (frames, last)
                });
                let many = flood.repeat(100);
                // Until the server has had enough.
                while socket.write_all(&many).is_ok() {}
                let (frames, last) = reading.join().unwrap();
                let seconds = 5;
                assert!(
                    frames <= seconds * limits::WS_FRAMES_PER_SECOND_MAX + 1,
                    "{frames} answers"
                );
                if let Some((CLOSE, payload)) = last {
                    assert_eq!(payload[..2], 1008_u16.to_be_bytes());
                }
            });
        }
        for seq in 1..=20 {
            let began = Instant::now();
            submit_many(&appliance, "default", 1);
            assert_eq!(other.event().seq(), seq);
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    });
}

#[test]
fn fragments_that_come_to_nothing_are_cut_off_too() {
    let appliance = TestAppliance::start();
    let mut socket = open(&appliance);
    socket.write_all(&frame(FIRST, true, b"")).unwrap();
    let many = frame(MORE, true, b"").repeat(10_000);
    let began = Instant::now();
    while socket.write_all(&many).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody cuts it off");
    }
}

#[test]
fn each_fragment_counts_as_a_frame() {
    let appliance = TestAppliance::start();
    let message = subscribe(1);
    let close = |payload: &[u8]| u16::from_be_bytes([payload[0], payload[1]]);
    // More than may come in two seconds: a second may end between them.
    let many = 2 * limits::WS_FRAMES_PER_SECOND_MAX as usize;
    for (count, is_cut_off) in [
        (limits::WS_FRAMES_PER_SECOND_MAX as usize - 2, false),
        (many, true),
    ] {
        let mut socket = open(&appliance);
        let frames = [
            frame(FIRST, true, &message),
            frame(MORE, true, b" ").repeat(count),
            frame(LAST, true, b""),
        ];
        socket.write_all(&frames.concat()).unwrap();
        let (first, payload) = read_frame(&mut socket).unwrap();
        if is_cut_off {
            assert_eq!((first, close(&payload)), (CLOSE, 1008), "{count}");
        } else {
            assert_eq!(first, TEXT, "{count}: {payload:?}");
        }
    }
}

#[test]
fn one_message_too_many_in_a_second_is_refused_alone() {
    let appliance = TestAppliance::start();
    let mut socket = open(&appliance);
    let count = 3 * limits::WS_MESSAGES_PER_SECOND_MAX;
    let message = br#"{"id":1,"type":"unsubscribe:events"}"#;
    socket
        .write_all(&frame(TEXT, true, message).repeat(count as usize))
        .unwrap();
    let codes: Vec<String> = (0..count)
        .map(|_| {
            let answer = answer(&mut socket);
            assert_eq!(answer["id"], 1, "{answer}");
            answer["code"].as_str().unwrap().to_owned()
        })
        .collect();
    let refused = codes.iter().filter(|code| *code == "rate_limited").count() as u32;
    // They may lie in two seconds.
    assert!(
        refused >= count - 2 * limits::WS_MESSAGES_PER_SECOND_MAX,
        "{refused}"
    );
    assert!(
        codes
            .iter()
            .all(|code| matches!(code.as_str(), "rate_limited" | "not_subscribed"))
    );
    std::thread::sleep(Duration::from_millis(1_100));
    socket.write_all(&frame(TEXT, true, &subscribe(9))).unwrap();
    assert_eq!(answer(&mut socket)["type"], "ack");
}
