//! The ceremony on the command line, with nothing but files between its people; and keys that are replaced under a server
//! that is killed.

use std::path::{Path, PathBuf};

use fastness::disk::{Disk, OsDisk};
use fastness::trust::{KeyFolder, OwnRole};
use serde_json::Value;

use crate::support::appliance::Ask;
use crate::support::program::{Program, Said, call, run};

/// One enclave, and a folder where files pass from hand to hand.
struct Enclave {
    folder: tempfile::TempDir,
    server: Program,
}

impl Enclave {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Program::start(&folder.path().join("data"));
        Enclave { folder, server }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn work(&self, count: usize) {
        for _ in 0..count {
            let made = self.server.run(&["job", "submit", "x.work", "-o", "json"]);
            assert_eq!(made.code, 0, "{made:?}");
        }
    }

    /// Makes root keys and gives their names.
    fn root_keys(&self) -> [String; 3] {
        ["ada", "bob", "eve"].map(|name| {
            let made = run(&["key", "new", "--out", &self.path(""), "--name", name]);
            assert_eq!(made.code, 0, "{made:?}");
            name.to_owned()
        })
    }

    fn sign(&self, file: &str, name: &str) -> Said {
        run(&[
            "trust",
            "sign",
            &self.path(file),
            "--key",
            &self.path(&format!("{name}.pem")),
            "-o",
            "json",
        ])
    }

    /// Drafts the next root, has two people sign it, and lets the server take it in.
    fn next_root(&self, file: &str) -> Value {
        let drafted = self
            .server
            .run(&["trust", "new", "--out", &self.path(file), "-o", "json"]);
        drafted.json(0);
        self.sign(file, "ada").json(0);
        self.sign(file, "eve").json(0);
        self.server
            .run(&["trust", "accept", &self.path(file), "-o", "json"])
            .json(0)
    }

    fn export(&self, file: &str, from: u64) -> Value {
        let (out, from) = (self.path(file), from.to_string());
        self.server
            .run(&["export", "--from", &from, "--out", &out, "-o", "json"])
            .json(0)
    }

    /// Verifies offline.
    fn verify(&self, file: &str, by: &[&str]) -> Said {
        let file = self.path(file);
        run(&[&["verify", &file, "-o", "json"], by].concat())
    }

    /// What the ledger of the appliance says of this type of event.
    fn recorded(&self, kind: &str) -> Vec<Value> {
        recorded(&self.server, kind)
    }
}

/// The payloads of events of one type in the ledger `system`.
fn recorded(server: &Program, kind: &str) -> Vec<Value> {
    let body = r#"{"name":"look","person":"ada","scopes":["orch:read"],"tenants":["system"]}"#;
    let asked = Ask::post("/api/v1/tokens", body.as_bytes()).header("content-type", "application/json");
    let made = call(server.address, &asked.token(&server.token))
        .unwrap()
        .expect(201);
    let token = text(&made["token"]);
    let path = format!("/api/v1/events?limit=500&type={kind}");
    let found = call(server.address, &Ask::get(&path).token(&token))
        .unwrap()
        .expect(200);
    let items = found["items"].as_array().unwrap();
    items.iter().map(|event| event["payload"].clone()).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

#[test]
fn the_whole_ceremony_from_the_first_root_to_a_revocation() {
    let mut enclave = Enclave::start();
    enclave.work(3);
    let before_roots = enclave.export("zero", 0);
    assert!(before_roots["size"].as_u64().unwrap() > 3);
    let fingerprint = first_root(&enclave);

    // An export carries the root, and an auditor with nothing but the fingerprint trusts it.
    let exported = enclave.export("one", 0);
    enclave
        .verify("one", &["--fingerprint", &fingerprint, "--require-replay"])
        .json(0);
    enclave
        .verify("one", &["--fingerprint", &fingerprint.to_uppercase()])
        .json(0);
    enclave
        .verify("one", &["--root", &enclave.path("1.root")])
        .json(0);
    let wrong = fingerprint.replace(|letter: char| letter.is_ascii_digit(), "a");
    assert_eq!(
        enclave.verify("one", &["--fingerprint", &wrong]).json(12)["exitCode"],
        12
    );
    enclave.verify("zero", &["--fingerprint", &fingerprint]).json(12);
    // Equal ranges and keys give equal bytes, roots included.
    assert_eq!(enclave.export("again", 0)["tarSha256"], exported["tarSha256"]);

    // Somebody copies the data folder.
    let old_log = text(&enclave.server.get("/api/v1/keys")["log"]["id"]);
    let (data, stolen) = (enclave.data(), enclave.folder.path().join("stolen"));
    enclave.server.terminate();
    copy_folder(&data, &stolen);
    enclave.server = Program::start(&data);

    replace_and_revoke(&enclave, &old_log);
    let size = exported["size"].as_u64().unwrap();
    enclave.work(2);
    enclave.export("two", size);
    enclave.export("whole", 0);
    for bundle in ["one", "two", "whole"] {
        enclave.verify(bundle, &["--fingerprint", &fingerprint]).json(0);
        enclave
            .verify(bundle, &["--root", &enclave.path("2.root")])
            .json(0);
    }
    let files = [enclave.path("one"), enclave.path("two")];
    let replayed = run(&[
        "replay-bundle",
        &files[0],
        &files[1],
        "--fingerprint",
        &fingerprint,
        "-o",
        "json",
    ]);
    replayed.json(0);

    // The thief still has the old key, and goes on under it.
    let thief = Enclave {
        folder: tempfile::tempdir().unwrap(),
        server: Program::start(&stolen),
    };
    thief.work(9);
    thief.export("forged", size);
    let (forged, newest) = (thief.path("forged"), enclave.path("2.root"));
    let refused = run(&["verify", &forged, "--root", &newest, "-o", "json"]).json(12);
    let check = refused["checks"][8].to_string();
    assert!(check.contains("is revoked in root of trust 2"), "{check}");
    let (older, end) = (thief.path("older"), (size - 1).to_string());
    let exported = thief.server.run(&["export", "--to", &end, "--out", &older]);
    assert_eq!(exported.code, 0, "{exported:?}");
    import(&enclave, (&forged, &older), &fingerprint);
}

/// Drafts, signs and accepts version 1; what is missing on the way is refused by name. Gives its fingerprint.
fn first_root(enclave: &Enclave) -> String {
    let keys = enclave
        .root_keys()
        .map(|name| enclave.path(&format!("{name}.pub.pem")));
    let file = enclave.path("1.root");
    let server = &enclave.server;
    server
        .run(&["trust", "new", "--out", &file])
        .refuses(2, "--root-key");
    let mut line = vec!["trust", "new", "--threshold", "2", "--out", &file];
    for key in &keys {
        line.extend(["--root-key", key]);
    }
    assert_eq!(server.run(&line).code, 0);
    server.run(&line).refuses(5, "exists");
    server
        .run(&["trust", "accept", &file])
        .refuses(12, "signed by 0 of its own root keys, 2 are needed");
    let data = enclave.data().join("keys/log.pem");
    run(&["trust", "sign", &file, "--key", data.to_str().unwrap()]).refuses(2, "has the role log");
    enclave.sign("1.root", "ada").json(0);
    // The same person again does not count twice.
    enclave.sign("1.root", "ada").json(0);
    server
        .run(&["trust", "accept", &file])
        .refuses(12, "signed by 1 of its own root keys");
    let signed = enclave.sign("1.root", "bob").json(0);
    assert_eq!(signed["signedBy"].as_array().unwrap().len(), 2);
    let accepted = server.run(&["trust", "accept", &file, "-o", "json"]).json(0);
    assert_eq!(accepted["version"], 1);
    // Both sides compare what they see: the server, and whoever has the file.
    let shown = run(&["trust", "show", "--file", &file]);
    let fingerprint = text(&accepted["fingerprint"]);
    assert!(shown.stdout.contains(&fingerprint), "{shown:?}");
    assert!(server.run(&["trust", "show"]).stdout.contains(&fingerprint));
    let codes: Vec<Value> = enclave
        .recorded("trust.refused")
        .iter()
        .map(|one| one["code"].clone())
        .collect();
    assert_eq!(codes, ["root_own_threshold_unmet", "root_own_threshold_unmet"]);
    assert_eq!(enclave.recorded("trust.accepted").len(), 1);
    // Once more is no other root.
    assert_eq!(server.run(&["trust", "accept", &file]).code, 0);
    assert_eq!(enclave.recorded("trust.accepted").len(), 1);
    fingerprint
}

/// Replaces the log key, revokes the old one and accepts the root that says so.
fn replace_and_revoke(enclave: &Enclave, old_log: &str) {
    let server = &enclave.server;
    let enclave_id = text(&server.get("/api/v1/keys")["enclave"]);
    server
        .run(&["key", "revoke", "log", old_log])
        .refuses(5, "signs now; replace it first");
    let rotated = server.run(&["key", "rotate", "log", "-o", "json"]).json(0);
    assert_eq!(rotated["from"], old_log);
    let keys = server.get("/api/v1/keys");
    assert_eq!(
        (&keys["log"]["id"], text(&keys["enclave"])),
        (&rotated["to"], enclave_id)
    );
    assert_eq!(keys["retired"][0]["id"], old_log);
    // Nobody could trust a bundle now: the root does not know the key.
    server
        .run(&["export", "--out", &enclave.path("never")])
        .refuses(5, "draft, sign and accept the next one");
    let revoked = server
        .run(&[
            "key", "revoke", "log", old_log, "--reason", "copied", "-o", "json",
        ])
        .json(0);
    assert!(revoked["below"].as_array().unwrap().len() >= 2);
    server
        .run(&["key", "revoke", "log", &"0".repeat(64)])
        .refuses(3, "no such");
    let first = enclave.path("1.root");
    server
        .run(&["trust", "accept", &first])
        .refuses(12, "is not among the keys of the role log");
    assert_eq!(enclave.next_root("2.root")["version"], 2);
    let (rotations, revocations) = (enclave.recorded("key.rotated"), enclave.recorded("key.revoked"));
    assert_eq!((rotations.len(), revocations.len()), (1, 1));
    assert_eq!(
        (&rotations[0]["number"], &rotations[0]["to"]),
        (&Value::from(1), &rotated["to"])
    );
    assert_eq!(revocations[0]["reason"], "copied");
    let refused: Vec<Value> = enclave
        .recorded("trust.refused")
        .iter()
        .map(|one| one["code"].clone())
        .collect();
    assert_eq!(refused[2..], ["key_in_use", "not_found", "root_lacks_key"]);
    let doctor = server.run(&["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

/// Another enclave pins the root, imports what leads from it, and refuses what rolls it back.
fn import(enclave: &Enclave, (forged, older): (&str, &str), fingerprint: &str) {
    let other = Enclave::start();
    let origin = format!(
        "fastness/{}/default",
        text(&enclave.server.get("/api/v1/keys")["enclave"])
    );
    let (one, two) = (enclave.path("one"), enclave.path("two"));
    let server = &other.server;
    server
        .run(&["import", &one])
        .refuses(12, "no export key was given");
    server
        .run(&["trust", "pin", "--origin", &origin])
        .refuses(2, "--log-key");
    let pinned = server.run(&["trust", "pin", "--origin", &origin, "--fingerprint", fingerprint]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    let stranger = "0".repeat(64);
    server
        .run(&["trust", "pin", "--origin", &origin, "--fingerprint", &stranger])
        .refuses(5, "another root of trust is pinned");
    server.run(&["import", &one, "-o", "json"]).json(0);
    server.run(&["import", &two, "-o", "json"]).json(0);
    let held = server.get("/api/v1/trust");
    assert_eq!(
        (&held["foreign"][0]["version"], &held["own"]["version"]),
        (&2.into(), &0.into())
    );
    server
        .run(&["import", forged])
        .refuses(12, "is revoked in root of trust 2");
    // Events that are held, with the root before the newest one: what was revoked since would be forgotten.
    server.run(&["import", older]).refuses(13, "a roll-back");
    // What is held byte for byte is held, whatever came since.
    let again = server.run(&["import", &one]);
    assert!(
        again.code == 0 && again.stderr.contains("imported before"),
        "{again:?}"
    );
    let codes: Vec<Value> = recorded(server, "trust.refused")
        .iter()
        .map(|one| one["code"].clone())
        .collect();
    assert_eq!(codes, ["pin_conflict"]);
    assert_eq!(
        recorded(server, "trust.root_pinned")[0]["pinnedBy"],
        "fingerprint"
    );
    assert_eq!(recorded(server, "trust.accepted").len(), 2);
}

#[test]
fn a_root_given_by_hand_needs_the_signatures_of_its_own_people() {
    let enclave = Enclave::start();
    enclave.work(1);
    enclave.export("bundle", 0);
    let keys = enclave
        .root_keys()
        .map(|name| enclave.path(&format!("{name}.pub.pem")));
    let (file, bundle) = (enclave.path("1.root"), enclave.path("bundle"));
    let mut line = vec!["trust", "new", "--threshold", "2", "--out", &file];
    for key in &keys {
        line.extend(["--root-key", key]);
    }
    assert_eq!(enclave.server.run(&line).code, 0);
    let ask = |verb: &str| run(&[verb, &bundle, "--root", &file]);
    let after = || run(&["verify", &bundle, "--after", &bundle, "--root", &file]);
    for signed in 0..2 {
        let says = format!("root_own_threshold_unmet: signed by {signed} of its own root keys, 2 are needed");
        ask("verify").refuses(12, &says);
        ask("replay-bundle").refuses(12, &says);
        after().refuses(12, &says);
        if signed == 0 {
            enclave.sign("1.root", "ada").json(0);
        }
    }
    enclave.sign("1.root", "eve").json(0);
    assert_eq!((ask("verify").code, ask("replay-bundle").code), (0, 0));
    let document = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, document.replacen("{\"payload\"", "{ \"payload\"", 1)).unwrap();
    ask("verify").refuses(14, "root_not_canonical");
    std::fs::write(&file, "").unwrap();
    ask("replay-bundle").refuses(14, "root_malformed");
}

#[test]
fn roots_of_another_enclave_need_a_word_of_somebody() {
    let (enclave, other) = (Enclave::start(), Enclave::start());
    let keys = enclave
        .root_keys()
        .map(|name| enclave.path(&format!("{name}.pub.pem")));
    let file = enclave.path("1.root");
    let line = [
        "trust",
        "new",
        "--threshold",
        "2",
        "--out",
        "1.root",
        "--root-key",
        &keys[0],
        "--root-key",
        &keys[2],
    ];
    // By a plain name, in the folder where whoever asks stands.
    let mut client = enclave.server.client(&line);
    let drafted = Said::of(client.current_dir(enclave.folder.path()));
    assert_eq!(drafted.code, 0, "{drafted:?}");
    enclave.sign("1.root", "ada").json(0);
    let fingerprint = text(&enclave.sign("1.root", "eve").json(0)["fingerprint"]);
    let origin = |of: &Enclave| {
        format!(
            "fastness/{}/default",
            text(&of.server.get("/api/v1/keys")["enclave"])
        )
    };
    let (own, foreign) = (origin(&other), origin(&enclave));
    let server = &other.server;
    let accept = |more: &[&str]| server.run(&[&["trust", "accept", &file, "-o", "json"], more].concat());
    accept(&[]).refuses(12, "the root is of enclave");
    accept(&["--origin", &own]).refuses(2, "is this enclave");
    accept(&["--origin", &foreign]).refuses(12, "compare the fingerprint");
    accept(&["--origin", &foreign, "--fingerprint", &"0".repeat(64)]).refuses(12, "no root in the chain");
    accept(&["--origin", &foreign, "--fingerprint", "12 34"]).refuses(2, "64 hex digits");
    accept(&["--origin", &foreign, "--first-use"]).json(0);
    accept(&["--origin", &foreign, "--fingerprint", &"0".repeat(64)])
        .refuses(5, "another root of trust is pinned");
    accept(&["--origin", &foreign, "--fingerprint", &fingerprint]).json(0);
    let shown = server.run(&["trust", "show"]);
    assert!(shown.stdout.contains("nobody compared it"), "{shown:?}");
    assert_eq!(recorded(server, "trust.root_pinned")[0]["pinnedBy"], "first_use");
    let codes: Vec<Value> = recorded(server, "trust.refused")
        .iter()
        .map(|one| one["code"].clone())
        .collect();
    let expected = [
        "root_other_enclave",
        "root_of_own_enclave",
        "root_not_pinned",
        "root_not_anchored",
        "pin_conflict",
    ];
    assert_eq!(codes, expected);
}

#[test]
fn a_key_that_was_replaced_without_a_word_is_recorded_at_the_next_start() {
    let enclave = Enclave::start();
    enclave.work(2);
    let Enclave { folder, server } = enclave;
    let data = folder.path().join("data");
    // As a kill between the files and the event leaves it, for each role.
    server.kill();
    let mut expected = Vec::new();
    let keys =
        KeyFolder::open_or_create(&OsDisk, &data.join("keys"), &mut |_| panic!("nothing is drawn")).unwrap();
    for (place, role) in OwnRole::ALL.into_iter().enumerate() {
        let mut random = |bytes: &mut [u8]| bytes.fill(0x40 + place as u8);
        let retired = keys.rotate(&OsDisk, role, &mut random).unwrap();
        expected.push((role.as_str().to_owned(), retired.to.id().to_string()));
    }
    drop(keys);
    for _ in 0..2 {
        let server = Program::start(&data);
        let found: Vec<(String, String)> = recorded(&server, "key.rotated")
            .iter()
            .map(|one| (text(&one["role"]), text(&one["to"])))
            .collect();
        assert_eq!(found, expected, "each once");
        server.terminate();
        let doctor = run(&["doctor", "--data", data.to_str().unwrap()]);
        assert_eq!(doctor.code, 0, "{doctor:?}");
    }
}

#[test]
fn a_server_killed_while_it_replaces_a_key_comes_back_with_one_key_and_every_event() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = Program::start(&data);
    let logs = |keys: &Value| {
        let retired = keys["retired"].as_array().unwrap().iter();
        let of_log = retired.filter(|one| one["role"] == "log");
        let mut ids: Vec<String> = of_log.map(|one| text(&one["id"])).collect();
        ids.push(text(&keys["log"]["id"]));
        ids
    };
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let origin = text(&server.get("/api/v1/keys")["enclave"]);
    for round in 0..18 {
        let made = server.run(&["job", "submit", "x.work"]);
        assert_eq!(made.code, 0, "{made:?}");
        let before = server.get("/api/v1/keys");
        let mut client = server.client(&["key", "rotate", "log"]);
        let client = std::thread::spawn(move || client.output().unwrap().status.code());
        // Each round waits for another step: asked, the new private key, the old public key kept aside, the new key in
        // force, its public key, answered. The kill comes as soon as that is seen.
        let keys = data.join("keys");
        let (private, public) = (read(&keys.join("log.pem")), read(&keys.join("log.pub.pem")));
        let number = logs(&before).len();
        let aside = format!("log.{number}.");
        let has = |begin: &str| {
            OsDisk
                .list(&keys)
                .unwrap()
                .iter()
                .any(|name| name.starts_with(begin))
        };
        while !client.is_finished() {
            let seen = match round % 6 {
                0 => true,
                1 => has("log.next.pem"),
                2 => has(&aside),
                3 => read(&keys.join("log.pem")) != private,
                4 => read(&keys.join("log.pub.pem")) != public,
                _ => false,
            };
            if seen {
                break;
            }
        }
        server.kill();
        let told = client.join().unwrap() == Some(0);
        server = Program::start(&data);
        let after = server.get("/api/v1/keys");
        let replaced = after["log"]["id"] != before["log"]["id"];
        assert!(
            replaced || !told,
            "round {round}: a replacement that was told is gone"
        );
        let expected = logs(&before).len() + usize::from(replaced);
        assert_eq!(logs(&after).len(), expected, "round {round}");
        assert_eq!(
            logs(&after)[..logs(&before).len()],
            logs(&before),
            "round {round}"
        );
        assert_eq!(text(&after["enclave"]), origin);
        let recorded: Vec<String> = recorded(&server, "key.rotated")
            .iter()
            .map(|one| text(&one["to"]))
            .collect();
        assert_eq!(recorded, logs(&after)[1..], "round {round}");
        // The ledger is checked by the key that signs now.
        let verified = server.run(&["ledger", "verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
    }
    server.terminate();
    let doctor = run(&["doctor", "--data", data.to_str().unwrap()]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
}
