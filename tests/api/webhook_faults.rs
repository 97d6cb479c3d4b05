//! Webhooks against receivers that answer without end, clients that hang up, and a stop at the worst moment.

use std::io::Write as _;
use std::time::{Duration, Instant};

use fastness::domain::Timestamp;
use fastness::limits;
use fastness::webhooks::Pace;
use serde_json::json;

use super::webhooks::{act, delete, put, show};
use crate::support::appliance::{Ask, PACE, TestAppliance};
use crate::support::program::until;
use crate::support::receiver::{Answer, Receiver};

fn submit(appliance: &TestAppliance, correlation: &str) {
    let body = json!({"type": "scan", "payload": {}, "correlationId": correlation});
    appliance.post("/api/v1/jobs", body.to_string()).expect(201);
}

fn correlations(receiver: &Receiver, count: usize) -> Vec<String> {
    let told = receiver.take(count);
    let names = told
        .iter()
        .map(|received| received.json()["data"]["correlationId"].clone());
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn answers_without_end_are_failures_that_hold_up_nobody() {
    let appliance = TestAppliance::start();
    let endless = [
        (
            "interim",
            Answer::Endless("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ),
        (
            "head",
            Answer::Endless("HTTP/1.1 200 OK\r\n", "x-more: of the same\r\n"),
        ),
    ];
    let receivers: Vec<Receiver> = endless
        .iter()
        .map(|(name, answer)| {
            let answer = answer.clone();
            let receiver = Receiver::answering(move |_| answer.clone());
            let body = json!({"url": receiver.url(), "types": ["job.created"]});
            put(&appliance, name, &body).expect(201);
            receiver
        })
        .collect();
    submit(&appliance, "c-0");
    for ((name, _), receiver) in endless.iter().zip(&receivers) {
        receiver.next();
        until("the answer is given up", || {
            let delivery = show(&appliance, name)["delivery"].clone();
            delivery["failures"].as_u64().unwrap() >= 1 && delivery["lastStatus"].is_null()
        });
    }
}

#[test]
fn an_event_that_was_answered_does_not_come_again_however_the_answer_goes_on() {
    let appliance = TestAppliance::start();
    let head = "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n";
    let receiver = Receiver::answering(move |_| Answer::Endless(head, "1\r\nx\r\n"));
    let body = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &body).expect(201);
    for name in ["c-0", "c-1", "c-2"] {
        submit(&appliance, name);
    }
    assert_eq!(correlations(&receiver, 3), ["c-0", "c-1", "c-2"]);
    until("the last is done with", || {
        let delivery = show(&appliance, "board")["delivery"].clone();
        delivery["lastStatus"] == 202 && delivery["behind"] == 0 && delivery["failures"] == 0
    });
    receiver.is_quiet();
}

/// What was taken before is on the disk although the next event hangs: a crash does not bring it again.
#[test]
fn the_cursor_is_written_while_an_event_is_on_its_way() {
    let appliance = TestAppliance::start();
    let mut taken = 0;
    let receiver = Receiver::answering(move |_| {
        taken += 1;
        if taken <= 3 {
            Answer::Status(204)
        } else {
            Answer::Hang
        }
    });
    let body = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &body).expect(201);
    for index in 0..4 {
        submit(&appliance, &format!("c-{index}"));
    }
    assert_eq!(correlations(&receiver, 4), ["c-0", "c-1", "c-2", "c-3"]);
    let path = appliance.folder().join("webhooks/cursors/default/board");
    let mut cursor = String::new();
    until("the cursor is on the disk", || {
        cursor = std::fs::read_to_string(&path).unwrap_or_default();
        cursor.contains("\"lastStatus\":204")
            && show(&appliance, "board")["delivery"]["cursor"]
                .as_i64()
                .is_some_and(|last| cursor.contains(&format!("\"next\":{}", last + 1)))
    });
    receiver.set(|_| Answer::Status(204));
    let appliance = appliance.restart_after(move |_| std::fs::write(path, cursor).unwrap());
    assert_eq!(correlations(&receiver, 1), ["c-3"]);
    receiver.is_quiet();
    drop(appliance);
}

#[test]
fn clients_that_hang_up_do_not_pass_the_bound_on_webhooks_nor_leave_keys() {
    let appliance = TestAppliance::start();
    let list = || {
        let listed = appliance.get("/api/v1/webhooks?limit=500").expect(200);
        listed["items"].as_array().unwrap().len()
    };
    let mut number = 0;
    let mut attempt = || {
        number += 1;
        let body = json!({"name": format!("w-{number}"), "url": "http://127.0.0.1:9/", "types": ["x.*"]})
            .to_string();
        let asked = Ask::post("/api/v1/webhooks", body.as_bytes())
            .header("content-type", "application/json")
            .token(&appliance.admin);
        let mut socket = appliance.connect();
        socket
            .write_all(&asked.bytes(socket.peer_addr().unwrap()))
            .unwrap();
        socket
    };
    // Some are gone before they are read, some while they are made.
    let mut sockets = Vec::new();
    until("as many as there may be", || {
        sockets.push(attempt());
        if sockets.len() > 3 {
            drop(sockets.remove(0));
        }
        list() >= 16
    });
    for _ in 0..40 {
        drop(attempt());
    }
    drop(sockets);
    let keys = || walk(&appliance.folder().join("webhooks/keys"));
    until("and no key besides theirs", || keys() == 16);
    assert_eq!(list(), 16);
}

fn walk(folder: &std::path::Path) -> usize {
    crate::support::appliance::files(folder).len()
}

/// Whoever deletes a webhook wants nothing more to be sent: what is on its way is cut off, and nobody waits for it.
#[test]
fn a_receiver_that_hangs_keeps_no_change_waiting() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::answering(|_| Answer::Hang);
    let body = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &body).expect(201);
    submit(&appliance, "c-0");
    receiver.next();
    let began = Instant::now();
    put(
        &appliance,
        "board",
        &json!({"url": receiver.url(), "types": ["run.*"]}),
    )
    .expect(200);
    assert_eq!(delete(&appliance, "board").status, 204);
    let body = json!({"url": receiver.url(), "types": ["job.created"], "after": 0});
    put(&appliance, "board", &body).expect(201);
    let again = receiver.next();
    assert_eq!(again.json()["data"]["correlationId"], "c-0");
    assert_eq!(delete(&appliance, "board").status, 204);
    let taken = began.elapsed();
    assert!(
        taken < Duration::from_millis(limits::WEBHOOK_STOP_MS_MAX),
        "{taken:?}"
    );
    until("both are cut off", || receiver.open() == 0);
    assert!(!appliance.folder().join("webhooks/cursors/default/board").exists());
}

/// What was recorded counts across restarts: a receiver that asked for time is given it.
#[test]
fn a_restart_does_not_make_an_attempt_earlier() {
    let appliance = TestAppliance::with_pace(Pace {
        retry_ms: 60_000,
        retry_ms_max: 60_000,
        ..PACE
    });
    let receiver = Receiver::with_statuses(&[500]);
    let body = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &body).expect(201);
    submit(&appliance, "c-0");
    receiver.next();
    let retry_at = |appliance: &TestAppliance| show(appliance, "board")["delivery"]["retryAt"].clone();
    until("the failure is noted", || retry_at(&appliance).is_string());
    let noted = retry_at(&appliance);
    let appliance = appliance.restart();
    receiver.is_quiet();
    assert_eq!(retry_at(&appliance), noted);
    // A change gives it a new chance at once.
    act(&appliance, "board", "pause", &json!({})).expect(200);
    act(&appliance, "board", "resume", &json!({})).expect(200);
    assert_eq!(correlations(&receiver, 1), ["c-0"]);
    until("it was taken", || {
        show(&appliance, "board")["delivery"]["behind"] == 0
    });
    assert_eq!(retry_at(&appliance), json!(null));
}

#[test]
fn a_receiver_that_names_a_time_is_given_it_within_bounds() {
    let waits = |status: u16, header: &str| {
        let appliance = TestAppliance::with_pace(Pace {
            retry_ms: 1_000,
            retry_ms_max: 120_000,
            ..PACE
        });
        let header = format!("{header}\r\n");
        let receiver = Receiver::answering(move |_| Answer::Full(status, header.clone(), Vec::new()));
        let body = json!({"url": receiver.url(), "types": ["job.created"]});
        put(&appliance, "board", &body).expect(201);
        submit(&appliance, "c-0");
        receiver.next();
        let mut delivery = json!(null);
        until("the failure is noted", || {
            delivery = show(&appliance, "board")["delivery"].clone();
            delivery["retryAt"].is_string()
        });
        let at = |name: &str| -> Timestamp { delivery[name].as_str().unwrap().parse().unwrap() };
        at("retryAt").since_ms(at("lastAttemptAt")) / 10_000
    };
    for (status, header, tens) in [
        (503, "retry-after: 65", 6),
        (429, "Retry-After:  35 ", 3),
        (503, "retry-after: 9999999999999999999999", 12),
        (503, "retry-after: Thu, 31 Dec 2099 23:59:59 GMT", 12),
        (503, "retry-after: Thu, 01 Jan 2015 00:00:00 GMT", 0),
        (503, "retry-after: -5", 0),
        (503, "retry-after: soon", 0),
        (500, "retry-after: 65", 0),
    ] {
        assert_eq!(waits(status, header), tens, "{status} {header}");
    }
}

#[test]
fn metrics_tell_what_became_of_deliveries_and_how_far_behind_they_are() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::with_statuses(&[500]);
    let body = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &body).expect(201);
    let sample = |name: &str| appliance.figure(name);
    let count = |outcome: &str| {
        sample(&format!(
            "fastness_webhook_deliveries_total{{outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!((count("taken"), count("failed"), count("gone")), (0.0, 0.0, 0.0));
    submit(&appliance, "c-0");
    receiver.take(2);
    until("both are counted", || {
        (count("taken"), count("failed")) == (1.0, 1.0)
    });
    until("nothing is left", || {
        sample("fastness_webhook_behind_events") == 0.0
    });
    act(&appliance, "board", "pause", &json!({})).expect(200);
    submit(&appliance, "c-1");
    let stands = |state: &str| sample(&format!("fastness_webhooks{{state=\"{state}\"}}"));
    assert_eq!(
        (stands("active"), stands("paused"), stands("dead")),
        (0.0, 1.0, 0.0)
    );
    assert_eq!(
        sample("fastness_webhook_behind_events"),
        0.0,
        "one that is paused does not lag"
    );
    receiver.set(|_| Answer::Status(410));
    act(&appliance, "board", "resume", &json!({})).expect(200);
    until("it is gone", || count("gone") == 1.0 && stands("dead") == 1.0);
}
