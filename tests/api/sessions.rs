//! The console's sign-in.

use fastness::domain::token::Scope;

use crate::support::appliance::{Ask, TestAppliance};

fn sign_in(appliance: &TestAppliance, secret: &str) -> (String, String) {
    let body = serde_json::json!({ "token": secret }).to_string();
    let reply = appliance.send(&Ask::post("/api/v1/session", body.as_bytes()));
    let session = reply.expect(200);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"),
        "{cookie}"
    );
    assert!(cookie.starts_with("fastness_"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    (pair, session["csrfToken"].as_str().unwrap().to_owned())
}

#[test]
fn a_session_reads_by_cookie_and_changes_only_with_its_csrf_token() {
    let appliance = TestAppliance::start();
    let (cookie, csrf) = sign_in(&appliance, &appliance.admin);
    let with_cookie = |asked: Ask<'static>| asked.header("cookie", &format!("other=1; {cookie}"));
    let session = appliance
        .send(&with_cookie(Ask::get("/api/v1/session")))
        .expect(200);
    assert_eq!(session["csrfToken"], csrf.as_str());
    assert_eq!(
        (&session["person"], &session["tenant"]),
        (&"admin".into(), &"default".into())
    );
    assert_eq!(appliance.send(&with_cookie(Ask::get("/api/v1/jobs"))).status, 200);
    let submit = || with_cookie(Ask::post("/api/v1/jobs", br#"{"type":"a"}"#));
    assert_eq!(appliance.send(&submit()).problem(403), "csrf_required");
    assert_eq!(
        appliance
            .send(&submit().header("x-fastness-csrf", "guess"))
            .problem(403),
        "csrf_required"
    );
    appliance
        .send(&submit().header("x-fastness-csrf", &csrf))
        .expect(201);
    let leave = || with_cookie(Ask::new("DELETE", "/api/v1/session", b""));
    assert_eq!(appliance.send(&leave()).problem(403), "csrf_required");
    assert_eq!(
        appliance.send(&leave().header("x-fastness-csrf", &csrf)).status,
        204
    );
    assert_eq!(
        appliance
            .send(&with_cookie(Ask::get("/api/v1/jobs")))
            .problem(401),
        "unauthenticated"
    );
}

#[test]
fn a_session_ends_with_its_token() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("gone", &[Scope::Read], &["default"], None);
    let (cookie, _) = sign_in(&appliance, &secret);
    let asked = Ask::get("/api/v1/jobs").header("cookie", &cookie);
    assert_eq!(appliance.send(&asked).status, 200);
    let mut stream = appliance.stream(&Ask::get("/api/v1/stream").header("cookie", &cookie));
    assert_eq!(stream.status, 200);
    let path = format!("/api/v1/tokens/{id}");
    let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
    assert_eq!(appliance.send(&revoke).status, 204);
    assert_eq!(appliance.send(&asked).problem(401), "unauthenticated");
    assert_eq!(stream.next_event(), None, "the stream ends by itself");
}

#[test]
fn a_bad_token_does_not_sign_in() {
    let appliance = TestAppliance::start();
    let reply = appliance.send(&Ask::post("/api/v1/session", br#"{"token":"guess"}"#));
    assert_eq!(reply.problem(401), "unauthenticated");
    assert_eq!(reply.header("set-cookie"), None);
    assert_eq!(
        appliance.send(&Ask::get("/api/v1/session")).problem(401),
        "unauthenticated"
    );
}
