//! What the writer decides about trust: what follows what is held, refusals by code, and a projection that folds to the same.

use fastness::domain::command::{ChangeTrust, Command};
use fastness::domain::event::{Actor, EventBody};
use fastness::domain::payload::trust::{KeyRevoked, KeyRotated, RootAccepted, RootPinned, TrustRefused};
use fastness::domain::state::View;
use fastness::domain::trust::{LedgerSize, PinnedBy, Trust};
use fastness::domain::{Digest, TenantName, canonical};
use fastness::engine::CommandError;

use super::rows;
use super::world::World;

const ENCLAVE: &str = "0123456789abcdef";

fn ask(world: &mut World, change: ChangeTrust) -> String {
    let system = TenantName::system();
    let command = Command::ChangeTrust(Box::new(change));
    let answer = world.engine().submit(&system, &Actor::system("test"), command);
    match answer.unwrap() {
        Ok(_) => "ok".to_owned(),
        Err(CommandError::Rejected(rejection)) => rejection.code.as_str().to_owned(),
        Err(CommandError::Failed(error)) => panic!("{error}"),
    }
}

fn pin(enclave: &str, of: &[u8]) -> ChangeTrust {
    ChangeTrust::PinRoot(RootPinned {
        enclave: enclave.to_owned(),
        fingerprint: Digest::of(of),
        pinned_by: PinnedBy::Fingerprint,
    })
}

fn accept(enclave: &str, version: u64, of: &[u8]) -> ChangeTrust {
    ChangeTrust::AcceptRoot(RootAccepted {
        document: "{}\n".to_owned(),
        enclave: enclave.to_owned(),
        fingerprint: Digest::of(of),
        version,
    })
}

fn sizes(size: u64) -> Vec<LedgerSize> {
    vec![LedgerSize {
        origin: format!("fastness/{ENCLAVE}/default"),
        size,
    }]
}

fn rotate(role: &str, number: u64) -> ChangeTrust {
    ChangeTrust::NoteRotation(KeyRotated {
        enclave: ENCLAVE.to_owned(),
        from: Digest::of(&number.to_be_bytes()),
        number,
        role: role.to_owned(),
        sizes: sizes(number * 10),
        to: Digest::of(&(number + 1).to_be_bytes()),
    })
}

fn revoke(role: &str, number: u64) -> ChangeTrust {
    ChangeTrust::RevokeKey(KeyRevoked {
        below: sizes(number * 10 + 1),
        enclave: ENCLAVE.to_owned(),
        key: Digest::of(&number.to_be_bytes()),
        reason: "lost\u{7f}".to_owned(),
        role: role.to_owned(),
    })
}

fn held(world: &World) -> Trust {
    let (snapshot, system) = (world.read(), TenantName::system());
    let view = snapshot.view(&system);
    let view: &dyn View = &view;
    view.trust(ENCLAVE).unwrap().unwrap()
}

#[test]
fn roots_and_replaced_keys_follow_each_other_without_a_gap() {
    let mut world = World::new(11);
    for (change, expected) in [
        (accept(ENCLAVE, 2, b"2"), "not_continuous"),
        (accept(ENCLAVE, 1, b"1"), "ok"),
        // The same once more changes nothing; another under its number is refused.
        (accept(ENCLAVE, 1, b"1"), "ok"),
        (accept(ENCLAVE, 1, b"other"), "not_continuous"),
        (accept(ENCLAVE, 3, b"3"), "not_continuous"),
        (accept(ENCLAVE, 2, b"2"), "ok"),
        (accept(ENCLAVE, 1, b"other"), "not_continuous"),
        (accept("ffffffffffffffff", 1, b"1"), "ok"),
        (pin(ENCLAVE, b"1"), "ok"),
        (pin(ENCLAVE, b"1"), "ok"),
        (pin(ENCLAVE, b"2"), "pin_conflict"),
        (pin("eeeeeeeeeeeeeeee", b"2"), "ok"),
        (pin("a\u{7f}b", b"2"), "invalid_field"),
        (rotate("log", 2), "not_continuous"),
        (rotate("log", 1), "ok"),
        (rotate("log", 1), "ok"),
        (rotate("log", 3), "not_continuous"),
        (rotate("log", 2), "ok"),
        (rotate("export", 1), "ok"),
        (revoke("log", 3), "not_found"),
        (revoke("export", 2), "not_found"),
        (revoke("log", 2), "ok"),
        (revoke("log", 2), "ok"),
        (
            ChangeTrust::Refuse(TrustRefused {
                code: "root_malformed".to_owned(),
                detail: "a\u{7f}b".repeat(10_000),
                operation: "accept".to_owned(),
                sha256: None,
            }),
            "ok",
        ),
    ] {
        assert_eq!(ask(&mut world, change.clone()), expected, "{change:?}");
    }
    let trust = held(&world);
    let versions: Vec<u64> = trust.roots.iter().map(|root| root.version).collect();
    let retired: Vec<(&str, u64, bool)> = trust
        .retired
        .iter()
        .map(|key| (key.role.as_str(), key.number, key.revoked.is_some()))
        .collect();
    assert_eq!(versions, [1, 2]);
    assert_eq!(
        retired,
        [("log", 1, false), ("log", 2, true), ("export", 1, false)]
    );
    let system = TenantName::system();
    let events = world.parsed(&system);
    let count = |of: &dyn Fn(&EventBody) -> bool| events.iter().filter(|event| of(&event.body)).count();
    assert_eq!(count(&|body| matches!(body, EventBody::RootAccepted(_))), 3);
    assert_eq!(count(&|body| matches!(body, EventBody::RootPinned(_))), 2);
    assert_eq!(count(&|body| matches!(body, EventBody::KeyRotated(_))), 3);
    assert_eq!(count(&|body| matches!(body, EventBody::KeyRevoked(_))), 1);
    for (_, bytes) in world.events(&system) {
        canonical::check(&bytes).unwrap();
    }
    // The projection is what the events fold to, row by row.
    rows::check(&world);
}
