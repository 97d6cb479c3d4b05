//! Webhooks from the command line, against the real program, which may be killed.

use serde_json::json;

use crate::support::program::{Program, until};
use crate::support::receiver::{Answer, Receiver};

#[test]
fn a_webhook_is_set_tested_rotated_stopped_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(&folder.path().join("data"));
    let receiver = Receiver::start();
    let url = receiver.url();
    let set = server.run(&["webhook", "set", "board", "--url", &url, "--type", "job.*"]);
    assert_eq!(set.code, 0, "{set:?}");
    assert!(
        set.stdout.starts_with("whsec_") && set.stdout.lines().count() == 1,
        "{set:?}"
    );
    let secret = set.stdout.trim();
    let tested = server.run(&["webhook", "test", "board", "-o", "json"]).json(0);
    assert_eq!(
        (&tested["outcome"], &tested["status"]),
        (&json!("taken"), &json!(204))
    );
    assert_eq!(receiver.next().json()["type"], "webhook.test");
    let set = server.run(&[
        "webhook",
        "set",
        "board",
        "--url",
        &url,
        "--type",
        "job.created",
        "-o",
        "json",
    ]);
    assert_eq!(set.json(0)["types"], json!(["job.created"]));
    let listed = server.run(&["webhook", "list"]);
    assert!(
        listed.stdout.contains("board") && listed.stdout.contains("active"),
        "{listed:?}"
    );
    assert!(!listed.stdout.contains(secret));
    let head = listed.stdout.lines().next().unwrap().to_lowercase();
    for figure in ["cursor", "behind", "failures", "laststatus", "retryat"] {
        assert!(head.contains(&format!("delivery.{figure}")), "{figure}: {head}");
    }
    let shown = server.run(&["webhook", "show", "board"]);
    assert!(
        shown.stdout.contains("delivery") && !shown.stdout.contains(secret),
        "{shown:?}"
    );

    let file = folder.path().join("secret");
    std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let file = file.to_str().unwrap();
    let rotate = [
        "webhook",
        "rotate",
        "board",
        "--secret-file",
        file,
        "--overlap",
        "1h",
        "-o",
        "json",
    ];
    assert!(server.run(&rotate).json(0)["previousUntil"].is_string());
    let paused = server.run(&["webhook", "pause", "board", "--reason", "night", "-o", "json"]);
    assert_eq!(paused.json(0)["reason"], "night");
    let resumed = server.run(&["webhook", "resume", "board", "-o", "json"]);
    assert_eq!(resumed.json(0)["state"], "active");
    receiver.set(|_| Answer::Status(500));
    assert_eq!(server.run(&["webhook", "test", "board"]).code, 1);

    server
        .run(&["webhook", "set", "x", "--url", "https://a/"])
        .refuses(2, "TLS");
    server.run(&["webhook", "resume", "board"]).refuses(5, "active");
    assert_eq!(server.run(&["webhook", "delete", "board"]).code, 0);
    server
        .run(&["webhook", "delete", "board"])
        .refuses(3, "no such webhook");
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
    let log = std::fs::read_to_string(folder.path().join("data.log")).unwrap();
    assert!(!log.contains("whsec_"), "{log}");
}

/// Killed again and again while events are sent: each comes, in the order of the ledger but for those that come again.
#[test]
fn kills_lose_no_event_and_change_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let receiver = Receiver::start();
    let mut server = Program::start(&data);
    let set = [
        "webhook",
        "set",
        "board",
        "--url",
        &receiver.url(),
        "--type",
        "job.created",
    ];
    assert_eq!(server.run(&set).code, 0);
    let mut ids = Vec::new();
    for round in 0..4 {
        let items: Vec<_> = (0..25)
            .map(|index| json!({"type": "a", "payload": {}, "correlationId": format!("c-{}", round * 25 + index)}))
            .collect();
        server.post("/api/v1/jobs/batch", &json!({ "items": items }).to_string());
        // Some are sent, then the power goes.
        ids.push(receiver.next());
        server.kill();
        server = Program::start(&data);
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut take = |all: &mut Vec<(String, String)>| {
        for one in ids.drain(..).chain(receiver.pending()) {
            let correlation = one.json()["data"]["correlationId"].as_str().unwrap().to_owned();
            all.push((correlation, one.id().to_owned()));
        }
    };
    until("the last one came", || {
        take(&mut seen);
        seen.iter().any(|(correlation, _)| correlation == "c-99")
    });
    let mut first: Vec<&(String, String)> = Vec::new();
    for one in &seen {
        match first.iter().find(|known| known.0 == one.0) {
            Some(known) => assert_eq!(known.1, one.1, "one event, one id"),
            None => first.push(one),
        }
    }
    let order: Vec<&str> = first
        .iter()
        .map(|(correlation, _)| correlation.as_str())
        .collect();
    let expected: Vec<String> = (0..100).map(|index| format!("c-{index}")).collect();
    assert_eq!(order, expected);
}
