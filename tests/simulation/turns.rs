//! One turn of a sequence: somebody does something, time passes, or the process ends and starts anew.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness::domain::canonical::{Payload, Value};
use fastness::domain::command::{
    Choice, Command, DecideGate, GraphJob, Outcome, ReplayRun, Reply, StartGraph, Verdict,
};
use fastness::domain::dead_letter::Resolution;
use fastness::domain::event::{Actor, ActorKind};
use fastness::domain::job::{Job, JobSpec, JobStatus};
use fastness::domain::run::Run;
use fastness::domain::{Digest, JobId, Seq, TenantName};
use fastness::engine::{Claim, LOCAL_WORKER, Reach, Trusted};

use super::deeds::{failure, plain_job, report};
use super::grants::Grants;
use super::packs;
use super::rows;
use super::world::{Held, QUEUES, Trip, World, claim};

/// What happened over all sequences: a generator that never gets somewhere proves nothing.
#[derive(Debug, Default)]
pub struct Tally {
    /// Turns and events, by name.
    pub counts: BTreeMap<String, u64>,
}

impl Tally {
    pub fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Everything that can happen did happen, often.
    pub fn check(&self) {
        println!("{:#?}", self.counts);
        let seldom = [
            "job.created",
            "job.scheduled",
            "job.started",
            "job.completed",
            "job.failed",
            "job.cancelled",
            "job.cancel_requested",
            "job.released",
            "job.late_report",
            "step.started",
            "step.completed",
            "step.failed",
            "artifact.created",
            "run.created",
            "run.started",
            "run.cancel_requested",
            "run.completed",
            "run.partially_failed",
            "run.failed",
            "run.cancelled",
            "pack.registered",
            "tenant.created",
            "token.created",
            "token.revoked",
            "trust.pinned",
            "clock.step",
            "lease_expired",
            "worker_lost",
            "upstream_failed",
            "run_timeout",
            "needs_met",
            "retry",
            "not_before",
            "granted",
            "full run passed over",
            "full key passed over",
            "job.hold_ended",
            "job.replayed",
            "deadletter.created",
            "deadletter.resolved",
            "deadletter.replayed",
            "afresh",
            "schedule",
            "timeout",
            "step.skipped",
            "step.mapped",
            "step.cancelled",
            "step.unresolved",
            "condition",
            "empty_map",
            "gate.started",
            "gate.approved",
            "gate.passed",
            "gate.failed",
            "rejected",
            "policy",
            "run.waiting",
            "run.continued",
            "run.paused",
            "run.resumed",
            "resumed: enough waited",
            "resumed: cancelled",
            "paused run passed over",
            "secret.set",
            "secret.deleted",
            "webhook.created",
            "webhook.changed",
            "webhook.deleted",
            "webhook.paused",
            "webhook.resumed",
            "webhook.dead",
            "webhook.refused",
        ];
        for what in seldom {
            let times = self.counts.get(what).copied().unwrap_or(0);
            assert!(times >= 10, "{what} came about only {times} times");
        }
    }
}

pub fn person(id: &str) -> Actor {
    Actor {
        id: id.to_owned(),
        kind: ActorKind::Person,
    }
}

impl World {
    pub fn turn(&mut self, tally: &mut Tally) {
        self.settle();
        match self.random.below(100) {
            0..=11 => self.users_turn(),
            12..=13 => self.graph_turn(),
            14..=21 => self.packs_turn(),
            22..=42 => self.claim_turn(tally),
            43..=62 => self.reports_turn(),
            63..=65 => self.late_turn(tally),
            66..=68 => self.step_turn(),
            69..=71 => self.release_turn(),
            72..=74 => self.cancel_turn(),
            75 => self.gate_turn(),
            76..=79 => self.again_turn(),
            80..=81 => self.pause_turn(),
            82 => self.renew_turn(),
            83 => self.foreign_turn(),
            84..=90 => self.time_turn(),
            91..=94 => self.admin_turn(),
            _ => self.house_turn(),
        }
    }

    /// A trip of commands. Each answer is what the projection then says.
    fn ask(&mut self, trips: Vec<Trip>) -> Vec<Result<Reply, &'static str>> {
        let tenants: Vec<TenantName> = trips.iter().map(|trip| trip.0.clone()).collect();
        let sizes: Vec<u64> = tenants.iter().map(|tenant| self.size(tenant)).collect();
        let answers = self.batch(trips);
        let mut replies = Vec::new();
        for (index, answer) in answers.into_iter().enumerate() {
            for result in answer.results {
                replies.push(match result {
                    Ok(receipt) => {
                        assert!(receipt.as_of < Seq(self.size(&tenants[index])));
                        Ok(receipt.reply)
                    }
                    Err(rejection) => Err(rejection.code.as_str()),
                });
            }
        }
        if replies.len() == 1 {
            match &replies[0] {
                Ok(reply) => self.check_reply(&tenants[0], reply),
                Err(_) => assert_eq!(self.size(&tenants[0]), sizes[0], "a rejection left an event"),
            }
        }
        replies
    }

    pub fn size(&self, tenant: &TenantName) -> u64 {
        self.view().ledger(tenant).unwrap().size()
    }

    pub fn ledger_ms(&self, tenant: &TenantName) -> i64 {
        self.read()
            .head(tenant)
            .unwrap()
            .map_or(0, |head| head.at.as_ms())
    }

    fn check_reply(&self, tenant: &TenantName, reply: &Reply) {
        match reply {
            // A retry that is due at once has begun by the time anybody looks.
            Reply::Job(job)
                if job
                    .next_attempt_at
                    .is_some_and(|due| due.as_ms() <= self.ledger_ms(tenant)) => {}
            Reply::Job(job) => assert!(self.jobs(tenant).contains(job), "{job:?}"),
            Reply::Run(run) => assert!(self.runs(tenant).contains(run), "{run:?}"),
            Reply::LettersReplayed { run, letters, again } => {
                assert!(self.runs(tenant).iter().any(|row| row.id == *run), "{run:?}");
                assert!(!letters.is_empty() && *again > 0, "{letters:?} {again}");
            }
            Reply::Before(seq) => assert!(seq.0 < self.size(tenant)),
            Reply::Leased(_)
            | Reply::Pack(..)
            | Reply::Token(_)
            | Reply::Worker(_)
            | Reply::Secret { .. }
            | Reply::Webhook { .. }
            | Reply::Import(_)
            | Reply::Order(..)
            | Reply::Redaction(_)
            | Reply::Late
            | Reply::Reported(_)
            | Reply::Done => {}
        }
    }

    fn users_turn(&mut self) {
        let trips = (0..1 + self.random.below(3)).map(|_| {
            let commands = (0..1 + self.random.below(3))
                .map(|_| self.random_submit())
                .collect();
            (self.tenant(), Actor::system("test"), commands, None)
        });
        let trips = trips.collect();
        self.ask(trips);
    }

    fn packs_turn(&mut self) {
        let tenant = self.tenant();
        let source = packs::random(&mut self.random);
        let mut commands = vec![packs::register(&source)];
        if self.random.once_in(4) {
            commands.push(packs::register(&source));
        }
        for _ in 0..1 + self.random.below(2) {
            commands.push(self.random_start_run());
        }
        if self.random.once_in(3) {
            commands.push(self.random_secret());
        }
        for _ in 0..self.random.below(5) {
            commands.push(self.random_webhook(&tenant));
        }
        let actor = [Actor::system("test"), person("ada"), person("bea")];
        let actor = actor[self.random.below(3) as usize].clone();
        self.ask(vec![(tenant, actor, commands, None)]);
    }

    /// Somebody says something at every gate that asks; not everybody may.
    fn gate_turn(&mut self) {
        for tenant in self.tenants.clone() {
            for (run, step, binding) in self.gates(&tenant) {
                let random = &mut self.random;
                let binding = match random.below(6) {
                    0 => Some(Digest::of(b"something else")),
                    1 | 2 => Some(binding),
                    _ => None,
                };
                let command = Command::DecideGate(Box::new(DecideGate {
                    binding,
                    reason: "looked at it".to_owned(),
                    run,
                    step,
                    verdict: if random.once_in(3) {
                        Verdict::Reject
                    } else {
                        Verdict::Approve
                    },
                }));
                let who = ["ada", "bea", "cleo"][random.below(3) as usize];
                self.ask(vec![(tenant.clone(), person(who), vec![command], None)]);
            }
        }
    }

    fn claim_turn(&mut self, tally: &mut Tally) {
        let claims: Vec<(TenantName, Claim)> = (0..1 + self.random.below(2))
            .map(|_| (self.tenant(), self.random_claim()))
            .collect();
        let trips = claims.iter().map(|(tenant, claim)| {
            (
                tenant.clone(),
                Actor::worker(&claim.worker),
                Vec::new(),
                Some(claim.clone()),
            )
        });
        let trips = trips.collect();
        let mut expected = Grants::new(self);
        let answers = self.batch(trips);
        for ((tenant, claim), answer) in claims.iter().zip(answers) {
            expected.check(tenant, claim, &answer.jobs, tally);
            self.hold(&answer.jobs);
        }
    }

    fn random_claim(&mut self) -> Claim {
        let random = &mut self.random;
        let worker = ["w-1", "w-2", LOCAL_WORKER][random.below(3) as usize];
        let reach = [Reach::OneTenant, Reach::EveryTenant][random.below(2) as usize].clone();
        let mut claim = claim(worker, reach, 1 + random.below(4) as usize);
        claim.lease_ms = [1_000, 30_000, 600_000][random.below(3) as usize];
        if random.once_in(3) {
            claim.wanted.queues = vec![QUEUES[random.below(3) as usize].to_owned()];
        }
        if random.once_in(2) {
            claim.wanted.labels.insert("os".to_owned(), "linux".to_owned());
        }
        if random.once_in(4) {
            claim.wanted.types = vec!["scan*".to_owned(), "pack.step".to_owned()];
        }
        claim
    }

    /// Several reports at once, some of them twice.
    fn reports_turn(&mut self) {
        let mut trips = Vec::new();
        let mut ended = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let Some(held) = self.some_held() else { return };
            let mut commands = vec![self.random_report(&held)];
            if self.random.once_in(5) {
                commands.push(self.random_report(&held));
            }
            trips.push((held.tenant.clone(), Actor::worker(&held.worker), commands, None));
            ended.push(held);
        }
        self.ask(trips);
        for held in ended {
            self.let_go(&held.tenant, held.job);
        }
    }

    /// A report under a lease that is over, or that never was: answered as it was recorded, or noted at most once; nothing
    /// else changes.
    fn late_turn(&mut self, tally: &mut Tally) {
        let Some(mut held) = self.some_past() else { return };
        if self.random.once_in(4) {
            held.epoch += self.random.below(3);
        }
        let still = |other: &Held| other.job == held.job && other.epoch == held.epoch;
        if self.held.iter().any(still) {
            return;
        }
        let command = self.random_report(&held);
        let again = command.clone();
        let before = self.jobs(&held.tenant);
        let tenant = held.tenant.clone();
        let worker = match self.random.once_in(4) {
            true => "somebody else",
            false => &held.worker,
        };
        let actor = Actor::worker(worker);
        let first = self.ask(vec![(tenant.clone(), actor.clone(), vec![command], None)]);
        let second = self.ask(vec![(tenant.clone(), actor, vec![again], None)]);
        match (&first[0], &second[0]) {
            (Ok(Reply::Reported(status)), Ok(Reply::Reported(again))) => {
                let row = before.iter().find(|job| job.id == held.job).unwrap();
                let past = row.past_lease.as_ref().unwrap();
                assert_eq!((past.epoch, past.worker.as_str()), (held.epoch, worker));
                assert_eq!((past.reported, status), (Some(*again), again));
                tally.count("reported again");
            }
            (Ok(Reply::Late) | Err("stale_epoch"), Err("stale_epoch")) => {}
            other => panic!("{other:?}"),
        }
        for (before, after) in before.iter().zip(self.jobs(&tenant)) {
            let noted = Job {
                late_report_epoch: after.late_report_epoch,
                seq: after.seq,
                ..before.clone()
            };
            assert_eq!(noted, after);
        }
    }

    fn step_turn(&mut self) {
        let Some(held) = self.some_held() else { return };
        let command = |epoch| Command::StartStep {
            job: held.job,
            epoch,
            step: "inner".parse().unwrap(),
        };
        let actor = Actor::worker(&held.worker);
        let good = self.ask(vec![(
            held.tenant.clone(),
            actor.clone(),
            vec![command(held.epoch)],
            None,
        )]);
        assert!(matches!(good[0], Ok(Reply::Done)));
        for wrong in [held.epoch - 1, held.epoch + 1] {
            let bad = self.ask(vec![(
                held.tenant.clone(),
                actor.clone(),
                vec![command(wrong)],
                None,
            )]);
            assert!(matches!(bad[0], Err("stale_epoch")));
        }
    }

    fn release_turn(&mut self) {
        let Some(held) = self.some_held() else { return };
        let command = Command::ReleaseJob {
            job: held.job,
            epoch: held.epoch,
            reason: "interrupted".to_owned(),
            logs: None,
        };
        let actor = Actor::worker(&held.worker);
        let replies = self.ask(vec![(held.tenant.clone(), actor, vec![command], None)]);
        assert!(replies[0].is_ok());
        self.let_go(&held.tenant, held.job);
    }

    fn cancel_turn(&mut self) {
        let tenant = self.tenant();
        let (jobs, runs) = (self.jobs(&tenant), self.runs(&tenant));
        let reason = "enough".to_owned();
        let command = if self.random.once_in(2) && !runs.is_empty() {
            let run = runs[self.random.below(runs.len() as u64) as usize].id;
            Command::CancelRun { run, reason }
        } else if jobs.is_empty() {
            return;
        } else {
            let job = jobs[self.random.below(jobs.len() as u64) as usize].id;
            Command::CancelJob { job, reason }
        };
        self.ask(vec![(tenant, Actor::system("test"), vec![command], None)]);
    }

    /// Runs are paused or go on; mostly those that may, else it is refused. Some are cancelled while they are paused.
    fn pause_turn(&mut self) {
        for tenant in self.tenants.clone() {
            let mut runs = self.runs(&tenant);
            if !self.random.once_in(4) {
                runs.retain(|run| !run.status.is_terminal());
            }
            for run in runs {
                match self.random.below(4) {
                    0 => self.pause_or_resume(&tenant, &run, run.paused.is_some()),
                    1 | 2 => self.pause_or_resume(&tenant, &run, run.paused.is_none()),
                    _ => {}
                }
                if self.random.once_in(12) {
                    let reason = "enough".to_owned();
                    let command = Command::CancelRun { run: run.id, reason };
                    self.ask(vec![(tenant.clone(), Actor::system("test"), vec![command], None)]);
                }
            }
        }
    }

    fn pause_or_resume(&mut self, tenant: &TenantName, run: &Run, pauses: bool) {
        let command = if pauses {
            let reason = "hold on".to_owned();
            Command::PauseRun { run: run.id, reason }
        } else {
            let reason = "enough waited".to_owned();
            Command::ResumeRun { run: run.id, reason }
        };
        let expected = match (run.status.is_terminal(), pauses, run.paused.is_some()) {
            (true, _, _) => Some("illegal_transition"),
            (false, true, true) => Some("run_paused"),
            (false, true, false) if run.is_stopping() => Some("illegal_transition"),
            (false, false, false) => Some("run_not_paused"),
            (false, true, false) | (false, false, true) => None,
        };
        let replies = self.ask(vec![(tenant.clone(), Actor::system("test"), vec![command], None)]);
        assert_eq!(replies[0].as_ref().err().copied(), expected);
    }

    /// A graph of jobs that no pack defines, with keys that come again.
    fn graph_turn(&mut self) {
        let tenant = self.tenant();
        let graph = self.random_graph();
        let again = graph.clone();
        let replies = self.ask(vec![(tenant, Actor::system("test"), vec![graph, again], None)]);
        match (&replies[0], &replies[1]) {
            (Ok(Reply::Run(one)), Ok(Reply::Run(two))) => assert_ne!(one.id, two.id),
            (Ok(Reply::Run(_) | Reply::Before(_)), Ok(Reply::Before(_))) => {}
            (Err("cycle" | "idempotency_conflict"), Err(_)) => {}
            other => panic!("{other:?}"),
        }
    }

    /// Something is done again, goes on, or is given up.
    fn again_turn(&mut self) {
        let tenant = self.tenant();
        let (mut jobs, mut runs) = (self.jobs(&tenant), self.runs(&tenant));
        let kind = self.random.below(6);
        if kind == 5 {
            return self.letters_turn(tenant);
        }
        // Mostly something that can be done; else it is refused, which is tried as well.
        if !self.random.once_in(4) {
            let failed = |job: &Job| job.status == JobStatus::Failed && job.is_terminal();
            jobs.retain(|job| match kind {
                0 => job.held,
                1 => failed(job) && job.run.is_none(),
                2 => job.is_terminal() && job.run.is_none(),
                _ => failed(job),
            });
            runs.retain(|run| run.status.is_terminal());
        }
        if jobs.is_empty() {
            return;
        }
        let job = jobs[self.random.below(jobs.len() as u64) as usize].clone();
        let command = match kind {
            0 => Command::ScheduleJob {
                job: job.id,
                reason: "schedule".to_owned(),
            },
            1 => Command::RetryJob {
                job: job.id,
                reason: "afresh".to_owned(),
            },
            2 => Command::ReplayJob {
                job: job.id,
                reason: "replay".to_owned(),
                idempotency: None,
            },
            3 => Command::ResolveDeadLetter {
                job: job.id,
                how: Resolution::Noted,
                note: "never mind".to_owned(),
            },
            _ if runs.is_empty() => return,
            _ => Command::ReplayRun(Box::new(ReplayRun {
                choice: Choice::NotCompleted,
                idempotency: None,
                run: runs[self.random.below(runs.len() as u64) as usize].id,
            })),
        };
        self.ask(vec![(tenant, Actor::system("test"), vec![command], None)]);
    }

    /// A run fails for good, and is done again with its letters.
    fn letters_turn(&mut self, tenant: TenantName) {
        let node = GraphJob {
            name: "a".parse().unwrap(),
            needs: Vec::new(),
            payload: Payload::of(&Value::from("x")),
            sensitive: fastness::domain::redaction::Sensitive::default(),
            spec: JobSpec {
                job_type: "letters".to_owned(),
                ..JobSpec::clone(&plain_job().spec)
            }
            .into(),
        };
        let graph = Command::StartGraph(Box::new(StartGraph {
            correlation_id: None,
            idempotency: None,
            jobs: vec![node],
            max_parallel: None,
            timeout_ms: None,
        }));
        self.ask(vec![(tenant.clone(), Actor::system("test"), vec![graph], None)]);
        let actor = Actor::worker("undertaker");
        let mut claim = claim("undertaker", Reach::OneTenant, 4);
        claim.wanted.types = vec!["letters".to_owned()];
        let trip = (tenant.clone(), actor.clone(), Vec::new(), Some(claim));
        let jobs = self.batch(vec![trip]).remove(0).jobs;
        self.hold(&jobs);
        for leased in jobs {
            let (job, run) = (leased.job.id, leased.job.run.unwrap());
            let held = self.held.iter().find(|held| held.job == job).cloned();
            let failed = report(&held.unwrap(), Outcome::Failed(failure(false), 0));
            let command = Command::CompleteJob(Box::new(failed));
            self.ask(vec![(tenant.clone(), actor.clone(), vec![command], None)]);
            self.let_go(&tenant, job);
            let again = Command::ReplayRun(Box::new(ReplayRun {
                choice: Choice::Letters(vec![job]),
                idempotency: None,
                run,
            }));
            self.ask(vec![(tenant.clone(), Actor::system("test"), vec![again], None)]);
        }
    }

    /// What belongs to one tenant is not there for another: the same answer as for what never was, and nothing changes.
    fn foreign_turn(&mut self) {
        let (mine, theirs) = (self.tenants[0].clone(), self.tenants[1].clone());
        let (jobs, runs) = (self.jobs(&theirs), self.runs(&theirs));
        let unknown = JobId::derive(fastness::domain::Timestamp::from_ms(1), 1, 1);
        let reason = || "mine".to_owned();
        for job in [unknown].into_iter().chain(jobs.last().map(|job| job.id)) {
            let commands = vec![
                Command::CancelJob {
                    job,
                    reason: reason(),
                },
                Command::ScheduleJob {
                    job,
                    reason: reason(),
                },
                Command::RetryJob {
                    job,
                    reason: reason(),
                },
                Command::ReleaseJob {
                    job,
                    epoch: 1,
                    reason: reason(),
                    logs: None,
                },
                Command::ReplayJob {
                    job,
                    reason: reason(),
                    idempotency: None,
                },
            ];
            for command in commands {
                let replies = self.ask(vec![(mine.clone(), Actor::system("test"), vec![command], None)]);
                assert_eq!(replies, [Err("not_found")]);
            }
        }
        if let Some(run) = runs.last().map(|run| run.id) {
            let command = Command::CancelRun {
                run,
                reason: reason(),
            };
            let replies = self.ask(vec![(mine, Actor::system("test"), vec![command], None)]);
            assert_eq!(replies, [Err("not_found")]);
        }
    }

    fn renew_turn(&mut self) {
        let Some(held) = self.some_held() else { return };
        let engine = self.engine();
        engine
            .renew(&held.tenant, held.job, held.epoch, &held.worker)
            .unwrap();
        assert!(
            engine
                .renew(&held.tenant, held.job, held.epoch + 1, &held.worker)
                .is_err()
        );
        assert!(
            engine
                .renew(&held.tenant, held.job, held.epoch, "somebody")
                .is_err()
        );
        let now_ms = self.now_ms();
        for other in &mut self.held {
            if other.job == held.job {
                other.deadline_ms = now_ms + other.lease_ms;
            }
        }
    }

    fn time_turn(&mut self) {
        let random = &mut self.random;
        if random.once_in(4) {
            let by_ms = random.below(4_000_000) as i64 - 2_000_000;
            self.clock.step_wall(by_ms);
            return;
        }
        let by_ms = [1, 100, 1_000, 5_000, 31_000, 120_000][random.below(6) as usize];
        self.clock.advance(Duration::from_millis(by_ms));
    }

    fn admin_turn(&mut self) {
        let commands = (0..1 + self.random.below(3))
            .map(|_| self.random_admin())
            .collect();
        self.ask(vec![(
            TenantName::system(),
            Actor::system("test"),
            commands,
            None,
        )]);
    }

    /// What the house itself goes through.
    fn house_turn(&mut self) {
        match self.random.below(9) {
            0 => {
                self.reopen(Trusted::Yes, |_| {});
            }
            1 => {
                let seed = self.random.next();
                self.reopen(Trusted::Yes, |world| world.disk.crash(seed));
            }
            2 => {
                let report = self.reopen(Trusted::No, |_| {});
                assert!(report.rebuilt.is_some());
            }
            3 => self.reopen_without_projection(),
            4 => self.engine().snapshot().unwrap(),
            5 => self.engine().archive().unwrap(),
            6 => self.engine().sign().unwrap(),
            7 => self.engine().flush().unwrap(),
            _ => rows::check(self),
        }
    }

    fn some_held(&mut self) -> Option<Held> {
        some(&mut self.random, &self.held)
    }

    fn some_past(&mut self) -> Option<Held> {
        some(&mut self.random, &self.past)
    }
}

fn some(random: &mut crate::support::random::Random, among: &[Held]) -> Option<Held> {
    match among.len() {
        0 => None,
        count => among.get(random.below(count as u64) as usize).cloned(),
    }
}
