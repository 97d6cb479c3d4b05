//! What webhooks send, over real sockets: which events, in which order, how often, signed how; and what becomes of it when
//! receivers fail, hang, or the server stops between.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::webhooks::Pace;
use serde_json::{Value, json};

use super::webhooks::{act, delete, put, show};
use crate::support::appliance::{PACE, TestAppliance};
use crate::support::program::until;
use crate::support::receiver::{Answer, Received, Receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn submit(appliance: &TestAppliance, correlation: &str) -> Value {
    let body =
        json!({"type": "scan", "payload": {"text": "ü\n"}, "correlationId": correlation, "project": "core"});
    appliance.post("/api/v1/jobs", body.to_string()).expect(201)
}

fn submit_many(appliance: &TestAppliance, from: usize, to: usize) {
    for index in from..to {
        submit(appliance, &format!("c-{index}"));
    }
}

fn made(receiver: &Receiver, appliance: &TestAppliance) {
    let body = json!({"url": receiver.url(), "types": ["job.created"], "secret": SECRET});
    put(appliance, "board", &body).expect(201);
}

fn correlation(received: &Received) -> String {
    let event = received.json();
    event["data"]["correlationId"].as_str().unwrap().to_owned()
}

/// That these are c-FROM to c-TO, each once and in order.
#[track_caller]
fn check_run(received: &[Received], from: usize) {
    let found: Vec<String> = received.iter().map(correlation).collect();
    let expected: Vec<String> = (from..from + received.len())
        .map(|index| format!("c-{index}"))
        .collect();
    assert_eq!(found, expected);
}

/// HMAC-SHA256 by another program than ours.
fn openssl_hmac(secret: &str, message: &[u8]) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-binary", "-macopt"])
        .arg(format!("hexkey:{hex}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    STANDARD.encode(output.stdout)
}

#[test]
fn events_come_in_order_signed_and_as_they_lie_in_the_ledger() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 20);
    let received = receiver.take(20);
    check_run(&received, 0);
    let ids: BTreeSet<&str> = received.iter().map(Received::id).collect();
    assert_eq!(ids.len(), 20);
    let enclave = appliance.get("/api/v1/keys").expect(200)["enclave"].clone();
    for one in &received {
        assert_eq!(one.line, "POST /hooks?from=fastness HTTP/1.1");
        assert_eq!(one.header("host"), receiver.address.to_string());
        assert_eq!(one.header("content-type"), "application/cloudevents+json");
        let expected = format!("v1,{}", openssl_hmac(SECRET, &one.signed()));
        assert_eq!(one.header("webhook-signature"), expected);
        let age = appliance.engine.clock().wall_ms() / 1_000
            - one.header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..=60).contains(&age), "{age}");
        let event = one.json();
        assert_eq!(
            (&event["specversion"], &event["type"]),
            (&json!("1.0"), &json!("job.created"))
        );
        let seq = event["data"]["seq"].as_u64().unwrap();
        assert_eq!(
            one.id(),
            format!("msg_{}_default_{seq}", enclave.as_str().unwrap())
        );
        let ours = appliance.get(&format!("/api/v1/events/{seq}"));
        let body = String::from_utf8(one.body.clone()).unwrap();
        assert!(
            body.contains(std::str::from_utf8(&ours.body).unwrap()),
            "the exact bytes: {body}"
        );
    }
    until("the cursor is at the end", || {
        let delivery = &show(&appliance, "board")["delivery"];
        delivery["lastStatus"] == 204 && delivery["lastError"].is_null()
    });
}

#[test]
fn a_key_pair_signs_what_its_public_key_verifies() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    let body = json!({"url": receiver.url(), "types": ["job.created"], "signature": "ed25519"});
    let webhook = put(&appliance, "board", &body).expect(201);
    assert!(webhook["secret"].as_str().unwrap().starts_with("whsk_"));
    submit(&appliance, "c-0");
    let received = receiver.next();
    let public = webhook["publicKey"]
        .as_str()
        .unwrap()
        .strip_prefix("whpk_")
        .unwrap();
    assert_eq!(show(&appliance, "board")["publicKey"], webhook["publicKey"]);
    // SubjectPublicKeyInfo of RFC 8410: for openssl.
    let spki = [
        b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(),
        &STANDARD.decode(public).unwrap(),
    ]
    .concat();
    let signature = received
        .header("webhook-signature")
        .strip_prefix("v1a,")
        .unwrap()
        .to_owned();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (key, signature) = (
        file("key", &spki),
        file("signature", &STANDARD.decode(signature).unwrap()),
    );
    let verify = |message: &Path| {
        let mut command = Command::new("openssl");
        command
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER"])
            .arg("-inkey")
            .arg(&key)
            .arg("-sigfile")
            .arg(&signature)
            .arg("-in")
            .arg(message);
        command.output().unwrap().status.success()
    };
    assert!(verify(&file("message", &received.signed())));
    assert!(!verify(&file(
        "other",
        &[&received.signed(), b"x".as_slice()].concat()
    )));
}

#[test]
fn only_what_passes_the_filters_is_sent() {
    let appliance = TestAppliance::start();
    let job = submit(&appliance, "c-0");
    let id = job["id"].as_str().unwrap();
    let filters = [
        ("by-id", json!({"correlationId": "c-1"}), json!([])),
        ("by-job", json!({ "job": id }), json!([])),
        (
            "by-project",
            json!({"project": "core"}),
            json!(["job.cancelled", "x.*"]),
        ),
        ("other", json!({"project": "attic"}), json!([])),
    ];
    let receivers = filters.map(|(name, filters, types)| {
        let receiver = Receiver::start();
        let body = json!({"url": receiver.url(), "filters": filters, "types": types, "after": -1});
        put(&appliance, name, &body).expect(201);
        receiver
    });
    submit(&appliance, "c-1");
    appliance
        .post(&format!("/api/v1/jobs/{id}/cancel"), "{}")
        .expect(200);
    let types = |index: usize, count: usize| -> Vec<(String, String)> {
        let received = receivers[index].take(count);
        let pair = |one: &Received| (one.json()["type"].as_str().unwrap().to_owned(), correlation(one));
        received.iter().map(pair).collect()
    };
    let of = |name: &str, correlation: &str| (name.to_owned(), correlation.to_owned());
    assert_eq!(types(0, 1), [of("job.created", "c-1")]);
    assert_eq!(
        types(1, 2),
        [of("job.created", "c-0"), of("job.cancelled", "c-0")]
    );
    assert_eq!(types(2, 1), [of("job.cancelled", "c-0")]);
    for receiver in &receivers {
        receiver.is_quiet();
    }
}

#[test]
fn the_whole_ledger_is_sent_when_asked_for_and_else_what_follows() {
    let appliance = TestAppliance::start();
    submit_many(&appliance, 0, 3);
    let (all, new) = (Receiver::start(), Receiver::start());
    let body =
        |receiver: &Receiver| json!({"url": receiver.url(), "types": ["ledger.opened", "job.created"]});
    let mut whole = body(&all);
    whole["after"] = json!(-1);
    put(&appliance, "all", &whole).expect(201);
    put(&appliance, "new", &body(&new)).expect(201);
    submit_many(&appliance, 3, 5);
    let received = all.take(6);
    assert_eq!(received[0].json()["type"], "ledger.opened");
    check_run(&received[1..], 0);
    check_run(&new.take(2), 3);
}

#[test]
fn what_fails_is_sent_again_until_it_is_taken_and_nothing_goes_before_it() {
    let appliance = TestAppliance::with_pace(Pace {
        answer_ms: 400,
        failures_max: 50,
        ..PACE
    });
    let elsewhere = Receiver::start();
    let location = format!("location: {}\r\n", elsewhere.url());
    let receiver = Receiver::answering({
        let mut count = 0;
        move |_| {
            count += 1;
            match count {
                1 => Answer::Status(500),
                2 => Answer::Full(307, location.clone(), b"moved".to_vec()),
                3 => Answer::Hang,
                4 => Answer::Close,
                5 => Answer::Status(429),
                // More than is read of an answer.
                6 => Answer::Full(200, String::new(), vec![b'x'; 1 << 20]),
                _ => Answer::Status(202),
            }
        }
    });
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 3);
    let received = receiver.take(8);
    let first = &received[0];
    for again in &received[1..6] {
        assert_eq!((again.id(), &again.body), (first.id(), &first.body));
    }
    check_run(&received[5..], 0);
    receiver.is_quiet();
    elsewhere.is_quiet();
    let delivery = show(&appliance, "board")["delivery"].clone();
    assert_eq!(
        (&delivery["failures"], &delivery["lastStatus"]),
        (&json!(0), &json!(202))
    );
}

#[test]
fn a_webhook_that_fails_too_often_is_dead_and_resumes_without_a_gap() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 2);
    check_run(&receiver.take(2), 0);
    receiver.set(|_| Answer::Full(503, String::new(), b"hunter2".to_vec()));
    submit_many(&appliance, 2, 5);
    until("it is dead", || show(&appliance, "board")["state"] == "dead");
    let attempts = receiver.pending();
    assert_eq!(attempts.len(), 6, "as often as it may fail");
    assert!(attempts.iter().all(|one| correlation(one) == "c-2"));
    let dead = show(&appliance, "board");
    assert_eq!(
        (&dead["reason"], &dead["changedBy"]),
        (&json!("answered 503"), &json!("webhooks"))
    );
    let delivery = &dead["delivery"];
    assert_eq!(
        (&delivery["failures"], &delivery["lastStatus"]),
        (&json!(6), &json!(503))
    );
    let told = appliance.get("/api/v1/events?type=webhook.dead").expect(200);
    let payload = &told["items"][0]["payload"];
    assert_eq!(
        (&payload["failures"], &payload["cause"]),
        (&json!(6), &json!("answered 503"))
    );
    assert!(!told.to_string().contains("hunter2") && !dead.to_string().contains("hunter2"));
    receiver.is_quiet();
    receiver.set(|_| Answer::Status(204));
    let resumed = act(&appliance, "board", "resume", &json!({"reason": "mended"})).expect(200);
    assert_eq!(
        (&resumed["state"], &resumed["reason"]),
        (&json!("active"), &json!("mended"))
    );
    check_run(&receiver.take(3), 2);
    submit_many(&appliance, 5, 6);
    check_run(&receiver.take(1), 5);
    receiver.is_quiet();
}

#[test]
fn failures_in_a_row_are_counted_and_not_failures() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::answering({
        let mut count = 0;
        move |_| {
            count += 1;
            Answer::Status(if count % 5 == 0 { 204 } else { 500 })
        }
    });
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 4);
    let received = receiver.take(20);
    for (index, five) in received.chunks(5).enumerate() {
        assert!(five.iter().all(|one| correlation(one) == format!("c-{index}")));
    }
    assert_eq!(show(&appliance, "board")["state"], "active");
}

#[test]
fn a_receiver_that_is_gone_is_believed_at_once() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::with_statuses(&[410]);
    made(&receiver, &appliance);
    submit(&appliance, "c-0");
    until("it is dead", || show(&appliance, "board")["state"] == "dead");
    assert_eq!(receiver.pending().len(), 1);
    assert_eq!(show(&appliance, "board")["delivery"]["failures"], 1);
    // Dead it stays, through a restart as well.
    let appliance = appliance.restart();
    assert_eq!(show(&appliance, "board")["state"], "dead");
    receiver.is_quiet();
    act(&appliance, "board", "resume", &json!({})).expect(200);
    check_run(&receiver.take(1), 0);
}

#[test]
fn a_restart_goes_on_where_the_stop_was() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 5);
    check_run(&receiver.take(5), 0);
    until("all of it is done with", || {
        show(&appliance, "board")["delivery"]["lastStatus"] == 204
            && show(&appliance, "board")["delivery"]["behind"] == 0
    });
    let appliance = appliance.restart();
    receiver.is_quiet();
    submit_many(&appliance, 5, 8);
    check_run(&receiver.take(3), 5);

    act(&appliance, "board", "pause", &json!({})).expect(200);
    submit_many(&appliance, 8, 10);
    let appliance = appliance.restart();
    receiver.is_quiet();
    act(&appliance, "board", "resume", &json!({})).expect(200);
    check_run(&receiver.take(2), 8);
    receiver.is_quiet();
}

/// A crash leaves an older cursor, none, or half of one: what comes again has the ids that it had.
#[test]
fn after_a_crash_events_come_again_with_the_same_ids_and_none_is_left_out() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 2);
    check_run(&receiver.take(2), 0);
    let appliance = appliance.restart();
    let cursor = "webhooks/cursors/default/board";
    let older = std::fs::read(appliance.folder().join(cursor)).unwrap();
    submit_many(&appliance, 2, 6);
    let before = receiver.take(4);
    check_run(&before, 2);
    let write = older.clone();
    let appliance =
        appliance.restart_after(move |folder| std::fs::write(folder.join(cursor), write).unwrap());
    let again = receiver.take(4);
    check_run(&again, 2);
    for (again, before) in again.iter().zip(&before) {
        assert_eq!((again.id(), &again.body), (before.id(), &before.body));
    }
    receiver.is_quiet();
    let half = older[..older.len() / 2].to_vec();
    let appliance = appliance.restart_after(move |folder| std::fs::write(folder.join(cursor), half).unwrap());
    check_run(&receiver.take(6), 0);
    let appliance = appliance.restart_after(move |folder| std::fs::remove_file(folder.join(cursor)).unwrap());
    check_run(&receiver.take(6), 0);
    submit_many(&appliance, 6, 7);
    check_run(&receiver.take(1), 6);
}

#[test]
fn a_rebuilt_projection_changes_nothing() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 3);
    check_run(&receiver.take(3), 0);
    let appliance = appliance.restart();
    let seen = show(&appliance, "board");
    let appliance = appliance.restart_after(|folder| {
        let store = fastness::engine::Layout(folder.to_owned()).store();
        std::fs::remove_file(store).unwrap();
    });
    let again = show(&appliance, "board");
    for field in ["seq", "url", "types", "state", "createdAt", "changedBy"] {
        assert_eq!(seen[field], again[field], "{field}");
    }
    receiver.is_quiet();
    submit_many(&appliance, 3, 5);
    check_run(&receiver.take(2), 3);
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody_else() {
    let appliance = TestAppliance::start();
    let slow = Receiver::answering(|_| Answer::Hang);
    let quick = Receiver::start();
    for (name, receiver) in [("a", &slow), ("b", &quick), ("c", &slow)] {
        let body = json!({"url": receiver.url(), "types": ["job.created"]});
        put(&appliance, name, &body).expect(201);
    }
    submit_many(&appliance, 0, 100);
    check_run(&quick.take(100), 0);
    let hanging = slow.pending();
    assert_eq!(hanging.len(), 2, "one request on its way each");
    let told = show(&appliance, "a")["delivery"].clone();
    assert_eq!(told["failures"], 0);
    assert!(told["behind"].as_u64().unwrap() >= 99, "{told}");
    // Neither do deletion and change wait for it.
    assert_eq!(delete(&appliance, "a").status, 204);
    put(
        &appliance,
        "c",
        &json!({"url": quick.url(), "types": ["job.created"]}),
    )
    .expect(200);
    check_run(&quick.take(100), 0);
}

#[test]
fn two_secrets_sign_while_one_replaces_the_other() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    let rotated = act(&appliance, "board", "rotate", &json!({})).expect(200);
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert!(rotated["previousUntil"].is_string());
    submit(&appliance, "c-0");
    let both = receiver.next();
    let signatures: Vec<&str> = both.header("webhook-signature").split(' ').collect();
    let by = |secret: &str, one: &Received| format!("v1,{}", openssl_hmac(secret, &one.signed()));
    assert_eq!(signatures, [by(&second, &both), by(SECRET, &both)]);

    let third = STANDARD.encode([7; 32]);
    let body = json!({"secret": format!("whsk_{third}"), "overlapMs": 0});
    let rotated = act(&appliance, "board", "rotate", &body).expect(200);
    assert_eq!(
        (&rotated["previousUntil"], rotated.get("secret")),
        (&Value::Null, None)
    );
    assert_eq!(rotated["signature"], "ed25519");
    submit(&appliance, "c-1");
    let one = receiver.next();
    let signature = one.header("webhook-signature");
    assert!(
        signature.starts_with("v1a,") && !signature.contains(' '),
        "{signature}"
    );
    until("one key is kept", || {
        std::fs::read_dir(appliance.folder().join("webhooks/keys/default"))
            .unwrap()
            .count()
            == 1
    });
}

#[test]
fn a_test_sends_one_event_and_moves_nothing() {
    let appliance = TestAppliance::with_pace(Pace {
        answer_ms: 400,
        ..PACE
    });
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    let test = || act(&appliance, "board", "test", &json!({})).expect(200);
    let told = test();
    assert_eq!(
        (&told["outcome"], &told["status"]),
        (&json!("taken"), &json!(204))
    );
    let received = receiver.next();
    assert_eq!(received.json()["type"], "webhook.test");
    assert_eq!(received.json()["data"], json!({"webhook": "board"}));
    assert!(received.id().contains("_default_test_"), "{}", received.id());
    assert_eq!(
        received.header("webhook-signature"),
        format!("v1,{}", openssl_hmac(SECRET, &received.signed()))
    );
    act(&appliance, "board", "pause", &json!({})).expect(200);
    let before = show(&appliance, "board")["delivery"].clone();
    for (answer, outcome, status) in [
        (Answer::Status(500), "failed", json!(500)),
        (Answer::Status(302), "failed", json!(302)),
        (Answer::Status(410), "gone", json!(410)),
        (Answer::Hang, "failed", Value::Null),
        (Answer::Close, "failed", Value::Null),
    ] {
        receiver.set(move |_| answer.clone());
        let told = test();
        assert_eq!(
            (&told["outcome"], &told["status"]),
            (&json!(outcome), &status),
            "{told}"
        );
        assert!(told["error"].is_string(), "{told}");
    }
    assert_eq!(show(&appliance, "board")["delivery"], before);
    assert_eq!(show(&appliance, "board")["state"], "paused");
    drop(receiver);
    put(
        &appliance,
        "nobody",
        &json!({"url": "http://127.0.0.1:1/", "types": ["never"]}),
    )
    .expect(201);
    let told = act(&appliance, "nobody", "test", &json!({})).expect(200);
    assert!(
        told["error"].as_str().unwrap().contains("cannot connect"),
        "{told}"
    );
}

/// One that is made anew under a name begins anew, whatever file lies there.
#[test]
fn a_name_used_again_is_another_webhook() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    made(&receiver, &appliance);
    submit_many(&appliance, 0, 3);
    check_run(&receiver.take(3), 0);
    let appliance = appliance.restart();
    let cursor = "webhooks/cursors/default/board";
    let old = std::fs::read(appliance.folder().join(cursor)).unwrap();
    assert_eq!(delete(&appliance, "board").status, 204);
    let body = json!({"url": receiver.url(), "types": ["job.created"], "after": -1});
    receiver.set(|_| Answer::Status(500));
    put(&appliance, "board", &body).expect(201);
    until("it is dead", || show(&appliance, "board")["state"] == "dead");
    let _ = receiver.pending();
    receiver.set(|_| Answer::Status(204));
    let appliance = appliance.restart_after(move |folder| std::fs::write(folder.join(cursor), old).unwrap());
    act(&appliance, "board", "resume", &json!({})).expect(200);
    check_run(&receiver.take(3), 0);
}
