//! Bundles on their way in: by policy, against what is held, into quarantine.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::disk::{Access, Disk, DiskFile, OsDisk};
use fastness::domain::token::Scope;
use fastness::domain::{Digest, TenantName};
use fastness::engine::Handle;
use serde_json::{Value, json};

use crate::support::appliance::{Ask, Reply, TestAppliance};

/// Some jobs, so that there is a history.
pub fn submit(appliance: &TestAppliance, count: usize) {
    for at in 0..count {
        appliance
            .post("/api/v1/jobs", format!(r#"{{"type":"t{at}"}}"#))
            .expect(201);
    }
}

/// What the server says about a bundle, and its file.
pub fn export(appliance: &TestAppliance, body: &Value) -> (Value, Vec<u8>) {
    let exported = appliance
        .post("/api/v1/bundles/export", body.to_string())
        .expect(201);
    let path = format!("/api/v1/bundles/{}/content", exported["id"].as_str().unwrap());
    let file = appliance.get(&path);
    assert_eq!(file.status, 200);
    (exported, file.body)
}

/// The tar inside.
pub fn tar_of(file: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut tar = Vec::new();
    fastness::bundle::transport::FrameReader::new(file)
        .unwrap()
        .read_to_end(&mut tar)
        .unwrap();
    tar
}

/// Names the keys of the enclave that made a bundle.
pub fn with_keys<'a>(asked: Ask<'a>, source: &TestAppliance) -> Ask<'a> {
    let keys = source.engine.keys();
    let text = |key: fastness::trust::PublicKey| STANDARD.encode(key.to_pem().unwrap());
    asked
        .header("x-fastness-log-key", &text(keys.log().public()))
        .header("x-fastness-export-key", &text(keys.export().public()))
}

pub fn import(target: &TestAppliance, token: &str, source: &TestAppliance, file: &[u8]) -> Reply {
    let asked = Ask::new("POST", "/api/v1/bundles/import", file).token(token);
    target.send(&with_keys(asked, source))
}

/// Events of the ledger `system` of a type: actor and payload.
pub fn noted(appliance: &TestAppliance, type_name: &str) -> Vec<(String, Value)> {
    let ask = format!("/api/v1/events?type={type_name}&limit=100");
    let page = appliance.send(
        &Ask::get(&ask)
            .token(&appliance.admin)
            .header("x-fastness-tenant", "system"),
    );
    let items = page.expect(200)["items"].as_array().unwrap().clone();
    items
        .iter()
        .map(|event| {
            let actor = event["actor"]["id"].as_str().unwrap().to_owned();
            (actor, event["payload"].clone())
        })
        .collect()
}

fn say(target: &TestAppliance, token: &str, id: &str, word: &str) -> Reply {
    let path = format!("/api/v1/imports/{id}/{word}");
    target.send(&Ask::post(&path, br#"{"reason":"looked at it"}"#).token(token))
}

fn stored(target: &TestAppliance) -> Vec<String> {
    let dir = target.folder().join("imports");
    let names = std::fs::read_dir(dir).into_iter().flatten();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// The answers of a listing, by status.
fn statuses(target: &TestAppliance) -> Vec<String> {
    let list = target.get("/api/v1/imports").expect(200);
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|item| item["status"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn without_a_policy_a_bundle_is_held_at_once_and_a_second_time_changes_nothing() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 4);
    let (exported, file) = export(&source, &json!({}));
    let imported = import(&target, &target.admin, &source, &file).expect(201);
    assert_eq!(imported["already"], false);
    assert_eq!(imported["tarSha256"], exported["tarSha256"]);
    let state = source.get("/api/v1/ledger/state").expect(200);
    assert_eq!(imported["stateDigest"], state["stateDigest"]);
    let again = import(&target, &target.admin, &source, &file).expect(200);
    assert_eq!(again["already"], true);
    assert_eq!(noted(&target, "bundle.imported").len(), 1);
    let id = exported["id"].as_str().unwrap();
    let shown = target.get(&format!("/api/v1/imports/{id}")).expect(200);
    assert_eq!((&shown["status"], &shown["size"]), (&json!("held"), &json!(5)));
    assert_eq!(
        target.get(&format!("/api/v1/imports/{}", "0".repeat(64))).status,
        404
    );
    let known = target.get("/api/v1/enclaves").expect(200);
    let ledger = &known["items"][0]["ledgers"][0];
    assert_eq!(
        known["items"][0]["id"],
        imported["origin"].as_str().unwrap().split('/').nth(1).unwrap()
    );
    assert_eq!((&ledger["size"], &ledger["root"]), (&json!(5), &exported["root"]));
    assert_eq!(
        ledger["logKeyId"],
        source.engine.keys().log().public().id().to_string()
    );
    assert_eq!(ledger["importedAt"], known["items"][0]["lastImportAt"]);
}

#[test]
fn where_two_persons_approve_whoever_brought_it_does_not_count() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(2));
    submit(&source, 3);
    let (exported, file) = export(&source, &json!({}));
    let id = exported["id"].as_str().unwrap();
    let person = |name: &str| target.token(name, &[Scope::Approve, Scope::Import], &["default"]);
    let (bringer, ada, bob) = (person("bringer"), person("ada"), person("bob"));
    let waiting = import(&target, &bringer, &source, &file);
    assert_eq!(
        waiting.header("location"),
        Some(format!("/api/v1/imports/{id}").as_str())
    );
    let waiting = waiting.expect(202);
    assert_eq!(
        (&waiting["status"], &waiting["approvals"]),
        (&json!("waiting"), &json!(2))
    );
    assert_eq!(
        waiting["logKeyId"],
        source.engine.keys().log().public().id().to_string()
    );
    let again = import(&target, &bob, &source, &file).expect(202);
    assert_eq!(again["requestedBy"], "bringer", "asked once, by the first");
    assert_eq!(noted(&target, "bundle.import_requested").len(), 1);
    assert_eq!(stored(&target), [format!("{id}.tar")]);
    assert_eq!(statuses(&target), ["waiting"]);
    let foreign = waiting["tenant"].as_str().unwrap();
    let read = |path: &str| {
        target.send(
            &Ask::get(path)
                .token(&target.admin)
                .header("x-fastness-tenant", foreign),
        )
    };
    assert_eq!(
        read("/api/v1/events").problem(403),
        "tenant_forbidden",
        "nothing of it is held yet"
    );

    assert_eq!(
        say(&target, &bringer, id, "approve").problem(409),
        "self_approval"
    );
    let path = format!("/api/v1/imports/{id}/approve");
    assert_eq!(
        target
            .send(&Ask::post(&path, br#"{"reason":" "}"#).token(&ada))
            .problem(422),
        "reason_required"
    );
    assert_eq!(say(&target, &ada, id, "approve").expect(200)["status"], "waiting");
    assert_eq!(say(&target, &ada, id, "approve").problem(409), "already_approved");
    assert!(noted(&target, "bundle.imported").is_empty() && noted(&target, "trust.pinned").is_empty());
    // What waits survives a restart.
    let target = target.restart();
    assert_eq!(statuses(&target), ["waiting"]);
    let held = say(&target, &bob, id, "approve").expect(200);
    assert_eq!(held["status"], "held");
    let approved: Vec<&str> = held["approved"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["person"].as_str().unwrap())
        .collect();
    assert_eq!(approved, ["ada", "bob"]);
    assert_eq!(noted(&target, "bundle.import_approved").len(), 2);
    assert_eq!(noted(&target, "bundle.imported").len(), 1);
    assert_eq!(
        noted(&target, "trust.pinned").len(),
        1,
        "the keys are pinned with it"
    );
    assert_eq!(
        say(&target, &bob, id, "approve").expect(200)["status"],
        "held",
        "said before"
    );
    assert_eq!(
        say(&target, &bob, id, "reject").problem(409),
        "illegal_transition"
    );
    let read = |path: &str| {
        target.send(
            &Ask::get(path)
                .token(&target.admin)
                .header("x-fastness-tenant", foreign),
        )
    };
    let state = read("/api/v1/ledger/state").expect(200);
    assert_eq!(
        state["stateDigest"],
        source.get("/api/v1/ledger/state").expect(200)["stateDigest"]
    );
    assert_eq!(
        import(&target, &bringer, &source, &file).expect(200)["already"],
        true
    );
    assert_eq!(
        say(&target, &bob, &"0".repeat(64), "approve").problem(404),
        "not_found"
    );
}

#[test]
fn a_rejected_bundle_is_not_held_and_can_be_brought_anew() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
    submit(&source, 2);
    let (exported, file) = export(&source, &json!({}));
    let id = exported["id"].as_str().unwrap();
    let ada = target.token("ada", &[Scope::Approve], &["default"]);
    import(&target, &target.admin, &source, &file).expect(202);
    let rejected = say(&target, &ada, id, "reject").expect(200);
    assert_eq!(
        (&rejected["status"], &rejected["reason"]),
        (&json!("rejected"), &json!("looked at it"))
    );
    assert_eq!(rejected["rejectedBy"], "ada");
    assert_eq!(
        say(&target, &ada, id, "reject").expect(200)["status"],
        "rejected",
        "said before"
    );
    assert_eq!(noted(&target, "bundle.import_rejected").len(), 1);
    assert_eq!(
        say(&target, &ada, id, "approve").problem(409),
        "illegal_transition"
    );
    assert!(stored(&target).is_empty(), "what is not wanted is not kept");
    assert!(noted(&target, "bundle.imported").is_empty());
    import(&target, &target.admin, &source, &file).expect(202);
    assert_eq!(say(&target, &ada, id, "approve").expect(200)["status"], "held");
}

#[test]
fn other_keys_than_those_pinned_take_nothing_in() {
    for approvals in [0, 1] {
        let source = TestAppliance::start();
        let (other, target) = (TestAppliance::start(), TestAppliance::asking(approvals));
        submit(&source, 2);
        let (_, file) = export(&source, &json!({}));
        let origin = source
            .engine
            .origin(&"default".parse().unwrap())
            .unwrap()
            .to_string();
        let pem = |key: fastness::trust::PublicKey| key.to_pem().unwrap();
        let keys = other.engine.keys();
        let pin = json!({"origin": origin, "logKey": pem(keys.log().public()), "exportKey": pem(keys.export().public())});
        target.post("/api/v1/trust/pins", pin.to_string()).expect(204);
        let given = import(&target, &target.admin, &source, &file);
        assert_eq!(given.problem(422), "bundle_refused");
        assert_eq!(given.json()["report"]["exitCode"], 12);
        assert!(stored(&target).is_empty());
        assert_eq!(statuses(&target), ["refused"]);
        let pinned = target.post("/api/v1/bundles/import", &file);
        assert_eq!(
            pinned.problem(422),
            "bundle_refused",
            "by the pinned keys it is another's"
        );
        assert_eq!(pinned.json()["report"]["exitCode"], 12);
    }
}

#[test]
fn a_stored_bundle_that_was_changed_while_it_waited_is_not_taken_in() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
    submit(&source, 2);
    let (exported, file) = export(&source, &json!({}));
    let id = exported["id"].as_str().unwrap();
    import(&target, &target.admin, &source, &file).expect(202);
    let path = target.folder().join("imports").join(format!("{id}.tar"));
    let mut tar = std::fs::read(&path).unwrap();
    let middle = tar.len() / 2;
    tar[middle] ^= 1;
    std::fs::write(&path, &tar).unwrap();
    let ada = target.token("ada", &[Scope::Approve], &["default"]);
    assert_eq!(say(&target, &ada, id, "approve").problem(500), "internal");
    assert_eq!(statuses(&target), ["waiting"]);
    assert!(noted(&target, "bundle.import_approved").is_empty());
    tar[middle] ^= 1;
    std::fs::write(&path, &tar).unwrap();
    assert_eq!(say(&target, &ada, id, "approve").expect(200)["status"], "held");
}

#[test]
fn another_history_of_the_same_ledger_is_kept_apart_and_refused() {
    let source = TestAppliance::start();
    let (twin, target) = (source.twin(), TestAppliance::start());
    submit(&source, 6);
    submit(&twin, 9);
    let (_, held) = export(&source, &json!({}));
    import(&target, &target.admin, &source, &held).expect(201);
    for (name, body) in [
        ("the same size", json!({"to": 7})),
        ("an older part", json!({"to": 4})),
        ("one that goes beyond", json!({"to": 9})),
        ("one that would follow", json!({"from": 7, "to": 9})),
        ("a range within", json!({"from": 2, "to": 5})),
    ] {
        let (_, forked) = export(&twin, &body);
        let refused = import(&target, &target.admin, &twin, &forked);
        assert_eq!(refused.problem(422), "bundle_refused", "{name}");
        assert_eq!(
            refused.json()["report"]["exitCode"],
            13,
            "{name}: {}",
            refused.json()
        );
        let sha256 = Digest::of(&forked).to_string();
        let shown = target.get(&format!("/api/v1/imports/{sha256}")).expect(200);
        assert_eq!(
            (&shown["status"], &shown["kind"]),
            (&json!("refused"), &json!("fork")),
            "{name}"
        );
        let kept = target.folder().join("quarantine").join(&sha256);
        assert_eq!(std::fs::read(kept).unwrap(), forked, "{name}: both are kept");
        let (_, last) = noted(&target, "bundle.refused").pop().unwrap();
        assert_eq!(
            (&last["kind"], &last["exitCode"]),
            (&json!("fork"), &json!(13)),
            "{name}"
        );
        assert_eq!(last["sha256"], sha256, "{name}");
    }
    assert_eq!(noted(&target, "bundle.imported").len(), 1);
    let items = target.get("/api/v1/enclaves").expect(200);
    assert_eq!(
        items["items"][0]["ledgers"][0]["size"], 7,
        "what is held is held as it was"
    );
    // Quarantine is emptied by hand.
    let refused = target.get("/api/v1/imports").expect(200)["items"][1]["id"].clone();
    let path = format!("/api/v1/imports/{}", refused.as_str().unwrap());
    let discard = Ask::new("DELETE", &path, b"").token(&target.admin);
    assert_eq!(target.send(&discard).status, 204);
    assert_eq!(target.send(&discard).problem(404), "not_found");
    assert_eq!(noted(&target, "bundle.discarded")[0].1["sha256"], refused);
    assert_eq!(statuses(&target).len(), 5);
}

#[test]
fn a_fork_of_what_waits_is_refused_as_one_of_what_is_held() {
    let source = TestAppliance::start();
    let (twin, target) = (source.twin(), TestAppliance::asking(1));
    submit(&source, 3);
    submit(&twin, 3);
    import(&target, &target.admin, &source, &export(&source, &json!({})).1).expect(202);
    let refused = import(&target, &target.admin, &twin, &export(&twin, &json!({})).1);
    assert_eq!(refused.problem(422), "bundle_refused");
    assert_eq!(refused.json()["report"]["exitCode"], 13);
    assert_eq!(statuses(&target), ["waiting", "refused"]);
}

#[test]
fn older_and_overlapping_bundles_of_the_same_history_change_nothing() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 9);
    let (_, first) = export(&source, &json!({"to": 6}));
    import(&target, &target.admin, &source, &first).expect(201);
    for body in [
        json!({"to": 3}),
        json!({"from": 2, "to": 5}),
        json!({"from": 3, "to": 6}),
    ] {
        let (_, older) = export(&source, &body);
        let contained = import(&target, &target.admin, &source, &older).expect(200);
        assert_eq!(
            (&contained["already"], &contained["contained"]),
            (&json!(true), &json!(true)),
            "{body}"
        );
    }
    let (_, overlapping) = export(&source, &json!({"from": 4, "to": 8}));
    let refused = import(&target, &target.admin, &source, &overlapping);
    assert_eq!(refused.problem(409), "not_continuous");
    assert!(
        refused.json()["detail"].as_str().unwrap().contains("begins at 6"),
        "{}",
        refused.json()
    );
    let (_, gap) = export(&source, &json!({"from": 8}));
    let refused = import(&target, &target.admin, &source, &gap);
    assert_eq!(refused.problem(422), "bundle_refused");
    assert_eq!(
        refused.json()["report"]["exitCode"],
        11,
        "something is missing between"
    );
    assert_eq!(stored(&target).len(), 1, "only what is held is stored");
    assert_eq!(noted(&target, "bundle.imported").len(), 1);
    let (_, next) = export(&source, &json!({"from": 6}));
    assert_eq!(
        import(&target, &target.admin, &source, &next).expect(201)["size"],
        10
    );
    let state = source.get("/api/v1/ledger/state").expect(200);
    let tenant: TenantName = target.get("/api/v1/imports").expect(200)["items"][0]["tenant"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let foreign = target.send(
        &Ask::get("/api/v1/ledger/state")
            .token(&target.admin)
            .header("x-fastness-tenant", tenant.as_str()),
    );
    assert_eq!(foreign.expect(200)["stateDigest"], state["stateDigest"]);
}

#[test]
fn every_attempt_is_noted_the_refused_ones_too() {
    let (source, target) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 2);
    let (exported, file) = export(&source, &json!({}));
    let id = exported["id"].as_str().unwrap();
    assert_eq!(
        noted(&source, "bundle.exported")[0].1["tarSha256"],
        exported["tarSha256"]
    );
    assert_eq!(noted(&source, "bundle.downloaded")[0].1["from"], 0);
    for _ in 0..3 {
        source.post("/api/v1/bundles/export", r#"{"from":9}"#).expect(422);
    }
    source.post("/api/v1/bundles/export", r#"{"form":9}"#).expect(422);
    source
        .get(&format!("/api/v1/bundles/{}/content", "1".repeat(64)))
        .expect(404);
    target.post("/api/v1/bundles/import?upload=zz", b"").expect(422);
    target.post("/api/v1/bundles/verify", &file).expect(200);
    let discard = format!("/api/v1/imports/{id}");
    target
        .send(&Ask::new("DELETE", &discard, b"").token(&target.admin))
        .expect(404);
    say(&target, &target.admin, id, "approve").expect(404);
    say(&target, &target.admin, id, "reject").expect(404);
    let failures = |appliance: &TestAppliance| {
        let mut found: Vec<_> = noted(appliance, "bundle.attempt_failed")
            .into_iter()
            .map(|(actor, payload)| {
                assert_eq!(actor, "admin");
                let text = |name: &str| payload[name].as_str().unwrap().to_owned();
                format!("{} {}", text("action"), text("code"))
            })
            .collect();
        found.sort();
        // A minute may have ended between two of them.
        found.dedup();
        found
    };
    assert_eq!(
        failures(&source),
        [
            "download not_found",
            "export range_invalid",
            "export unknown_field"
        ]
    );
    assert_eq!(
        failures(&target),
        [
            "approve not_found",
            "discard not_found",
            "import invalid_parameter",
            "reject not_found"
        ]
    );
    assert!(
        noted(&source, "bundle.attempt_failed").len() <= 4,
        "the same is noted once a minute"
    );
    let (_, verified) = &noted(&target, "bundle.verified")[0];
    assert_eq!(verified["exitCode"], 12);
}

#[test]
fn what_is_overtaken_while_it_waits_ends_and_takes_no_place() {
    let (source, target) = (TestAppliance::start(), TestAppliance::asking(1));
    submit(&source, 3);
    let bundle = |to: u64| export(&source, &json!({ "to": to }));
    let (short, short_file) = bundle(2);
    let (long, long_file) = bundle(3);
    let person = |name: &str| target.token(name, &[Scope::Approve, Scope::Import], &["default"]);
    let (bringer, ada) = (person("bringer"), person("ada"));
    import(&target, &bringer, &source, &long_file).expect(202);
    import(&target, &bringer, &source, &short_file).expect(202);
    assert_eq!(stored(&target).len(), 2);
    let (short, long) = (short["id"].as_str().unwrap(), long["id"].as_str().unwrap());
    say(&target, &ada, short, "approve").expect(200);
    // It begins before the end of what is held: it can never be taken in.
    let shown = target.get(&format!("/api/v1/imports/{long}")).expect(200);
    assert_eq!(shown["status"], "superseded", "{shown}");
    assert_eq!(statuses(&target), ["held", "superseded"]);
    assert_eq!(stored(&target), [format!("{short}.tar")]);
    let ended = noted(&target, "bundle.import_superseded");
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].1["tarSha256"], long);
    for word in ["approve", "reject"] {
        assert_eq!(say(&target, &ada, long, word).problem(409), "illegal_transition");
    }
    assert_eq!(
        import(&target, &bringer, &source, &long_file).problem(409),
        "not_continuous"
    );
    let target = target.restart();
    let shown = target.get(&format!("/api/v1/imports/{long}")).expect(200);
    assert_eq!(shown["status"], "superseded");
}

#[test]
fn a_bundle_of_this_very_enclave_is_refused_and_kept_nowhere() {
    let (source, other) = (TestAppliance::start(), TestAppliance::start());
    submit(&source, 2);
    let (exported, file) = export(&source, &json!({}));
    for (keys, whose) in [(&source, "its own"), (&other, "another's")] {
        let refused = import(&source, &source.admin, keys, &file);
        assert_eq!(refused.problem(422), "bundle_of_own_enclave", "{whose}");
    }
    let refused = source.post("/api/v1/bundles/import", &file);
    assert_eq!(refused.problem(422), "bundle_of_own_enclave");
    let upload = format!("/api/v1/uploads/{}", Digest::of(&file));
    let ask = |method, content: &[u8]| source.send(&Ask::new(method, &upload, content).token(&source.admin));
    ask("PUT", &file).expect(201);
    let bring = format!("/api/v1/bundles/import?upload={}", Digest::of(&file));
    assert_eq!(source.post(&bring, b"").problem(422), "bundle_of_own_enclave");
    assert_eq!(ask("GET", b"").status, 404, "an upload goes");
    assert!(stored(&source).is_empty() && statuses(&source).is_empty());
    assert!(noted(&source, "bundle.refused").is_empty() && noted(&source, "trust.pinned").is_empty());
    let attempts = noted(&source, "bundle.attempt_failed");
    assert_eq!(attempts[0].1["code"], "bundle_of_own_enclave");
    // It can be looked at all the same.
    let asked = Ask::new("POST", "/api/v1/bundles/verify", &file).token(&source.admin);
    let report = source.send(&with_keys(asked, &source)).expect(200);
    assert_eq!(report["exitCode"], 0, "{report}");
    let again = source.get("/api/v1/bundles").expect(200);
    assert_eq!(again["items"][0]["id"], exported["id"]);
}

/// Notes how many events there were when a file was first opened in quarantine.
#[derive(Debug, Default)]
struct Watched(Mutex<Option<(Handle, Option<u64>)>>);

fn events_of(engine: &Handle) -> u64 {
    engine.ledger(&TenantName::system()).unwrap().size()
}

impl Disk for Watched {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if path.parent().is_some_and(|dir| dir.ends_with("quarantine"))
            && let Some((engine, seen)) = self.0.lock().unwrap().as_mut()
        {
            seen.get_or_insert_with(|| events_of(engine));
        }
        OsDisk.open(path, access)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsDisk.rename(from, to)
    }
    crate::support::os_disk::rest_as_os_disk!();
}

#[test]
fn a_refusal_is_an_event_before_its_file_is_kept() {
    let disk = Arc::new(Watched::default());
    let target = TestAppliance::on_disk(disk.clone());
    let before = events_of(&target.engine);
    *disk.0.lock().unwrap() = Some((target.engine.clone(), None));
    assert_eq!(
        target.post("/api/v1/bundles/import", b"junk").problem(422),
        "bundle_refused"
    );
    let seen = disk.0.lock().unwrap().take().and_then(|(_, seen)| seen);
    assert_eq!(seen, Some(before + 1));
    assert_eq!(statuses(&target), ["refused"]);
}
