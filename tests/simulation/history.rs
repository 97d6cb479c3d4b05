//! What every history must be, told without `apply`: the rules of the life of a job and of a run, event by event, and what
//! the rows then must say.

use std::collections::{BTreeMap, BTreeSet};

use fastness::domain::concurrency::Concurrency;
use fastness::domain::event::{ActorKind, Event, EventBody};
use fastness::domain::idempotency::Idempotency;
use fastness::domain::job::{Job, JobStatus, PastLease, RetryPolicy};
use fastness::domain::pack::{Action, Gate, PackSpec};
use fastness::domain::payload::{
    GateApproved, GateStarted, JobCancelled, JobCreated, JobFailed, JobScheduled, JobStarted, RunCreated,
    RunEnded, StepMapped,
};
use fastness::domain::run::{Run, RunCounts, RunStatus};
use fastness::domain::{
    JobId, PackName, RunId, SecretName, Seq, TenantName, Timestamp, WebhookName, canonical,
};

use super::turns::Tally;
use super::world::World;

/// Reads every ledger from its first event on.
pub fn check(world: &World, tally: &mut Tally) {
    for tenant in world.ledgers() {
        let mut history = History::default();
        let mut last_at = None;
        for (index, (seq, bytes)) in world.events(&tenant).into_iter().enumerate() {
            let event = Event::from_bytes(&bytes).unwrap();
            assert_eq!((seq, event.seq), (Seq(index as u64), Seq(index as u64)));
            assert_eq!(event.tenant, tenant);
            assert!(
                last_at <= Some(event.at),
                "ledger time ran back at {seq} of {tenant}"
            );
            last_at = Some(event.at);
            canonical::check(&bytes).unwrap();
            assert_eq!(event.to_canonical(), bytes);
            tally.count(event.body.type_name());
            history.event(&event, tally);
        }
        history.compare(world, &tenant);
    }
}

/// A job as its events alone tell.
#[derive(Debug)]
struct Seen {
    status: JobStatus,
    retries: RetryPolicy,
    always: bool,
    not_before: Option<Timestamp>,
    run: Option<(RunId, u32)>,
    attempt: u32,
    epoch: u64,
    failures: u32,
    next_attempt_at: Option<Timestamp>,
    cancel_requested: bool,
    late: BTreeSet<u64>,
    worker: Option<String>,
    past: Option<PastLease>,
    held: bool,
    letter_open: bool,
    concurrency: Option<Concurrency>,
    /// How often it entered `scheduled` after the first time, but for releases.
    reentries: u32,
}

impl Seen {
    fn is_terminal(&self) -> bool {
        match self.status {
            JobStatus::Completed | JobStatus::Cancelled => true,
            JobStatus::Failed => self.next_attempt_at.is_none(),
            JobStatus::Pending | JobStatus::Scheduled | JobStatus::Running => false,
        }
    }

    fn let_go(&mut self, reported: Option<JobStatus>) {
        if let Some(worker) = self.worker.take() {
            self.past = Some(PastLease {
                epoch: self.epoch,
                reported,
                worker,
            });
        }
    }
}

#[derive(Debug)]
struct SeenRun {
    needs: Vec<Vec<u32>>,
    reused: Vec<bool>,
    jobs: Vec<JobId>,
    later: Vec<bool>,
    /// Nodes that ended without a job.
    ends: BTreeMap<u32, JobEnd>,
    /// The jobs of mapped nodes.
    mapped: BTreeMap<u32, Vec<JobId>>,
    max_parallel: Option<u32>,
    due: Option<Timestamp>,
    started: bool,
    cancelled: bool,
    timed_out: bool,
    paused: bool,
    ended: Option<RunStatus>,
    /// As its events say, while it is open.
    open: RunStatus,
    pack: Option<(PackName, u32)>,
    requester: Option<String>,
    /// Gates that asked: who approved.
    asked: BTreeMap<u32, (GateStarted, BTreeSet<String>)>,
}

/// How a node ended for which no job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobEnd {
    Skipped,
    Cancelled,
    Failed,
    Passed,
}

/// What the events of one ledger tell, so far.
#[derive(Default)]
pub struct History {
    opened: bool,
    jobs: BTreeMap<JobId, Seen>,
    runs: BTreeMap<RunId, SeenRun>,
    keys: BTreeSet<(String, String)>,
    /// Whether each is lost.
    workers: BTreeMap<String, bool>,
    packs: BTreeMap<(PackName, u32), PackSpec>,
    secrets: BTreeSet<SecretName>,
    /// Whether each is active.
    webhooks: BTreeMap<WebhookName, bool>,
    /// Events whose disclosures were erased.
    erased: BTreeSet<Seq>,
}

impl History {
    pub fn event(&mut self, event: &Event, tally: &mut Tally) {
        assert_eq!(
            self.opened,
            event.seq != Seq(0),
            "a ledger begins with its opening"
        );
        if let Some(run) = event.subject.run.and_then(|run| self.runs.get(&run)) {
            let late = matches!(
                event.body,
                EventBody::JobLateReport(_)
                    | EventBody::DeadLetterResolved(_)
                    | EventBody::DeadLettersReplayed(_)
            );
            assert!(
                run.ended.is_none() || late,
                "a run went on after its end: {event:?}"
            );
        }
        match &event.body {
            EventBody::LedgerOpened(_) => self.opened = true,
            EventBody::JobCreated(created) => self.created(event, created),
            EventBody::JobScheduled(scheduled) => {
                tally.count(&scheduled.reason);
                self.scheduled(event, scheduled);
            }
            EventBody::JobStarted(started) => self.started(event, started),
            EventBody::JobCompleted(completed) => {
                self.end_attempt(event, completed.epoch, completed.attempt, JobStatus::Completed);
                self.job(event).let_go(Some(JobStatus::Completed));
            }
            EventBody::JobFailed(failed) => {
                let class = serde_json::to_value(failed.failure.class).unwrap();
                tally.count(class.as_str().unwrap());
                self.failed(event, failed);
            }
            EventBody::JobCancelled(cancelled) => {
                tally.count(&cancelled.reason);
                self.cancelled(event, cancelled);
            }
            EventBody::JobCancelRequested(_) => {
                let job = self.job(event);
                assert_eq!((job.status, job.cancel_requested), (JobStatus::Running, false));
                job.cancel_requested = true;
            }
            EventBody::JobReleased(released) => {
                let job = self.job(event);
                assert!(!job.cancel_requested);
                assert_eq!((job.status, job.epoch), (JobStatus::Running, released.epoch));
                job.status = JobStatus::Scheduled;
                job.let_go(None);
            }
            EventBody::JobLateReport(late) => {
                let job = self.job(event);
                let past = job.past.as_ref().unwrap();
                assert_eq!(past.epoch, late.epoch);
                assert_eq!(past.worker, event.actor.id, "another's lease");
                assert!(job.late.insert(late.epoch), "a late report noted twice");
            }
            EventBody::JobHoldEnded(_) => {
                let job = self.job(event);
                assert!(std::mem::replace(&mut job.held, false), "it was not held");
                assert_eq!(job.status, JobStatus::Pending);
            }
            EventBody::JobReplayed(_) => assert!(self.job(event).is_terminal()),
            EventBody::DeadLetterCreated(_) => {
                let job = self.job(event);
                assert!(job.status == JobStatus::Failed && job.is_terminal());
                assert!(
                    !std::mem::replace(&mut job.letter_open, true),
                    "a second dead letter"
                );
            }
            EventBody::DeadLetterResolved(_) => {
                assert!(std::mem::replace(&mut self.job(event).letter_open, false));
            }
            EventBody::DeadLettersReplayed(replayed) => {
                for id in &replayed.jobs {
                    let job = self.jobs.get_mut(id).unwrap();
                    assert_eq!(job.run.map(|(run, _)| run), event.subject.run);
                    assert!(std::mem::replace(&mut job.letter_open, false));
                }
            }
            EventBody::StepStarted(step) => self.under_lease(event, step.epoch),
            EventBody::StepCompleted(step) | EventBody::StepFailed(step) => {
                self.under_lease(event, step.epoch)
            }
            EventBody::StepSkipped(step) => {
                tally.count(&step.reason);
                self.end_node(event, step.node, JobEnd::Skipped);
            }
            EventBody::StepCancelled(step) => {
                tally.count("a step cancelled before it was worked out");
                self.end_node(event, step.node, JobEnd::Cancelled);
            }
            EventBody::StepUnresolved(step) => self.end_node(event, step.node, JobEnd::Failed),
            EventBody::StepMapped(mapped) => self.mapped(event, mapped),
            EventBody::GateStarted(asked) => self.gate_started(event, asked),
            EventBody::GateApproved(approved) => self.gate_approved(event, approved),
            EventBody::GatePassed(passed) => {
                tally.count(&passed.reason);
                let asked = self.gate_ends(event, passed.node);
                assert!(asked.is_none_or(|(asked, persons)| persons.len() as u32 == asked.approvers));
                self.end_node(event, passed.node, JobEnd::Passed);
            }
            EventBody::GateFailed(failed) => {
                tally.count(&failed.reason);
                let asked = self.gate_ends(event, failed.node);
                assert_eq!(asked.is_some(), failed.reason == "rejected");
                self.end_node(event, failed.node, JobEnd::Failed);
            }
            EventBody::RunWaiting(_) => {
                let run = event.subject.run.unwrap();
                assert_ne!(self.runs[&run].open, RunStatus::Waiting);
                assert!(self.only_gates_are_left(&self.runs[&run]));
                self.run(event).open = RunStatus::Waiting;
            }
            EventBody::RunContinued(_) => {
                let run = self.run(event);
                assert_eq!(run.open, RunStatus::Waiting);
                run.open = RunStatus::Running;
            }
            EventBody::RunPaused(_) => {
                let run = self.run(event);
                assert!(!run.cancelled && !run.timed_out);
                assert!(!std::mem::replace(&mut run.paused, true), "paused twice");
            }
            EventBody::RunResumed(resumed) => {
                tally.count(&format!("resumed: {}", resumed.reason));
                assert!(std::mem::replace(&mut self.run(event).paused, false));
            }
            EventBody::ArtifactCreated(artifact) => {
                assert_eq!(self.job(event).attempt, artifact.attempt);
            }
            EventBody::AiToolCalled(report) => self.under_lease(event, report.epoch),
            EventBody::AiTokensUsed(report) => self.under_lease(event, report.epoch),
            EventBody::AiArtifactCreated(report) => self.under_lease(event, report.epoch),
            EventBody::XReported(report) => self.under_lease(event, report.epoch),
            EventBody::WorkerRegistered(worker) => {
                assert!(self.workers.insert(worker.name.clone(), false).is_none());
            }
            EventBody::WorkerDrained(worker) => assert!(self.workers.contains_key(&worker.name)),
            EventBody::WorkerLost(worker) => {
                let lost = self.workers.insert(worker.name.clone(), true);
                assert_eq!(lost, Some(false), "a worker lost twice, or never seen");
            }
            EventBody::RunCreated(created) => self.run_created(event, created),
            EventBody::RunStarted(_) => {
                let run = self.run(event);
                assert!(!run.paused, "a paused run started");
                assert!(!std::mem::replace(&mut run.started, true));
                assert_ne!(run.open, RunStatus::Waiting, "what waits has nothing to start");
                run.open = RunStatus::Running;
            }
            EventBody::RunCancelRequested(requested) if requested.timed_out => {
                let run = self.run(event);
                assert!(!std::mem::replace(&mut run.timed_out, true));
                assert!(!run.paused, "what is stopped must be able to end");
                assert!(run.due.unwrap() <= event.at);
            }
            EventBody::RunCancelRequested(_) => {
                let run = self.run(event);
                assert!(!std::mem::replace(&mut run.cancelled, true));
                assert!(!run.paused, "what is stopped must be able to end");
            }
            EventBody::RunCompleted(ended) => self.run_ended(event, ended, RunStatus::Completed),
            EventBody::RunPartiallyFailed(ended) => self.run_ended(event, ended, RunStatus::PartiallyFailed),
            EventBody::RunFailed(ended) => self.run_ended(event, ended, RunStatus::Failed),
            EventBody::RunCancelled(ended) => self.run_ended(event, ended, RunStatus::Cancelled),
            EventBody::PackRegistered(pack) => {
                let place = (pack.name.clone(), pack.version);
                assert!(self.packs.insert(place, pack.spec.clone()).is_none());
            }
            EventBody::SecretSet(secret) => {
                self.secrets.insert(secret.name.clone());
            }
            EventBody::SecretDeleted(secret) => assert!(self.secrets.remove(&secret.name)),
            EventBody::WebhookCreated(webhook) => {
                assert!(self.webhooks.insert(webhook.name.clone(), true).is_none());
            }
            EventBody::WebhookChanged(webhook) => assert!(self.webhooks.contains_key(&webhook.name)),
            EventBody::WebhookDeleted(webhook) => assert!(self.webhooks.remove(&webhook.name).is_some()),
            EventBody::WebhookPaused(webhook) => {
                assert_eq!(self.webhooks.insert(webhook.name.clone(), false), Some(true));
            }
            EventBody::WebhookDead(webhook) => {
                assert_eq!(self.webhooks.insert(webhook.name.clone(), false), Some(true));
            }
            EventBody::WebhookResumed(webhook) => {
                assert_eq!(self.webhooks.insert(webhook.name.clone(), true), Some(false));
            }
            // Orders come in files, which nobody carries here.
            EventBody::WorkorderIssued(_)
            | EventBody::WorkorderRecalled(_)
            | EventBody::WorkorderImported(_)
            | EventBody::WorkorderRefused(_)
            | EventBody::WorkorderApproved(_)
            | EventBody::WorkorderStarted(_)
            | EventBody::WorkorderCancelled(_)
            | EventBody::WorkorderReported(_)
            | EventBody::OrdersKeyPinned(_) => unreachable!("no order is played"),
            EventBody::DisclosureErased(erased) => {
                assert!(erased.disclosures < event.seq);
                assert!(self.erased.insert(erased.disclosures), "erased twice");
            }
            EventBody::DisclosureRead(read) => assert!(!self.erased.contains(&read.disclosures)),
            EventBody::WebhookRefused(_)
            | EventBody::DisclosureExported(_)
            | EventBody::RedactionPolicySet(_)
            | EventBody::RedactionPolicyDeleted(_)
            | EventBody::TenantCreated(_)
            | EventBody::TokenCreated(_)
            | EventBody::TokenRevoked(_)
            | EventBody::TrustPinned(_)
            | EventBody::RootPinned(_)
            | EventBody::RootAccepted(_)
            | EventBody::TrustRefused(_)
            | EventBody::KeyRotated(_)
            | EventBody::KeyRevoked(_)
            | EventBody::BundleExported(_)
            | EventBody::BundleVerified(_)
            | EventBody::BundleImported(_)
            | EventBody::BundleRefused(_)
            | EventBody::BundleImportRequested(_)
            | EventBody::BundleImportApproved(_)
            | EventBody::BundleImportRejected(_)
            | EventBody::BundleImportSuperseded(_)
            | EventBody::BundleDiscarded(_)
            | EventBody::BundleDownloaded(_)
            | EventBody::BundleAttemptFailed(_)
            | EventBody::ClockStep(_) => {}
        }
    }

    fn job(&mut self, event: &Event) -> &mut Seen {
        self.jobs.get_mut(&event.subject.job.unwrap()).unwrap()
    }

    fn run(&mut self, event: &Event) -> &mut SeenRun {
        self.runs.get_mut(&event.subject.run.unwrap()).unwrap()
    }

    /// A node that is worked out later, and was not so far.
    fn open_node(&self, event: &Event, node: u32) -> &SeenRun {
        let run = &self.runs[&event.subject.run.unwrap()];
        let at = node as usize;
        assert!(run.later[at] && !run.reused[at], "it is not worked out later");
        let is_open = !run.ends.contains_key(&node) && !run.mapped.contains_key(&node);
        assert!(
            is_open && !self.jobs.contains_key(&run.jobs[at]),
            "worked out twice"
        );
        run
    }

    fn end_node(&mut self, event: &Event, node: u32, end: JobEnd) {
        let run = self.open_node(event, node);
        let needs = &run.needs[node as usize];
        if end == JobEnd::Cancelled {
            let lost = needs.iter().any(|need| self.end_of(run, *need) == Some(false));
            assert!(lost || run.cancelled || run.timed_out);
        } else {
            assert!(needs.iter().all(|need| self.end_of(run, *need).is_some()));
        }
        self.run(event).ends.insert(node, end);
    }

    fn mapped(&mut self, event: &Event, mapped: &StepMapped) {
        let run = self.open_node(event, mapped.node);
        let needs = &run.needs[mapped.node as usize];
        assert!(needs.iter().all(|need| self.end_of(run, *need).is_some()));
        assert!(!mapped.jobs.is_empty());
        self.run(event).mapped.insert(mapped.node, mapped.jobs.clone());
    }

    fn gate_of(&self, event: &Event, node: u32) -> &Gate {
        let run = &self.runs[&event.subject.run.unwrap()];
        let step = &self.packs[run.pack.as_ref().unwrap()].steps[node as usize];
        match &step.action {
            Action::Gate(gate) => gate,
            other => panic!("{other:?} is no gate"),
        }
    }

    fn gate_started(&mut self, event: &Event, asked: &GateStarted) {
        let run = self.open_node(event, asked.node);
        let needs = &run.needs[asked.node as usize];
        assert!(needs.iter().all(|need| self.end_of(run, *need).is_some()));
        let approvers = asked.approvers;
        assert_eq!(*self.gate_of(event, asked.node), Gate::Approval { approvers });
        let before = self
            .run(event)
            .asked
            .insert(asked.node, (asked.clone(), BTreeSet::new()));
        assert!(before.is_none(), "a gate asked twice");
    }

    fn gate_approved(&mut self, event: &Event, approved: &GateApproved) {
        self.open_node(event, approved.node);
        assert_eq!(event.actor.kind, ActorKind::Person);
        let run = self.run(event);
        assert_ne!(run.requester.as_ref(), Some(&event.actor.id));
        let (asked, persons) = run.asked.get_mut(&approved.node).unwrap();
        assert_eq!(asked.binding, approved.binding);
        assert!(persons.insert(event.actor.id.clone()), "a person twice");
        assert!(persons.len() as u32 <= asked.approvers);
    }

    /// What a gate asked before it ended; a policy asks nobody.
    fn gate_ends(&self, event: &Event, node: u32) -> Option<&(GateStarted, BTreeSet<String>)> {
        let asked = self.runs[&event.subject.run.unwrap()].asked.get(&node);
        let asks = matches!(self.gate_of(event, node), Gate::Approval { .. });
        assert_eq!(asked.is_some(), asks);
        asked
    }

    /// Every node has ended, asks, or waits for others.
    fn only_gates_are_left(&self, run: &SeenRun) -> bool {
        let asks = |node: &u32| run.asked.contains_key(node) && !run.ends.contains_key(node);
        let rests = |node: u32| {
            let mut needs = run.needs[node as usize].iter();
            asks(&node)
                || self.end_of(run, node).is_some()
                || needs.any(|need| self.end_of(run, *need).is_none())
        };
        let nodes = run.jobs.len() as u32;
        (0..nodes).any(|node| asks(&node)) && (0..nodes).all(rests)
    }

    /// Whether a node ended well; none while it has not ended.
    fn end_of(&self, run: &SeenRun, node: u32) -> Option<bool> {
        if let Some(end) = run.ends.get(&node) {
            return Some(matches!(end, JobEnd::Skipped | JobEnd::Passed));
        }
        let own = [run.jobs[node as usize]];
        let jobs = run.mapped.get(&node).map_or(&own[..], |jobs| jobs);
        let jobs: Option<Vec<&Seen>> = jobs.iter().map(|job| self.jobs.get(job)).collect();
        let jobs = jobs?;
        let good = |job: &&Seen| job.status == JobStatus::Completed;
        jobs.iter()
            .all(|job| job.is_terminal())
            .then(|| jobs.iter().all(good))
    }

    /// The jobs of a run that came into being.
    fn jobs_of(&self, run: &SeenRun) -> Vec<&Seen> {
        let mapped = run.mapped.values().flatten();
        let jobs = run.jobs.iter().chain(mapped);
        jobs.filter_map(|job| self.jobs.get(job)).collect()
    }

    fn counts(&self, run: &SeenRun) -> RunCounts {
        let ended = |wanted: JobEnd| run.ends.values().filter(|end| **end == wanted).count() as u32;
        let more: usize = run.mapped.values().map(|jobs| jobs.len() - 1).sum();
        let jobs = counts(&self.jobs_of(run));
        RunCounts {
            cancelled: jobs.cancelled + ended(JobEnd::Cancelled),
            completed: jobs.completed + ended(JobEnd::Passed),
            waiting: run
                .asked
                .keys()
                .filter(|node| !run.ends.contains_key(node))
                .count() as u32,
            failed: jobs.failed + ended(JobEnd::Failed),
            skipped: ended(JobEnd::Skipped),
            total: (run.jobs.len() + more) as u32,
            ..jobs
        }
    }

    fn under_lease(&mut self, event: &Event, epoch: u64) {
        let job = self.job(event);
        assert_eq!((job.status, job.epoch), (JobStatus::Running, epoch));
    }

    fn created(&mut self, event: &Event, created: &JobCreated) {
        let seen = Seen {
            status: created.status,
            retries: created.spec.retries.clone(),
            always: created.spec.always,
            not_before: created.spec.not_before,
            run: event.subject.run.zip(created.node),
            attempt: 0,
            epoch: 0,
            failures: 0,
            next_attempt_at: None,
            cancel_requested: false,
            late: BTreeSet::new(),
            worker: None,
            past: None,
            held: created.spec.hold,
            letter_open: false,
            concurrency: created.spec.concurrency.clone(),
            reentries: 0,
        };
        let open_needs = seen.run.is_some_and(|(run, node)| {
            let run = &self.runs[&run];
            let needs = run.needs[node as usize].iter();
            !run.later[node as usize] && needs.into_iter().any(|need| !run.reused[*need as usize])
        });
        let waits = open_needs || seen.held || seen.not_before.is_some_and(|time| time > event.at);
        let expected = if waits {
            JobStatus::Pending
        } else {
            JobStatus::Scheduled
        };
        assert_eq!(seen.status, expected);
        self.check_key(created.idempotency.as_ref());
        assert!(self.jobs.insert(event.subject.job.unwrap(), seen).is_none());
    }

    /// The same request is done once.
    fn check_key(&mut self, given: Option<&Idempotency>) {
        if let Some(given) = given {
            let key = (given.route.clone(), given.key.clone());
            assert!(self.keys.insert(key), "done twice: {given:?}");
        }
    }

    fn scheduled(&mut self, event: &Event, scheduled: &JobScheduled) {
        self.check_needs(event);
        let job = self.job(event);
        assert_eq!(scheduled.afresh, scheduled.reason == "afresh");
        if scheduled.reason != "schedule" {
            assert!(!job.held, "a held job was scheduled");
        }
        match scheduled.reason.as_str() {
            "afresh" => {
                assert!(job.status == JobStatus::Failed && job.is_terminal() && !job.letter_open);
                (job.failures, job.reentries) = (0, 0);
            }
            "schedule" => {
                assert!(std::mem::replace(&mut job.held, false));
                assert_eq!(job.status, JobStatus::Pending);
            }
            "retry" => {
                assert_eq!(job.status, JobStatus::Failed);
                assert!(job.next_attempt_at.take().unwrap() <= event.at);
                job.reentries += 1;
                assert!(job.reentries <= job.retries.max);
            }
            "not_before" => {
                assert_eq!(job.status, JobStatus::Pending);
                assert!(job.not_before.unwrap() <= event.at);
            }
            "needs_met" => assert_eq!(job.status, JobStatus::Pending),
            other => panic!("scheduled for {other}"),
        }
        job.status = JobStatus::Scheduled;
    }

    /// What a job needs has ended, and well unless it is marked `always`.
    fn check_needs(&self, event: &Event) {
        let job = &self.jobs[&event.subject.job.unwrap()];
        let Some((run, node)) = job.run else { return };
        let run = &self.runs[&run];
        for need in &run.needs[node as usize] {
            let good = self.end_of(run, *need).expect("what it needs has ended");
            assert!(job.always || good);
        }
    }

    fn started(&mut self, event: &Event, started: &JobStarted) {
        self.check_needs(event);
        let job = self.job(event);
        assert_eq!(
            job.status,
            JobStatus::Scheduled,
            "a second live lease, or one of a job not ready"
        );
        assert_eq!(started.attempt, job.attempt + 1);
        assert!(started.epoch > job.epoch);
        (job.attempt, job.epoch) = (started.attempt, started.epoch);
        job.status = JobStatus::Running;
        job.worker = Some(started.worker.clone());
        if let Some(bound) = job.concurrency.clone() {
            self.check_bound(&bound);
        }
        if let Some(lost) = self.workers.get_mut(&started.worker) {
            *lost = false;
        }
        if let Some(run) = event.subject.run {
            let run = &self.runs[&run];
            assert!(run.started && !run.paused, "a job of a paused run started");
            let jobs = self.jobs_of(run);
            let running = jobs.iter().filter(|job| job.status == JobStatus::Running);
            assert!(
                run.max_parallel
                    .is_none_or(|most| running.count() <= most as usize)
            );
        }
    }

    /// Of all that run under a key, each allows as many as there are.
    fn check_bound(&self, bound: &Concurrency) {
        let running = |job: &&Seen| job.status == JobStatus::Running;
        let limits = self.jobs.values().filter(running).filter_map(|job| {
            let other = job.concurrency.as_ref()?;
            (other.key == bound.key).then_some(other.limit as usize)
        });
        let limits: Vec<usize> = limits.collect();
        assert!(
            limits.iter().all(|limit| limits.len() <= *limit),
            "{bound:?}: {limits:?}"
        );
    }

    fn end_attempt(&mut self, event: &Event, epoch: u64, attempt: u32, status: JobStatus) {
        let job = self.job(event);
        assert_eq!(
            (job.status, job.epoch, job.attempt),
            (JobStatus::Running, epoch, attempt)
        );
        job.status = status;
        job.cancel_requested = false;
    }

    fn failed(&mut self, event: &Event, failed: &JobFailed) {
        let asked = self.job(event).cancel_requested;
        self.end_attempt(event, failed.epoch, failed.attempt, JobStatus::Failed);
        let job = self.job(event);
        job.failures += 1;
        assert_eq!(failed.failures, job.failures);
        job.let_go(by_worker(event, JobStatus::Failed));
        let again = failed.failure.retryable && job.failures <= job.retries.max && !asked;
        assert_eq!(failed.next_attempt_at.is_some(), again);
        if let Some(delay_ms) = failed.delay_ms {
            assert_eq!(failed.next_attempt_at, Some(event.at.plus_ms(delay_ms)));
            // The longest that a worker asks for in these tests.
            assert!(delay_ms <= job.retries.cap_ms.max(3_000));
        }
        job.next_attempt_at = failed.next_attempt_at;
    }

    fn cancelled(&mut self, event: &Event, cancelled: &JobCancelled) {
        let job = self.job(event);
        assert!(!job.is_terminal());
        if job.status != JobStatus::Running {
            assert_eq!((&cancelled.exit_code, &cancelled.logs), (&None, &None));
        }
        job.status = JobStatus::Cancelled;
        job.let_go(by_worker(event, JobStatus::Cancelled));
        job.next_attempt_at = None;
        if cancelled.reason == "upstream_failed" {
            let job = &self.jobs[&event.subject.job.unwrap()];
            let (run, node) = job.run.unwrap();
            let run = &self.runs[&run];
            let lost = |need: &u32| self.end_of(run, *need) == Some(false);
            assert!(!job.always && run.needs[node as usize].iter().any(lost));
        }
    }

    fn run_created(&mut self, event: &Event, created: &RunCreated) {
        let run = SeenRun {
            needs: created.graph.iter().map(|node| node.needs.clone()).collect(),
            reused: created.graph.iter().map(|node| node.reused).collect(),
            jobs: created.graph.iter().map(|node| node.job).collect(),
            later: created.graph.iter().map(|node| node.later).collect(),
            ends: BTreeMap::new(),
            mapped: BTreeMap::new(),
            max_parallel: created.max_parallel,
            due: created.timeout_ms.map(|ms| event.at.plus_ms(ms)),
            started: false,
            cancelled: false,
            timed_out: false,
            paused: false,
            ended: None,
            open: RunStatus::Pending,
            pack: created
                .pack
                .as_ref()
                .map(|pack| (pack.name.clone(), pack.version)),
            requester: (event.actor.kind == ActorKind::Person).then(|| event.actor.id.clone()),
            asked: BTreeMap::new(),
        };
        for (job, _) in run.jobs.iter().zip(&run.reused).filter(|(_, reused)| **reused) {
            let job = &self.jobs[job];
            assert!(job.status == JobStatus::Completed && !job.always);
        }
        self.check_key(created.idempotency.as_ref());
        assert!(self.runs.insert(event.subject.run.unwrap(), run).is_none());
    }

    fn run_ended(&mut self, event: &Event, ended: &RunEnded, status: RunStatus) {
        let run = &self.runs[&event.subject.run.unwrap()];
        let jobs = self.jobs_of(run);
        assert!(jobs.iter().all(|job| job.is_terminal()));
        assert_eq!(ended.counts, self.counts(run));
        let ends: Vec<_> = (0..run.jobs.len() as u32)
            .map(|node| self.end_of(run, node))
            .collect();
        assert!(ends.iter().all(Option::is_some), "a node has not ended");
        let all_well = ends.iter().all(|end| *end == Some(true));
        let some_well = jobs
            .iter()
            .any(|job| job.status == JobStatus::Completed && !job.always);
        let expected = match (run.cancelled, all_well && !run.timed_out, some_well) {
            (true, _, _) => RunStatus::Cancelled,
            (false, true, _) => RunStatus::Completed,
            (false, false, true) => RunStatus::PartiallyFailed,
            (false, false, false) => RunStatus::Failed,
        };
        assert_eq!(status, expected);
        self.run(event).ended = Some(status);
    }

    /// Nothing is left open.
    pub fn check_ended(&self) {
        assert!(self.jobs.values().all(Seen::is_terminal));
        assert!(self.runs.values().all(|run| run.ended.is_some()));
    }

    /// The rows say what the events told.
    fn compare(&self, world: &World, tenant: &TenantName) {
        let rows = world.jobs(tenant);
        assert_eq!(rows.len(), self.jobs.len());
        for row in rows {
            compare_job(&row, &self.jobs[&row.id]);
        }
        let rows = world.runs(tenant);
        assert_eq!(rows.len(), self.runs.len());
        for row in rows {
            self.compare_run(&row);
        }
    }

    fn compare_run(&self, row: &Run) {
        let seen = &self.runs[&row.id];
        assert_eq!(row.counts, self.counts(seen));
        assert_eq!(row.status, seen.ended.unwrap_or(seen.open));
        if seen.ended.is_none() {
            assert_eq!(
                row.status == RunStatus::Waiting,
                self.only_gates_are_left(seen),
                "{row:?}"
            );
        }
        assert_eq!(
            (row.timed_out, row.cancel_requested.is_some()),
            (seen.timed_out, seen.cancelled)
        );
        assert_eq!(row.paused.is_some(), seen.paused && seen.ended.is_none());
        assert_eq!(
            (row.started_at.is_some(), row.ended_at.is_some()),
            (seen.started, seen.ended.is_some())
        );
    }
}

fn compare_job(row: &Job, seen: &Seen) {
    assert_eq!(
        (row.status, row.attempt, row.epoch, row.failures),
        (seen.status, seen.attempt, seen.epoch, seen.failures)
    );
    assert_eq!(row.held, seen.held && row.status == JobStatus::Pending);
    assert_eq!(row.next_attempt_at, seen.next_attempt_at);
    assert_eq!(row.lease.is_some(), seen.status == JobStatus::Running);
    assert_eq!(row.ready_seq.is_some(), seen.status == JobStatus::Scheduled);
    assert_eq!(row.ended_at.is_some(), seen.is_terminal());
    assert_eq!(
        row.cancel_requested.is_some(),
        seen.cancel_requested && seen.status == JobStatus::Running
    );
    assert_eq!(row.late_report_epoch, seen.late.last().copied());
    assert_eq!(row.past_lease, seen.past);
}

/// What was reported, where a worker did.
fn by_worker(event: &Event, reported: JobStatus) -> Option<JobStatus> {
    (event.actor.kind == ActorKind::Worker).then_some(reported)
}

fn counts(jobs: &[&Seen]) -> RunCounts {
    let count = |wanted: &dyn Fn(&Seen) -> bool| jobs.iter().filter(|job| wanted(job)).count() as u32;
    RunCounts {
        cancelled: count(&|job| job.status == JobStatus::Cancelled),
        completed: count(&|job| job.status == JobStatus::Completed),
        completed_main: count(&|job| job.status == JobStatus::Completed && !job.always),
        failed: count(&|job| job.status == JobStatus::Failed && job.is_terminal()),
        running: count(&|job| job.status == JobStatus::Running),
        skipped: 0,
        total: jobs.len() as u32,
        waiting: 0,
    }
}
