//! What is refused, and how it is said.

use std::io::Write;

use fastness::domain::token::Scope;

use crate::support::appliance::{Ask, Reply, TestAppliance};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn traced<'a>(asked: Ask<'a>) -> Ask<'a> {
    asked.header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"))
}

#[test]
fn a_bad_body_is_refused_with_a_code_and_the_pointer_to_the_spot() {
    let appliance = TestAppliance::start();
    for (body, code, pointer) in [
        (
            r#"{"type":"a","payload":{},"source":true}"#,
            "unknown_field",
            "/source",
        ),
        (r#"{"type":"a","blackout":["/a"]}"#, "unknown_field", "/blackout"),
        (
            r#"{"type":"a","retries":{"max":1,"most":2}}"#,
            "unknown_field",
            "/retries/most",
        ),
        (r#"{"payload":{}}"#, "missing_field", "/type"),
        (r#"{"type":7}"#, "invalid_field", "/type"),
        (r#"{"type":"a","priority":10}"#, "invalid_field", "/priority"),
        (r#"{"type":"a","timeoutMs":1}"#, "invalid_field", "/timeoutMs"),
        (r#"{"type":"a b"}"#, "invalid_field", "/type"),
        (
            r#"{"type":"a","correlationId":"a\u007fb"}"#,
            "invalid_field",
            "/correlationId",
        ),
        (
            r#"{"type":"a","notBefore":"soon"}"#,
            "invalid_field",
            "/notBefore",
        ),
        (
            r#"{"type":"a","payload":{"x":{"y":1,"y":2}}}"#,
            "json_duplicate_key",
            "/payload/x/y",
        ),
        (
            r#"{"type":"a","payload":{"x":"\ud800"}}"#,
            "json_lone_surrogate",
            "/payload/x",
        ),
        (r#"{"type":"a","type":"b"}"#, "json_duplicate_key", "/type"),
        (r#"{"type":"a""#, "json_unexpected_end", ""),
        ("", "json_unexpected_end", ""),
    ] {
        let reply = appliance.post("/api/v1/jobs", body);
        assert_eq!(reply.problem(422), code, "{body}: {}", reply.json());
        assert_eq!(
            reply.json()["errors"][0]["pointer"],
            pointer,
            "{body}: {}",
            reply.json()
        );
    }
    assert_eq!(
        appliance.get("/api/v1/jobs").expect(200)["items"],
        serde_json::json!([])
    );
}

#[test]
fn what_passes_a_bound_is_refused() {
    let appliance = TestAppliance::start();
    let body = |bytes: usize| format!(r#"{{"type":"a","payload":"{}"}}"#, "x".repeat(bytes - 25));
    appliance.post("/api/v1/jobs", body(1 << 20)).expect(201);
    assert_eq!(
        appliance.post("/api/v1/jobs", body((1 << 20) + 1)).problem(413),
        "too_large"
    );
    let long = format!("/api/v1/jobs?type={}", "x".repeat(9_000));
    assert_eq!(appliance.get(&long).problem(414), "uri_too_long");
    let heavy = Ask::get("/api/v1/jobs").header("x-heavy", &"x".repeat(40_000));
    assert_eq!(appliance.send(&heavy).problem(431), "headers_too_large");
    let many = format!(r#"{{"items":[{}]}}"#, vec!["{}"; 1_001].join(","));
    assert_eq!(
        appliance.post("/api/v1/jobs/batch", many).problem(422),
        "too_large"
    );
    for (path, code) in [
        ("/api/v1/jobs?limit=0", "invalid_parameter"),
        ("/api/v1/jobs?limit=501", "invalid_parameter"),
        ("/api/v1/jobs?status=done", "invalid_parameter"),
        ("/api/v1/jobs?cursor=zz", "invalid_parameter"),
        ("/api/v1/jobs?colour=red", "unknown_parameter"),
        (
            "/api/v1/ledger/state?size=9223372036854775808",
            "invalid_parameter",
        ),
        ("/api/v1/events/0?size=9223372036854775808", "invalid_parameter"),
        ("/api/v1/stream?heartbeatMs=999", "invalid_parameter"),
        ("/api/v1/stream?heartbeatMs=60001", "invalid_parameter"),
        ("/api/v1/stream?after=x", "invalid_parameter"),
        ("/api/v1/stream?after=100000", "beyond_end"),
        ("/api/v1/stream?after=12345678901234567", "beyond_end"),
        ("/api/v1/events?after=12345678901234567", "beyond_end"),
        ("/api/v1/events?after=99999999999999999999999999", "beyond_end"),
        ("/api/v1/events?cursor=18446744073709551615", "beyond_end"),
        ("/api/v1/events?cursor=-2", "invalid_parameter"),
    ] {
        assert_eq!(appliance.get(path).problem(422), code, "{path}");
    }
}

#[test]
fn headers_that_are_said_twice_or_are_no_text_are_refused() {
    let appliance = TestAppliance::start();
    let other = appliance.token("other", Scope::ALL, &["default"]);
    let ask = |path: &'static str| Ask::get(path).token(&appliance.admin);
    for (name, values) in [
        ("last-event-id", ["0", "0"]),
        ("if-match", ["\"1\"", "\"2\""]),
        ("idempotency-key", ["a", "b"]),
        ("x-fastness-tenant", ["default", "default"]),
        ("x-fastness-csrf", ["a", "b"]),
        ("x-fastness-reason", ["a", "b"]),
    ] {
        let [first, second] = values;
        let twice = ask("/api/v1/events").also(name, first).also(name, second);
        let refused = appliance.send(&twice);
        assert_eq!(refused.problem(400), "duplicate_header", "{name}");
        let detail = refused.json()["detail"].as_str().unwrap().to_lowercase();
        assert!(detail.contains(name), "{detail}");
    }
    let two = ask("/api/v1/events").also("authorization", &format!("Bearer {other}"));
    assert_eq!(appliance.send(&two).problem(400), "duplicate_header");
    for id in ["\u{e4}", "1\u{2028}", "x", "1.2.3"] {
        for path in [
            "/api/v1/stream",
            "/api/v1/stream?after=0",
            "/api/v1/stream?job=0190d7c4-0000-7000-8000-000000000000",
        ] {
            let refused = appliance.send(&ask(path).header("last-event-id", id));
            assert_eq!(refused.problem(422), "invalid_parameter", "{path} {id:?}");
        }
    }
    let run = super::packs::finished_pack_run(&appliance);
    let path = format!("/api/v1/pack-runs/{run}/logs?follow=true");
    let asked = Ask::get(&path).token(&appliance.admin);
    let refused = appliance.send(&asked.header("last-event-id", "\u{e4}"));
    assert_eq!(refused.problem(422), "invalid_parameter");
}

#[test]
fn a_foreign_id_answers_the_same_bytes_as_one_that_never_was() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("other");
    let other = appliance.token("other", Scope::ALL, &["other"]);
    let job = appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
    let run = super::packs::finished_pack_run(&appliance);
    let (job, run) = (job["id"].as_str().unwrap(), run.as_str());
    let never = "0190d7c4-0000-7000-8000-000000000000";
    let answer = |method: &str, path: &str| -> Reply {
        let asked = Ask::new(method, path, b"").token(&other);
        let mut reply = appliance.send(&traced(asked));
        reply.headers.retain(|(name, _)| name != "date");
        reply
    };
    for (method, path, id) in [
        ("GET", "/api/v1/jobs/{}", job),
        ("GET", "/api/v1/jobs/{}/history", job),
        ("GET", "/api/v1/jobs/{}/events", job),
        ("POST", "/api/v1/jobs/{}/cancel", job),
        ("GET", "/api/v1/stream/jobs/{}", job),
        ("GET", "/api/v1/pack-runs/{}", run),
        ("POST", "/api/v1/pack-runs/{}/cancel", run),
        ("GET", "/api/v1/pack-runs/{}/logs", run),
        ("GET", "/api/v1/pack-runs/{}/artifacts", run),
        ("GET", "/api/v1/runs/{}/graph", run),
        ("GET", "/api/v1/runs/{}/timeline", run),
        ("GET", "/api/v1/stream/runs/{}", run),
        ("GET", "/api/v1/stream/pack-runs/{}", run),
    ] {
        let foreign = answer(method, &path.replace("{}", id));
        assert_eq!(foreign.problem(404), "not_found", "{method} {path}");
        assert_eq!(foreign.json()["traceId"], TRACE);
        assert_eq!(
            foreign,
            answer(method, &path.replace("{}", never)),
            "{method} {path}"
        );
        assert_eq!(
            foreign,
            answer(method, &path.replace("{}", "no-id")),
            "{method} {path}"
        );
    }
    for path in [
        "/api/v1/packs/demo",
        "/api/v1/packs/demo/versions/1",
        "/api/v1/packs/demo/versions/1/source",
    ] {
        assert_eq!(
            answer("GET", path),
            answer("GET", &path.replace("demo", "never")),
            "{path}"
        );
    }
}

#[test]
fn a_host_that_is_not_ours_is_refused() {
    let appliance = TestAppliance::start();
    let ask = |host: &str| appliance.send(&Ask::get("/livez").header("host", host));
    let port = appliance.address.port();
    for good in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "[::1]",
        &format!("127.0.0.1:{port}"),
        "[::1]:80",
    ] {
        assert_eq!(ask(good).status, 200, "{good}");
    }
    for bad in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "::1",
    ] {
        assert_eq!(ask(bad).problem(421), "host_not_allowed", "{bad}");
    }
}

#[test]
fn every_answer_says_version_and_mode_and_is_not_kept() {
    let appliance = TestAppliance::start();
    for path in [
        "/livez",
        "/readyz",
        "/healthz",
        "/version",
        "/metrics",
        "/api/v1/jobs",
        "/api/v1/nothing",
    ] {
        let reply = appliance.get(path);
        assert_eq!(
            reply.header("x-fastness-version"),
            Some(env!("CARGO_PKG_VERSION")),
            "{path}"
        );
        assert_eq!(reply.header("x-sealed-mode"), Some("false"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    assert_eq!(appliance.get("/api/v1/nothing").problem(404), "not_found");
    let wrong = Ask::new("PATCH", "/api/v1/jobs", b"").token(&appliance.admin);
    assert_eq!(appliance.send(&wrong).problem(405), "method_not_allowed");
    let keyed = Ask::post("/api/v1/tenants", br#"{"name":"a"}"#).token(&appliance.admin);
    let keyed = keyed.header("idempotency-key", "k-1");
    assert_eq!(appliance.send(&keyed).problem(422), "idempotency_not_supported");
    for (method, path, status) in [
        ("TRACE", "/api/v1/jobs", 405),
        ("DELETE", "/api/v1/jobs", 405),
        ("POST", "/api/v1/no", 404),
    ] {
        let keyed = Ask::new(method, path, b"").token(&appliance.admin);
        assert_eq!(
            appliance.send(&keyed.header("idempotency-key", "k-1")).status,
            status,
            "{method} {path}"
        );
    }
    let metrics = String::from_utf8(appliance.get("/metrics").body).unwrap();
    assert!(metrics.contains("fastness_build_info{version="), "{metrics}");
    assert!(
        metrics.contains("# TYPE fastness_journal_fsync_seconds summary"),
        "{metrics}"
    );
}

#[test]
fn the_metrics_tell_what_the_projection_does_not_show_yet() {
    let appliance = TestAppliance::start();
    let gauges = || {
        ["batches", "bytes", "age_seconds"]
            .map(|name| appliance.figure(&format!("fastness_projection_backlog_{name}")))
    };
    // Nobody reads: what was just answered waits for a tenth of a second, so that one of these looks finds it.
    let mut looks = (0..50).map(|_| {
        appliance.post("/api/v1/jobs", r#"{"type":"a"}"#).expect(201);
        gauges()
    });
    assert!(looks.any(|[batches, bytes, age]| batches >= 1.0 && bytes > 100.0 && (0.0..60.0).contains(&age)));
    // Whoever reads waits until everything answered is shown.
    appliance.get("/api/v1/jobs").expect(200);
    while gauges() != [0.0; 3] {
        std::thread::yield_now();
    }
}

#[test]
fn the_console_stands_at_the_root_under_a_strict_policy() {
    let appliance = TestAppliance::start();
    for path in ["/", "/runs/some-run", "/jobs"] {
        let reply = appliance.send(&Ask::get(path));
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.body.starts_with(b"<!doctype html>"), "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(policy.contains("require-trusted-types-for 'script'"), "{policy}");
    }
    assert_eq!(appliance.send(&Ask::get("/missing.js")).problem(404), "not_found");
    assert_eq!(
        appliance.send(&Ask::get("/api/v2/jobs")).problem(404),
        "not_found"
    );
}

#[test]
fn a_connection_that_says_nothing_useful_does_not_take_the_server_down() {
    let appliance = TestAppliance::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
    ] {
        let mut socket = appliance.connect();
        let _ = socket.write_all(bytes);
        drop(socket);
    }
    assert_eq!(appliance.get("/livez").status, 200);
}
