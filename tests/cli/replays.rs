//! `fastness replay-bundle`: the state of bundles, at any event, and shown.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use fastness::api::routes;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::transfers::Enclave;
use crate::api::scopes_path;
use crate::support::appliance::{Ask, Reply};
use crate::support::program::{call, command, run};

/// A server on replayed bundles.
struct Shown {
    child: Child,
    ready: Value,
}

impl Shown {
    fn of(source: &Enclave, files: &[&str], more: &[&str]) -> Self {
        let keys = source.keys();
        let line = [&["replay-bundle"], files, &["--serve", "-o", "json"], more].concat();
        let mut child = command(&Enclave::with_keys(&keys, &line))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        Shown {
            child,
            ready: serde_json::from_str(&ready).unwrap(),
        }
    }

    fn ask(&self, method: &str, path: &str) -> Reply {
        self.send(method, path, if method == "GET" { "" } else { "{}" })
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        let address = self.ready["url"]
            .as_str()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        let ask = Ask::new(method, path, body.as_bytes())
            .header("content-type", "application/json")
            .token(self.ready["token"].as_str().unwrap());
        call(address.parse().unwrap(), &ask).unwrap()
    }

    fn sign_in(&self) -> String {
        serde_json::json!({"token": self.ready["token"]}).to_string()
    }

    fn end(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_replayed_bundle_reads_as_its_source_and_is_never_written() {
    let source = Enclave::start();
    source.submit(3);
    let first = source.export("first", &["--to", "3"]);
    let second = source.export("second", &["--from", "3"]);
    let state = source.server.get("/api/v1/ledger/state");
    let shown = Shown::of(&source, &[&first, &second], &[]);
    assert_eq!(shown.ready["stateDigest"], state["stateDigest"]);
    let job = source.server.get("/api/v1/jobs")["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in [
        "/api/v1/ledger/state".to_owned(),
        "/api/v1/jobs".to_owned(),
        format!("/api/v1/jobs/{job}"),
        format!("/api/v1/jobs/{job}/history"),
        "/api/v1/events".to_owned(),
        "/api/v1/events/2?proof=1".to_owned(),
        "/api/v1/runs".to_owned(),
        "/api/v1/ledger/state?size=2".to_owned(),
    ] {
        assert_eq!(
            shown.ask("GET", &path).expect(200),
            source.server.get(&path),
            "{path}"
        );
    }
    assert_eq!(
        shown.send("POST", "/api/v1/session", &shown.sign_in()).status,
        200,
        "a console may sign in"
    );
    let mut refused = 0;
    for route in routes() {
        let reads = ["GET", "HEAD"].contains(&route.method.as_str());
        if reads || route.path == "/api/v1/session" || route.path.ends_with("/simulate") {
            continue;
        }
        let path = scopes_path(route.path);
        let reply = shown.ask(route.method.as_str(), &path);
        assert_eq!(reply.problem(409), "foreign_read_only", "{} {path}", route.method);
        refused += 1;
    }
    assert!(refused > 40, "{refused}");
    assert_eq!(shown.ask("GET", "/api/v1/ledger/state").expect(200), state);
    shown.end();
}

#[test]
fn the_state_at_an_event_is_that_of_the_source_then() {
    let source = Enclave::start();
    source.submit(3);
    let first = source.export("first", &["--to", "3"]);
    let second = source.export("second", &["--from", "3"]);
    let keys = source.keys();
    for at in 0..4_u64 {
        let then = source
            .server
            .get(&format!("/api/v1/ledger/state?size={}", at + 1));
        let text = at.to_string();
        let line = ["replay-bundle", &first, &second, "--at", &text, "-o", "json"];
        let replayed = run(&Enclave::with_keys(&keys, &line)).json(0);
        assert_eq!(replayed["stateDigest"], then["stateDigest"], "at {at}");
        assert_eq!(replayed["size"], at + 1);
    }
    let line = ["replay-bundle", &first, &second, "--at", "4"];
    run(&Enclave::with_keys(&keys, &line)).refuses(2, "there is no 4");
    let shown = Shown::of(&source, &[&first, &second], &["--at", "1"]);
    let then = source.server.get("/api/v1/ledger/state?size=2");
    assert_eq!(shown.ask("GET", "/api/v1/ledger/state").expect(200), then);
    assert_eq!(shown.ask("GET", "/api/v1/events/2").status, 404);
    assert_eq!(
        shown.ask("GET", "/api/v1/jobs").expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    shown.end();
    let line = ["replay-bundle", &first, "--serve", "--listen", "0.0.0.0:0"];
    run(&Enclave::with_keys(&keys, &line)).refuses(2, "loopback");
    let gap = ["replay-bundle", &second];
    assert_eq!(run(&Enclave::with_keys(&keys, &gap)).code, 11);
}
