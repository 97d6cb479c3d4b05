//! Webhooks against receivers that answer without end, clients that hang up, and a stop at the worst moment.

use std::io::Write as _;

use serde_json::json;

use super::webhooks::{put, show};
use crate::support::appliance::{Ask, TestAppliance};
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
