//! The whole table of routes, against every kind of caller.

use std::collections::BTreeSet;

use fastness::api::{Access, Route, routes};
use fastness::domain::Timestamp;
use fastness::domain::token::Scope;

use crate::support::appliance::{Ask, TestAppliance};

/// A path of the route that leads to nothing.
pub fn path_of(path: &str) -> String {
    path.replace("{id}", "0190d7c4-0000-7000-8000-000000000000")
        .replace("{sha256}", &"0".repeat(64))
        .replace("{name}", "nothing")
        .replace("{step}", "nothing")
        .replace("{version}", "1")
        .replace("{seq}", "999999")
}

/// The code with which a caller is kept out; none where the route's own handler answered.
fn refusal(
    appliance: &TestAppliance,
    route: &Route,
    token: Option<&str>,
    tenant: Option<&str>,
) -> Option<String> {
    let path = path_of(route.path);
    let mut asked = Ask::new(route.method.as_str(), &path, b"").header("content-type", "application/json");
    if let Some(token) = token {
        asked = asked.token(token);
    }
    if let Some(tenant) = tenant {
        asked = asked.header("x-fastness-tenant", tenant);
    }
    if route.path.ends_with("/stream") && appliance.stream(&asked).status == 200 {
        return None;
    }
    let reply = appliance.send(&asked);
    let is_kept_out = matches!(reply.status, 401 | 403);
    is_kept_out.then(|| reply.problem(reply.status))
}

#[test]
fn every_route_admits_exactly_its_scope() {
    let appliance = TestAppliance::start();
    appliance.create_tenant("other");
    let soon = Timestamp::from_ms(appliance.engine.clock().wall_ms() + 300);
    let (expired, _) = appliance.token_until("late", Scope::ALL, &["default"], Some(soon));
    let several = appliance.token("several", Scope::ALL, &["default", "other"]);
    while appliance.engine.clock().wall_ms() <= soon.as_ms() {
        std::thread::yield_now();
    }
    for route in &routes() {
        let name = format!("{} {}", route.method, route.path);
        let check = |token: Option<&str>, tenant: Option<&str>, expected: Option<&str>, who: &str| {
            let found = refusal(&appliance, route, token, tenant);
            assert_eq!(found.as_deref(), expected, "{name} for {who}");
        };
        let (scope, with_tenant) = match route.access {
            Access::Open => {
                check(None, None, None, "nobody");
                continue;
            }
            Access::Signed => {
                check(None, None, Some("unauthenticated"), "nobody");
                check(Some(&expired), None, Some("unauthenticated"), "an expired token");
                continue;
            }
            Access::Tenant(scope) | Access::Tenants(scope) => (scope, true),
            Access::Appliance(scope) => (scope, false),
        };
        let right = appliance.token("right", &[scope], &["default"]);
        let others = Scope::ALL.iter().copied().filter(|other| *other != scope);
        let wrong = appliance.token("wrong", &others.collect::<Vec<_>>(), &["default"]);
        check(None, None, Some("unauthenticated"), "nobody");
        check(
            Some("no such secret"),
            None,
            Some("unauthenticated"),
            "an unknown token",
        );
        check(Some(&expired), None, Some("unauthenticated"), "an expired token");
        check(
            Some(&wrong),
            None,
            Some("scope_required"),
            "every scope but the right one",
        );
        check(Some(&right), None, None, "the right scope alone");
        if with_tenant {
            check(
                Some(&right),
                Some("other"),
                Some("tenant_forbidden"),
                "another tenant",
            );
            check(Some(&right), Some("default"), None, "its own tenant by name");
            check(
                Some(&several),
                None,
                Some("tenant_required"),
                "several tenants, none named",
            );
            check(Some(&several), Some("other"), None, "several tenants, one named");
        }
    }
}

#[test]
fn a_revoked_token_is_nobody_at_once() {
    let appliance = TestAppliance::start();
    let (secret, id) = appliance.token_until("gone", &[Scope::Read], &["default"], None);
    let asked = Ask::get("/api/v1/jobs").token(&secret);
    assert_eq!(appliance.send(&asked).status, 200);
    let path = format!("/api/v1/tokens/{id}");
    let revoke = Ask::new("DELETE", &path, b"").token(&appliance.admin);
    assert_eq!(appliance.send(&revoke).status, 204);
    assert_eq!(appliance.send(&revoke).status, 204, "again is no error");
    assert_eq!(appliance.send(&asked).problem(401), "unauthenticated");
}

#[test]
fn a_token_is_made_shown_once_and_listed_without_its_secret() {
    let appliance = TestAppliance::start();
    let body = r#"{"name":"ci","person":"alex","scopes":["orch:read"],"tenants":["default"]}"#;
    let made = appliance.post("/api/v1/tokens", body).expect(201);
    let secret = made["token"].as_str().unwrap();
    assert_eq!(
        appliance.send(&Ask::get("/api/v1/jobs").token(secret)).status,
        200
    );
    let listed = appliance.get("/api/v1/tokens").expect(200).to_string();
    assert!(listed.contains("alex") && !listed.contains(secret));
    for (body, code) in [
        (
            r#"{"name":"","person":"a","scopes":[],"tenants":["default"]}"#,
            "invalid_field",
        ),
        (
            r#"{"name":"a","person":"a","scopes":["orch:all"],"tenants":["default"]}"#,
            "invalid_field",
        ),
        (
            r#"{"name":"a","person":"a","scopes":[],"tenants":[]}"#,
            "invalid_field",
        ),
        (
            r#"{"name":"a","person":"a","scopes":[],"tenants":["nowhere"]}"#,
            "not_found",
        ),
        (
            r#"{"name":"a","person":"a","scopes":[],"tenants":["default"],"expiresAt":"2001-01-01T00:00:00Z"}"#,
            "invalid_field",
        ),
    ] {
        assert_eq!(
            appliance.post("/api/v1/tokens", body).problem(422),
            code,
            "{body}"
        );
    }
    appliance
        .post("/api/v1/tenants", r#"{"name":"acme"}"#)
        .expect(201);
    assert_eq!(
        appliance
            .post("/api/v1/tenants", r#"{"name":"acme"}"#)
            .problem(409),
        "name_taken"
    );
    assert_eq!(
        appliance.post("/api/v1/tenants", r#"{"name":"A"}"#).problem(422),
        "invalid_field"
    );
    assert_eq!(
        appliance.get("/api/v1/tenants").expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn the_system_ledger_is_read_by_administrators_alone() {
    let appliance = TestAppliance::start();
    let reader = appliance.token("reader", &[Scope::Read], &["default"]);
    let ask = |token: &str| {
        let asked = Ask::get("/api/v1/events?type=tenant.*").token(token);
        appliance.send(&asked.header("x-fastness-tenant", "system"))
    };
    assert_eq!(ask(&reader).problem(403), "tenant_forbidden");
    let events = ask(&appliance.admin).expect(200);
    assert_eq!(events["items"][0]["payload"]["name"], "default");
}

#[test]
fn the_description_names_every_route_and_its_scope() {
    let appliance = TestAppliance::start();
    let document = appliance
        .send(&Ask::get("/openapi/orchestrator.json"))
        .expect(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert((method.to_uppercase(), path.clone()));
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert!(problem["schema"]["$ref"].is_string(), "{method} {path}");
        }
    }
    let table: BTreeSet<_> = routes()
        .iter()
        .map(|route| (route.method.as_str().to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(described, table);
    for route in &routes() {
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        let security = match route.access {
            Access::Open => continue,
            // These are about the session, and a token is none.
            Access::Signed => serde_json::json!([{"session": []}]),
            Access::Tenant(scope) | Access::Tenants(scope) | Access::Appliance(scope) => {
                let scope = scope.as_str();
                serde_json::json!([{"token": [scope]}, {"session": [scope]}])
            }
        };
        assert_eq!(operation["security"], security, "{}", route.path);
    }
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            schemas.contains_key(name),
            "{name} is referred to and not described"
        );
    }
    let moved = appliance.send(&Ask::get("/.well-known/openapi"));
    assert_eq!(moved.header("location"), Some("/openapi/orchestrator.json"));
}

#[test]
fn the_routes_that_are_about_the_whole_enclave_are_told() {
    let told = include_str!("../../docs/trust.md");
    let section = told.split("## Rights over the whole enclave").nth(1).unwrap();
    for route in routes() {
        let Access::Appliance(scope) = route.access else {
            continue;
        };
        let path = route.path.strip_prefix("/api/v1").unwrap();
        let row = section
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", scope.as_str())));
        let row = row.unwrap_or_else(|| panic!("no row of {}", scope.as_str()));
        assert!(row.contains(&format!("`{path}`")), "{path} is not told");
    }
}
