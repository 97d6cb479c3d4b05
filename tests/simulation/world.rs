//! An engine on a simulated disk, the workers that hold its leases, and the ways in which it can be brought down.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastness::clock::{Clock, ManualClock};
use fastness::disk::Disk;
use fastness::domain::command::{Command, DecideGate, Leased, Verdict};
use fastness::domain::event::{Actor, Event};
use fastness::domain::job::{Job, JobStatus};
use fastness::domain::run::Run;
use fastness::domain::standing::Standing;
use fastness::domain::state::{Kind, View};
use fastness::domain::webhook::Webhook;
use fastness::domain::{Digest, JobId, RunId, Seq, StepName, TenantName, WebhookName};
use fastness::engine::{
    Answer, Claim, LOCAL_WORKER, ManualEngine, Reach, Setup, SubmitError, Trusted, Wanted,
};
use fastness::journal::Options;
use fastness::limits;
use fastness::store::{Commit, Direction, Page, Snapshot, Store};
use fastness::trust::KeyFolder;

use super::turns::person;
use crate::support::random::Random;
use crate::support::sim_disk::SimDisk;

pub const QUEUES: [&str; 3] = ["default", "bulk", "local"];
/// Longer than any list of a sequence.
pub const ALL: Page<'static> = Page {
    after: None,
    direction: Direction::Forward,
    limit: 100_000,
};

/// A lease as its worker believes in it.
#[derive(Debug, Clone)]
pub struct Held {
    pub tenant: TenantName,
    pub job: JobId,
    pub epoch: u64,
    pub worker: String,
    pub lease_ms: u64,
    /// On the monotonic clock.
    pub deadline_ms: u64,
    /// In ledger time.
    pub ends_at_ms: i64,
}

pub type Trip = (TenantName, Actor, Vec<Command>, Option<Claim>);

pub struct World {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub random: Random,
    pub tenants: Vec<TenantName>,
    /// Leases granted and not known to have ended.
    pub held: Vec<Held>,
    /// Leases that have ended, for late reports.
    pub past: Vec<Held>,
    /// Made so far, so that names differ.
    pub drawn: u64,
    segment_bytes: u64,
    /// Whether the projection follows only when somebody reads.
    lags: bool,
    overlaps: bool,
    engine: Option<ManualEngine>,
}

impl World {
    /// With small segments, so that they close within a sequence.
    pub fn new(seed: u64) -> Self {
        World::with_segments(seed, 64 << 10)
    }

    /// With segments of the size that the server uses, which hold the largest batch.
    pub fn full_size(seed: u64) -> Self {
        World::with_segments(seed, limits::SEGMENT_BYTES)
    }

    fn with_segments(seed: u64, segment_bytes: u64) -> Self {
        let disk = SimDisk::new(seed);
        disk.create_dir_all(&dir()).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let clock = Arc::new(ManualClock::new(1_769_860_800_000, seed));
        let mut world = World {
            disk,
            clock,
            random: Random::new(seed),
            tenants: ["acme", "zeta"].map(|name| name.parse().unwrap()).to_vec(),
            held: Vec::new(),
            past: Vec::new(),
            drawn: 0,
            segment_bytes,
            lags: seed.is_multiple_of(2),
            overlaps: seed.is_multiple_of(3),
            engine: None,
        };
        world.open(Trusted::Yes);
        for name in world.tenants.clone() {
            let command = Command::CreateTenant { name };
            let actor = Actor::system("test");
            let reply = world.engine().submit(&TenantName::system(), &actor, command);
            reply.unwrap().unwrap();
        }
        world
    }

    pub fn engine(&mut self) -> &mut ManualEngine {
        self.engine.as_mut().expect("the engine is open between turns")
    }

    pub fn view(&self) -> &ManualEngine {
        self.engine.as_ref().expect("the engine is open between turns")
    }

    pub fn store(&self) -> Arc<Store> {
        self.view().store().unwrap()
    }

    pub fn read(&self) -> Snapshot {
        self.store().read().unwrap()
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }

    pub fn tenant(&mut self) -> TenantName {
        let index = self.random.below(self.tenants.len() as u64);
        self.tenants[index as usize].clone()
    }

    /// Both tenants, and the ledger of administrative acts.
    pub fn ledgers(&self) -> Vec<TenantName> {
        let mut all = self.tenants.clone();
        all.push(TenantName::system());
        all
    }

    pub fn jobs(&self, tenant: &TenantName) -> Vec<Job> {
        let rows = self.read().rows(tenant, Kind::Job, ALL).unwrap();
        rows.iter().filter_map(|(_, row)| row.as_job().cloned()).collect()
    }

    pub fn runs(&self, tenant: &TenantName) -> Vec<Run> {
        let rows = self.read().rows(tenant, Kind::Run, ALL).unwrap();
        rows.iter().filter_map(|(_, row)| row.as_run().cloned()).collect()
    }

    /// A webhook as it stands.
    pub fn webhook(&self, tenant: &TenantName, name: &WebhookName) -> Option<Webhook> {
        let snapshot = self.read();
        let view: &dyn View = &snapshot.view(tenant);
        view.webhook(name).unwrap()
    }

    /// Every event of a ledger, as its bytes.
    pub fn events(&self, tenant: &TenantName) -> Vec<(Seq, Vec<u8>)> {
        let ledger = self.view().ledger(tenant).unwrap();
        let mut found = Vec::new();
        ledger
            .scan(Seq(0), Seq(ledger.size()), &mut |seq, bytes| {
                found.push((seq, bytes.to_vec()));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    pub fn parsed(&self, tenant: &TenantName) -> Vec<Event> {
        let events = self.events(tenant);
        events
            .iter()
            .map(|(_, bytes)| Event::from_bytes(bytes).unwrap())
            .collect()
    }

    /// One batch.
    pub fn batch(&mut self, trips: Vec<Trip>) -> Vec<Answer> {
        let count = trips.len();
        let answers = self.engine().batch(trips).unwrap();
        assert_eq!(answers.len(), count);
        answers
            .into_iter()
            .map(|answer| {
                answer
                    .expect("none of the claims waits")
                    .unwrap_or_else(|error| refused(&error))
            })
            .collect()
    }

    /// Lets everything that is due happen, so that the next batch holds what it was given and nothing else.
    pub fn settle(&mut self) {
        self.batch(Vec::new());
        // What ended just now may be tried again at once.
        self.batch(Vec::new());
        self.check_leases();
        self.check_timers();
    }

    /// Notes what a claim got.
    pub fn hold(&mut self, leased: &[Leased]) {
        for leased in leased {
            let lease = leased.job.lease.clone().unwrap();
            assert_eq!(leased.job.status, JobStatus::Running);
            let live = |held: &Held| held.tenant == leased.tenant && held.job == leased.job.id;
            assert!(
                !self.held.iter().any(live),
                "a second live lease of job {}",
                leased.job.id
            );
            self.held.push(Held {
                tenant: leased.tenant.clone(),
                job: leased.job.id,
                epoch: leased.job.epoch,
                worker: lease.worker,
                lease_ms: lease.lease_ms,
                deadline_ms: self.now_ms() + lease.lease_ms,
                ends_at_ms: leased.job.started_at.unwrap().as_ms() + leased.job.spec.timeout_ms as i64,
            });
        }
    }

    /// The lease ended by what its holder, or a request, did.
    pub fn let_go(&mut self, tenant: &TenantName, job: JobId) {
        let (gone, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.tenant == *tenant && held.job == job);
        self.held = held;
        self.past.extend::<Vec<Held>>(gone);
    }

    /// A lease lives exactly until its deadline.
    fn check_leases(&mut self) {
        let now_ms = self.now_ms();
        for held in self.held.clone() {
            let jobs = self.jobs(&held.tenant);
            let job = jobs.iter().find(|job| job.id == held.job).unwrap();
            let live = job.status == JobStatus::Running && job.epoch == held.epoch;
            let in_time = now_ms < held.deadline_ms;
            // Attempts are timed by ledger time, which is never behind the wall clock, nor before the last event.
            let over = |time_ms: i64| held.worker != LOCAL_WORKER && held.ends_at_ms <= time_ms;
            if live {
                assert!(
                    in_time && !over(self.clock.wall_ms()),
                    "at {now_ms}: {held:?} {job:?}"
                );
            } else {
                let ledger_ms = self.ledger_ms(&held.tenant);
                assert!(!in_time || over(ledger_ms), "at {now_ms}: {held:?} {job:?}");
            }
            if !live {
                self.let_go(&held.tenant, held.job);
            }
        }
    }

    /// Nothing that is due has been left lying.
    fn check_timers(&self) {
        // Ledger time is never behind the wall clock.
        let now_ms = self.clock.wall_ms();
        for tenant in &self.tenants {
            for job in self.jobs(tenant) {
                let due = match job.status {
                    JobStatus::Failed => job.next_attempt_at,
                    JobStatus::Pending if job.held || job.run.is_some() => None,
                    JobStatus::Pending => job.spec.not_before,
                    _ => None,
                };
                assert!(due.is_none_or(|due| due.as_ms() > now_ms), "overdue: {job:?}");
                self.check_needs_of(tenant, &job);
            }
            for run in self.runs(tenant) {
                let due = run.timeout_ms.map(|ms| run.created_at.plus_ms(ms));
                let done = run.status.is_terminal() || run.timed_out;
                assert!(
                    done || due.is_none_or(|due| due.as_ms() > now_ms),
                    "overdue: {run:?}"
                );
            }
        }
    }

    /// A job whose needs have ended is not left lying.
    fn check_needs_of(&self, tenant: &TenantName, job: &Job) {
        let (JobStatus::Pending, false, Some(run), Some(node)) = (job.status, job.held, job.run, job.node)
        else {
            return;
        };
        let snapshot = self.read();
        let view: &dyn fastness::domain::state::View = &snapshot.view(tenant);
        let open_needs = view.node(run, node).unwrap().unwrap().open_needs;
        let now_ms = self.clock.wall_ms();
        let is_due = job.spec.not_before.is_none_or(|due| due.as_ms() <= now_ms);
        assert!(open_needs > 0 || !is_due, "forgotten: {job:?}");
    }

    fn open(&mut self, trusted: Trusted) -> fastness::engine::Report {
        let setup = Setup {
            dir: dir(),
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            keys: keys(),
            trusted,
            journal: Options {
                segment_bytes: self.segment_bytes,
                spares_max: 1,
            },
        };
        let (mut engine, report) = ManualEngine::open(setup).unwrap();
        engine.let_projection_lag(self.lags).unwrap();
        engine.let_flushes_overlap(self.overlaps);
        self.engine = Some(engine);
        // What ran in the process itself is lost with it; every other lease gets one full new period.
        let (lost, held): (Vec<Held>, Vec<Held>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| held.worker == LOCAL_WORKER);
        self.past.extend(lost);
        let now_ms = self.now_ms();
        let renew = |held: Held| Held {
            deadline_ms: now_ms + held.lease_ms,
            ..held
        };
        self.held = held.into_iter().map(renew).collect();
        report
    }

    /// A stop and a start, with something between them. Nothing acknowledged may be missing after it.
    pub fn reopen(&mut self, trusted: Trusted, between: impl FnOnce(&mut World)) -> fastness::engine::Report {
        let heads = self.heads();
        let local = self
            .held
            .iter()
            .filter(|held| held.worker == LOCAL_WORKER)
            .count();
        self.engine = None;
        between(self);
        let report = self.open(trusted);
        assert_eq!(report.lost_leases, local);
        if local == 0 {
            assert_eq!(self.heads(), heads, "a start added or lost events");
        } else {
            assert!(self.heads() >= heads);
        }
        report
    }

    /// Sizes of the ledgers that have an event.
    fn heads(&self) -> Vec<(TenantName, u64)> {
        let mut heads = Vec::new();
        for tenant in self.view().tenants().unwrap() {
            let size = self.view().ledger(&tenant).unwrap().size();
            heads.push((tenant, size));
        }
        heads.retain(|(_, size)| *size > 0);
        heads
    }

    /// Everything the projection holds: rows, orders, heads.
    pub fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        dump(&self.store())
    }

    /// The projection folded anew from the ledgers, beside the living one.
    pub fn folded(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(0));
        let store = Store::open(&disk, Path::new("/beside.redb")).unwrap();
        for tenant in self.view().tenants().unwrap() {
            let ledger = self.view().ledger(&tenant).unwrap();
            fastness::engine::catch_up_one(&store, &ledger).unwrap();
        }
        store.begin().unwrap().commit(None, Commit::Visible).unwrap();
        dump(&store)
    }

    pub fn remove_projection(&self) {
        Store::discard(&self.disk, &dir().join("state.redb")).unwrap();
    }

    pub fn remove_snapshots(&self) {
        let folder = dir().join("snapshots");
        for name in self.disk.list(&folder).unwrap_or_default() {
            self.disk.remove(&folder.join(name)).unwrap();
        }
    }

    /// A start that builds the projection from the newest snapshot and from what came after it.
    pub fn reopen_without_projection(&mut self) {
        let held: u64 = self.heads().iter().map(|(_, size)| size).sum();
        let report = self.reopen(Trusted::Yes, |world| world.remove_projection());
        let names = self.disk.list(&dir().join("snapshots")).unwrap_or_default();
        let known: u64 = names.last().map_or(0, |name| name[..20].parse().unwrap());
        assert_eq!(
            report.folded,
            held - known,
            "what the snapshot {names:?} holds is not folded again"
        );
    }

    /// From the ledgers alone; from the newest snapshot and what came after it; from the file that nobody trusts.
    pub fn rebuild_in_each_way(&mut self) {
        assert_same(&self.dump(), &self.folded(), "folded beside it");
        // Leases of the local runner end with the process: only then is there nothing left to add.
        self.reopen(Trusted::Yes, |_| {});
        let live = self.dump();
        self.reopen_without_projection();
        self.reopen(Trusted::Yes, |world| {
            world.remove_projection();
            world.remove_snapshots();
        });
        assert_same(&live, &self.dump(), "from the ledgers alone");
    }

    /// Whoever claims gets everything and completes it, until nothing is left that could happen.
    pub fn heal(&mut self) {
        for _ in 0..200 {
            self.settle();
            self.resume_paused();
            self.schedule_held();
            self.pass_gates();
            let mut claim = claim("healer", Reach::EveryTenant, 256);
            claim.wanted.labels.insert("os".to_owned(), "linux".to_owned());
            let trip = (
                self.tenants[0].clone(),
                Actor::worker("healer"),
                Vec::new(),
                Some(claim),
            );
            let jobs = self.batch(vec![trip]).remove(0).jobs;
            self.hold(&jobs);
            for leased in &jobs {
                self.complete_well(leased);
            }
            if jobs.is_empty() {
                if self.is_at_rest() {
                    return;
                }
                self.clock.advance(Duration::from_secs(600));
            }
        }
        panic!("something never ends");
    }

    /// The gates of a tenant that ask now, and what about.
    pub fn gates(&self, tenant: &TenantName) -> Vec<(RunId, StepName, Digest)> {
        let snapshot = self.read();
        let view = snapshot.view(tenant);
        let view: &dyn View = &view;
        let mut gates = Vec::new();
        for run in self.runs(tenant) {
            if run.counts.waiting == 0 {
                continue;
            }
            let row = view.graph(run.id).unwrap().unwrap();
            for (index, place) in (0..).zip(&row.as_graph().unwrap().nodes) {
                let standing = Standing::of(view, view, run.id, (index, place)).unwrap();
                if standing.asks() {
                    let gate = standing.node.gate.unwrap();
                    gates.push((run.id, place.name.clone(), gate.binding));
                }
            }
        }
        gates
    }

    /// Two persons who never start anything approve whatever is asked.
    fn pass_gates(&mut self) {
        for tenant in self.tenants.clone() {
            for who in ["yan", "zoe"] {
                let commands = self.gates(&tenant).into_iter().map(|(run, step, binding)| {
                    Command::DecideGate(Box::new(DecideGate {
                        binding: Some(binding),
                        reason: "healing".to_owned(),
                        run,
                        step,
                        verdict: Verdict::Approve,
                    }))
                });
                let trip = (tenant.clone(), person(who), commands.collect(), None);
                let answer = self.batch(vec![trip]).remove(0);
                for result in answer.results {
                    let code = result.err().map(|rejection| rejection.code.as_str());
                    assert!(matches!(code, None | Some("already_approved")), "{code:?}");
                }
            }
        }
    }

    fn resume_paused(&mut self) {
        for tenant in self.tenants.clone() {
            let paused = self.runs(&tenant).into_iter().filter(|run| run.paused.is_some());
            let commands = paused.map(|run| Command::ResumeRun {
                run: run.id,
                reason: "healing".to_owned(),
            });
            let trip = (tenant, Actor::system("test"), commands.collect(), None);
            let answer = self.batch(vec![trip]).remove(0);
            assert!(answer.results.iter().all(Result::is_ok));
        }
    }

    fn schedule_held(&mut self) {
        for tenant in self.tenants.clone() {
            let held = self.jobs(&tenant).into_iter().filter(|job| job.held);
            let commands = held.map(|job| Command::ScheduleJob {
                job: job.id,
                reason: "schedule".to_owned(),
            });
            let trip = (tenant, Actor::system("test"), commands.collect(), None);
            let answer = self.batch(vec![trip]).remove(0);
            assert!(answer.results.iter().all(Result::is_ok));
        }
    }

    fn is_at_rest(&self) -> bool {
        assert!(self.tenants.iter().all(|tenant| {
            let jobs_done = self.jobs(tenant).iter().all(Job::is_terminal);
            let runs_done = self.runs(tenant).iter().all(|run| run.status.is_terminal());
            let asks = self.runs(tenant).iter().any(|run| run.counts.waiting > 0);
            // A run has ended when its jobs and gates have, not a batch later.
            !jobs_done || asks || runs_done
        }));
        self.tenants.iter().all(|tenant| {
            self.jobs(tenant).iter().all(Job::is_terminal)
                && self.runs(tenant).iter().all(|run| run.status.is_terminal())
        })
    }
}

pub fn claim(worker: &str, reach: Reach, max: usize) -> Claim {
    Claim {
        worker: worker.to_owned(),
        reach,
        wanted: Wanted {
            labels: Default::default(),
            queues: QUEUES.map(str::to_owned).to_vec(),
            types: Vec::new(),
        },
        max,
        lease_ms: 30_000,
        wait_ms: 0,
        token: None,
    }
}

pub fn assert_same(left: &[(Vec<u8>, Vec<u8>)], right: &[(Vec<u8>, Vec<u8>)], what: &str) {
    if left == right {
        return;
    }
    let show = |entries: &[(Vec<u8>, Vec<u8>)], others: &[(Vec<u8>, Vec<u8>)]| -> Vec<String> {
        let only = entries.iter().filter(|entry| !others.contains(entry));
        only.map(|(key, value)| format!("{} = {}", key.escape_ascii(), value.escape_ascii()))
            .collect()
    };
    panic!(
        "{what}: only left {:#?}, only right {:#?}",
        show(left, right),
        show(right, left)
    );
}

fn dump(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .dump(|key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    found
}

fn refused(error: &SubmitError) -> Answer {
    panic!("the writer did not answer: {error}")
}

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

/// Drawn once: no sequence depends on them.
pub fn keys() -> Arc<KeyFolder> {
    static KEYS: OnceLock<Arc<KeyFolder>> = OnceLock::new();
    KEYS.get_or_init(|| Arc::new(keys_in(&SimDisk::new(7), Path::new("/keys"))))
        .clone()
}

/// The same keys, wherever.
pub fn keys_in(disk: &SimDisk, dir: &Path) -> KeyFolder {
    let mut random = Random::new(7);
    let mut fill = |bytes: &mut [u8]| bytes.fill_with(|| random.next() as u8);
    KeyFolder::open_or_create(disk, dir, &mut fill).unwrap()
}
