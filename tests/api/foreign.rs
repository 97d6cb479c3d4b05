//! An imported ledger: everything of it can be read, nothing of it can be changed or satisfies anything here.

use fastness::api::{Access, routes};
use fastness::domain::token::Scope;
use fastness::domain::{Seq, leaf_hash};
use fastness::ledger::EventProof;
use serde_json::{Value, json};

use super::imports::{export, import, submit, tar_of};
use super::jobs::{claim, complete};
use super::scopes::path_of;
use crate::support::appliance::{Ask, Reply, TestAppliance};
use crate::support::websocket::{Client, HANDSHAKE, shake};

/// A run of three jobs, of which one has ended, and a job that stands alone; imported elsewhere in two bundles.
struct Pair {
    source: TestAppliance,
    target: TestAppliance,
    tenant: String,
    run: String,
    job: String,
    bundles: Vec<(Value, Vec<u8>)>,
}

impl Pair {
    fn new() -> Self {
        let (source, target) = (TestAppliance::start(), TestAppliance::start());
        let body = json!({"jobs": [{"name": "a", "type": "t"}, {"name": "b", "type": "t", "needs": ["a"]},
            {"name": "c", "type": "t", "needs": ["b"]}], "correlationId": "c-1"});
        let run = source.post("/api/v1/runs", body.to_string()).expect(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let first = export(&source, &json!({}));
        let keyed = Ask::post("/api/v1/jobs", br#"{"type":"alone","project":"p"}"#)
            .token(&source.admin)
            .header("idempotency-key", "same-key");
        let job = source.send(&keyed).expect(201)["id"].as_str().unwrap().to_owned();
        let lease = claim(&source, json!({}))["jobs"][0].clone();
        let result = json!({"jobId": lease["id"], "epoch": 1, "outcome": "completed", "output": {"x": 1}});
        complete(&source, json!({"worker": "w-1", "results": [result]}));
        let second = export(&source, &json!({"from": first.0["size"]}));
        let bundles = vec![first, second];
        let mut tenant = String::new();
        for (_, file) in &bundles {
            let imported = import(&target, &target.admin, &source, file).expect(201);
            imported["tenant"].as_str().unwrap().clone_into(&mut tenant);
        }
        Pair {
            source,
            target,
            tenant,
            run,
            job,
            bundles,
        }
    }

    fn ask<'a>(&self, method: &'a str, path: &'a str, body: &'a [u8]) -> Ask<'a> {
        Ask::new(method, path, body)
            .token(&self.target.admin)
            .header("x-fastness-tenant", &self.tenant)
            .header("content-type", "application/json")
    }

    fn read(&self, path: &str) -> Reply {
        self.target.send(&self.ask("GET", path, b""))
    }
}

#[test]
fn what_is_read_of_it_is_what_its_own_enclave_says() {
    let pair = Pair::new();
    let (run, job) = (&pair.run, &pair.job);
    let size = pair.source.get("/api/v1/ledger/state").expect(200)["size"]
        .as_u64()
        .unwrap();
    for path in [
        "/api/v1/jobs".to_owned(),
        "/api/v1/jobs?type=alone".to_owned(),
        "/api/v1/jobs/summary".to_owned(),
        format!("/api/v1/jobs/{job}"),
        format!("/api/v1/jobs/{job}/history"),
        format!("/api/v1/jobs/{job}/events"),
        "/api/v1/runs".to_owned(),
        format!("/api/v1/runs/{run}"),
        format!("/api/v1/runs/{run}/graph"),
        format!("/api/v1/runs/{run}/at/2"),
        "/api/v1/events".to_owned(),
        "/api/v1/events?correlationId=c-1".to_owned(),
        "/api/v1/events?type=job.*&project=p".to_owned(),
        format!("/api/v1/events?run={run}"),
        "/api/v1/events/3".to_owned(),
        "/api/v1/dead-letters".to_owned(),
        "/api/v1/error-clusters".to_owned(),
        "/api/v1/packs".to_owned(),
        "/api/v1/ledger/state".to_owned(),
        "/api/v1/ledger/state?size=3".to_owned(),
        "/api/v1/ledger/proof/inclusion?seq=2".to_owned(),
        "/api/v1/ledger/proof/consistency?from=2".to_owned(),
        "/api/v1/events/1?proof=1".to_owned(),
    ] {
        let (here, there) = (pair.read(&path), pair.source.get(&path));
        assert_eq!(there.status, 200, "{path}");
        assert_eq!(
            here.status,
            200,
            "{path}: {}",
            String::from_utf8_lossy(&here.body)
        );
        assert_eq!(here.json(), there.json(), "{path}");
    }
    // Spans that go on are told up to now, which is another now.
    let spans = |reply: Reply| {
        reply.expect(200)["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].clone())
            .collect::<Vec<_>>()
    };
    let timeline = format!("/api/v1/runs/{run}/timeline");
    assert_eq!(spans(pair.read(&timeline)), spans(pair.source.get(&timeline)));
    let mut stream = pair
        .target
        .stream(&pair.ask("GET", "/api/v1/stream?after=-1", b""));
    let mut own = pair.source.follow("/api/v1/stream?after=-1");
    for _ in 0..size {
        assert_eq!(stream.next_event().unwrap(), own.next_event().unwrap());
    }
    // Its checkpoints are those that it was signed with.
    for (exported, _) in &pair.bundles {
        let path = format!("/api/v1/ledger/checkpoint?size={}", exported["size"]);
        assert_eq!(pair.read(&path).body, pair.source.get(&path).body);
    }
    assert_eq!(
        pair.read("/api/v1/ledger/checkpoint").body,
        pair.source.get("/api/v1/ledger/checkpoint").body
    );
    assert_eq!(
        pair.read("/api/v1/ledger/checkpoint?size=1").problem(404),
        "not_found"
    );
}

#[test]
fn an_open_stream_goes_on_with_what_a_later_bundle_brings() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    let body = json!({"jobs": [{"name": "a", "type": "alone"}]}).to_string();
    let run = source.post("/api/v1/runs", body).expect(201)["id"].clone();
    let first = export(&source, &json!({}));
    let imported = import(&target, &target.admin, &source, &first.1).expect(201);
    let tenant = imported["tenant"].as_str().unwrap();
    let follow = |path: &str| {
        let ask = Ask::get(path)
            .token(&target.admin)
            .header("x-fastness-tenant", tenant);
        target.stream(&ask)
    };
    let mut whole = follow("/api/v1/stream");
    let mut of_run = follow(&format!("/api/v1/stream/runs/{}", run.as_str().unwrap()));
    let bearer = format!("Bearer {}", target.admin);
    let named = [("authorization", bearer.as_str()), ("x-fastness-tenant", tenant)];
    let (socket, status, _) = shake(&target, "/api/v1/ws", &[&HANDSHAKE[..], &named].concat());
    assert_eq!(status, 101);
    let mut client = Client::over(socket);
    client.subscribe(json!({"type": "subscribe:events"}));
    client.subscribe(json!({"type": "subscribe:run", "runId": run}));

    let lease = claim(&source, json!({}))["jobs"][0].clone();
    let result = json!({"jobId": lease["id"], "epoch": 1, "outcome": "completed"});
    complete(&source, json!({"worker": "w-1", "results": [result]}));
    let size = first.0["size"].as_u64().unwrap();
    let second = export(&source, &json!({"from": size}));
    import(&target, &target.admin, &source, &second.1).expect(201);

    let ledger = source.engine.ledger(&"default".parse().unwrap()).unwrap();
    for seq in size..second.0["size"].as_u64().unwrap() {
        let event = ledger.event(Seq(seq)).unwrap();
        assert_eq!(whole.next_event().unwrap().data.as_bytes(), event);
        let received = client.event();
        assert_eq!((received.seq(), received.event.as_bytes()), (seq, &event[..]));
    }
    let rest = of_run.rest();
    let types: Vec<_> = rest.iter().map(|message| message.event.as_str()).collect();
    assert_eq!(types.first(), Some(&"run.started"));
    assert_eq!(types.last(), Some(&"end"), "it has ended: {types:?}");
}

#[test]
fn no_route_fails_on_it_and_no_route_changes_it() {
    let pair = Pair::new();
    let held = pair.read("/api/v1/ledger/state").expect(200);
    let (mut written, mut read) = (0, 0);
    for route in routes() {
        let (Access::Tenant(scope) | Access::Tenants(scope)) = route.access else {
            continue;
        };
        let path = path_of(route.path);
        let name = format!("{} {path}", route.method);
        if path.ends_with("/stream") || path.ends_with("/ws") {
            continue;
        }
        let reply = pair.target.send(&pair.ask(route.method.as_str(), &path, b"{}"));
        if route.method == "GET" || scope == Scope::Read || scope == Scope::Export {
            assert!(
                reply.status < 500 && reply.status != 409,
                "{name}: {}",
                reply.status
            );
            read += 1;
        } else {
            assert_eq!(reply.problem(409), "foreign_read_only", "{name}");
            written += 1;
        }
    }
    assert!(written > 25 && read > 25, "{written} {read}");
    assert_eq!(pair.read("/api/v1/ledger/state").expect(200), held);
    let token =
        json!({"name": "n", "person": "p", "scopes": ["worker:claim"], "tenants": ["default", pair.tenant]});
    let secret = pair.target.post("/api/v1/tokens", token.to_string()).expect(201)["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let body =
        json!({"worker": "w", "queues": ["default"], "types": ["*"], "tenants": [pair.tenant], "waitMs": 0});
    let body = body.to_string();
    let claim = Ask::post("/api/v1/workers/claim", body.as_bytes()).token(&secret);
    let claimed = pair.target.send(&claim);
    assert!(
        claimed.status == 409 || claimed.json()["jobs"] == json!([]),
        "named in the body it gives no work either: {}",
        claimed.json()
    );
}

#[test]
fn it_satisfies_nothing_here() {
    let pair = Pair::new();
    // The same key made a job there; here it makes one of its own.
    let keyed = Ask::post("/api/v1/jobs", br#"{"type":"alone","project":"p"}"#)
        .token(&pair.target.admin)
        .header("idempotency-key", "same-key");
    let own = pair.target.send(&keyed).expect(201);
    assert_ne!(own["id"], json!(pair.job));
    for (path, body) in [
        (format!("/api/v1/jobs/{}/replay", pair.job), r#"{"reason":"x"}"#),
        (format!("/api/v1/runs/{}/replay", pair.run), r#"{"steps":["a"]}"#),
    ] {
        assert_eq!(pair.target.post(&path, body).problem(404), "not_found", "{path}");
    }
    let approve = format!("/api/v1/pack-runs/{}/gates/a/approve", pair.run);
    assert_eq!(
        pair.target.post(&approve, r#"{"reason":"x"}"#).problem(404),
        "not_found"
    );
    for path in [
        format!("/api/v1/jobs/{}", pair.job),
        format!("/api/v1/runs/{}", pair.run),
    ] {
        assert_eq!(pair.target.get(&path).problem(404), "not_found");
    }
    // A run here needs what is in it, and nothing of the same name elsewhere.
    let body = json!({"jobs": [{"name": "z", "type": "t", "needs": ["a"]}]});
    assert_eq!(pair.target.post("/api/v1/runs", body.to_string()).status, 422);
    // What is waiting there is not work here.
    submit(&pair.target, 1);
    let jobs = claim(&pair.target, json!({"max": 9, "types": ["*"]}))["jobs"]
        .as_array()
        .unwrap()
        .clone();
    let types: Vec<_> = jobs.iter().map(|job| job["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["alone", "t0"], "only what was submitted here");
}

#[test]
fn an_artifact_there_is_none_here() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    source.post("/api/v1/jobs", r#"{"type":"t"}"#).expect(201);
    let lease = claim(&source, json!({}))["jobs"][0].clone();
    let content = b"what was made there";
    let digest = fastness::domain::Digest::of(content).to_string();
    let path = format!(
        "/api/v1/workers/jobs/{}/artifacts/a.txt?worker=w-1&epoch=1&sha256={digest}",
        lease["id"].as_str().unwrap()
    );
    source
        .send(&Ask::new("PUT", &path, content).token(&source.admin))
        .expect(201);
    let (_, file) = export(&source, &json!({"with": ["artifacts"]}));
    import(&target, &target.admin, &source, &file).expect(201);
    assert_eq!(source.get(&format!("/api/v1/artifacts/{digest}")).body, content);
    assert_eq!(
        target.get(&format!("/api/v1/artifacts/{digest}")).problem(404),
        "not_found"
    );
}

#[test]
fn its_bundles_are_given_again_byte_for_byte() {
    let pair = Pair::new();
    for (exported, file) in &pair.bundles {
        let ask = json!({"from": exported["first"], "to": exported["size"]}).to_string();
        let again = pair
            .target
            .send(&pair.ask("POST", "/api/v1/bundles/export", ask.as_bytes()))
            .expect(201);
        assert_eq!(
            (&again["id"], &again["root"]),
            (&exported["id"], &exported["root"])
        );
        let path = format!("/api/v1/bundles/{}/content", again["id"].as_str().unwrap());
        let given = pair.read(&path);
        assert_eq!(given.status, 200);
        assert_eq!(tar_of(&given.body), tar_of(file), "the same tar");
        assert_eq!(
            pair.target.get(&path).problem(404),
            "not_found",
            "it is not a bundle of our own tenant"
        );
    }
    let from = json!({"from": 0}).to_string();
    let by_begin = pair
        .target
        .send(&pair.ask("POST", "/api/v1/bundles/export", from.as_bytes()))
        .expect(201);
    assert_eq!(by_begin["id"], pair.bundles[0].0["id"]);
    for body in [
        json!({}),
        json!({"from": 1}),
        json!({"from": 0, "to": pair.bundles[1].0["size"]}),
    ] {
        let text = body.to_string();
        let refused = pair
            .target
            .send(&pair.ask("POST", "/api/v1/bundles/export", text.as_bytes()));
        assert_eq!(refused.problem(422), "range_not_stored", "{body}");
        assert_eq!(
            refused.json()["stored"].as_array().unwrap().len(),
            2,
            "{body}: it says what there is"
        );
    }
    let with = br#"{"from":0,"with":["logs"]}"#;
    let refused = pair
        .target
        .send(&pair.ask("POST", "/api/v1/bundles/export", with));
    assert_eq!(refused.problem(422), "invalid_field");
}

#[test]
fn a_single_event_is_proven_by_the_checkpoint_that_came_with_it() {
    let pair = Pair::new();
    let origin = pair.source.engine.origin(&"default".parse().unwrap()).unwrap();
    let key = pair.source.engine.keys().log().public();
    let ledger = pair.source.engine.ledger(&"default".parse().unwrap()).unwrap();
    for seq in 0..ledger.size() {
        let path = format!("/api/v1/events/{seq}/proof");
        for (who, reply) in [
            ("its own enclave", pair.source.get(&path)),
            ("elsewhere", pair.read(&path)),
        ] {
            assert_eq!(reply.status, 200, "{who}");
            let proof = EventProof::parse(&reply.body).unwrap();
            let event = ledger.event(Seq(seq)).unwrap();
            let checkpoint = proof.verify(&event, &origin, &key).unwrap();
            assert_eq!((proof.index, checkpoint.head.size), (seq, ledger.size()), "{who}");
        }
    }
    let small = pair.bundles[0].0["size"].as_u64().unwrap();
    let sized = pair.read(&format!("/api/v1/events/0/proof?size={small}"));
    let proof = EventProof::parse(&sized.body).unwrap();
    assert_eq!(proof.checkpoint.checkpoint().head.size, small);
    let leaf = leaf_hash(&ledger.event(Seq(0)).unwrap());
    fastness::ledger::verify_inclusion(
        &leaf,
        0,
        small,
        &proof.hashes,
        &proof.checkpoint.checkpoint().head.root,
    )
    .unwrap();
    for (path, status) in [
        (format!("/api/v1/events/{small}/proof?size={small}"), 422),
        ("/api/v1/events/0/proof?size=1".to_owned(), 422),
        (format!("/api/v1/events/{}/proof", ledger.size()), 404),
        ("/api/v1/events/x/proof".to_owned(), 404),
    ] {
        assert_eq!(pair.read(&path).status, status, "{path}");
    }
}

#[test]
fn whoever_may_not_read_it_does_not_hand_it_on() {
    let pair = Pair::new();
    let send = |token: &str, method: &str, path: &str, body: &[u8]| {
        let asked = Ask::new(method, path, body)
            .token(token)
            .header("x-fastness-tenant", &pair.tenant)
            .header("content-type", "application/json");
        pair.target.send(&asked)
    };
    let range = json!({"to": pair.bundles[0].0["size"]}).to_string();
    for tenants in [["default"].as_slice(), &[pair.tenant.as_str()]] {
        let carrier = [Scope::Export, Scope::Import];
        let reader = [Scope::Export, Scope::Import, Scope::Read];
        if tenants == ["default"] {
            let neither = pair.target.token("nell", &[Scope::Export, Scope::Read], tenants);
            let refused = send(&neither, "POST", "/api/v1/bundles/export", range.as_bytes());
            assert_eq!(refused.problem(403), "tenant_forbidden");
        }
        let carrier = pair.target.token("carl", &carrier, tenants);
        for (method, path) in [
            ("POST", "/api/v1/bundles/export".to_owned()),
            ("GET", "/api/v1/bundles".to_owned()),
            (
                "GET",
                format!("/api/v1/bundles/{}", pair.bundles[0].0["id"].as_str().unwrap()),
            ),
        ] {
            let refused = send(&carrier, method, &path, range.as_bytes());
            assert_eq!(refused.problem(403), "scope_required", "{method} {path}");
        }
        let reader = pair.target.token("rita", &reader, tenants);
        send(&reader, "POST", "/api/v1/bundles/export", range.as_bytes()).expect(201);
    }
}
