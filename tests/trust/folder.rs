//! The folder of keys while keys are replaced: on a disk that fails at any step, and in the hands of people.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fastness::disk::{Disk, OsDisk};
use fastness::trust::{KeyFolder, OwnRole, PublicKey, TrustError};

use crate::support::random::Random;
use crate::support::sim_disk::{Fault, SimDisk};

/// Keys drawn one after the other; each is another.
fn drawn(next: &mut u8) -> impl FnMut(&mut [u8]) {
    move |bytes| {
        *next += 1;
        bytes.fill(*next);
    }
}

fn open(dir: &Path, next: &mut u8) -> Result<KeyFolder, TrustError> {
    KeyFolder::open_or_create(&OsDisk, dir, &mut drawn(next))
}

/// Every file of a folder and what it holds.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = OsDisk.list(dir).unwrap();
    let read = |name: String| {
        let bytes = fs::read(dir.join(&name)).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

/// The file of the first log key.
fn first_retired(dir: &Path) -> PathBuf {
    let names = OsDisk.list(dir).unwrap();
    let name = names.into_iter().find(|name| name.starts_with("log.1."));
    dir.join(name.unwrap())
}

/// What a message is authenticated as; shows the secret without telling it.
fn mark(keys: &KeyFolder) -> String {
    keys.idempotency().authenticate(b"message").to_string()
}

#[test]
fn a_replaced_key_is_kept_and_the_enclave_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    let keys = open(dir.path(), &mut next).unwrap();
    let (enclave, first, before) = (keys.enclave(), keys.log().public(), mark(&keys));
    let mut known = vec![first];
    for number in 1..=3 {
        let retired = keys.rotate(&OsDisk, OwnRole::Log, &mut drawn(&mut next)).unwrap();
        assert_eq!((retired.number, retired.from), (number, known[number - 1]));
        assert_eq!(keys.log().public(), retired.to);
        known.push(retired.to);
        let again = open(dir.path(), &mut 200).unwrap();
        for keys in [&keys, &again] {
            assert_eq!(keys.log().public(), known[number]);
            assert_eq!(keys.retired(OwnRole::Log), known[..number]);
            assert_eq!(keys.retired(OwnRole::Export), []);
            assert_eq!(keys.enclave(), enclave);
            assert_eq!(
                mark(keys),
                before,
                "idempotency keys of before must go on to mean the same"
            );
        }
        let seen = KeyFolder::inspect(&OsDisk, dir.path()).unwrap();
        assert_eq!((seen.enclave, seen.log_keys), (enclave.clone(), known.clone()));
    }
    for (name, _) in files(dir.path()) {
        let mode = fs::metadata(dir.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert!(!name.contains("next"), "{name}");
    }
    assert!(!files(dir.path()).iter().any(|(_, bytes)| {
        // No retired private key is left anywhere.
        let text = String::from_utf8_lossy(bytes);
        fastness::trust::PrivateKey::from_pem(&text).is_ok_and(|key| known[..3].contains(&key.public()))
    }));
}

#[test]
fn a_folder_from_before_there_were_orders_gets_their_key_and_keeps_the_others() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), &mut 0).unwrap();
    for name in ["orders.pem", "orders.pub.pem"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let before = files(dir.path());
    assert_eq!(before.len(), 4);
    assert!(KeyFolder::inspect(&OsDisk, dir.path()).unwrap().lacks_orders);
    assert_eq!(files(dir.path()), before, "looking makes nothing");
    let orders = open(dir.path(), &mut 50).unwrap().orders().public();
    let after = files(dir.path());
    assert!(before.iter().all(|file| after.contains(file)));
    assert_eq!(open(dir.path(), &mut 90).unwrap().orders().public(), orders);
    // The public key shows that there was a private one.
    fs::remove_file(dir.path().join("orders.pem")).unwrap();
    assert!(matches!(
        open(dir.path(), &mut 90),
        Err(TrustError::MissingPrivateKey { .. })
    ));
}

#[test]
fn what_people_put_in_the_wrong_place_is_refused_and_stays() {
    let check = |what: &str, spoil: &dyn Fn(&Path), expected: &dyn Fn(&TrustError) -> bool| {
        let dir = tempfile::tempdir().unwrap();
        let mut next = 0;
        let keys = open(dir.path(), &mut next).unwrap();
        fs::copy(dir.path().join("log.pem"), dir.path().join("old")).unwrap();
        fs::copy(dir.path().join("log.pub.pem"), dir.path().join("old.pub")).unwrap();
        for _ in 0..2 {
            keys.rotate(&OsDisk, OwnRole::Log, &mut drawn(&mut next)).unwrap();
        }
        spoil(dir.path());
        let before = files(dir.path());
        let refused = open(dir.path(), &mut next).map(drop).unwrap_err();
        assert!(expected(&refused), "{what}: {refused}");
        assert_eq!(files(dir.path()), before, "{what}");
        assert!(KeyFolder::inspect(&OsDisk, dir.path()).is_err(), "{what}");
    };
    let restore = |dir: &Path| {
        fs::copy(dir.join("old"), dir.join("log.pem")).unwrap();
        fs::copy(dir.join("old.pub"), dir.join("log.pub.pem")).unwrap();
    };
    let in_place = |error: &TrustError| matches!(error, TrustError::RetiredKeyInPlace { .. });
    check("a key of before, from a backup", &restore, &in_place);
    check(
        "its private half",
        &|dir| fs::write(dir.join("log.pem"), fs::read(dir.join("old")).unwrap()).unwrap(),
        &in_place,
    );
    let gap = |error: &TrustError| matches!(error, TrustError::MissingRetiredKey("log", 1));
    check(
        "the first key is gone",
        &|dir| fs::remove_file(first_retired(dir)).unwrap(),
        &gap,
    );
    let lost = |name: &'static str| move |error: &TrustError| matches!(error, TrustError::MissingPrivateKey { missing, .. } if missing.ends_with(name));
    check(
        "the key is gone",
        &|dir| fs::remove_file(dir.join("log.pem")).unwrap(),
        &lost("log.pem"),
    );
    check(
        "the secret is gone",
        &|dir| fs::remove_file(dir.join("host.secret")).unwrap(),
        &lost("host.secret"),
    );
    check(
        "all but the retired keys are gone",
        &|dir| {
            for name in [
                "log.pem",
                "export.pem",
                "orders.pem",
                "log.pub.pem",
                "export.pub.pem",
                "orders.pub.pem",
            ] {
                fs::remove_file(dir.join(name)).unwrap();
            }
        },
        &lost("log.pem"),
    );
    let broken = |error: &TrustError| matches!(error, TrustError::BrokenFile { .. });
    check(
        "a broken secret",
        &|dir| fs::write(dir.join("host.secret"), "00\n").unwrap(),
        &broken,
    );
    check(
        "a broken retired key",
        &|dir| fs::write(first_retired(dir), "x").unwrap(),
        &broken,
    );
    let other = |error: &TrustError| matches!(error, TrustError::OtherRetiredKey(_));
    check(
        "another key under the name of the first, which names the enclave",
        &|dir| fs::write(first_retired(dir), fs::read(dir.join("export.pub.pem")).unwrap()).unwrap(),
        &other,
    );
    check(
        "a digit of the secret",
        &|dir| {
            let mut text = fs::read(dir.join("host.secret")).unwrap();
            text[7] = if text[7] == b'0' { b'1' } else { b'0' };
            fs::write(dir.join("host.secret"), text).unwrap();
        },
        &broken,
    );
    check(
        "a public key of another",
        &|dir| {
            fs::write(
                dir.join("log.pub.pem"),
                fs::read(dir.join("export.pub.pem")).unwrap(),
            )
            .unwrap()
        },
        &|error| matches!(error, TrustError::MismatchedKeys { .. }),
    );
}

/// What a folder must be after a replacement that ended, or was cut short: the old key, or the new one, and nothing between.
fn check_whole(place: &str, keys: &KeyFolder, known: &[PublicKey], was_ok: bool) -> bool {
    let (retired, current) = (keys.retired(OwnRole::Log), keys.log().public());
    let replaced = current != known[known.len() - 1];
    assert!(
        replaced || !was_ok,
        "{place}: a replacement that was told is gone"
    );
    let expected = if replaced {
        known
    } else {
        &known[..known.len() - 1]
    };
    assert_eq!(retired, expected, "{place}");
    replaced
}

#[test]
fn a_replacement_cut_short_at_any_step_leaves_the_old_key_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for fault in [Fault::Halt, Fault::Eio, Fault::NoSpace] {
        let mut steps_left = true;
        let mut step = 0;
        while steps_left {
            step += 1;
            for seed in 0..12 {
                let place = format!("{fault:?} at step {step}, seed {seed}");
                let (disk, dir) = (SimDisk::new(seed), Path::new("/keys"));
                let mut next = 0;
                let keys = KeyFolder::open_or_create(&disk, dir, &mut drawn(&mut next)).unwrap();
                let (enclave, before) = (keys.enclave(), mark(&keys));
                // Every second one replaces a key for the second time.
                let mut known = vec![keys.log().public()];
                if seed % 2 == 1 {
                    let retired = keys.rotate(&disk, OwnRole::Log, &mut drawn(&mut next)).unwrap();
                    known.push(retired.to);
                }
                disk.fail_operation(step, fault);
                let rotated = keys.rotate(&disk, OwnRole::Log, &mut drawn(&mut next));
                steps_left = disk.disarm();
                assert!(rotated.is_ok() || steps_left, "{place}: {rotated:?}");
                if rotated.is_err() {
                    // The process goes on with the old key, and does not try again.
                    assert_eq!(keys.log().public(), known[known.len() - 1], "{place}");
                    let again = keys.rotate(&disk, OwnRole::Log, &mut drawn(&mut next));
                    assert!(
                        matches!(again, Err(TrustError::RotationFailed)),
                        "{place}: {again:?}"
                    );
                }
                if fault == Fault::Halt || seed % 3 > 0 {
                    disk.crash(seed * 7_919 + step);
                }
                let seen = KeyFolder::inspect(&disk, dir).unwrap_or_else(|error| panic!("{place}: {error}"));
                let mut fresh = 100;
                let opened = KeyFolder::open_or_create(&disk, dir, &mut drawn(&mut fresh))
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
                assert_eq!(fresh, 100, "{place}: a key was drawn");
                if check_whole(&place, &opened, &known, rotated.is_ok()) {
                    new += 1;
                } else {
                    old += 1;
                }
                let mut all = opened.retired(OwnRole::Log);
                all.push(opened.log().public());
                assert_eq!(seen.log_keys, all, "{place}: a look saw something else");
                assert_eq!(opened.enclave(), enclave, "{place}");
                assert_eq!(mark(&opened), before, "{place}");
                assert!(
                    !disk.list(dir).unwrap().contains(&"log.next.pem".to_owned()),
                    "{place}"
                );
                // And it can be done again.
                opened
                    .rotate(&disk, OwnRole::Log, &mut drawn(&mut fresh))
                    .unwrap();
                let last = KeyFolder::open_or_create(&disk, dir, &mut drawn(&mut fresh)).unwrap();
                assert_eq!(last.log().public(), opened.log().public(), "{place}");
            }
        }
        assert!(step > 12, "{fault:?}: {step} steps");
    }
    assert!(
        old > 50 && new > 50,
        "{old} times the old key, {new} times the new one"
    );
}

#[test]
fn the_start_after_a_crash_may_be_cut_short_too() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let (disk, dir) = (SimDisk::new(seed), Path::new("/keys"));
        let mut next = 0;
        let keys = KeyFolder::open_or_create(&disk, dir, &mut drawn(&mut next)).unwrap();
        let mut known = vec![keys.log().public()];
        disk.fail_operation(1 + random.below(40), Fault::Halt);
        let mut told = keys.rotate(&disk, OwnRole::Log, &mut drawn(&mut next)).is_ok();
        disk.disarm();
        disk.crash(random.below(u64::MAX));
        for life in 0..6 {
            let place = format!("seed {seed}, life {life}");
            disk.fail_operation(1 + random.below(30), Fault::Halt);
            let opened = KeyFolder::open_or_create(&disk, dir, &mut drawn(&mut next));
            if let Ok(keys) = &opened {
                if check_whole(&place, keys, &known, told) {
                    known.push(keys.log().public());
                }
                // What one start showed, the next one shows.
                told = false;
                let retired = keys.rotate(&disk, OwnRole::Log, &mut drawn(&mut next));
                if let Ok(retired) = retired {
                    known.push(retired.to);
                }
            }
            let struck = disk.disarm();
            assert!(opened.is_ok() || struck, "{place}: {opened:?}");
            disk.crash(random.below(u64::MAX));
            let keys = KeyFolder::open_or_create(&disk, dir, &mut drawn(&mut next)).unwrap();
            let mut all = keys.retired(OwnRole::Log);
            all.push(keys.log().public());
            // At most one more than is known: a replacement that took place and could not be told.
            assert_eq!(
                all[..known.len().min(all.len())],
                known[..known.len().min(all.len())],
                "{place}"
            );
            assert!(
                all.len() >= known.len() && all.len() <= known.len() + 1,
                "{place}"
            );
            known = all;
        }
    }
}

/// What is wrong with a folder; the folder is as before then.
fn refusal(dir: &Path) -> String {
    let before = files(dir);
    let refused = open(dir, &mut 200).unwrap_err().to_string();
    assert_eq!(files(dir), before);
    refused
}

#[test]
fn one_key_in_two_places_is_refused() {
    let pairs = [("log", "export"), ("export", "orders"), ("orders", "log")];
    for (from, to) in pairs {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &mut 0).unwrap();
        for ending in ["pem", "pub.pem"] {
            let path = |role: &str| dir.path().join(format!("{role}.{ending}"));
            fs::copy(path(from), path(to)).unwrap();
        }
        let refused = refusal(dir.path());
        assert!(refused.contains("one key in two places"), "{refused}");
    }
    // A replaced one of another role, too.
    let dir = tempfile::tempdir().unwrap();
    let mut next = 0;
    let keys = open(dir.path(), &mut next).unwrap();
    keys.rotate(&OsDisk, OwnRole::Log, &mut drawn(&mut next)).unwrap();
    let old = first_retired(dir.path());
    let name = old
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .replace("log.1", "export.1");
    fs::copy(&old, dir.path().join(name)).unwrap();
    let refused = refusal(dir.path());
    assert!(refused.contains("one key in two places"), "{refused}");
}

#[test]
fn keys_that_others_can_reach_are_refused() {
    for (name, mode, is_good) in [
        ("log.pem", 0o600, true),
        ("log.pem", 0o400, true),
        ("log.pem", 0o640, false),
        ("export.pem", 0o604, false),
        ("orders.pem", 0o666, false),
        ("log.pub.pem", 0o644, true),
        ("log.pub.pem", 0o664, false),
        ("host.secret", 0o644, false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut next = 0;
        let keys = open(dir.path(), &mut next).unwrap();
        keys.rotate(&OsDisk, OwnRole::Log, &mut drawn(&mut next)).unwrap();
        let path = dir.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if is_good {
            open(dir.path(), &mut 200).unwrap();
        } else {
            let refused = refusal(dir.path());
            assert!(refused.contains(&format!("has mode {mode:04o}")), "{refused}");
        }
    }
}

#[test]
fn what_is_no_plain_file_is_no_key_and_nothing_is_waited_for() {
    for name in ["log.pem", "export.pub.pem"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &mut 0).unwrap();
        let (path, kept) = (dir.path().join(name), dir.path().join("elsewhere"));
        fs::rename(&path, &kept).unwrap();
        std::os::unix::fs::symlink(&kept, &path).unwrap();
        let refused = open(dir.path(), &mut 200).unwrap_err().to_string();
        assert!(refused.contains("no plain file"), "{refused}");
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let refused = open(dir.path(), &mut 200).unwrap_err().to_string();
        assert!(refused.contains("no plain file"), "{refused}");
    }
}
