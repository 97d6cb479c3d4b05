//! The folder of keys against what the ledgers know of it, at a start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastness::clock::{Clock, SystemClock};
use fastness::disk::{Disk, OsDisk};
use fastness::domain::command::{ChangeTrust, Command};
use fastness::domain::event::Actor;
use fastness::domain::payload::trust::KeyRotated;
use fastness::domain::{Digest, TenantName};
use fastness::engine::{Handle, Setup, Trusted};
use fastness::journal::Options;
use fastness::trust::KeyFolder;

use crate::support::appliance::TestAppliance;

/// Starts the engine of a folder, and stops it; why it did not start.
fn start(folder: &Path) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let mut random = |bytes: &mut [u8]| clock.fill_random(bytes);
    let keys = KeyFolder::open_or_create(&OsDisk, &folder.join("keys"), &mut random);
    let setup = Setup {
        dir: folder.to_owned(),
        disk: Arc::new(OsDisk),
        clock: clock.clone(),
        keys: Arc::new(keys.map_err(|error| error.to_string())?),
        trusted: Trusted::Yes,
        journal: Options::default(),
    };
    let (engine, _) = Handle::start(setup).map_err(|error| error.to_string())?;
    engine.stop().map_err(|error| error.to_string())
}

/// The files of a role.
fn of_role(folder: &Path, role: &str) -> Vec<PathBuf> {
    let keys = folder.join("keys");
    let mut names = OsDisk.list(&keys).unwrap();
    names.retain(|name| name.starts_with(role));
    names.into_iter().map(|name| keys.join(name)).collect()
}

/// Does something to the keys of a folder, starts it, and puts the keys back.
#[track_caller]
fn check(folder: &Path, words: &str, change: impl FnOnce(&Path)) {
    let (keys, kept) = (folder.join("keys"), folder.join("kept"));
    let copy = |from: &Path, to: &Path| {
        fs::create_dir(to).unwrap();
        for name in OsDisk.list(from).unwrap() {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    };
    copy(&keys, &kept);
    change(&keys);
    let refused = start(folder).unwrap_err();
    assert!(refused.starts_with(words), "{refused}");
    fs::remove_dir_all(&keys).unwrap();
    copy(&kept, &keys);
    fs::remove_dir_all(&kept).unwrap();
    start(folder).unwrap();
}

fn rotate(appliance: &TestAppliance, role: &str) {
    appliance
        .post(&format!("/api/v1/keys/{role}/rotate"), "")
        .expect(200);
}

#[test]
fn keys_that_the_ledgers_do_not_know_are_refused() {
    let stranger = tempfile::tempdir().unwrap();
    let mut next = 70;
    let mut random = |bytes: &mut [u8]| {
        next += 1;
        bytes.fill(next);
    };
    KeyFolder::open_or_create(&OsDisk, stranger.path(), &mut random).unwrap();
    let put = |keys: &Path, from: &Path, (role, other): (&str, &str)| {
        for ending in ["pem", "pub.pem"] {
            let name = |role: &str| format!("{role}.{ending}");
            fs::copy(from.join(name(other)), keys.join(name(role))).unwrap();
        }
    };
    TestAppliance::start().restart_after(|folder| {
        check(folder, "key_unknown", |keys| {
            put(keys, stranger.path(), ("log", "log"))
        });
        check(folder, "key_unknown", |keys| {
            let kept = folder.join("kept");
            put(keys, &kept, ("log", "export"));
            put(keys, &kept, ("export", "log"));
        });
    });
    let appliance = TestAppliance::start();
    for role in ["log", "log", "export"] {
        rotate(&appliance, role);
    }
    // A number that is recorded is not taken for another key's.
    let (digest, system) = (Digest::of(b"x"), TenantName::system());
    let rotated = KeyRotated {
        enclave: appliance.engine.keys().enclave().to_string(),
        from: digest,
        number: 1,
        role: "log".to_owned(),
        sizes: Vec::new(),
        to: digest,
    };
    let command = Command::ChangeTrust(Box::new(ChangeTrust::NoteRotation(rotated)));
    let actor = Actor::system("test");
    let noted = appliance.engine.submit(&system, &actor, command);
    let refused = appliance.runtime.block_on(noted).unwrap_err().to_string();
    assert!(refused.starts_with("not_continuous"), "{refused}");
    appliance.restart_after(|folder| {
        let remove = |begin: &str| {
            for path in of_role(folder, begin) {
                fs::remove_file(path).unwrap();
            }
        };
        check(folder, "key_missing: key 2 of the role log", |_| remove("log.2."));
        check(folder, "key_missing: key 1 of the role export", |_| {
            remove("export.1.")
        });
        check(folder, "key_unknown: key 2 of the role export", |keys| {
            put(keys, stranger.path(), ("export", "export"));
        });
        check(folder, "key_unknown: key 3 of the role log", |keys| {
            put(keys, stranger.path(), ("log", "log"));
        });
    });
}
