//! Webhooks over HTTP: what may be set and what may not, by whom, and what is recorded and kept of it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fastness::domain::Seq;
use fastness::domain::command::{ChangeWebhook, Command, WebhookChange};
use fastness::domain::token::Scope;
use fastness::egress::Mode;
use fastness::engine::CommandError;
use fastness::webhooks::Pace;
use serde_json::{Value, json};

use crate::support::appliance::{Ask, PACE, Reply, TestAppliance, files};
use crate::support::program::until;
use crate::support::receiver::{Answer, Receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub fn put(appliance: &TestAppliance, name: &str, body: &Value) -> Reply {
    put_if(appliance, name, body, None)
}

fn put_if(appliance: &TestAppliance, name: &str, body: &Value, tag: Option<&str>) -> Reply {
    let (path, body) = (format!("/api/v1/webhooks/{name}"), body.to_string());
    let mut asked = Ask::new("PUT", &path, body.as_bytes()).header("content-type", "application/json");
    if let Some(tag) = tag {
        asked = asked.header("if-match", tag);
    }
    appliance.send(&asked.token(&appliance.admin))
}

pub fn act(appliance: &TestAppliance, name: &str, verb: &str, body: &Value) -> Reply {
    appliance.post(&format!("/api/v1/webhooks/{name}/{verb}"), body.to_string())
}

pub fn show(appliance: &TestAppliance, name: &str) -> Value {
    appliance.get(&format!("/api/v1/webhooks/{name}")).expect(200)
}

pub fn delete(appliance: &TestAppliance, name: &str) -> Reply {
    let path = format!("/api/v1/webhooks/{name}");
    appliance.send(&Ask::new("DELETE", &path, b"").token(&appliance.admin))
}

/// Payloads of the events of webhooks, with their types.
fn recorded(appliance: &TestAppliance) -> Vec<(String, Value)> {
    let events = appliance
        .get("/api/v1/events?type=webhook.*&limit=500")
        .expect(200);
    let events = events["items"].as_array().unwrap().iter();
    let told = events.map(|event| {
        (
            event["type"].as_str().unwrap().to_owned(),
            event["payload"].clone(),
        )
    });
    told.collect()
}

/// Files of the data folder that hold a text.
fn holding(appliance: &TestAppliance, text: &str) -> Vec<PathBuf> {
    let holds = |file: &PathBuf| {
        let content = std::fs::read(file).unwrap_or_default();
        content
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    files(appliance.folder()).into_iter().filter(holds).collect()
}

#[test]
fn a_webhook_is_made_changed_and_ended() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    let settings = json!({"url": receiver.url(), "types": ["job.completed"], "filters": {"project": "core"},
        "secret": SECRET});
    let reply = put(&appliance, "board", &settings);
    let made = reply.expect(201);
    assert_eq!(reply.header("location"), Some("/api/v1/webhooks/board"));
    let tag = reply.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", made["seq"]));
    assert_eq!(
        (&made["state"], &made["signature"]),
        (&json!("active"), &json!("hmac-sha256"))
    );
    assert_eq!(made["filters"], json!({"project": "core"}));
    assert_eq!(made.get("secret"), None, "it was given, and is shown no more");
    assert_eq!(made["delivery"]["failures"], 0);
    assert_eq!(
        put_if(&appliance, "board", &settings, Some("\"999\"")).status,
        412
    );
    assert_eq!(put_if(&appliance, "other", &settings, Some("*")).status, 412);
    let wider = json!({"url": receiver.url()});
    let changed = put_if(&appliance, "board", &wider, Some(&tag)).expect(200);
    assert_eq!((&changed["types"], &changed["filters"]), (&json!([]), &json!({})));
    assert_eq!(changed["previousUntil"], Value::Null, "the secret is the same");

    let drawn = appliance
        .post("/api/v1/webhooks", json!({"url": receiver.url()}).to_string())
        .expect(201);
    let secret = drawn["secret"].as_str().unwrap();
    assert!(
        secret.starts_with("whsec_") && drawn["name"].as_str().unwrap().starts_with("wh-"),
        "{drawn}"
    );
    let named = json!({"name": "board", "url": receiver.url()}).to_string();
    assert_eq!(
        appliance.post("/api/v1/webhooks", named).problem(409),
        "name_taken"
    );
    let list = appliance.get("/api/v1/webhooks").expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert!(!list.to_string().contains("whsec_"));

    for secret in [SECRET, secret] {
        let kept = holding(&appliance, secret);
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert!(kept[0].starts_with(appliance.folder().join("webhooks/keys/default")));
        assert_eq!(
            std::fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let reasoned = Ask::new("DELETE", "/api/v1/webhooks/board", b"").header("x-fastness-reason", "moved");
    assert_eq!(appliance.send(&reasoned.token(&appliance.admin)).status, 204);
    assert_eq!(holding(&appliance, SECRET), Vec::<PathBuf>::new());
    assert!(!appliance.folder().join("webhooks/cursors/default/board").exists());
    assert_eq!(appliance.get("/api/v1/webhooks/board").problem(404), "not_found");
    assert_eq!(delete(&appliance, "board").problem(404), "not_found");
    let told = recorded(&appliance);
    let types: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        types,
        [
            "webhook.created",
            "webhook.changed",
            "webhook.created",
            "webhook.deleted"
        ]
    );
    assert_eq!(told[3].1, json!({"name": "board", "reason": "moved"}));
    assert_eq!(told[0].1["key"]["kind"], "hmac-sha256");
    assert_eq!(
        told[0].1["key"].as_object().unwrap().len(),
        2,
        "nothing of the secret"
    );
}

#[test]
fn what_stands_otherwise_than_if_match_says_is_not_changed() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    let settings = json!({"url": receiver.url(), "types": ["nothing"]});
    put(&appliance, "board", &settings).expect(201);
    let mut tag = put(&appliance, "board", &settings)
        .header("etag")
        .unwrap()
        .to_owned();
    let send = |method: &str, rest: &str, tag: &str| {
        let path = format!("/api/v1/webhooks/board{rest}");
        let asked = Ask::new(method, &path, b"").header("if-match", tag);
        appliance.send(&asked.token(&appliance.admin))
    };
    let verbs = [
        ("POST", "/test"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/rotate"),
        ("DELETE", ""),
    ];
    let before = recorded(&appliance).len();
    for (method, rest) in verbs {
        for other in ["\"0\"", &format!("W/{tag}"), &tag.replace('"', ""), "", "\u{e4}"] {
            let refused = send(method, rest, other);
            assert_eq!(
                refused.problem(412),
                "precondition_failed",
                "{method} {rest} {other}"
            );
        }
    }
    receiver.is_quiet();
    assert_eq!(recorded(&appliance).len(), before);
    assert_eq!(show(&appliance, "board")["state"], "active");
    for (method, rest) in verbs {
        let listed = format!("\"a, b\", {tag}");
        let done = send(method, rest, &listed);
        assert!(
            matches!(done.status, 200 | 204),
            "{method} {rest}: {}",
            done.status
        );
        if done.status == 200 && rest != "/test" {
            let next = format!("\"{}\"", done.json()["seq"]);
            assert_eq!(done.header("etag"), Some(next.as_str()), "{rest}");
            assert_eq!(send(method, rest, &tag).problem(412), "precondition_failed");
            tag = next;
        }
    }
    for (method, rest) in verbs {
        assert_eq!(send(method, rest, "*").problem(404), "not_found");
    }
}

#[test]
fn a_pause_that_was_meant_for_another_webhook_of_the_name_leaves_its_cursor() {
    let appliance = TestAppliance::start();
    let settings = json!({"url": "http://127.0.0.1:9/x", "types": ["nothing"], "after": -1});
    put(&appliance, "board", &settings).expect(201);
    assert_eq!(delete(&appliance, "board").status, 204);
    let seq = put(&appliance, "board", &settings).expect(201)["seq"]
        .as_u64()
        .unwrap();
    let pause = |opened, next| {
        let change = ChangeWebhook {
            expected: None,
            name: "board".parse().unwrap(),
            change: WebhookChange::Pause {
                next: Seq(next),
                opened: Seq(opened),
                reason: "late".to_owned(),
            },
        };
        changed(&appliance, change).unwrap();
        recorded(&appliance).last().unwrap().1["next"].clone()
    };
    assert_eq!(pause(seq - 1, seq), 0, "it has sent nothing yet");
    act(&appliance, "board", "resume", &json!({})).expect(200);
    assert_eq!(pause(seq, 1), 1);
}

#[test]
fn of_changes_to_one_state_at_the_same_time_one_is_made() {
    const ASKING: usize = 6;
    let appliance = TestAppliance::start();
    let settings = json!({"url": "http://127.0.0.1:9/x", "types": ["nothing"]});
    put(&appliance, "board", &settings).expect(201);
    for round in 0..10 {
        let tag = format!("\"{}\"", show(&appliance, "board")["seq"]);
        let at_once = std::sync::Barrier::new(ASKING);
        let replies: Vec<Reply> = std::thread::scope(|scope| {
            let ask = || {
                at_once.wait();
                put_if(&appliance, "board", &settings, Some(&tag))
            };
            let asking: Vec<_> = (0..ASKING).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!(made, 1, "round {round}");
        // Who is late is told either before or while the change is decided.
        for late in replies.iter().filter(|reply| reply.status != 200) {
            match late.status {
                409 => assert_eq!(late.problem(409), "webhook_changed"),
                _ => assert_eq!(late.problem(412), "precondition_failed"),
            }
        }
        assert_eq!(recorded(&appliance).len(), round + 2, "one event a round");
    }
    let seen = Seq(show(&appliance, "board")["seq"].as_u64().unwrap());
    put(&appliance, "board", &settings).expect(200);
    let overtaken = ChangeWebhook {
        expected: Some(seen),
        name: "board".parse().unwrap(),
        change: WebhookChange::Delete {
            reason: "late".to_owned(),
        },
    };
    let refused = changed(&appliance, overtaken).unwrap_err().to_string();
    assert!(refused.starts_with("webhook_changed"), "{refused}");
}

fn changed(appliance: &TestAppliance, change: ChangeWebhook) -> Result<(), CommandError> {
    let tenant = "default".parse().unwrap();
    let actor = fastness::domain::event::Actor::system("test");
    let command = Command::ChangeWebhook(Box::new(change));
    let told = appliance.engine.submit(&tenant, &actor, command);
    appliance.runtime.block_on(told).map(drop)
}

#[test]
fn what_is_no_webhook_is_refused() {
    let appliance = TestAppliance::start();
    let good = "http://127.0.0.1:9/x";
    for (url, code) in [
        ("", "url_invalid"),
        ("ftp://a/", "url_scheme"),
        ("https://a/", "url_tls_unsupported"),
        ("http://u:p@a/", "url_userinfo"),
        ("http://a/#x", "url_fragment"),
        ("http:///x", "url_host"),
        ("http://a:0/", "url_port"),
        ("http://169.254.169.254/", "url_address"),
    ] {
        let refused = put(&appliance, "a", &json!({ "url": url }));
        assert_eq!(refused.problem(422), code, "{url}");
        assert_eq!(refused.json()["errors"][0]["pointer"], "/url");
    }
    let many: Vec<String> = (0..65).map(|index| format!("t{index}")).collect();
    let uuid = "0190d7c4-0000-7000-8000-000000000000";
    for (body, pointer) in [
        (json!({"url": good, "types": [""]}), "/types/0"),
        (json!({"url": good, "types": ["ok", "a b"]}), "/types/1"),
        (json!({"url": good, "types": many}), "/types"),
        (
            json!({"url": good, "filters": {"project": "a b"}}),
            "/filters/project",
        ),
        (
            json!({"url": good, "filters": {"run": uuid, "packRun": uuid}}),
            "/filters/packRun",
        ),
        (
            json!({"url": good, "filters": {"run": uuid, "job": uuid}}),
            "/filters/job",
        ),
        (json!({"url": good, "secret": "hunter2"}), "/secret"),
        (
            json!({"url": good, "secret": SECRET, "signature": "ed25519"}),
            "/secret",
        ),
        (json!({"url": good, "after": -2}), "/after"),
        (json!({"url": good, "after": 1_000_000}), "/after"),
        (json!({"url": good, "overlapMs": 2_592_000_001_u64}), "/overlapMs"),
        (json!({"url": good, "signature": "md5"}), "/signature"),
    ] {
        let refused = put(&appliance, "a", &body);
        assert_eq!(refused.problem(422), "invalid_field", "{body}");
        let text = String::from_utf8(refused.body.clone()).unwrap();
        assert!(!text.contains("hunter2") && !text.contains(SECRET), "{text}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    let unknown = put(&appliance, "a", &json!({"url": good, "headers": {}}));
    assert_eq!(unknown.problem(422), "unknown_field");
    assert_eq!(
        put(&appliance, "A_B", &json!({ "url": good })).problem(422),
        "invalid_field"
    );
    assert_eq!(recorded(&appliance), []);
    put(&appliance, "a", &json!({ "url": good })).expect(201);
    let moved = put(&appliance, "a", &json!({"url": good, "after": -1}));
    assert_eq!(moved.problem(422), "invalid_field", "its cursor stays");
    assert_eq!(
        act(&appliance, "a", "resume", &json!({})).problem(409),
        "webhook_active"
    );
    act(&appliance, "a", "pause", &json!({"reason": "quiet"})).expect(200);
    assert_eq!(
        act(&appliance, "a", "pause", &json!({})).problem(409),
        "webhook_not_active"
    );
    assert_eq!(show(&appliance, "a")["reason"], "quiet");
}

#[test]
fn another_tenant_and_a_lesser_scope_find_nothing_and_may_nothing() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("other");
    put(&appliance, "a", &json!({"url": "http://127.0.0.1:9/"})).expect(201);
    let eve = appliance.token("eve", Scope::ALL, &["other"]);
    let body: &[u8] = br#"{"url":"http://127.0.0.1:9/"}"#;
    for (method, path, sent) in [
        ("GET", "/api/v1/webhooks/a", b"".as_slice()),
        ("DELETE", "/api/v1/webhooks/a", b""),
        ("POST", "/api/v1/webhooks/a/test", b"{}"),
        ("POST", "/api/v1/webhooks/a/rotate", b"{}"),
        ("POST", "/api/v1/webhooks/a/pause", b"{}"),
        ("POST", "/api/v1/webhooks/a/resume", b"{}"),
    ] {
        let asked = Ask::new(method, path, sent).header("content-type", "application/json");
        assert_eq!(
            appliance.send(&asked.token(&eve)).problem(404),
            "not_found",
            "{method} {path}"
        );
    }
    let theirs = Ask::new("PUT", "/api/v1/webhooks/a", body).header("content-type", "application/json");
    appliance.send(&theirs.token(&eve)).expect(201);
    assert_eq!(
        show(&appliance, "a")["seq"].as_u64(),
        show(&appliance, "a")["delivery"]["cursor"].as_u64(),
        "ours stands as it was"
    );
    let reader = appliance.token("rea", &[Scope::Read], &["default"]);
    assert_eq!(
        appliance
            .send(&Ask::get("/api/v1/webhooks/a").token(&reader))
            .status,
        200
    );
    let asked = Ask::new("PUT", "/api/v1/webhooks/a", body).header("content-type", "application/json");
    assert_eq!(
        appliance.send(&asked.token(&reader)).problem(403),
        "scope_required"
    );
}

#[test]
fn the_same_said_again_keeps_the_secret() {
    let appliance = TestAppliance::start();
    let body = json!({"url": "http://127.0.0.1:9/", "signature": "ed25519"});
    let made = put(&appliance, "a", &body).expect(201);
    let again = put(&appliance, "a", &body).expect(200);
    assert_eq!(again["publicKey"], made["publicKey"]);
    assert!(
        again["secret"].is_null() && again["previousUntil"].is_null(),
        "{again}"
    );
    let keys = || files(&appliance.folder().join("webhooks/keys")).len();
    let kept = keys();
    put(
        &appliance,
        "b",
        &json!({"url": "http://127.0.0.1:9/", "types": [""]}),
    )
    .problem(422);
    assert_eq!(keys(), kept, "what is refused leaves no key behind");
    let other = json!({"url": "http://127.0.0.1:9/", "signature": "hmac-sha256"});
    let other = put(&appliance, "a", &other).expect(200);
    assert!(
        other["secret"]
            .as_str()
            .is_some_and(|secret| secret.starts_with("whsec_"))
    );
}

#[test]
fn there_are_only_so_many() {
    let appliance = TestAppliance::start();
    let body = json!({"url": "http://127.0.0.1:9/", "types": ["never"]});
    for index in 0..fastness::limits::WEBHOOKS_PER_TENANT_MAX {
        put(&appliance, &format!("w{index}"), &body).expect(201);
    }
    assert_eq!(put(&appliance, "more", &body).problem(429), "limit_reached");
    put(&appliance, "w0", &body).expect(200);
    assert_eq!(delete(&appliance, "w0").status, 204);
    put(&appliance, "more", &body).expect(201);
    for tenant in 1..4 {
        let name = format!("t{tenant}");
        appliance.create_tenant(&name);
        let token = appliance.token("ada", Scope::ALL, &[&name]);
        for index in 0..fastness::limits::WEBHOOKS_PER_TENANT_MAX {
            let (path, body) = (format!("/api/v1/webhooks/w{index}"), body.to_string());
            let asked = Ask::new("PUT", &path, body.as_bytes()).header("content-type", "application/json");
            appliance.send(&asked.token(&token)).expect(201);
        }
    }
    appliance.create_tenant("t4");
    let token = appliance.token("ada", Scope::ALL, &["t4"]);
    let body = body.to_string();
    let asked =
        Ask::new("PUT", "/api/v1/webhooks/w", body.as_bytes()).header("content-type", "application/json");
    assert_eq!(appliance.send(&asked.token(&token)).problem(429), "limit_reached");
}

#[test]
fn nothing_is_sent_while_the_appliance_is_sealed_and_what_asks_for_it_is_recorded() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    let body = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &body).expect(201);
    put(&appliance, "idle", &body).expect(201);
    act(&appliance, "idle", "pause", &json!({})).expect(200);
    appliance.outlet.set(Mode::Sealed);
    let open = appliance.get("/api/v1/webhooks/board");
    assert_eq!(open.header("x-sealed-mode"), Some("true"));
    assert_eq!(open.expect(200)["delivery"]["blocked"], "sealed_mode");
    let refused = [
        (put(&appliance, "new", &body), "create"),
        (put(&appliance, "board", &body), "change"),
        (act(&appliance, "board", "test", &json!({})), "test"),
        (act(&appliance, "board", "rotate", &json!({})), "rotate"),
        (act(&appliance, "idle", "resume", &json!({})), "resume"),
    ];
    let mut told = recorded(&appliance);
    told.retain(|(name, _)| name == "webhook.refused");
    assert_eq!(told.len(), refused.len());
    for ((reply, operation), (_, payload)) in refused.iter().zip(&told) {
        assert_eq!(reply.problem(409), "sealed_mode", "{operation}");
        assert_eq!(
            (&payload["operation"], &payload["code"]),
            (&json!(operation), &json!("sealed_mode"))
        );
    }
    assert_eq!(appliance.get("/api/v1/webhooks/new").problem(404), "not_found");
    appliance
        .post("/api/v1/jobs", r#"{"type":"a","payload":{}}"#)
        .expect(201);
    receiver.is_quiet();
    assert_eq!(show(&appliance, "board")["delivery"]["failures"], 0);
    assert_eq!(delete(&appliance, "idle").status, 204);
    appliance.outlet.set(Mode::Open);
    assert_eq!(receiver.next().json()["type"], "job.created");
    assert_eq!(
        appliance.get("/api/v1/webhooks").header("x-sealed-mode"),
        Some("false")
    );
}

#[test]
fn what_is_on_its_way_is_cut_off_when_the_appliance_is_sealed() {
    // Longer than anybody waits here.
    let appliance = TestAppliance::with_pace(Pace {
        answer_ms: 600_000,
        ..PACE
    });
    let receiver = Receiver::answering(|_| Answer::Hang);
    put(
        &appliance,
        "board",
        &json!({"url": receiver.url(), "types": ["job.created"]}),
    )
    .expect(201);
    appliance
        .post("/api/v1/jobs", r#"{"type":"a","payload":{}}"#)
        .expect(201);
    let first = receiver.next();
    appliance.outlet.set(Mode::Sealed);
    receiver.is_quiet();
    assert_eq!(
        show(&appliance, "board")["delivery"]["failures"],
        0,
        "it is no failure"
    );
    receiver.set(|_| Answer::Status(200));
    appliance.outlet.set(Mode::Open);
    assert_eq!(receiver.next().id(), first.id());
}

#[test]
fn a_connection_kept_for_the_next_event_ends_when_the_appliance_is_sealed() {
    let appliance = TestAppliance::start();
    let receiver = Receiver::start();
    let settings = json!({"url": receiver.url(), "types": ["job.created"]});
    put(&appliance, "board", &settings).expect(201);
    let submit = || appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    submit();
    receiver.next();
    let is_taken = || show(&appliance, "board")["delivery"]["lastStatus"] == 204;
    until("the answer was read", is_taken);
    assert_eq!(receiver.open(), 1);
    appliance.outlet.set(Mode::Sealed);
    until("it has ended", || receiver.open() == 0);
    submit();
    receiver.is_quiet();
    appliance.outlet.set(Mode::Open);
    receiver.next();
}
