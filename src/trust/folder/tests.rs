//! Keys folders as they are made, changed by hand, and read again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::disk::OsDisk;

fn open(dir: &Path, fill: u8) -> Result<KeyFolder, TrustError> {
    let mut next = fill;
    KeyFolder::open_or_create(&OsDisk, dir, &mut |bytes| {
        bytes.fill(next);
        next += 1;
    })
}

#[test]
fn keys_are_drawn_once_and_read_back_ever_after() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("keys");
    let first = open(&dir, 1).unwrap();
    assert_ne!(first.log().public(), first.export().public());
    assert_ne!(first.export().public(), first.orders().public());
    let again = open(&dir, 100).unwrap();
    assert_eq!(first.log().public(), again.log().public());
    assert_eq!(first.export().public(), again.export().public());
    assert_eq!(first.orders().public(), again.orders().public());
    for name in ["log.pem", "export.pem", "orders.pem"] {
        let mode = fs::metadata(dir.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_lost_private_key_is_an_error_and_not_drawn_again() {
    for name in ["log.pem", "export.pem", "orders.pem"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1).unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        let refused = open(dir.path(), 9);
        assert!(
            matches!(&refused, Err(TrustError::MissingPrivateKey { missing, .. }) if missing.ends_with(name)),
            "{refused:?}"
        );
        assert!(!dir.path().join(name).exists());
    }
}

#[test]
fn a_lost_log_key_shows_even_when_both_public_keys_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), 1).unwrap();
    for name in [
        "log.pem",
        "log.pub.pem",
        "export.pub.pem",
        "orders.pem",
        "orders.pub.pem",
    ] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    assert!(matches!(
        open(dir.path(), 9),
        Err(TrustError::MissingPrivateKey { .. })
    ));
}

#[test]
fn a_broken_key_file_is_an_error_and_stays_as_it_is() {
    for name in [
        "log.pem",
        "export.pem",
        "log.pub.pem",
        "export.pub.pem",
        "orders.pem",
        "orders.pub.pem",
    ] {
        for text in ["", "-----BEGIN PRIVATE KEY-----\n", "\u{0}\u{0}"] {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), 1).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
            let refused = open(dir.path(), 9);
            assert!(
                matches!(&refused, Err(TrustError::BrokenFile { path, .. }) if path.ends_with(name)),
                "{name}: {refused:?}"
            );
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), text);
        }
    }
}

#[test]
fn halves_that_do_not_belong_together_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path(), 1).unwrap();
    fs::copy(dir.path().join("export.pub.pem"), dir.path().join("log.pub.pem")).unwrap();
    assert!(matches!(
        open(dir.path(), 9),
        Err(TrustError::MismatchedKeys { .. })
    ));
}

#[test]
fn every_prefix_of_the_creation_order_is_completed_with_the_keys_it_has() {
    let order = [
        "log.pem",
        "export.pem",
        "log.pub.pem",
        "export.pub.pem",
        "orders.pem",
        "orders.pub.pem",
    ];
    for kept in 0..=order.len() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), 1).unwrap();
        for name in &order[kept..] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        // What a crash inside the next write leaves behind.
        if let Some(next) = order.get(kept) {
            let torn = dir.path().join(format!("{next}.new"));
            fs::write(&torn, "torn").unwrap();
            fs::set_permissions(&torn, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let again = open(dir.path(), 50).unwrap();
        assert_eq!(
            again.log().public() == first.log().public(),
            kept >= 1,
            "{kept} kept"
        );
        assert_eq!(
            again.export().public() == first.export().public(),
            kept >= 2,
            "{kept} kept"
        );
        assert_eq!(
            again.orders().public() == first.orders().public(),
            kept >= 5,
            "{kept} kept"
        );
        open(dir.path(), 90).unwrap();
    }
}
