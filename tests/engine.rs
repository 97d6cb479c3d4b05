//! The engine from command to event to state, without threads.

use std::sync::Arc;

use fastness::clock::ManualClock;
use fastness::disk::OsDisk;
use fastness::domain::canonical::Payload;
use fastness::domain::command::{Command, CompleteJob, Outcome, Reply, SubmitJob};
use fastness::domain::event::Actor;
use fastness::domain::job::{JobSpec, JobStatus};
use fastness::domain::{Seq, TenantName};
use fastness::engine::{Claim, ManualEngine, Reach, Setup, Trusted, Wanted};
use fastness::journal::Options;
use fastness::trust::KeyFolder;

pub fn setup(dir: &std::path::Path, clock: &Arc<ManualClock>) -> Setup {
    let disk = Arc::new(OsDisk);
    let mut seed = 7_u8;
    let mut random = |bytes: &mut [u8]| {
        // The three keys must not be alike.
        seed = seed.wrapping_add(1);
        for byte in bytes {
            seed = seed.wrapping_mul(31).wrapping_add(11);
            *byte = seed;
        }
    };
    let keys = KeyFolder::open_or_create(disk.as_ref(), &dir.join("keys"), &mut random).unwrap();
    Setup {
        dir: dir.to_owned(),
        disk,
        clock: clock.clone(),
        keys: Arc::new(keys),
        trusted: Trusted::Yes,
        journal: Options::default(),
    }
}

pub fn job(job_type: &str) -> Command {
    Command::SubmitJob(Box::new(SubmitJob {
        spec: JobSpec {
            timeout_ms: 60_000,
            ..JobSpec::of_type(job_type)
        }
        .into(),
        payload: Payload::parse(br#"{"n":1}"#).unwrap(),
        correlation_id: None,
        idempotency: None,
        replay_of: None,
        sensitive: fastness::domain::redaction::Sensitive::default(),
    }))
}

fn claim() -> Claim {
    Claim {
        worker: "w-1".to_owned(),
        reach: Reach::OneTenant,
        wanted: Wanted {
            labels: Default::default(),
            queues: vec!["default".to_owned()],
            types: vec![],
        },
        max: 1,
        lease_ms: 30_000,
        wait_ms: 0,
        token: None,
    }
}

#[test]
fn a_job_is_submitted_claimed_completed_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_769_860_800_000, 42));
    let tenant: TenantName = "acme".parse().unwrap();
    let actor = Actor::system("test");
    let (mut engine, _) = ManualEngine::open(setup(folder.path(), &clock)).unwrap();
    let Reply::Job(made) = engine.submit(&tenant, &actor, job("scan")).unwrap().unwrap() else {
        panic!("a job is answered")
    };
    assert_eq!(made.status, JobStatus::Scheduled);
    let answer = engine
        .batch(vec![(
            tenant.clone(),
            Actor::worker("w-1"),
            vec![],
            Some(claim()),
        )])
        .unwrap()
        .pop()
        .flatten()
        .unwrap()
        .unwrap();
    let leased = &answer.jobs[0];
    assert_eq!(
        (leased.job.id, leased.job.attempt, leased.job.epoch),
        (made.id, 1, 1)
    );
    let done = Command::CompleteJob(Box::new(CompleteJob {
        job: made.id,
        epoch: 1,
        outcome: Outcome::Completed(None),
        artifacts: vec![],
        exit_code: Some(0),
        logs: None,
        step: None,
    }));
    let Reply::Job(ended) = engine.submit(&tenant, &actor, done).unwrap().unwrap() else {
        panic!("a job is answered")
    };
    assert_eq!(ended.status, JobStatus::Completed);
    let root = engine.ledger(&tenant).unwrap().head();
    drop(engine);

    let (engine, report) = ManualEngine::open(setup(folder.path(), &clock)).unwrap();
    assert_eq!(report.rebuilt, None);
    assert_eq!(engine.ledger(&tenant).unwrap().head(), root);
    // Opening, submission, registration of the worker, start, end.
    assert_eq!(root.size, 5);
    let store = engine.store().unwrap();
    let snapshot = store.read().unwrap();
    let view = snapshot.view(&tenant);
    let view: &dyn fastness::domain::state::View = &view;
    let job = view.job(made.id).unwrap().unwrap();
    assert_eq!((job.status, job.seq), (JobStatus::Completed, Seq(4)));
}
