//! Claims that wait: who is woken, in which order, how many there may be, and what those who have gone cost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot::{self, Receiver};

use crate::clock::ManualClock;
use crate::disk::OsDisk;
use crate::domain::canonical::Payload;
use crate::domain::command::{Command, SubmitJob};
use crate::domain::event::Actor;
use crate::domain::job::JobSpec;
use crate::domain::rejection::Code;
use crate::domain::{JobId, TenantName};
use crate::engine::request::{Answer, Claim, Claimed, Reach, Request, SubmitError};
use crate::engine::{ManualEngine, Setup, Trusted, Wanted};
use crate::journal::Options;
use crate::limits;
use crate::trust::KeyFolder;

type Reply = Receiver<Result<Answer, SubmitError>>;

struct Bench {
    engine: ManualEngine,
    clock: Arc<ManualClock>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_769_860_800_000, 7));
        let disk = Arc::new(OsDisk);
        let mut fill = 8;
        let mut random = |bytes: &mut [u8]| {
            fill += 1;
            bytes.fill(fill);
        };
        let keys = KeyFolder::open_or_create(disk.as_ref(), &folder.path().join("keys"), &mut random);
        let setup = Setup {
            dir: folder.path().to_owned(),
            disk,
            clock: clock.clone(),
            keys: Arc::new(keys.unwrap()),
            trusted: Trusted::Yes,
            journal: Options::default(),
        };
        let (engine, _) = ManualEngine::open(setup).unwrap();
        Bench {
            engine,
            clock,
            _folder: folder,
        }
    }

    fn batch(&mut self, requests: Vec<Request>) {
        let mut requests = VecDeque::from(requests);
        self.engine.writer.batch(&mut requests).unwrap();
        assert!(requests.is_empty());
    }

    /// A claim that waits.
    fn wait(&mut self, tenant: &str, claim: Claim) -> Reply {
        let (request, answer) = asks(tenant, claim);
        self.batch(vec![request]);
        answer
    }

    fn submit(&mut self, tenant: &str, queue: &str, job_type: &str) {
        self.batch(vec![job(tenant, queue, job_type, &[])]);
    }

    fn size(&self, tenant: &str) -> u64 {
        self.engine.ledger(&name(tenant)).unwrap().size()
    }

    fn epoch(&self, job: JobId) -> u64 {
        let store = self.engine.store().unwrap();
        let snapshot = store.read().unwrap();
        let tenant = name("acme");
        let view = snapshot.view(&tenant);
        let view: &dyn crate::domain::state::View = &view;
        view.job(job).unwrap().unwrap().epoch
    }
}

fn name(tenant: &str) -> TenantName {
    tenant.parse().unwrap()
}

fn claim(worker: &str, queue: &str, types: &[&str], labels: &[(&str, &str)]) -> Claim {
    Claim {
        worker: worker.to_owned(),
        reach: Reach::OneTenant,
        wanted: Wanted {
            labels: pairs(labels),
            queues: vec![queue.to_owned()],
            types: types.iter().map(|glob| (*glob).to_owned()).collect(),
        },
        max: 1,
        lease_ms: 30_000,
        wait_ms: 10_000,
        token: None,
    }
}

fn pairs(labels: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn asks(tenant: &str, claim: Claim) -> (Request, Reply) {
    let (reply, answer) = oneshot::channel();
    let actor = Actor::worker(&claim.worker);
    let request = Request {
        tenant: name(tenant),
        actor,
        commands: Vec::new(),
        claim: Some(claim),
        reply,
    };
    (request, answer)
}

fn job(tenant: &str, queue: &str, job_type: &str, requires: &[(&str, &str)]) -> Request {
    let spec = JobSpec {
        queue: queue.to_owned(),
        requires: pairs(requires),
        ..JobSpec::of_type(job_type)
    };
    let command = Command::SubmitJob(Box::new(SubmitJob {
        spec: spec.into(),
        payload: Payload::parse(b"1").unwrap(),
        correlation_id: None,
        idempotency: None,
        replay_of: None,
        sensitive: crate::domain::redaction::Sensitive::default(),
    }));
    let (reply, _) = oneshot::channel();
    Request {
        tenant: name(tenant),
        actor: Actor::system("test"),
        commands: vec![command],
        claim: None,
        reply,
    }
}

/// What a claim got: nothing yet, or so many jobs.
fn got(answer: &mut Reply) -> Option<usize> {
    let answer = answer.try_recv().ok()?.unwrap();
    assert_eq!(answer.claimed, Claimed::Served);
    Some(answer.jobs.len())
}

#[test]
fn a_job_wakes_the_first_claim_that_could_take_it() {
    let mut bench = Bench::new();
    let mut other_type = bench.wait("acme", claim("w-1", "q", &["b.*"], &[]));
    let mut other_queue = bench.wait("acme", claim("w-2", "r", &[], &[]));
    let mut other_tenant = bench.wait("globex", claim("w-3", "q", &[], &[]));
    let mut first = bench.wait("acme", claim("w-4", "q", &["a.*"], &[("os", "linux")]));
    let mut second = bench.wait("acme", claim("w-5", "q", &["a.*"], &[("os", "linux")]));
    let mut third = bench.wait("acme", claim("w-6", "q", &["a.b"], &[]));
    bench.submit("acme", "q", "a.b");
    assert_eq!((got(&mut first), got(&mut second)), (Some(1), None));
    bench.submit("acme", "q", "a.b");
    assert_eq!((got(&mut second), got(&mut third)), (Some(1), None));
    let needy = job("acme", "q", "a.b", &[("os", "linux")]);
    bench.batch(vec![needy]);
    assert_eq!(got(&mut third), None, "it does not offer what the job requires");
    bench.submit("acme", "q", "a.b");
    assert_eq!(got(&mut third), Some(1));
    for waits in [&mut other_type, &mut other_queue, &mut other_tenant] {
        assert_eq!(got(waits), None);
    }
    bench.submit("globex", "q", "a");
    assert_eq!(got(&mut other_tenant), Some(1));
    bench.clock.advance(Duration::from_millis(9_999));
    bench.batch(vec![]);
    assert_eq!(got(&mut other_queue), None);
    bench.clock.advance(Duration::from_millis(1));
    bench.batch(vec![]);
    assert_eq!((got(&mut other_type), got(&mut other_queue)), (Some(0), Some(0)));
    assert!(bench.engine.writer.waiting.is_empty());
}

#[test]
fn jobs_that_a_bound_held_back_wake_claims_when_it_lets_them_go() {
    let mut bench = Bench::new();
    let mut every = claim("w-1", "q", &[], &[]);
    every.reach = Reach::EveryTenant;
    let mut several = claim("w-2", "q", &[], &[]);
    several.reach = Reach::Tenants(vec![name("globex"), name("acme")]);
    let mut every = bench.wait("system", every);
    let mut several = bench.wait("globex", several);
    let mut jobs = vec![job("acme", "q", "a", &[]), job("acme", "q", "b", &[])];
    for request in &mut jobs {
        let Command::SubmitJob(submit) = &mut request.commands[0] else {
            panic!("a job is submitted")
        };
        Arc::make_mut(&mut submit.spec).concurrency = Some(crate::domain::concurrency::Concurrency {
            key: "host".to_owned(),
            limit: 1,
        });
    }
    bench.batch(jobs);
    let leased = every.try_recv().unwrap().unwrap().jobs.remove(0);
    assert_eq!(got(&mut several), None, "the key is full");
    let (reply, _) = oneshot::channel();
    bench.batch(vec![Request {
        tenant: name("acme"),
        actor: Actor::worker("w-1"),
        commands: vec![Command::ReleaseJob {
            job: leased.job.id,
            epoch: 1,
            reason: "r".to_owned(),
            logs: None,
        }],
        claim: None,
        reply,
    }]);
    assert_eq!(got(&mut several), Some(1));
}

#[test]
fn a_caller_that_has_gone_costs_no_lease() {
    let mut bench = Bench::new();
    let gone = bench.wait("acme", claim("w-1", "q", &[], &[]));
    let mut waits = bench.wait("acme", claim("w-2", "q", &[], &[]));
    drop(gone);
    // Gone while it still stood in the queue.
    let (request, answer) = asks("acme", claim("w-3", "q", &[], &[]));
    drop(answer);
    let before = bench.size("acme");
    bench.batch(vec![job("acme", "q", "a", &[]), request]);
    let leased = waits.try_recv().unwrap().unwrap().jobs.remove(0);
    assert_eq!((leased.job.epoch, leased.job.attempt), (1, 1));
    // The job, and its one start: not even a worker that nobody knows was registered.
    assert_eq!(bench.size("acme"), before + 2);
    assert!(bench.engine.writer.waiting.is_empty());
}

#[test]
fn a_lease_whose_answer_nobody_takes_is_given_back_in_the_next_batch() {
    let mut bench = Bench::new();
    bench.submit("acme", "q", "a");
    let (request, answer) = asks("acme", claim("w-1", "q", &[], &[]));
    let writer = &mut bench.engine.writer;
    writer.stage(&mut VecDeque::from([request])).unwrap();
    let staged = writer.staged.as_ref().unwrap();
    let leased = staged.owed[0].1.jobs[0].job.clone();
    assert_eq!(leased.epoch, 1);
    drop(answer);
    writer.hand_over().unwrap();
    assert_eq!(writer.idle_ms(), 1, "it is handed back at once");
    bench.batch(vec![]);
    let (request, mut answer) = asks("acme", claim("w-2", "q", &[], &[]));
    bench.batch(vec![request]);
    let again = answer.try_recv().unwrap().unwrap().jobs.remove(0).job;
    assert_eq!((again.id, again.epoch, again.failures), (leased.id, 2, 0));
    assert_eq!(bench.epoch(leased.id), 2);
}

#[test]
fn the_claims_that_wait_are_bounded_per_tenant_and_in_all() {
    let mut bench = Bench::new();
    let crowd = |tenant: &'static str| {
        let claims = (0..limits::CLAIMS_WAITING_PER_TENANT_MAX).map(move |_| {
            let worker = format!("w-{tenant}");
            asks(tenant, claim(&worker, "q", &[], &[]))
        });
        claims.unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (requests, mut acme) = crowd("acme");
    bench.batch(requests);
    let refused = |answer: &mut Reply| match answer.try_recv().unwrap().unwrap().claimed {
        Claimed::Refused(rejection) => rejection.code,
        other => panic!("it was not refused: {other:?}"),
    };
    let mut over = bench.wait("acme", claim("w-x", "q", &[], &[]));
    assert_eq!(refused(&mut over), Code::LimitReached);
    let mut runner = claim("local", "local", &[], &[]);
    runner.reach = Reach::EveryTenant;
    let mut runner = bench.wait("system", runner);
    assert_eq!(got(&mut runner), None, "the built-in runner may always wait");
    drop(runner);
    // One that has gone makes room.
    drop(acme.pop());
    let mut fits = bench.wait("acme", claim("w-x", "q", &[], &[]));
    assert_eq!(got(&mut fits), None);

    let mut held = vec![acme];
    for tenant in ["b", "c", "d"] {
        let (requests, answers) = crowd(tenant);
        bench.batch(requests);
        held.push(answers);
    }
    let waits = held.iter_mut().flatten().filter_map(got).count();
    assert_eq!(waits, 0, "all of them wait");
    let mut over = bench.wait("e", claim("w-x", "q", &[], &[]));
    assert_eq!(refused(&mut over), Code::LimitReached);
    // Who does not wait is served.
    let mut at_once = claim("w-x", "q", &[], &[]);
    at_once.wait_ms = 0;
    let mut at_once = bench.wait("e", at_once);
    assert_eq!(got(&mut at_once), Some(0));
}
