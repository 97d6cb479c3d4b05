//! Redaction over HTTP: fields that no event holds, handed to workers whole, shown to who may, exported by policy, erased.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fastness::bundle::export::bundle_path;
use fastness::bundle::{Options, Report, verify};
use fastness::domain::TenantName;
use fastness::domain::event::Actor;
use fastness::domain::token::Scope;
use fastness::engine::{Claim, LOCAL_WORKER, Reach, Wanted};
use serde_json::{Value, json};

use super::jobs::{claim, complete};
use crate::bundle::parts;
use crate::support::appliance::{Ask, Reply, TestAppliance, files};

/// Every way of writing it down differs from every other.
const PLANTED: &str = "hunter2 \"ü\"/+%\u{1F512}";

fn submit(appliance: &TestAppliance, body: Value) -> Value {
    appliance.post("/api/v1/jobs", body.to_string()).expect(201)
}

fn read(appliance: &TestAppliance, job: &Value) -> Value {
    let id = job["id"].as_str().unwrap();
    appliance.get(&format!("/api/v1/jobs/{id}")).expect(200)
}

fn act(appliance: &TestAppliance, kind: &str, thing: &Value, what: &str) -> Reply {
    let id = thing["id"].as_str().unwrap();
    appliance.post(&format!("/api/v1/{kind}/{id}/{what}"), r#"{"reason":"asked"}"#)
}

fn set_policy(appliance: &TestAppliance, name: &str, rules: Value) -> Reply {
    let (path, body) = (
        format!("/api/v1/redaction-policies/{name}"),
        json!({"rules": rules}).to_string(),
    );
    let asked = Ask::new("PUT", &path, body.as_bytes()).header("content-type", "application/json");
    appliance.send(&asked.token(&appliance.admin))
}

fn events(appliance: &TestAppliance, filter: &str) -> Vec<Value> {
    let page = appliance
        .get(&format!("/api/v1/events?limit=500{filter}"))
        .expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The value as it is, in base64 at each of the three places where it can begin, in URLs, and in JSON.
fn forms() -> Vec<Vec<u8>> {
    let mut forms = vec![PLANTED.as_bytes().to_vec()];
    for shift in 0..3 {
        let shifted = [&b"xxx"[..shift], PLANTED.as_bytes()].concat();
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            // What lies at the borders depends on what is around.
            let inside = &text[if shift == 0 { 0 } else { 4 }..text.len() - 4];
            forms.push(inside.as_bytes().to_vec());
        }
    }
    let url = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    forms.push(PLANTED.bytes().map(url).collect::<String>().into_bytes());
    let json = serde_json::to_string(PLANTED).unwrap();
    forms.push(json.trim_matches('"').as_bytes().to_vec());
    forms.push(b"hunter2".to_vec());
    forms
}

#[track_caller]
fn check_absent(what: &str, content: &[u8]) {
    for form in forms() {
        let found = content.windows(form.len()).any(|window| window == form);
        assert!(!found, "{what} holds {:?}", String::from_utf8_lossy(&form));
    }
}

/// All files but those that are there for the values.
fn others(folder: &Path) -> Vec<PathBuf> {
    let all = files(folder).into_iter();
    all.filter(|file| !file.starts_with(folder.join("disclosures")))
        .collect()
}

fn export(appliance: &TestAppliance, redaction: Option<&str>) -> Value {
    let mut body = json!({});
    if let Some(redaction) = redaction {
        body["redaction"] = json!(redaction);
    }
    appliance
        .post("/api/v1/bundles/export", body.to_string())
        .expect(201)
}

fn bundle_of(appliance: &TestAppliance, exported: &Value) -> Vec<u8> {
    let id = exported["id"].as_str().unwrap().parse().unwrap();
    std::fs::read(bundle_path(appliance.folder(), id)).unwrap()
}

fn verified(appliance: &TestAppliance, bundle: &[u8]) -> Report {
    let keys = appliance.engine.keys();
    let options = Options {
        log_key: Some(keys.log().public()),
        export_key: Some(keys.export().public()),
        ..Options::default()
    };
    let bundle = bundle.to_vec();
    let open = move || -> std::io::Result<Box<dyn std::io::Read>> {
        Ok(Box::new(std::io::Cursor::new(bundle.clone())))
    };
    verify(&open, options).unwrap().report
}

#[test]
fn a_value_planted_a_thousand_times_is_found_nowhere_but_with_who_may_have_it() {
    let appliance = TestAppliance::start();
    set_policy(
        &appliance,
        "intake",
        json!([{"types": ["policed"], "pointers": ["/deep/token"]}]),
    )
    .expect(201);
    let item = |index: usize| match index % 2 {
        0 => {
            json!({"type": "named", "payload": {"n": index, "list": [{"token": PLANTED}], "all": [PLANTED, {PLANTED.replace(' ', "")[..7].to_owned(): 1}]},
            "sensitive": ["/list/0/token", "/all"]})
        }
        _ => json!({"type": "policed", "payload": {"n": index, "deep": {"token": PLANTED}}}),
    };
    for chunk in 0..4 {
        let items: Vec<Value> = (0..250).map(|index| item(chunk * 250 + index)).collect();
        let body = json!({"items": items}).to_string();
        let results = appliance.post("/api/v1/jobs/batch", body).expect(200);
        for result in results["results"].as_array().unwrap() {
            assert_eq!(result["status"], 201, "{result}");
        }
        check_absent("the answer", results.to_string().as_bytes());
    }
    // What is refused says why without it.
    for body in [
        json!({"type": "named", "payload": {"token": PLANTED}, "sensitive": ["/nothing"]}),
        json!({"type": "named", "payload": {"token": PLANTED, "x": 1.5}, "sensitive": ["/token"]}),
        json!({"type": "named", "payload": {"token": PLANTED, "_sd": []}}),
        json!({"type": "named", "payload": {"token": PLANTED}, "sensitive": ["/token"], "priority": 77}),
        json!({"type": "named", "payload": {"token": PLANTED}, "sensitive": ["/token"], "odd": 1}),
    ] {
        let reply = appliance.post("/api/v1/jobs", body.to_string());
        assert_eq!(reply.status, 422, "{body}");
        check_absent("a refusal", &reply.body);
    }
    // Handed out, failed, done again.
    let leased = claim(&appliance, json!({"max": 200}));
    let leased = leased["jobs"].as_array().unwrap();
    assert_eq!(leased.len(), 200);
    for lease in leased {
        let payload = &lease["payload"];
        let token = if lease["type"] == "named" {
            &payload["list"][0]["token"]
        } else {
            &payload["deep"]["token"]
        };
        assert_eq!(token, PLANTED);
        assert!(!lease["payload"].to_string().contains("_sd"));
    }
    let results: Vec<Value> = leased
        .iter()
        .map(|lease| json!({"jobId": lease["id"], "epoch": lease["epoch"], "outcome": "completed"}))
        .collect();
    complete(&appliance, json!({"worker": "w-1", "results": results}));
    for path in [
        "/api/v1/jobs?limit=500",
        "/api/v1/events?limit=500",
        "/api/v1/dead-letters",
    ] {
        check_absent(path, &appliance.get(path).body);
    }
    let mut stream = appliance.follow("/api/v1/stream?after=-1");
    for _ in 0..1_000 {
        check_absent("a message", format!("{:?}", stream.next()).as_bytes());
    }
    drop(stream);
    let bundle = bundle_of(&appliance, &export(&appliance, None));
    check_absent(
        "the bundle",
        &parts(&bundle)
            .iter()
            .flat_map(|part| part.1.clone())
            .collect::<Vec<u8>>(),
    );
    // Everything to history, a snapshot, and what a stop leaves.
    let appliance = appliance.restart_after(|folder| {
        for file in others(folder) {
            check_absent(&file.display().to_string(), &std::fs::read(&file).unwrap());
        }
        let kept = files(&folder.join("disclosures"));
        assert!(!kept.is_empty());
        for file in kept {
            assert_eq!(
                std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert!(file.starts_with(folder.join("disclosures/default")));
        }
    });
    let leased = claim(&appliance, json!({"max": 2}));
    for lease in leased["jobs"].as_array().unwrap() {
        assert!(lease["payload"].to_string().contains("hunter2"), "{lease}");
    }
}

#[test]
fn history_and_root_are_the_same_under_every_policy_and_a_later_disclosure_verifies() {
    let appliance = TestAppliance::start();
    for name in ["a", "b"] {
        submit(
            &appliance,
            json!({"type": format!("scan.{name}"), "payload": {"image": "x", "token": PLANTED, "deep": {"key": PLANTED}},
                "sensitive": ["/token", "/deep/key"]}),
        );
    }
    submit(
        &appliance,
        json!({"type": "mail", "payload": {"to": PLANTED}, "sensitive": ["/to"]}),
    );
    set_policy(
        &appliance,
        "auditor",
        json!([{"types": ["scan.*"], "pointers": ["/deep"]}, {"types": ["mail"], "pointers": ["/no"]}]),
    )
    .expect(201);
    let size = events(&appliance, "").len() as u64;
    let ranged = |policy: Option<&str>| {
        let body = json!({"to": size, "redaction": policy});
        let body = if policy.is_some() {
            body
        } else {
            json!({"to": size})
        };
        appliance
            .post("/api/v1/bundles/export", body.to_string())
            .expect(201)
    };
    let mut seen: Option<Vec<(String, Vec<u8>)>> = None;
    for (policy, name, shown) in [
        (None, "operational", 0),
        (Some("operational"), "operational", 0),
        (Some("full"), "full", 5),
        (Some("auditor"), "auditor", 2),
    ] {
        let exported = ranged(policy);
        assert_eq!(
            exported["redaction"],
            json!({"policy": name, "shown": shown, "withheld": 5 - shown})
        );
        let bundle = bundle_of(&appliance, &exported);
        let report = verified(&appliance, &bundle);
        assert!(report.ok, "{report:?}");
        let all = parts(&bundle);
        let disclosures = &all
            .iter()
            .find(|part| part.0 == "audit/disclosures.jsonl")
            .unwrap()
            .1;
        assert_eq!(disclosures.iter().filter(|byte| **byte == b'\n').count(), shown);
        assert_eq!(ranged(policy)["id"], exported["id"], "the same bytes again");
        let rest: Vec<_> = all
            .into_iter()
            .filter(|(name, _)| {
                ![
                    "audit/manifest.dsse.json",
                    "audit/disclosures.jsonl",
                    "audit/trust/policy",
                ]
                .contains(&name.as_str())
            })
            .collect();
        assert!(seen.get_or_insert_with(|| rest.clone()) == &rest, "{name}");
    }
    // Sent later: exactly the lines that a full bundle has.
    let reply = appliance.post(
        "/api/v1/bundles/disclose",
        json!({"to": size, "redaction": "full"}).to_string(),
    );
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-ndjson"))
    );
    let full = parts(&bundle_of(&appliance, &ranged(Some("full"))));
    let in_bundle = &full
        .iter()
        .find(|part| part.0 == "audit/disclosures.jsonl")
        .unwrap()
        .1;
    assert_eq!(&reply.body, in_bundle);
    let bare = bundle_of(&appliance, &ranged(None));
    let mut report = verified(&appliance, &bare);
    let open = move || -> std::io::Result<Box<dyn std::io::Read>> {
        Ok(Box::new(std::io::Cursor::new(bare.clone())))
    };
    let later = fastness::bundle::Later {
        name: "later".to_owned(),
        content: &mut reply.body.as_slice(),
    };
    let count = fastness::bundle::verify_later(&open, 0, vec![later], &mut report).unwrap();
    assert!(report.ok && count == 5, "{report:?}");
    // Who may export, but is no administrator, shows nothing.
    let exporter = appliance.token("eve", &[Scope::Export, Scope::Read], &["default"]);
    for (policy, status) in [("full", 403), ("auditor", 403), ("operational", 201)] {
        let body = json!({"redaction": policy}).to_string();
        let asked =
            Ask::post("/api/v1/bundles/export", body.as_bytes()).header("content-type", "application/json");
        assert_eq!(appliance.send(&asked.token(&exporter)).status, status, "{policy}");
    }
    let unknown = appliance.post("/api/v1/bundles/export", r#"{"redaction":"nobody"}"#);
    assert_eq!(unknown.problem(422), "unknown_policy");
    assert_eq!(
        appliance.post("/api/v1/bundles/disclose", "{}").problem(422),
        "policy_required"
    );
    // Both kinds of leaving are recorded in the ledger of administrative acts.
    let root = appliance.token("root", Scope::ALL, &["system"]);
    let asked = Ask::get("/api/v1/events?limit=500&type=disclosure.exported&type=bundle.exported");
    let recorded = appliance.send(&asked.token(&root)).expect(200);
    let recorded = recorded["items"].as_array().unwrap();
    let later = recorded
        .iter()
        .filter(|event| event["type"] == "disclosure.exported");
    let later: Vec<&Value> = later.collect();
    assert_eq!(later.len(), 1);
    assert_eq!(later[0]["payload"]["shown"], 5);
    assert_eq!(
        recorded.last().unwrap()["payload"]["redaction"]["policy"],
        "operational"
    );
}

#[test]
fn what_is_no_sensitive_field_is_refused_by_name() {
    let appliance = TestAppliance::start();
    set_policy(
        &appliance,
        "intake",
        json!([{"types": ["policed.*"], "pointers": ["/token"]}]),
    )
    .expect(201);
    let before = events(&appliance, "").len();
    for (body, code, pointer) in [
        (
            json!({"type": "a", "payload": {"a": 1}, "sensitive": ["/b"]}),
            "sensitive_field",
            "/sensitive",
        ),
        (
            json!({"type": "a", "payload": {"a": [1]}, "sensitive": ["/a/0"]}),
            "sensitive_field",
            "/sensitive",
        ),
        (
            json!({"type": "a", "payload": {"a": 1}, "sensitive": ["/a", ""]}),
            "sensitive_field",
            "/sensitive/1",
        ),
        (
            json!({"type": "a", "payload": {"a": 1}, "sensitive": ["a"]}),
            "sensitive_field",
            "/sensitive/0",
        ),
        (
            json!({"type": "a", "payload": {"a": 1}, "sensitive": ["/_sd"]}),
            "sensitive_field",
            "/sensitive/0",
        ),
        (
            json!({"type": "a", "payload": "x", "sensitive": ["/a"]}),
            "sensitive_field",
            "/sensitive",
        ),
        (
            json!({"type": "a", "sensitive": ["/a"]}),
            "sensitive_field",
            "/sensitive",
        ),
        (
            json!({"type": "a", "payload": {"a": 1, "b": 1.5}, "sensitive": ["/a"]}),
            "sensitive_text",
            "/payload",
        ),
        (
            json!({"type": "policed.x", "payload": {"token": 1, "b": 1.5}}),
            "sensitive_text",
            "/payload",
        ),
        (
            json!({"type": "a", "payload": {"a": {"_sd": []}}}),
            "reserved_name",
            "/payload",
        ),
        (
            json!({"type": "a", "payload": [{"...": 1}]}),
            "reserved_name",
            "/payload",
        ),
        (
            json!({"type": "a", "payload": {"_sd": 1.5}}),
            "reserved_name",
            "/payload",
        ),
        (
            json!({"type": "a", "payload": {"a": 1}, "sensitive": ["/a"]}),
            "",
            "",
        ),
    ] {
        let reply = appliance.post("/api/v1/jobs", body.to_string());
        if code.is_empty() {
            reply.expect(201);
            continue;
        }
        assert_eq!(reply.problem(422), code, "{body}");
        assert_eq!(reply.json()["errors"][0]["pointer"], pointer, "{body}");
        let graph = json!({"jobs": [{"name": "first", "type": "a"}, {"name": "x"}]});
        let mut graph = graph.clone();
        for (key, value) in body.as_object().unwrap() {
            graph["jobs"][1][key] = value.clone();
        }
        let reply = appliance.post("/api/v1/runs", graph.to_string());
        assert_eq!(reply.problem(422), code, "{graph}");
        assert_eq!(
            reply.json()["errors"][0]["pointer"],
            format!("/jobs/1{pointer}"),
            "{graph}"
        );
    }
    let escaped = r#"{"type":"a","payload":{"\u005fsd":1.5}}"#;
    assert_eq!(
        appliance.post("/api/v1/jobs", escaped).problem(422),
        "reserved_name"
    );
    assert_eq!(
        events(&appliance, "").len(),
        before + 1,
        "nothing was recorded but the good one"
    );
    // What a policy names need not be there, and the state machine's own is out of reach.
    let job = submit(&appliance, json!({"type": "policed.x", "payload": {"other": 1}}));
    assert_eq!(read(&appliance, &job)["payload"], json!({"other": 1}));
    for (name, rules, code) in [
        (
            "full",
            json!([{"types": ["*"], "pointers": ["/a"]}]),
            "reserved_name",
        ),
        (
            "operational",
            json!([{"types": ["*"], "pointers": ["/a"]}]),
            "reserved_name",
        ),
        ("x", json!([]), "invalid_field"),
        ("x", json!([{"types": [], "pointers": ["/a"]}]), "invalid_field"),
        ("x", json!([{"types": ["*"], "pointers": []}]), "invalid_field"),
        (
            "x",
            json!([{"types": ["a b"], "pointers": ["/a"]}]),
            "invalid_field",
        ),
        (
            "x",
            json!([{"types": ["*"], "pointers": ["a"]}]),
            "sensitive_field",
        ),
        (
            "X",
            json!([{"types": ["*"], "pointers": ["/a"]}]),
            "invalid_field",
        ),
    ] {
        assert_eq!(
            set_policy(&appliance, name, rules.clone()).problem(422),
            code,
            "{name} {rules}"
        );
    }
    let deleted =
        appliance.send(&Ask::new("DELETE", "/api/v1/redaction-policies/intake", b"").token(&appliance.admin));
    assert_eq!(deleted.status, 204);
    let job = submit(&appliance, json!({"type": "policed.x", "payload": {"token": 1}}));
    assert_eq!(read(&appliance, &job)["payload"], json!({"token": 1}));
}

#[test]
fn values_are_shown_to_who_may_after_it_was_recorded_and_to_nobody_else() {
    let appliance = TestAppliance::start();
    let payload = json!({"token": PLANTED, "n": 1});
    let job = submit(
        &appliance,
        json!({"type": "a", "payload": payload, "sensitive": ["/token"]}),
    );
    let shown = read(&appliance, &job)["payload"].clone();
    assert_eq!(
        (
            &shown["n"],
            shown["_sd"].as_array().unwrap().len(),
            shown.get("token")
        ),
        (&json!(1), 1, None)
    );
    let disclosed = act(&appliance, "jobs", &job, "disclose").expect(200);
    assert_eq!(disclosed["value"], payload);
    let recorded = events(&appliance, "&type=disclosure.read");
    assert_eq!(recorded.len(), 1);
    assert_eq!(
        (&recorded[0]["seq"], &recorded[0]["subject"]["job"]),
        (&disclosed["asOf"], &job["id"])
    );
    assert_eq!(
        recorded[0]["payload"],
        json!({"disclosures": disclosed["keptWith"], "reason": "asked"})
    );
    let id = job["id"].as_str().unwrap();
    let not_admin: Vec<Scope> = Scope::ALL
        .iter()
        .copied()
        .filter(|scope| *scope != Scope::Admin)
        .collect();
    let other = appliance.token("eve", &not_admin, &["default"]);
    for what in ["disclose", "erase"] {
        let path = format!("/api/v1/jobs/{id}/{what}");
        let asked = Ask::post(&path, b"{}").header("content-type", "application/json");
        assert_eq!(appliance.send(&asked.token(&other)).status, 403);
    }
    // Of another tenant there is no such job, and its values lie in a folder of its own.
    appliance.create_tenant("blue");
    let blue = appliance.token("blue", Scope::ALL, &["blue"]);
    for what in ["disclose", "erase"] {
        let path = format!("/api/v1/jobs/{id}/{what}");
        let asked = Ask::post(&path, b"{}").header("content-type", "application/json");
        assert_eq!(appliance.send(&asked.token(&blue)).problem(404), "not_found");
    }
    let body = json!({"type": "a", "payload": {"token": "blue's"}, "sensitive": ["/token"]}).to_string();
    let asked = Ask::post("/api/v1/jobs", body.as_bytes()).header("content-type", "application/json");
    appliance.send(&asked.token(&blue)).expect(201);
    let folders: BTreeSet<_> = std::fs::read_dir(appliance.folder().join("disclosures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, BTreeSet::from(["blue".to_owned(), "default".to_owned()]));
    let plain = submit(&appliance, json!({"type": "plain", "payload": {}}));
    for what in ["disclose", "erase"] {
        assert_eq!(
            act(&appliance, "jobs", &plain, what).problem(409),
            "nothing_redacted"
        );
    }
}

#[test]
fn the_same_request_is_the_same_whatever_the_salts() {
    let appliance = TestAppliance::start();
    let send = |token: &str| {
        let body = json!({"type": "a", "payload": {"token": token}, "sensitive": ["/token"]}).to_string();
        let asked = Ask::post("/api/v1/jobs", body.as_bytes())
            .header("content-type", "application/json")
            .header("idempotency-key", "k-1");
        appliance.send(&asked.token(&appliance.admin))
    };
    let first = send(PLANTED).expect(201);
    let again = send(PLANTED);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(201)["id"], first["id"]);
    assert_eq!(
        send("another").expect(201)["id"],
        first["id"],
        "a value is not compared"
    );
    let other = submit(
        &appliance,
        json!({"type": "a", "payload": {"token": PLANTED}, "sensitive": ["/token"]}),
    );
    let digests = |job: &Value| read(&appliance, job)["payload"]["_sd"].clone();
    assert_ne!(
        digests(&first),
        digests(&other),
        "equal values cannot be told from their digests"
    );
}

#[test]
fn erased_values_are_nowhere_and_work_that_needs_them_fails() {
    let appliance = TestAppliance::start();
    let new = || json!({"type": "a", "payload": {"token": PLANTED, "n": 1}, "sensitive": ["/token"]});
    let done = submit(&appliance, new());
    let lease = claim(&appliance, json!({}))["jobs"][0].clone();
    complete(
        &appliance,
        json!({"worker": "w-1", "results": [{"jobId": lease["id"], "epoch": 1, "outcome": "completed"}]}),
    );
    let waiting = submit(&appliance, new());
    let kept = submit(&appliance, new());
    let full = export(&appliance, Some("full"));
    let bare = export(&appliance, None);
    let size = full["size"].as_u64().unwrap();
    for job in [&done, &waiting] {
        let erased = act(&appliance, "jobs", job, "erase").expect(200);
        let event = &events(&appliance, "&type=disclosure.erased").pop().unwrap();
        assert_eq!(
            (&event["seq"], &event["subject"]["job"]),
            (&erased["seq"], &job["id"])
        );
        for what in ["erase", "disclose"] {
            assert_eq!(
                act(&appliance, "jobs", job, what).problem(409),
                "disclosure_erased"
            );
        }
    }
    assert_eq!(
        act(&appliance, "jobs", &done, "replay").problem(409),
        "disclosure_erased"
    );
    // Two of three are gone from the disk; bundles that showed them are as well.
    let content: Vec<u8> = files(appliance.folder())
        .iter()
        .flat_map(|file| std::fs::read(file).unwrap())
        .collect();
    let decoded = |disclosures: &[u8]| {
        let text = String::from_utf8_lossy(disclosures).into_owned();
        let words = text
            .split_whitespace()
            .filter_map(|word| URL_SAFE_NO_PAD.decode(word).ok());
        words
            .filter(|word| String::from_utf8_lossy(word).contains("hunter2"))
            .count()
    };
    assert_eq!(decoded(&content), 1);
    let path = |exported: &Value| {
        bundle_path(
            appliance.folder(),
            exported["id"].as_str().unwrap().parse().unwrap(),
        )
    };
    assert!(!path(&full).exists() && path(&bare).exists());
    // The unfinished one fails where it would have begun, for good, and says why; the other goes on.
    let leases = claim(&appliance, json!({"max": 5}));
    let leases = leases["jobs"].as_array().unwrap();
    assert_eq!((leases.len(), &leases[0]["id"]), (1, &kept["id"]));
    let failed = read(&appliance, &waiting);
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("disclosure_erased")),
        "{failed}"
    );
    assert_eq!(
        act(&appliance, "jobs", &waiting, "retry").problem(409),
        "disclosure_erased"
    );
    // The history is as it was; a full export now withholds what is gone.
    let now = appliance
        .post(
            "/api/v1/bundles/export",
            json!({"to": size, "redaction": "full"}).to_string(),
        )
        .expect(201);
    assert_eq!(now["root"], full["root"]);
    assert_eq!(
        now["redaction"],
        json!({"policy": "full", "shown": 1, "withheld": 2})
    );
    let report = verified(&appliance, &bundle_of(&appliance, &now));
    assert!(report.ok, "{report:?}");
    // After a restart it is still so.
    let appliance = appliance.restart();
    assert_eq!(
        act(&appliance, "jobs", &done, "disclose").problem(409),
        "disclosure_erased"
    );
    assert_eq!(
        act(&appliance, "jobs", &kept, "disclose").expect(200)["value"]["token"],
        PLANTED
    );
}

#[test]
fn work_that_is_done_again_has_the_same_digests_and_the_same_values() {
    let appliance = TestAppliance::start();
    let job = submit(
        &appliance,
        json!({"type": "a", "payload": {"token": PLANTED}, "sensitive": ["/token"],
        "retries": {"max": 1, "initialMs": 10, "capMs": 10}}),
    );
    for attempt in 1..=2 {
        let lease = claim(&appliance, json!({"waitMs": 5000}))["jobs"][0].clone();
        assert_eq!(
            (&lease["attempt"], &lease["payload"]["token"]),
            (&json!(attempt), &json!(PLANTED))
        );
        let error = json!({"class": "other", "message": "m"});
        complete(
            &appliance,
            json!({"worker": "w-1", "results":
            [{"jobId": lease["id"], "epoch": lease["epoch"], "outcome": "failed", "error": error}]}),
        );
    }
    let again = act(&appliance, "jobs", &job, "replay").expect(201);
    let lease = claim(&appliance, json!({}))["jobs"][0].clone();
    assert_eq!(
        (&lease["id"], &lease["payload"]["token"]),
        (&again["id"], &json!(PLANTED))
    );
    assert_eq!(
        read(&appliance, &job)["payload"],
        read(&appliance, &again)["payload"]
    );
    let created = events(&appliance, "&type=job.created");
    assert_eq!(created[0]["payload"]["disclosures"], created[0]["seq"]);
    assert_eq!(created[1]["payload"]["disclosures"], created[0]["seq"]);
    // A graph: each job by itself, and the run done again.
    let graph = json!({"jobs": [
        {"name": "one", "type": "g", "payload": {"k": PLANTED}, "sensitive": ["/k"]},
        {"name": "two", "type": "g", "payload": {"k": PLANTED, "n": 2}, "sensitive": ["/k"], "needs": ["one"]}]});
    let run = appliance.post("/api/v1/runs", graph.to_string()).expect(201);
    for _ in 0..2 {
        let lease = claim(&appliance, json!({"types": ["g"]}))["jobs"][0].clone();
        assert_eq!(lease["payload"]["k"], PLANTED);
        complete(
            &appliance,
            json!({"worker": "w-1", "results": [{"jobId": lease["id"], "epoch": 1, "outcome": "completed"}]}),
        );
    }
    let path = format!("/api/v1/runs/{}/replay", run["id"].as_str().unwrap());
    appliance.post(&path, r#"{"steps":["one"]}"#).expect(201);
    let lease = claim(&appliance, json!({"types": ["g"]}))["jobs"][0].clone();
    assert_eq!(lease["payload"]["k"], PLANTED);
    let exported = export(&appliance, Some("full"));
    let report = verified(&appliance, &bundle_of(&appliance, &exported));
    assert!(
        report.ok && report.checks[6].detail.as_deref() == Some("6 of 6 redacted fields are shown"),
        "{report:?}"
    );
}

const PACK: &str = r#"
apiVersion: fastness/v1
kind: Pack
metadata: {name: scan}
spec:
  inputs:
    root: {type: string, default: /}
    api-token: {type: string, sensitive: true}
    hosts: {type: list, sensitive: true}
  steps:
    - {id: now, run: [x]}
    - {id: later, needs: [now], when: "inputs.root == '/'", run: [x, "${{ inputs.root }}"]}
"#;

/// Claims steps as the built-in runner does.
fn steps(appliance: &TestAppliance) -> Vec<fastness::domain::command::Leased> {
    let claim = Claim {
        worker: LOCAL_WORKER.to_owned(),
        reach: Reach::EveryTenant,
        wanted: Wanted {
            labels: Default::default(),
            queues: vec!["local".to_owned()],
            types: vec![],
        },
        max: 5,
        lease_ms: 30_000,
        wait_ms: 0,
        token: None,
    };
    let (system, actor) = (TenantName::system(), Actor::worker(LOCAL_WORKER));
    let trip = appliance.engine.trip(&system, &actor, Vec::new(), Some(claim));
    appliance.runtime.block_on(trip).unwrap().jobs
}

fn register(appliance: &TestAppliance, pack: &str) -> Reply {
    let asked = Ask::post("/api/v1/packs", pack.as_bytes()).header("content-type", "application/yaml");
    appliance.send(&asked.token(&appliance.admin))
}

#[test]
fn sensitive_inputs_reach_steps_and_nothing_else() {
    let appliance = TestAppliance::start();
    register(&appliance, PACK).expect(201);
    for (bad, words) in [
        (
            PACK.replace(
                "sensitive: true}\n    hosts",
                "sensitive: true, default: x}\n    hosts",
            ),
            "has no default",
        ),
        (
            PACK.replace("inputs.root ==", "inputs.api-token =="),
            "api-token is sensitive",
        ),
        (
            PACK.replace("${{ inputs.root }}", "${{ inputs.hosts }}"),
            "hosts is sensitive",
        ),
        (
            PACK.replace("sensitive: true}\n    hosts", "sensitive: maybe}\n    hosts"),
            "true",
        ),
        (
            PACK.replace("run: [x]}", "run: [x], env: {_sd: x}}"),
            "_sd are reserved",
        ),
    ] {
        let reply = register(
            &appliance,
            &bad.replace("inputs.api-token", "inputs['api-token']"),
        );
        assert_eq!(reply.status, 422, "{bad}");
        assert!(
            reply.json().to_string().contains(words),
            "{bad}: {}",
            reply.json()
        );
    }
    let inputs = json!({"api-token": PLANTED, "hosts": [PLANTED, 1]});
    let body = json!({"pack": "scan", "inputs": inputs}).to_string();
    let run = appliance.post("/api/v1/pack-runs", body).expect(201);
    let id = run["id"].as_str().unwrap();
    let shown = appliance.get(&format!("/api/v1/pack-runs/{id}")).expect(200);
    assert_eq!(shown["inputs"]["root"], "/");
    assert_eq!(shown["inputs"]["_sd"].as_array().unwrap().len(), 2);
    let list = serde_json::to_string(&json!([PLANTED, 1])).unwrap();
    for step in ["now", "later"] {
        let leased = steps(&appliance).pop().unwrap();
        assert_eq!(leased.job.name.as_ref().unwrap().as_str(), step);
        let payload: Value = serde_json::from_str(leased.payload.payload.unwrap().as_str()).unwrap();
        assert_eq!(
            payload["env"],
            json!({"INPUT_API_TOKEN": PLANTED, "INPUT_HOSTS": list, "INPUT_ROOT": "/"})
        );
        let task = fastness::domain::pack::StepTask::parse(payload.to_string().as_bytes()).unwrap();
        assert_eq!(task.env["INPUT_API_TOKEN"], PLANTED);
        let report = fastness::domain::command::CompleteJob {
            job: leased.job.id,
            epoch: leased.job.epoch,
            outcome: fastness::domain::command::Outcome::Completed(None),
            artifacts: vec![],
            exit_code: Some(0),
            logs: None,
            step: None,
        };
        let command = fastness::domain::command::Command::CompleteJob(Box::new(report));
        let default: TenantName = "default".parse().unwrap();
        let actor = Actor::worker(LOCAL_WORKER);
        let submit = appliance.engine.submit(&default, &actor, command);
        appliance.runtime.block_on(submit).unwrap();
    }
    for event in events(&appliance, "") {
        check_absent("an event", event.to_string().as_bytes());
    }
    for file in others(appliance.folder()) {
        check_absent(&file.display().to_string(), &std::fs::read(&file).unwrap());
    }
    let disclosed = act(&appliance, "runs", &run, "disclose").expect(200);
    assert_eq!(
        disclosed["value"],
        json!({"api-token": PLANTED, "hosts": [PLANTED, 1], "root": "/"})
    );
    // Shown by a policy that names the input of the run, and not what steps get.
    set_policy(
        &appliance,
        "inputs",
        json!([{"types": ["pack.run"], "pointers": ["/hosts"]}]),
    )
    .expect(201);
    set_policy(
        &appliance,
        "steps",
        json!([{"types": ["pack.step"], "pointers": ["/env"]}]),
    )
    .expect(201);
    for (policy, shown) in [("full", 6), ("inputs", 1), ("steps", 4)] {
        let exported = export(&appliance, Some(policy));
        assert_eq!(exported["redaction"]["shown"], shown, "{policy}");
        let report = verified(&appliance, &bundle_of(&appliance, &exported));
        assert!(report.ok, "{policy}: {report:?}");
    }
    // Done again with the same values; erased, not at all.
    let path = format!("/api/v1/pack-runs/{id}/replay");
    let again = appliance.post(&path, r#"{"steps":["now"]}"#).expect(201);
    act(&appliance, "runs", &again, "erase").expect(200);
    assert_eq!(
        act(&appliance, "runs", &run, "disclose").problem(409),
        "disclosure_erased"
    );
    assert_eq!(
        appliance.post(&path, r#"{"steps":["now"]}"#).problem(409),
        "disclosure_erased"
    );
    assert!(steps(&appliance).is_empty());
    let again = appliance
        .get(&format!("/api/v1/pack-runs/{}", again["id"].as_str().unwrap()))
        .expect(200);
    assert_eq!(again["status"], "failed", "{again}");
    assert_eq!(again["steps"][0]["error"]["code"], "disclosure_erased", "{again}");
    for file in files(&appliance.folder().join("disclosures")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let values = text
            .split_whitespace()
            .filter_map(|word| URL_SAFE_NO_PAD.decode(word).ok());
        assert_eq!(
            values
                .filter(|value| String::from_utf8_lossy(value).contains("hunter2"))
                .count(),
            0
        );
    }
}

#[test]
fn a_payload_whose_values_are_lost_fails_its_attempt_and_is_not_handed_out() {
    let appliance = TestAppliance::start();
    let job = submit(
        &appliance,
        json!({"type": "a", "payload": {"token": PLANTED}, "sensitive": ["/token"], "retries": {"max": 0}}),
    );
    let appliance = appliance.restart_after(|folder| {
        let file = files(&folder.join("disclosures")).pop().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    });
    assert_eq!(claim(&appliance, json!({}))["jobs"], json!([]));
    let failed = read(&appliance, &job);
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("disclosure_missing")),
        "{failed}"
    );
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("0 of 1 disclosures kept with event"),
        "{message}"
    );
    assert_eq!(
        act(&appliance, "jobs", &job, "disclose").problem(500),
        "disclosure_missing"
    );
    let refused = appliance.post("/api/v1/bundles/export", r#"{"redaction":"full"}"#);
    assert_eq!(
        refused.problem(500),
        "disclosure_missing",
        "never withheld in silence"
    );
    export(&appliance, None);
}
