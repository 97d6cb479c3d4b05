//! What bundles and work orders are judged by: roots of trust before keys, what is known today, and replaced pins.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::domain::command::{BundleCommand, Command, HubCancel, OrderCommand, Verdict};
use fastness::domain::event::{Actor, ActorKind};
use fastness::domain::token::Scope;
use fastness::domain::{Digest, TenantName};
use fastness::trust::{PrivateKey, PublicKey, Revocation, Role, RoleKeys, Root, SignedRoot};
use serde_json::{Value, json};

use super::imports::{export, import, noted, submit, with_keys};
use super::orders::{bundle_file, bundle_parts};
use crate::support::appliance::{Ask, Reply, TestAppliance};

const PACK: &str = "\
apiVersion: fastness/v1
kind: Pack
metadata: {name: quick}
spec:
  steps:
    - {id: people, gate: approval}
";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::generate(&mut |bytes| bytes.fill(seed))
}

fn keys(mut keys: Vec<PublicKey>) -> RoleKeys {
    keys.sort_by_key(PublicKey::id);
    RoleKeys { keys, threshold: 1 }
}

fn origin(of: &TestAppliance) -> String {
    of.engine.origin(&"default".parse().unwrap()).unwrap().to_string()
}

fn enclave(of: &TestAppliance) -> String {
    of.engine.keys().enclave().to_string()
}

/// A root of trust of an enclave: the keys that sign there now, and in the role of one of them those that were replaced.
fn root(of: &TestAppliance, version: u64, revoked: &[(PublicKey, u64)]) -> SignedRoot {
    let own = of.engine.keys();
    let with = |role, current: PublicKey| {
        let mut all = own.retired(role);
        all.push(current);
        keys(all)
    };
    use fastness::trust::OwnRole;
    let mut content = Root {
        enclave: own.enclave(),
        revocations: revoked
            .iter()
            .map(|(key, below)| Revocation {
                key: key.id(),
                origin: origin(of),
                below: *below,
            })
            .collect(),
        roles: BTreeMap::from([
            (Role::Root, keys(vec![key(1).public()])),
            (Role::Log, with(OwnRole::Log, own.log().public())),
            (Role::Export, with(OwnRole::Export, own.export().public())),
            (Role::Orders, with(OwnRole::Orders, own.orders().public())),
        ]),
        version,
    };
    content.sort();
    let mut signed = SignedRoot::draft(content).unwrap();
    signed.sign(&key(1));
    signed
}

fn documents(roots: &[&SignedRoot]) -> Vec<String> {
    roots
        .iter()
        .map(|root| String::from_utf8(root.to_bytes()).unwrap())
        .collect()
}

/// Takes roots in as those of our own enclave.
fn accept_own(at: &TestAppliance, roots: &[&SignedRoot]) {
    let body = json!({ "documents": documents(roots) }).to_string();
    at.post("/api/v1/trust/roots", body).expect(200);
}

/// Takes in roots of another enclave, the first by its fingerprint.
fn accept(at: &TestAppliance, of: &TestAppliance, roots: &[&SignedRoot]) {
    let print = roots[0].fingerprint().digest().to_string();
    let body = json!({"documents": documents(roots), "origin": origin(of), "fingerprint": print});
    at.post("/api/v1/trust/roots", body.to_string()).expect(200);
}

fn pin_root(at: &TestAppliance, of: &TestAppliance, root: &SignedRoot) {
    let body = json!({"origin": origin(of), "fingerprint": root.fingerprint().digest().to_string()});
    at.post("/api/v1/trust/pins", body.to_string()).expect(204);
}

fn rotate(at: &TestAppliance, role: &str) {
    let path = format!("/api/v1/keys/{role}/rotate");
    at.post(&path, "{}").expect(200);
}

#[track_caller]
fn refused_with(reply: &Reply, code: u64) -> String {
    assert_eq!(reply.status, 422, "{}", reply.json());
    let problem = reply.json();
    assert_eq!(problem["report"]["exitCode"], code, "{problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

fn approve(at: &TestAppliance, token: &str, id: &str) -> Reply {
    let path = format!("/api/v1/imports/{id}/approve");
    at.send(&Ask::post(&path, br#"{"reason":"looked at it"}"#).token(token))
}

#[test]
fn a_pinned_root_of_trust_beats_keys_that_come_with_a_bundle() {
    let source = TestAppliance::start();
    submit(&source, 3);
    // Its ledger under other keys.
    let thief = source.twin();
    rotate(&thief, "log");
    rotate(&thief, "export");
    let (_, forged) = export(&thief, &json!({}));
    let first = root(&source, 1, &[]);
    accept_own(&source, &[&first]);
    let (_, good) = export(&source, &json!({}));

    let target = TestAppliance::start();
    let carrier = target.token("carrier", &[Scope::Import], &["default"]);
    let detail = refused_with(&import(&target, &carrier, &thief, &forged), 12);
    assert!(detail.contains("key_of_another_enclave"), "{detail}");
    assert!(noted(&target, "trust.pinned").is_empty());
    pin_root(&target, &source, &first);
    refused_with(&import(&target, &carrier, &thief, &forged), 12);
    assert!(noted(&target, "trust.pinned").is_empty());
    import(&target, &carrier, &source, &good).expect(201);
    assert!(
        noted(&target, "trust.pinned").is_empty(),
        "a root says who may sign"
    );
    assert_eq!(noted(&target, "trust.accepted").len(), 1);
}

#[test]
fn who_is_not_believed_says_nothing_about_a_ledger_that_is_held() {
    for by_root in [false, true] {
        let source = TestAppliance::start();
        submit(&source, 3);
        // The same ledger in name, with another history and other keys.
        let thief = source.twin();
        submit(&thief, 5);
        rotate(&thief, "log");
        rotate(&thief, "export");
        let first = root(&source, 1, &[]);
        accept_own(&source, &[&first]);
        let target = TestAppliance::start();
        if by_root {
            pin_root(&target, &source, &first);
        }
        import(&target, &target.admin, &source, &export(&source, &json!({})).1).expect(201);
        let (_, forged) = export(&thief, &json!({}));
        refused_with(&import(&target, &target.admin, &thief, &forged), 12);
        let ask = Ask::new("POST", "/api/v1/bundles/verify", &forged).token(&target.admin);
        let report = target.send(&with_keys(ask, &thief)).expect(200);
        assert_eq!(report["exitCode"], 12, "{report}");
        let refused = noted(&target, "bundle.refused");
        let codes: Vec<&Value> = refused.iter().map(|(_, payload)| &payload["exitCode"]).collect();
        assert_eq!(codes, [&json!(12)], "and no fork is recorded");
        // A good bundle with other keys beside it is refused as well: one of the two must be wrong.
        let (_, good) = export(&source, &json!({}));
        let detail = refused_with(&import(&target, &target.admin, &thief, &good), 12);
        assert!(by_root || detail.contains("other_keys_are_pinned"), "{detail}");
    }
}

#[test]
fn what_a_revoked_key_signed_is_no_fork() {
    let source = TestAppliance::start();
    submit(&source, 3);
    let first = root(&source, 1, &[]);
    accept_own(&source, &[&first]);
    // Whoever took the keys writes another history with them, and knows no newer root.
    let thief = source.twin();
    submit(&thief, 5);
    accept_own(&thief, &[&first]);
    let target = TestAppliance::start();
    pin_root(&target, &source, &first);
    import(&target, &target.admin, &source, &export(&source, &json!({})).1).expect(201);
    let old = source.engine.keys().log().public();
    rotate(&source, "log");
    let second = root(&source, 2, &[(old, 1)]);
    accept(&target, &source, &[&first, &second]);
    let (_, forged) = export(&thief, &json!({}));
    refused_with(&target.post("/api/v1/bundles/import", &forged), 12);
    let refused = noted(&target, "bundle.refused");
    assert_eq!(refused[0].1["exitCode"], 12, "{refused:?}");
}

#[test]
fn a_fork_by_the_keys_that_are_pinned_is_one_whatever_keys_are_given() {
    let (source, other, target) = (
        TestAppliance::start(),
        TestAppliance::start(),
        TestAppliance::start(),
    );
    submit(&source, 3);
    let forked = source.twin();
    submit(&forked, 5);
    import(&target, &target.admin, &source, &export(&source, &json!({})).1).expect(201);
    let (_, file) = export(&forked, &json!({}));
    refused_with(&import(&target, &target.admin, &other, &file), 13);
    refused_with(&import(&target, &target.admin, &source, &file), 13);
}

#[test]
fn the_other_side_of_a_fork_that_waits_is_kept_when_it_is_overtaken() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
    submit(&source, 3);
    let forked = source.twin();
    submit(&forked, 5);
    let (good, file) = export(&source, &json!({}));
    import(&target, &target.admin, &source, &file).expect(202);
    let (other, file) = export(&forked, &json!({}));
    import(&target, &target.admin, &source, &file).expect(202);
    let ada = target.token("ada", &[Scope::Approve], &["default"]);
    approve(&target, &ada, good["id"].as_str().unwrap()).expect(200);
    let id = other["id"].as_str().unwrap();
    let ended = target.get(&format!("/api/v1/imports/{id}")).expect(200);
    assert_eq!(ended["status"], "superseded", "{ended}");
    let refused = noted(&target, "bundle.refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].1["exitCode"], 13, "{refused:?}");
}

#[test]
fn what_nobody_known_signed_is_not_replayed() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 3);
    let (_, first) = export(&source, &json!({"to": 2}));
    import(&target, &target.admin, &source, &first).expect(201);
    // Where nothing can be replayed, who signed is still told.
    let scratch = target.engine.dir().join("bundles");
    std::fs::remove_dir_all(&scratch).unwrap();
    std::fs::write(&scratch, b"").unwrap();
    let (_, next) = export(&source, &json!({"from": 2}));
    rotate(&source, "export");
    let (_, forged) = export(&source, &json!({"from": 2}));
    let bring = |file: &[u8]| target.post("/api/v1/bundles/import", file);
    refused_with(&bring(&forged), 12);
    assert_eq!(
        bring(&next).problem(500),
        "internal",
        "and this one could not be replayed"
    );
    assert_eq!(
        noted(&target, "bundle.refused").len(),
        1,
        "which is no fault of its own"
    );
}

#[test]
fn keys_pinned_by_hand_give_way_to_a_root_or_are_replaced_by_an_administrator() {
    let source = TestAppliance::start();
    submit(&source, 3);
    let target = TestAppliance::start();
    import(
        &target,
        &target.admin,
        &source,
        &export(&source, &json!({"to": 2})).1,
    )
    .expect(201);
    rotate(&source, "log");
    rotate(&source, "export");
    let (_, next) = export(&source, &json!({"from": 2, "to": 3}));
    let bring = |file: &[u8]| target.post("/api/v1/bundles/import", file);
    refused_with(&bring(&next), 12);
    let own = source.engine.keys();
    let pem = |key: PublicKey| key.to_pem().unwrap();
    let mut pin = json!({"origin": origin(&source), "logKey": pem(own.log().public()), "exportKey": pem(own.export().public())});
    let again = |pin: &Value| target.post("/api/v1/trust/pins", pin.to_string());
    assert_eq!(again(&pin).problem(409), "pin_conflict");
    pin["replace"] = json!(true);
    again(&pin).expect(204);
    again(&pin).expect(204);
    let pinned = noted(&target, "trust.pinned");
    let replaced: Vec<&Value> = pinned.iter().map(|(_, payload)| &payload["replace"]).collect();
    assert_eq!(replaced, [&Value::Null, &json!(true)], "once each");
    bring(&next).expect(201);

    // And once there is a root, it counts alone.
    let first = root(&source, 1, &[]);
    accept_own(&source, &[&first]);
    rotate(&source, "export");
    let second = root(&source, 2, &[]);
    accept_own(&source, &[&second]);
    pin_root(&target, &source, &first);
    bring(&export(&source, &json!({"from": 3})).1).expect(201);
}

#[test]
fn a_bundle_that_waits_is_judged_again_and_its_roots_are_taken_in() {
    for revoked in [false, true] {
        let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
        submit(&source, 3);
        let first = root(&source, 1, &[]);
        accept_own(&source, &[&first]);
        pin_root(&target, &source, &first);
        let (exported, file) = export(&source, &json!({}));
        let id = exported["id"].as_str().unwrap();
        import(&target, &target.admin, &source, &file).expect(202);
        let ada = target.token("ada", &[Scope::Approve], &["default"]);
        if revoked {
            let old = source.engine.keys().log().public();
            rotate(&source, "log");
            let second = root(&source, 2, &[(old, 1)]);
            accept(&target, &source, &[&first, &second]);
            assert_eq!(approve(&target, &ada, id).problem(422), "bundle_refused");
            assert!(noted(&target, "bundle.imported").is_empty());
            assert!(noted(&target, "bundle.import_approved").is_empty());
            assert_eq!(noted(&target, "bundle.refused").len(), 1);
            let shown = target.get(&format!("/api/v1/imports/{id}")).expect(200);
            assert_eq!(shown["status"], "waiting", "until a person rejects it");
        } else {
            approve(&target, &ada, id).expect(200);
            assert_eq!(noted(&target, "trust.accepted").len(), 1);
            let trust = target.get("/api/v1/trust").expect(200);
            assert_eq!(trust["foreign"][0]["version"], 1);
        }
    }
}

#[test]
fn the_roots_of_an_approved_bundle_are_taken_in_after_a_crash() {
    for by_hand in [false, true] {
        let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
        submit(&source, 3);
        let first = root(&source, 1, &[]);
        accept_own(&source, &[&first]);
        pin_root(&target, &source, &first);
        let (exported, file) = export(&source, &json!({}));
        let id = exported["id"].as_str().unwrap();
        import(&target, &target.admin, &source, &file).expect(202);
        // The last approval is recorded, and then the power goes.
        let decided = BundleCommand::DecideImport {
            tar_sha256: id.parse().unwrap(),
            verdict: Verdict::Approve,
            reason: "looked at it".to_owned(),
        };
        let system = TenantName::system();
        let person = Actor {
            id: "bob".to_owned(),
            kind: ActorKind::Person,
        };
        let decided = Command::Bundle(Box::new(decided));
        let recorded = target.engine.submit(&system, &person, decided);
        target.runtime.block_on(recorded).unwrap();
        let version = || target.get("/api/v1/trust").expect(200)["foreign"][0]["version"].clone();
        assert_eq!(version(), 0);
        let start = || {
            let taken = fastness::bundle::stored::take_in_left_roots(&target.engine);
            target.runtime.block_on(taken).unwrap();
        };
        if by_hand {
            let ada = target.token("ada", &[Scope::Approve], &["default"]);
            approve(&target, &ada, id).expect(200);
        } else {
            start();
        }
        assert_eq!(version(), 1);
        start();
        assert_eq!(noted(&target, "trust.accepted").len(), 1);
    }
}

#[test]
fn what_nobody_approved_moves_no_trust() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
    submit(&source, 3);
    let first = root(&source, 1, &[]);
    accept_own(&source, &[&first]);
    pin_root(&target, &source, &first);
    let (exported, file) = export(&source, &json!({}));
    import(&target, &target.admin, &source, &file).expect(202);
    let ada = target.token("ada", &[Scope::Approve, Scope::Import], &["default"]);
    approve(&target, &ada, exported["id"].as_str().unwrap()).expect(200);
    let version = || target.get("/api/v1/trust").expect(200)["foreign"][0]["version"].clone();
    assert_eq!(version(), 1);
    // The same events once more, now with a newer root: they change nothing, and so does the root.
    rotate(&source, "log");
    let second = root(&source, 2, &[]);
    accept_own(&source, &[&second]);
    let (_, contained) = export(&source, &json!({"to": exported["size"].as_u64().unwrap() - 1}));
    let answer = import(&target, &ada, &source, &contained).expect(200);
    assert_eq!(answer["contained"], true, "{answer}");
    assert_eq!(version(), 1);
    // Nor does an approval that does not count.
    submit(&source, 1);
    let (next, file) = export(&source, &json!({"from": exported["size"]}));
    import(&target, &ada, &source, &file).expect(202);
    let id = next["id"].as_str().unwrap();
    assert_eq!(approve(&target, &ada, id).problem(409), "self_approval");
    assert_eq!(version(), 1);
    approve(&target, &target.admin, id).expect(200);
    assert_eq!(version(), 2);
}

/// An order that `hub` issues for an enclave, and its id.
fn order(hub: &TestAppliance, plant: &TestAppliance) -> (String, Vec<u8>) {
    let body = json!({"for": [enclave(plant)], "packs": [{"source": PACK}], "runs": [{"pack": "quick"}]});
    let issued = hub.post("/api/v1/work-orders", body.to_string()).expect(201);
    let id = issued["id"].as_str().unwrap().to_owned();
    let file = hub.get(&format!("/api/v1/work-orders/{id}/content"));
    (id, file.body)
}

fn bring_order(at: &TestAppliance, token: &str, file: &[u8], key: Option<PublicKey>) -> Reply {
    let mut asked = Ask::post("/api/v1/work-orders/import", file).token(token);
    if let Some(key) = key {
        asked = asked.header("x-fastness-orders-key", &STANDARD.encode(key.to_pem().unwrap()));
    }
    at.send(&asked)
}

#[test]
fn orders_are_judged_by_the_root_of_trust_of_their_hub() {
    let (hub, plant) = (TestAppliance::start(), TestAppliance::start());
    let first = root(&hub, 1, &[]);
    accept_own(&hub, &[&first]);
    pin_root(&plant, &hub, &first);
    let bring = |file: &[u8]| bring_order(&plant, &plant.admin, file, None);
    let (id, one) = order(&hub, &plant);
    let (_, late) = order(&hub, &plant);
    let detail = refused_with(&bring(&one), 12);
    assert!(detail.contains("none is held yet"), "{detail}");
    accept(&plant, &hub, &[&first]);
    bring(&one).expect(201);
    let stranger = key(9).public();
    let detail = refused_with(&bring_order(&plant, &plant.admin, &late, Some(stranger)), 12);
    assert!(detail.contains("not by the key given"), "{detail}");

    let old = hub.engine.keys().orders().public();
    rotate(&hub, "orders");
    let second = root(&hub, 2, &[(old, 1)]);
    accept(&plant, &hub, &[&first, &second]);
    let (_, new) = order(&hub, &plant);
    bring(&new).expect(201);
    let detail = refused_with(&bring(&late), 12);
    assert!(detail.contains("revoked in root of trust 2"), "{detail}");
    let start = format!("/api/v1/work-orders/{id}/start");
    assert_eq!(
        plant.post(&start, r#"{"reason":"now"}"#).problem(422),
        "order_refused"
    );
    assert!(
        noted(&plant, "trust.orders_pinned").is_empty(),
        "a root says who may sign"
    );
}

#[test]
fn only_an_administrator_pins_or_replaces_the_orders_key_of_a_hub() {
    let (hub, plant) = (TestAppliance::start(), TestAppliance::start());
    let (_, file) = order(&hub, &plant);
    let signed_by = hub.engine.keys().orders().public();
    let carrier = plant.token("carrier", &[Scope::Import], &["default"]);
    let detail = refused_with(&bring_order(&plant, &carrier, &file, Some(signed_by)), 12);
    assert!(detail.contains("orch:admin"), "{detail}");
    assert!(noted(&plant, "trust.orders_pinned").is_empty());

    let pin = |key: &PublicKey, replace: bool| {
        let body = json!({"hub": enclave(&hub), "ordersKey": key.to_pem().unwrap(), "replace": replace});
        plant.post("/api/v1/trust/orders-pins", body.to_string())
    };
    pin(&key(9).public(), true).expect(204);
    assert_eq!(pin(&signed_by, false).problem(409), "pin_conflict");
    assert_eq!(
        noted(&plant, "trust.refused").len(),
        1,
        "every attempt is an event"
    );
    let given = bring_order(&plant, &plant.admin, &file, Some(signed_by));
    assert_eq!(given.problem(409), "pin_conflict");
    assert_eq!(noted(&plant, "trust.refused").len(), 2);
    pin(&signed_by, true).expect(204);
    let pinned = noted(&plant, "trust.orders_pinned");
    assert_eq!(pinned[0].1["replace"], Value::Null);
    assert_eq!(pinned[1].1["replace"], true);
    bring_order(&plant, &carrier, &file, Some(signed_by)).expect(201);
    let plant = plant.restart();
    assert_eq!(noted(&plant, "trust.orders_pinned").len(), 2);
}

#[test]
fn an_order_of_this_very_enclave_is_refused() {
    let hub = TestAppliance::start();
    let (_, file) = order(&hub, &hub);
    let own = hub.engine.keys().orders().public();
    let detail = refused_with(&bring_order(&hub, &hub.admin, &file, Some(own)), 12);
    assert!(detail.contains("by this enclave itself"), "{detail}");
}

#[test]
fn a_refused_order_is_listed_with_the_imports_and_can_be_discarded() {
    let (hub, plant) = (TestAppliance::start(), TestAppliance::start());
    let (_, file) = order(&hub, &plant);
    refused_with(&bring_order(&plant, &plant.admin, &file, None), 12);
    let sha256 = Digest::of(&file).to_string();
    let path = format!("/api/v1/imports/{sha256}");
    let shown = plant.get(&path).expect(200);
    assert_eq!(
        (&shown["status"], &shown["kind"]),
        (&json!("refused"), &json!("untrusted"))
    );
    assert_eq!(shown["bytes"], file.len());
    // A refused bundle leaves it where it is.
    let junk = plant.post("/api/v1/bundles/import", b"junk");
    assert_eq!(junk.problem(422), "bundle_refused");
    plant.get(&path).expect(200);
    let discard = Ask::new("DELETE", &path, b"").token(&plant.admin);
    assert_eq!(plant.send(&discard).status, 204);
    assert_eq!(noted(&plant, "bundle.discarded")[0].1["sha256"], sha256);
}

#[test]
fn another_hub_cannot_block_an_order_by_a_cancellation() {
    let (hub, plant) = (TestAppliance::start(), TestAppliance::start());
    let (id, file) = order(&hub, &plant);
    let tenant: TenantName = "default".parse().unwrap();
    let cancel = |hub: &str, origin: &str| {
        Command::Order(Box::new(OrderCommand::Cancel {
            id: id.parse().unwrap(),
            reason: "no".to_owned(),
            by_hub: Some(HubCancel {
                hub: hub.parse().unwrap(),
                order_sha256: Digest::of(b"an order"),
                origin: origin.to_owned(),
                tar_sha256: Digest::of(b"a cancellation"),
            }),
        }))
    };
    for other in ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"] {
        plant.command(&tenant, cancel(other, &format!("fastness/{other}/default")));
    }
    let key = hub.engine.keys().orders().public();
    bring_order(&plant, &plant.admin, &file, Some(key)).expect(201);
    let plant = plant.restart();
    let shown = plant.get(&format!("/api/v1/work-orders/{id}")).expect(200);
    assert_eq!(shown["state"], "imported");
}

#[test]
fn a_note_never_holds_more_than_a_little_of_what_a_bundle_says() {
    let target = TestAppliance::start();
    let manifest = format!("{{\"{}\":1}}\n", "A".repeat(70_000));
    let mut tar = fastness::bundle::tar::TarWriter::new(
        fastness::bundle::transport::FrameWriter::new(Vec::new()).unwrap(),
    );
    tar.begin("audit/manifest.dsse.json", manifest.len() as u64)
        .unwrap();
    tar.content(manifest.as_bytes()).unwrap();
    let file = tar.finish().unwrap().finish().unwrap();
    assert!(file.len() < 1_000);
    let said = target.post("/api/v1/bundles/verify", &file);
    assert!(said.body.len() < 8 * 1024, "{} bytes", said.body.len());
    let refused = target.post("/api/v1/bundles/import", &file);
    refused_with(&refused, 14);
    assert!(refused.body.len() < 8 * 1024);
    let list = target.get("/api/v1/imports").expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_stored_bundle_that_was_lost_or_changed_is_stored_again_when_it_is_brought_again() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 4);
    let (exported, first) = export(&source, &json!({"to": 3}));
    import(&target, &target.admin, &source, &first).expect(201);
    let foreign = format!("foreign:{}/default", enclave(&source));
    let name = format!("{}.tar", exported["id"].as_str().unwrap());
    let checkpoint = |at: &TestAppliance| {
        at.send(
            &Ask::get("/api/v1/ledger/checkpoint")
                .token(&at.admin)
                .header("x-fastness-tenant", &foreign),
        )
    };
    assert_eq!(checkpoint(&target).status, 200);
    let path = target.folder().join("imports").join(&name);
    let good = std::fs::read(&path).unwrap();
    // Another size and root, as long as those that were signed.
    let text = String::from_utf8(good.clone().into_iter().map(|byte| byte & 0x7f).collect()).unwrap();
    let root = STANDARD.encode(
        exported["root"]
            .as_str()
            .map(|hex| hex.parse::<Digest>().unwrap())
            .unwrap()
            .as_bytes(),
    );
    let at = text.find(&root).unwrap();
    let mut changed = good.clone();
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(&path, &changed).unwrap();
    assert_eq!(checkpoint(&target).status, 500, "not what its enclave signed");
    let again = import(&target, &target.admin, &source, &first).expect(200);
    assert_eq!(again["already"], true);
    assert_eq!(std::fs::read(&path).unwrap(), good);
    assert_eq!(checkpoint(&target).status, 200);

    // The tar and all that was made of it.
    let target = target.restart_after(|folder| {
        std::fs::remove_file(folder.join("imports").join(&name)).unwrap();
        let ledgers = folder.join("ledgers");
        for entry in std::fs::read_dir(&ledgers).unwrap() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().contains("foreign") {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
    });
    let again = import(&target, &target.admin, &source, &first).expect(200);
    assert_eq!(again["already"], true);
    let (_, next) = export(&source, &json!({"from": 3}));
    import(&target, &target.admin, &source, &next).expect(201);
}

#[test]
fn an_upload_is_its_owners_alone() {
    let target = TestAppliance::start();
    let (ada, bob) = (
        target.token("ada", &[Scope::Import], &["default"]),
        target.token("bob", &[Scope::Import], &["default"]),
    );
    let file = b"no bundle";
    let path = format!("/api/v1/uploads/{}", Digest::of(file));
    let put = |token: &str| target.send(&Ask::new("PUT", &path, file).token(token));
    put(&ada).expect(201);
    let ask = |method, token: &str| target.send(&Ask::new(method, &path, b"").token(token)).status;
    assert_eq!(ask("GET", &ada), 200);
    assert_eq!(ask("GET", &bob), 404);
    assert_eq!(ask("DELETE", &bob), 404);
    let bring = format!("/api/v1/bundles/import?upload={}", Digest::of(file));
    let brought = target.send(&Ask::post(&bring, b"").token(&bob));
    assert_eq!(brought.problem(422), "upload_incomplete");
    put(&bob).expect(201);
    assert_eq!(ask("DELETE", &bob), 204);
    assert_eq!(ask("GET", &ada), 200);
}

#[test]
fn a_bundle_of_rules_that_are_not_known_here_is_refused() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 2);
    let mut parts = bundle_parts(&export(&source, &json!({})).1);
    let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let payload = String::from_utf8(payload).unwrap();
    let other = payload.replace("\"stateVersion\":1,", "\"stateVersion\":99,");
    assert_ne!(payload, other);
    parts[0].1 = fastness::bundle::dsse::sign(other.as_bytes(), &source.engine.keys().export()).unwrap();
    let detail = refused_with(&import(&target, &target.admin, &source, &bundle_file(&parts)), 14);
    assert!(detail.contains("stateVersion is 99"), "{detail}");
}

/// The file with another statement, signed by the hub that says so.
fn restated(file: &[u8], hub: &TestAppliance, change: impl Fn(String) -> String) -> Vec<u8> {
    let mut parts = bundle_parts(file);
    let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let payload = change(String::from_utf8(payload).unwrap());
    parts[0].1 = fastness::bundle::dsse::sign(payload.as_bytes(), &hub.engine.keys().orders()).unwrap();
    bundle_file(&parts)
}

#[test]
fn the_id_of_another_hubs_order_is_of_no_use() {
    let (hub, thief) = (TestAppliance::start(), TestAppliance::start());
    let plant = TestAppliance::start();
    for one in [&hub, &thief] {
        let orders = one.engine.keys().orders().public().to_pem().unwrap();
        let body = json!({"hub": enclave(one), "ordersKey": orders}).to_string();
        plant
            .send(&Ask::post("/api/v1/trust/orders-pins", body.as_bytes()).token(&plant.admin))
            .expect(204);
    }
    let (id, good) = order(&hub, &plant);
    let (own, file) = order(&thief, &plant);
    let stolen = restated(&file, &thief, |payload| payload.replace(&own, &id));
    let detail = refused_with(&bring_order(&plant, &plant.admin, &stolen, None), 12);
    assert!(detail.contains("id_of_another_hub"), "{detail}");
    let recalled = |of: &TestAppliance, id: &str| {
        let path = format!("/api/v1/work-orders/{id}");
        of.post(&format!("{path}/cancel"), r#"{"reason":"no"}"#)
            .expect(200);
        of.get(&format!("{path}/cancellation")).body
    };
    // What its own hub cancelled stays cancelled, whoever else says something of it.
    let stop = recalled(&thief, &own);
    let stop = restated(&stop, &thief, |payload| payload.replace(&own, &id));
    let detail = refused_with(&bring_order(&plant, &plant.admin, &stop, None), 12);
    assert!(detail.contains("id_of_another_hub"), "{detail}");
    let (early, late) = order(&hub, &plant);
    bring_order(&plant, &plant.admin, &recalled(&hub, &early), None).expect(201);
    let stop = restated(&stop, &thief, |payload| payload.replace(&id, &early));
    refused_with(&bring_order(&plant, &plant.admin, &stop, None), 12);
    let detail = refused_with(&bring_order(&plant, &plant.admin, &late, None), 13);
    assert!(
        detail.contains("cancellation of this order came first"),
        "{detail}"
    );

    bring_order(&plant, &plant.admin, &good, None).expect(201);
    let shown = plant.get(&format!("/api/v1/work-orders/{id}")).expect(200);
    assert_eq!(shown["received"]["hub"], enclave(&hub));
    assert_eq!(shown["state"], "imported");
}

/// A token of `at` for another of its tenants, and a job there.
fn second_ledger(at: &TestAppliance) -> String {
    at.create_tenant("beta");
    let token = at.token("bea", Scope::ALL, &["beta"]);
    at.send(&Ask::post("/api/v1/jobs", br#"{"type":"t"}"#).token(&token))
        .expect(201);
    token
}

fn exported_by(at: &TestAppliance, token: &str) -> Vec<u8> {
    let exported = at.send(&Ask::post("/api/v1/bundles/export", b"{}").token(token));
    let path = format!(
        "/api/v1/bundles/{}/content",
        exported.expect(201)["id"].as_str().unwrap()
    );
    at.send(&Ask::get(&path).token(token)).body
}

#[test]
fn the_export_key_of_an_enclave_that_is_known_counts_for_all_of_its_ledgers() {
    let source = TestAppliance::start();
    submit(&source, 3);
    let beta = second_ledger(&source);
    let (_, first) = export(&source, &json!({}));
    let good = exported_by(&source, &beta);
    // Whoever has the file writes another manifest for it; the log key that it goes with is no secret.
    let stranger = key(9);
    let mut parts = bundle_parts(&good);
    let envelope: Value = serde_json::from_slice(&parts[0].1).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    parts[0].1 = fastness::bundle::dsse::sign(&payload, &stranger).unwrap();
    let forged = bundle_file(&parts);
    let target = TestAppliance::start();
    let carrier = target.token("carrier", &[Scope::Import], &["default"]);
    import(&target, &carrier, &source, &first).expect(201);
    let send = |to: &str, token: &str, file: &[u8], export: PublicKey| {
        let log = source.engine.keys().log().public();
        let path = format!("/api/v1/bundles/{to}");
        let asked = Ask::new("POST", &path, file)
            .token(token)
            .header("x-fastness-log-key", &STANDARD.encode(log.to_pem().unwrap()))
            .header(
                "x-fastness-export-key",
                &STANDARD.encode(export.to_pem().unwrap()),
            );
        target.send(&asked)
    };
    let bring = |file: &[u8], export: PublicKey| send("import", &carrier, file, export);
    let detail = refused_with(&bring(&forged, stranger.public()), 12);
    assert!(detail.contains("export_key_of_enclave_differs"), "{detail}");
    // Who only asks is told the same.
    let told = send("verify", &target.admin, &forged, stranger.public()).expect(200);
    assert_eq!(told["exitCode"], 12, "{told}");
    assert!(
        told.to_string().contains("export_key_of_enclave_differs"),
        "{told}"
    );
    let of_enclave = source.engine.keys().export().public();
    assert_eq!(
        send("verify", &target.admin, &good, of_enclave).expect(200)["exitCode"],
        0
    );
    assert_eq!(noted(&target, "trust.pinned").len(), 1);
    bring(&good, of_enclave).expect(201);
    assert_eq!(noted(&target, "trust.pinned").len(), 2);
    // And of a ledger whose keys are pinned no other export key is taken, by whomever it comes.
    refused_with(&bring(&forged, stranger.public()), 12);
    assert_eq!(noted(&target, "trust.pinned").len(), 2);
}

#[test]
fn a_person_may_pin_another_export_key_for_another_ledger() {
    let source = TestAppliance::start();
    submit(&source, 2);
    let beta = second_ledger(&source);
    let target = TestAppliance::start();
    import(&target, &target.admin, &source, &export(&source, &json!({})).1).expect(201);
    rotate(&source, "export");
    let file = exported_by(&source, &beta);
    let detail = refused_with(&import(&target, &target.admin, &source, &file), 12);
    assert!(detail.contains("export_key_of_enclave_differs"), "{detail}");
    let own = source.engine.keys();
    let pem = |key: PublicKey| key.to_pem().unwrap();
    let pin = json!({"origin": format!("fastness/{}/beta", enclave(&source)),
        "logKey": pem(own.log().public()), "exportKey": pem(own.export().public())});
    target.post("/api/v1/trust/pins", pin.to_string()).expect(204);
    import(&target, &target.admin, &source, &file).expect(201);
}

#[test]
fn what_is_held_is_held_whatever_root_of_trust_came_since() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 3);
    let first = root(&source, 1, &[]);
    accept_own(&source, &[&first]);
    let (exported, file) = export(&source, &json!({}));
    pin_root(&target, &source, &first);
    let bring = |file: &[u8]| target.post("/api/v1/bundles/import", file);
    bring(&file).expect(201);
    let old = source.engine.keys().export().public();
    rotate(&source, "export");
    let second = root(&source, 2, &[]);
    accept(&target, &source, &[&first, &second]);
    let again = bring(&file).expect(200);
    assert_eq!(
        (&again["already"], &again["contained"]),
        (&json!(true), &Value::Null)
    );
    // As it was taken in, byte for byte, in whatever frame.
    let framed = bundle_file(&bundle_parts(&file));
    assert_eq!(bring(&framed).expect(200)["already"], true);
    assert!(noted(&target, "bundle.refused").is_empty());
    // Where its key was revoked for this very size that is said.
    let size = exported["size"].as_u64().unwrap();
    let third = root(&source, 3, &[(old, size)]);
    accept(&target, &source, &[&first, &second, &third]);
    let detail = refused_with(&bring(&file), 12);
    assert!(detail.contains("revoked"), "{detail}");
}

#[test]
fn what_is_held_by_keys_alone_is_held_whatever_root_came_with_a_later_bundle() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 2);
    let first = root(&source, 1, &[]);
    accept_own(&source, &[&first]);
    let (old, file) = export(&source, &json!({}));
    import(&target, &target.admin, &source, &file).expect(201);
    submit(&source, 1);
    let second = root(&source, 2, &[]);
    accept_own(&source, &[&second]);
    let (_, next) = export(&source, &json!({"from": old["size"]}));
    import(&target, &target.admin, &source, &next).expect(201);
    for file in [&file, &next] {
        let again = import(&target, &target.admin, &source, file).expect(200);
        assert_eq!(
            (&again["already"], &again["contained"]),
            (&json!(true), &Value::Null)
        );
    }
}
