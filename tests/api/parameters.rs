//! Query parameters of every route that is described: those described are taken, others are refused.

use fastness::api::routes;
use serde_json::Value;

use super::scopes::path_of;
use crate::support::appliance::{Ask, TestAppliance};

/// Method, path and query parameters of every operation.
fn operations(appliance: &TestAppliance) -> Vec<(String, String, Vec<String>)> {
    let document = appliance.get("/openapi/orchestrator.json").expect(200);
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let of_query = all.filter(|parameter| parameter["in"] == "query");
            let name = |parameter: &Value| parameter["name"].as_str().unwrap().to_owned();
            found.push((method.to_uppercase(), path.clone(), of_query.map(name).collect()));
        }
    }
    assert_eq!(found.len(), routes().len(), "what is served is described");
    found
}

#[test]
fn no_route_takes_a_parameter_that_is_not_described() {
    let appliance = TestAppliance::start();
    for (method, path, _) in operations(&appliance) {
        for query in ["nonsense=1", "=", "limit=1&nonsense", "%6eonsense=1"] {
            let place = format!("{}?{query}", path_of(&path));
            let asked = Ask::new(&method, &place, b"").header("content-type", "application/json");
            let reply = appliance.send(&asked.token(&appliance.admin));
            assert_eq!(reply.problem(422), "unknown_parameter", "{method} {place}");
        }
        let place = format!("{}?", path_of(&path));
        if !path.contains("/stream") {
            let asked = Ask::new(&method, &place, b"").header("content-type", "application/json");
            let reply = appliance.send(&asked.token(&appliance.admin));
            assert!(
                !String::from_utf8_lossy(&reply.body).contains("unknown_parameter"),
                "{method} {place}"
            );
        }
    }
}

#[test]
fn who_may_not_ask_is_told_that_and_nothing_of_parameters() {
    let appliance = TestAppliance::start();
    let asked = Ask::get("/api/v1/jobs?nonsense=1");
    assert_eq!(appliance.send(&asked).problem(401), "unauthenticated");
}

#[test]
fn every_described_parameter_is_taken() {
    let appliance = TestAppliance::start();
    // A stream that takes its parameters does not end.
    let operations = operations(&appliance).into_iter();
    for (method, path, names) in operations.filter(|(_, path, _)| !path.contains("/stream")) {
        for name in names {
            let place = format!("{}?{name}=1", path_of(&path));
            let asked = Ask::new(&method, &place, b"").header("content-type", "application/json");
            let reply = appliance.send(&asked.token(&appliance.admin));
            assert!(
                !String::from_utf8_lossy(&reply.body).contains("unknown_parameter"),
                "{method} {place}: {}",
                String::from_utf8_lossy(&reply.body)
            );
        }
    }
}
