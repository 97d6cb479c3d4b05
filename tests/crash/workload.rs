//! A seeded workload: two tenants, jobs, packs and runs, workers that come and go, clocks that jump; and all that the
//! engine does by itself, at random moments.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastness::clock::ManualClock;
use fastness::disk::Disk;
use fastness::domain::canonical::Payload;
use fastness::domain::command::{
    Command, CompleteJob, CreateToken, Outcome, Redacted, RedactionCommand, RegisterPack, Reply, StartRun,
    SubmitJob,
};
use fastness::domain::event::Actor;
use fastness::domain::job::{Failure, FailureClass, JobSpec};
use fastness::domain::pack::{PackSpec, plan_hash};
use fastness::domain::redaction::Sensitive;
use fastness::domain::token::Scope;
use fastness::domain::{Digest, JobId, RunId, TenantName};
use fastness::engine::{
    Answer, Claim, CommittedBatch, Fatal, LOCAL_WORKER, ManualEngine, Reach, Report, Setup, StartError,
    SubmitError, Trusted, Wanted,
};
use fastness::journal::Options;
use fastness::trust::KeyFolder;
use tokio::sync::broadcast;

use crate::support::random::Random;
use crate::support::sim_disk::SimDisk;

pub const DATA: &str = "/data";
/// Segments hold a few batches, so that they close, are archived and used again all the time.
const SEGMENT_BYTES: u64 = 32 * 1024;

const PACK: &str = "apiVersion: fastness/v1
kind: Pack
metadata: {name: sweep}
spec:
  timeout: 10m
  steps:
    - {id: first, run: [\"true\"], retries: {max: 1}}
    - {id: second, needs: [first], run: [\"true\"]}
    - {id: last, always: true, needs: [second], run: [\"true\"]}
";

/// What a caller remembers from one session to the next.
#[derive(Debug, Clone, Default)]
pub struct Known {
    jobs: Vec<(TenantName, JobId)>,
    runs: Vec<(TenantName, RunId)>,
    held: Vec<(TenantName, JobId, u64)>,
}

/// Where a session begins: given the same disk, it goes the same way again.
#[derive(Debug, Clone)]
pub struct Start {
    pub known: Known,
    pub seed: u64,
    pub wall_ms: i64,
}

impl Start {
    pub fn first(seed: u64) -> Self {
        Start {
            known: Known::default(),
            seed,
            wall_ms: 1_769_860_800_000,
        }
    }
}

/// What is done without choice.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Archive,
    Sign,
    Flush,
    Submit,
    SubmitAndFlush,
}

pub const ACTIONS: [Action; 5] = [
    Action::Archive,
    Action::Sign,
    Action::Flush,
    Action::Submit,
    Action::SubmitAndFlush,
];

/// An open engine and who talks to it. Dropping it is the end of the process.
pub struct Session {
    pub engine: ManualEngine,
    pub report: Report,
    pub known: Known,
    clock: Arc<ManualClock>,
    feed: broadcast::Receiver<CommittedBatch>,
    random: Random,
}

/// A disk with an empty data folder.
pub fn empty_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DATA)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// The enclave's keys, the same everywhere. They lie elsewhere: losing them is not what is tested.
pub fn keys() -> Arc<KeyFolder> {
    static KEYS: OnceLock<Arc<KeyFolder>> = OnceLock::new();
    let make = || {
        let mut random = Random::new(7);
        let mut fill = |bytes: &mut [u8]| bytes.fill_with(|| random.next() as u8);
        let keys = KeyFolder::open_or_create(&SimDisk::new(1), Path::new("/keys"), &mut fill);
        Arc::new(keys.unwrap())
    };
    KEYS.get_or_init(make).clone()
}

pub fn setup(disk: &SimDisk, clock: Arc<ManualClock>) -> Setup {
    Setup {
        dir: DATA.into(),
        disk: Arc::new(disk.clone()),
        clock,
        keys: keys(),
        trusted: Trusted::Yes,
        journal: Options {
            segment_bytes: SEGMENT_BYTES,
            spares_max: 2,
        },
    }
}

pub fn tenants() -> [TenantName; 2] {
    ["acme", "blue"].map(|name| name.parse().unwrap())
}

impl Session {
    pub fn open(disk: &SimDisk, start: &Start) -> Result<Session, StartError> {
        let clock = Arc::new(ManualClock::new(start.wall_ms, start.seed));
        let (engine, report) = ManualEngine::open(setup(disk, clock.clone()))?;
        Ok(Session {
            feed: engine.feed().subscribe(),
            engine,
            report,
            known: start.known.clone(),
            clock,
            random: Random::new(start.seed),
        })
    }

    /// What was committed since the last call, batch by batch.
    pub fn committed(&mut self) -> Vec<CommittedBatch> {
        std::iter::from_fn(|| self.feed.try_recv().ok()).collect()
    }

    /// One thing that somebody does. Refusals are part of life; only the writer's end is told.
    pub fn step(&mut self) -> Result<(), Fatal> {
        match self.random.below(24) {
            0..=4 => self.submit(),
            5 => self.both_tenants(),
            6 => self.register_pack(),
            7 | 8 => self.start_run(),
            9..=12 => self.claim(),
            13..=16 => self.report(),
            17 => self.cancel(),
            18 | 19 => self.pass_time(),
            20 => self.administer(),
            21 => self.engine.archive(),
            22 => match self.random.below(3) {
                0 => self.engine.flush(),
                _ => self.engine.sign(),
            },
            _ => {
                // A snapshot is a shortcut: not to have one is no harm.
                let _ = self.engine.snapshot();
                Ok(())
            }
        }
    }

    /// As [`Session::step`], but mostly what the engine does by itself.
    pub fn step_any(&mut self) -> Result<(), Fatal> {
        match self.random.below(6) {
            0 => self.step(),
            which => self.act(ACTIONS[which as usize - 1]),
        }
    }

    pub fn act(&mut self, action: Action) -> Result<(), Fatal> {
        match action {
            Action::Archive => self.engine.archive(),
            Action::Sign => self.engine.sign(),
            Action::Flush => self.engine.flush(),
            Action::Submit => self.submit(),
            Action::SubmitAndFlush => {
                self.clock.advance(Duration::from_millis(1_100));
                self.submit()
            }
        }
    }

    fn submit(&mut self) -> Result<(), Fatal> {
        let tenant = self.tenant();
        let commands = (0..=self.random.below(3)).map(|_| self.job()).collect();
        self.trip(tenant, person(), commands, None)
    }

    /// One batch of both, with a command in it that is refused.
    fn both_tenants(&mut self) -> Result<(), Fatal> {
        let trips = tenants().map(|tenant| {
            let unknown = Command::CancelJob {
                job: JobId::from_bytes([7; 16]),
                reason: "no such job".to_owned(),
            };
            (tenant, person(), vec![self.job(), unknown, self.job()], None)
        });
        let names = tenants();
        let answers = self.engine.batch(trips.into())?;
        for (tenant, answer) in names.iter().zip(answers) {
            self.remember(tenant, answer);
        }
        Ok(())
    }

    fn register_pack(&mut self) -> Result<(), Fatal> {
        let source = format!("{PACK}# {}\n", self.random.below(3));
        let spec = PackSpec::parse(source.as_bytes()).unwrap();
        let pack = RegisterPack {
            plan_hash: plan_hash(&spec),
            source,
            spec,
        };
        let tenant = self.tenant();
        self.trip(
            tenant,
            person(),
            vec![Command::RegisterPack(Box::new(pack))],
            None,
        )
    }

    fn start_run(&mut self) -> Result<(), Fatal> {
        let run = Command::StartRun(Box::new(StartRun {
            pack: "sweep".parse().unwrap(),
            version: None,
            inputs: Default::default(),
            correlation_id: None,
            idempotency: None,
        }));
        let tenant = self.tenant();
        self.trip(tenant, person(), vec![run], None)
    }

    fn claim(&mut self) -> Result<(), Fatal> {
        let worker = if self.random.once_in(2) {
            LOCAL_WORKER
        } else {
            "w-1"
        };
        let claim = Claim {
            worker: worker.to_owned(),
            reach: if self.random.once_in(2) {
                Reach::EveryTenant
            } else {
                Reach::OneTenant
            },
            wanted: Wanted {
                labels: Default::default(),
                queues: vec!["default".to_owned(), "packs".to_owned()],
                types: vec![],
            },
            max: 1 + self.random.below(3) as usize,
            lease_ms: 30_000,
            wait_ms: 0,
            token: None,
        };
        let tenant = self.tenant();
        self.trip(tenant, Actor::worker(worker), vec![], Some(claim))
    }

    /// A worker reports; now and then twice, or too late.
    fn report(&mut self) -> Result<(), Fatal> {
        if self.known.held.is_empty() {
            return self.claim();
        }
        let at = self.random.below(self.known.held.len() as u64) as usize;
        let (tenant, job, epoch) = self.known.held[at].clone();
        if !self.random.once_in(5) {
            self.known.held.swap_remove(at);
        }
        let command = match self.random.below(6) {
            0 => Command::ReleaseJob {
                job,
                epoch,
                reason: "interrupted".to_owned(),
                logs: None,
            },
            fate => Command::CompleteJob(Box::new(CompleteJob {
                job,
                epoch,
                outcome: if fate == 1 {
                    Outcome::Failed(failure(), 0)
                } else {
                    Outcome::Completed(None)
                },
                artifacts: vec![],
                exit_code: Some(0),
                logs: None,
                step: None,
            })),
        };
        // Whoever holds the lease: a worker could speak for its own alone.
        self.trip(tenant, Actor::system("test"), vec![command], None)
    }

    fn cancel(&mut self) -> Result<(), Fatal> {
        let reason = "changed my mind".to_owned();
        let (jobs, runs) = (self.known.jobs.len() as u64, self.known.runs.len() as u64);
        let (tenant, command) = match self.random.below(3) {
            // Of a job without redacted fields it is refused.
            2 if jobs > 0 => {
                let (tenant, job) = self.known.jobs[self.random.below(jobs) as usize].clone();
                let of = Redacted::Job(job);
                let erase = RedactionCommand::Erase { of, reason };
                (tenant, Command::Redaction(Box::new(erase)))
            }
            0 if runs > 0 => {
                let (tenant, run) = self.known.runs[self.random.below(runs) as usize].clone();
                (tenant, Command::CancelRun { run, reason })
            }
            _ if jobs > 0 => {
                let (tenant, job) = self.known.jobs[self.random.below(jobs) as usize].clone();
                (tenant, Command::CancelJob { job, reason })
            }
            _ => return Ok(()),
        };
        self.trip(tenant, person(), vec![command], None)
    }

    /// Long enough for a durable commit, a retry, the end of a lease; or the wall clock is stepped.
    fn pass_time(&mut self) -> Result<(), Fatal> {
        match self.random.below(8) {
            0 => self.clock.step_wall(3_600_000),
            1 => self.clock.step_wall(-3_600_000),
            2 => self.clock.advance(Duration::from_secs(31)),
            _ => self.clock.advance(Duration::from_millis(1_100)),
        }
        self.engine.batch(vec![]).map(drop)
    }

    fn administer(&mut self) -> Result<(), Fatal> {
        let command = if self.random.once_in(2) {
            Command::CreateTenant { name: self.tenant() }
        } else {
            Command::CreateToken(Box::new(CreateToken {
                expires_at: None,
                name: "t".to_owned(),
                person: "ada".to_owned(),
                scopes: Scope::ALL.to_vec(),
                secret_sha256: Digest::of(&self.random.next().to_le_bytes()),
                tenants: tenants().to_vec(),
            }))
        };
        self.trip(TenantName::system(), person(), vec![command], None)
    }

    fn trip(
        &mut self,
        tenant: TenantName,
        actor: Actor,
        commands: Vec<Command>,
        claim: Option<Claim>,
    ) -> Result<(), Fatal> {
        let answer = self
            .engine
            .batch(vec![(tenant.clone(), actor, commands, claim)])?
            .pop()
            .flatten();
        self.remember(&tenant, answer);
        Ok(())
    }

    fn remember(&mut self, tenant: &TenantName, answer: Option<Result<Answer, SubmitError>>) {
        let Some(Ok(answer)) = answer else { return };
        for receipt in answer.results.into_iter().flatten() {
            match receipt.reply {
                Reply::Job(job) => self.known.jobs.push((tenant.clone(), job.id)),
                Reply::Run(run) => self.known.runs.push((tenant.clone(), run.id)),
                _ => {}
            }
        }
        for leased in answer.jobs {
            self.known
                .held
                .push((leased.tenant, leased.job.id, leased.job.epoch));
        }
    }

    fn tenant(&mut self) -> TenantName {
        let [acme, blue] = tenants();
        // One is busy, one is not: what rests long must survive as well.
        if self.random.once_in(4) { blue } else { acme }
    }

    fn job(&mut self) -> Command {
        let payload = format!(r#"{{"n":{},"token":"hunter2"}}"#, self.random.below(1_000));
        let sensitive = self.random.once_in(2).then(|| "/token".parse().unwrap());
        Command::SubmitJob(Box::new(SubmitJob {
            spec: JobSpec {
                priority: self.random.below(10) as u8,
                timeout_ms: 60_000,
                ..JobSpec::of_type("scan")
            }
            .into(),
            payload: Payload::parse(payload.as_bytes()).unwrap(),
            correlation_id: None,
            idempotency: None,
            replay_of: None,
            sensitive: Sensitive::Fields(sensitive.into_iter().collect()),
        }))
    }
}

fn person() -> Actor {
    Actor {
        id: "ada".to_owned(),
        kind: fastness::domain::event::ActorKind::Person,
    }
}

fn failure() -> Failure {
    Failure {
        class: FailureClass::Exit,
        code: None,
        message: "exit code 1".to_owned(),
        retryable: true,
    }
}
