//! Segments that are given up.

use std::sync::Arc;

use crate::clock::ManualClock;
use crate::disk::OsDisk;
use crate::domain::TenantName;
use crate::domain::canonical::Payload;
use crate::domain::command::{Command, SubmitJob};
use crate::domain::event::Actor;
use crate::domain::job::JobSpec;
use crate::domain::redaction::Sensitive;
use crate::engine::{ManualEngine, Setup, Trusted};
use crate::journal::Options;
use crate::trust::KeyFolder;

fn submission() -> Command {
    Command::SubmitJob(Box::new(SubmitJob {
        spec: JobSpec::of_type("a").into(),
        payload: Payload::parse(b"1").unwrap(),
        correlation_id: None,
        idempotency: None,
        replay_of: None,
        sensitive: Sensitive::default(),
    }))
}

#[test]
fn a_segment_that_is_named_twice_is_given_up_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk);
    let mut random = |bytes: &mut [u8]| bytes.fill(9);
    let keys = KeyFolder::open_or_create(disk.as_ref(), &folder.path().join("keys"), &mut random);
    let setup = Setup {
        dir: folder.path().to_owned(),
        disk,
        clock: Arc::new(ManualClock::new(1_769_860_800_000, 7)),
        keys: Arc::new(keys.unwrap()),
        trusted: Trusted::Yes,
        journal: Options {
            segment_bytes: 32 << 10,
            spares_max: 1,
        },
    };
    let (mut engine, _) = ManualEngine::open(setup).unwrap();
    let tenant: TenantName = "acme".parse().unwrap();
    let writer_has = |engine: &ManualEngine| engine.writer.commits.closed();
    while writer_has(&engine).len() < 2 {
        let done = engine.submit(&tenant, &Actor::system("test"), submission());
        assert!(done.unwrap().is_ok());
    }
    engine.writer.shared.archive_all().unwrap();
    let closed = writer_has(&engine);
    let twice = [closed.clone(), closed].concat();
    engine.writer.commits.release(&twice).unwrap();
    assert!(writer_has(&engine).is_empty());
}
