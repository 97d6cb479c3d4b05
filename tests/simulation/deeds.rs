//! What users and workers do: random commands, and a worker that does its work well.

use std::sync::Arc;

use std::collections::BTreeMap;

use fastness::domain::canonical::{Payload, Value};
use fastness::domain::command::{
    ChangeWebhook, Command, CompleteJob, CreateToken, GraphJob, Leased, Outcome, PutWebhook, Reply,
    StartGraph, StartRun, SubmitJob, WebhookChange,
};
use fastness::domain::concurrency::Concurrency;
use fastness::domain::event::Actor;
use fastness::domain::idempotency::Idempotency;
use fastness::domain::job::{
    Artifact, AttemptLogs, Backoff, Failure, FailureClass, Jitter, JobSpec, OutputDigest, RetryPolicy,
};
use fastness::domain::payload::TrustPinned;
use fastness::domain::token::Scope;
use fastness::domain::webhook::{SignatureKind, WebhookFilters, WebhookKey, WebhookState};
use fastness::domain::{Digest, SecretVersion, Seq, TenantName, Timestamp, TokenId, WebhookName};

use super::packs;
use super::world::{Held, QUEUES, World};
use crate::support::random::Random;

/// A job that nothing is special about.
pub fn plain_job() -> SubmitJob {
    SubmitJob {
        spec: JobSpec {
            queue: QUEUES[0].to_owned(),
            timeout_ms: 60_000,
            ..JobSpec::of_type("scan")
        }
        .into(),
        payload: Payload::of(&Value::from("x")),
        correlation_id: None,
        idempotency: None,
        replay_of: None,
        sensitive: fastness::domain::redaction::Sensitive::default(),
    }
}

/// The report that an attempt ended so.
pub fn report(held: &Held, outcome: Outcome) -> CompleteJob {
    CompleteJob {
        job: held.job,
        epoch: held.epoch,
        outcome,
        artifacts: Vec::new(),
        exit_code: None,
        logs: None,
        step: None,
    }
}

pub fn failure(retryable: bool) -> Failure {
    Failure {
        class: FailureClass::Exit,
        code: None,
        message: "exit code 1".to_owned(),
        retryable,
    }
}

impl World {
    pub fn random_submit(&mut self) -> Command {
        let random = &mut self.random;
        let mut job = plain_job();
        let spec = Arc::make_mut(&mut job.spec);
        spec.priority = random.below(10) as u8;
        spec.queue = QUEUES[random.below(3) as usize].to_owned();
        spec.job_type = ["scan", "scan.image", "mail"][random.below(3) as usize].to_owned();
        spec.retries = random_retries(random);
        if random.once_in(3) {
            let offset_ms = random.below(120_000) as i64 - 20_000;
            let at_ms = fastness::clock::Clock::wall_ms(self.clock.as_ref()) + offset_ms;
            spec.not_before = Some(Timestamp::from_ms(at_ms));
        }
        if random.once_in(4) {
            spec.labels.insert("team:a-1".to_owned(), "x/y@z".to_owned());
            spec.project = Some("blue".to_owned());
            job.correlation_id = Some("c-1".to_owned());
        }
        if random.once_in(3) {
            // A fraction is outside of the canonical profile: it is kept as text.
            job.payload = Payload::parse(br#"{"a/b": 1.50}"#).unwrap();
        }
        if random.once_in(4) {
            job.payload = Payload::parse(br#"{"list":[{"t":"x"}],"u":1}"#).unwrap();
            let pointers = ["/list/0/t", "/u", "/nothing"];
            let chosen = pointers
                .iter()
                .filter(|at| random.once_in(if **at == "/nothing" { 20 } else { 2 }));
            let chosen = chosen.map(|at| at.parse().unwrap()).collect();
            job.sensitive = fastness::domain::redaction::Sensitive::Fields(chosen);
        }
        if random.once_in(12) {
            spec.priority = 10;
        }
        spec.hold = random.once_in(8);
        spec.concurrency = random_bound(random);
        spec.requires = random_requires(random);
        if random.once_in(5) {
            // The body is not looked at here: whoever made the key has looked at it.
            job.idempotency = Some(random_key(random, "jobs"));
        }
        Command::SubmitJob(Box::new(job))
    }

    pub fn random_graph(&mut self) -> Command {
        let random = &mut self.random;
        let count = 1 + random.below(6);
        let jobs = (0..count).map(|index| {
            let needs = (0..count).filter(|need| *need < index || random.once_in(60) && *need != index);
            let needs: Vec<u64> = needs.collect();
            let mut job = JobSpec::clone(&plain_job().spec);
            job.always = random.once_in(5);
            job.hold = random.once_in(8);
            job.concurrency = random_bound(random);
            job.requires = random_requires(random);
            job.retries.max = random.below(2) as u32;
            if random.once_in(5) {
                let at_ms =
                    fastness::clock::Clock::wall_ms(self.clock.as_ref()) + random.below(60_000) as i64;
                job.not_before = Some(Timestamp::from_ms(at_ms));
            }
            GraphJob {
                name: format!("g{index}").parse().unwrap(),
                needs: needs
                    .into_iter()
                    .filter(|_| random.once_in(2))
                    .map(|need| format!("g{need}").parse().unwrap())
                    .collect(),
                payload: Payload::of(&Value::from("x")),
                sensitive: fastness::domain::redaction::Sensitive::default(),
                spec: job.into(),
            }
        });
        let jobs = jobs.collect();
        Command::StartGraph(Box::new(StartGraph {
            correlation_id: None,
            idempotency: random.once_in(2).then(|| random_key(random, "runs")),
            jobs,
            max_parallel: random.once_in(3).then(|| 1 + random.below(2) as u32),
            timeout_ms: random.once_in(4).then_some(90_000),
        }))
    }

    pub fn random_start_run(&mut self) -> Command {
        let random = &mut self.random;
        let mut inputs = BTreeMap::new();
        if random.once_in(3) {
            inputs.insert("flavour".to_owned(), Value::from("sour"));
        }
        if random.once_in(10) {
            inputs.insert("unheard-of".to_owned(), Value::from(true));
        }
        Command::StartRun(Box::new(StartRun {
            pack: packs::NAMES[random.below(3) as usize].parse().unwrap(),
            version: random.once_in(3).then(|| 1 + random.below(3) as u32),
            inputs,
            correlation_id: random.once_in(3).then(|| "c-2".to_owned()),
            idempotency: None,
        }))
    }

    pub fn random_secret(&mut self) -> Command {
        let name = ["A_KEY", "B_KEY"][self.random.below(2) as usize].parse().unwrap();
        if self.random.once_in(3) {
            let reason = "leaked".to_owned();
            return Command::DeleteSecret { name, reason };
        }
        let version = SecretVersion::derive(Timestamp::from_ms(1), self.random.next(), 0);
        Command::SetSecret { name, version }
    }

    /// What is asked of a webhook; some of it does not fit how it stands.
    pub fn random_webhook(&mut self, tenant: &TenantName) -> Command {
        let name: WebhookName = "board".parse().unwrap();
        let seen = self.webhook(tenant, &name);
        let (next, reason) = (Seq(self.size(tenant)), "of its own".to_owned());
        let rests = seen
            .as_ref()
            .is_some_and(|webhook| webhook.state != WebhookState::Active);
        let change = match self.random.below(8) {
            0 => WebhookChange::Put(PutWebhook {
                expected: seen.as_ref().map(|webhook| webhook.seq),
                filters: WebhookFilters::default(),
                key: (seen.is_none() || self.random.once_in(2)).then(|| WebhookKey {
                    kind: SignatureKind::HmacSha256,
                    public_key: None,
                    version: SecretVersion::derive(Timestamp::from_ms(1), self.random.next(), 0),
                }),
                next: self.random.once_in(2).then_some(Seq(0)),
                overlap_ms: self.random.below(1_000),
                types: vec!["job.*".to_owned()],
                url: "http://127.0.0.1:9/".to_owned(),
            }),
            3 => WebhookChange::Pause {
                next,
                opened: seen.map_or(Seq(0), |webhook| webhook.opened),
                reason,
            },
            1 | 2 if seen.is_none() => WebhookChange::Refuse { operation: "create" },
            1 | 2 if rests => WebhookChange::Resume { reason },
            4 | 5 => WebhookChange::Resume { reason },
            1 | 2 | 6 => WebhookChange::GiveUp {
                seq: seen.map_or(Seq(0), |webhook| webhook.seq),
                next,
                failures: 20,
                cause: "no answer in time".to_owned(),
            },
            _ if self.random.once_in(2) => WebhookChange::Delete { reason },
            _ => WebhookChange::Refuse { operation: "test" },
        };
        Command::ChangeWebhook(Box::new(ChangeWebhook {
            expected: None,
            name,
            change,
        }))
    }

    /// The end of an attempt under this lease, one way or another.
    pub fn random_report(&mut self, held: &Held) -> Command {
        let random = &mut self.random;
        let outcome = match random.below(10) {
            0..=4 => Outcome::Completed(random.once_in(2).then(|| Value::from(vec![Value::from(7_u32)]))),
            5 | 6 => Outcome::Failed(failure(true), 0),
            7 => Outcome::Failed(failure(true), 3_000),
            8 => Outcome::Failed(failure(false), 0),
            _ => Outcome::Cancelled,
        };
        let mut report = report(held, outcome);
        if random.once_in(2) {
            report.exit_code = Some(random.below(3) as i32);
            report.step = Some("inner".parse().unwrap());
            report.logs = Some(logs());
        }
        for index in 0..random.below(3) {
            report.artifacts.push(random_artifact(random, index));
        }
        Command::CompleteJob(Box::new(report))
    }

    pub fn random_admin(&mut self) -> Command {
        self.drawn += 1;
        let drawn = self.drawn;
        let random = &mut self.random;
        match random.below(7) {
            0 => Command::CreateTenant {
                name: format!("t{}", random.below(4)).parse().unwrap(),
            },
            1 | 2 => Command::CreateToken(Box::new(CreateToken {
                expires_at: None,
                name: format!("token {drawn}"),
                person: "ada".to_owned(),
                scopes: Scope::ALL.to_vec(),
                secret_sha256: Digest::of(&drawn.to_be_bytes()),
                tenants: vec![TenantName::system()],
            })),
            3..=5 => Command::RevokeToken {
                id: self.random_token(),
                reason: "lost".to_owned(),
            },
            _ => Command::PinTrust(Box::new(TrustPinned {
                export_key: format!("key {}", random.below(2)),
                log_key: "key".to_owned(),
                origin: format!("origin/{}", random.below(2)),
                replace: false,
            })),
        }
    }

    fn random_token(&mut self) -> TokenId {
        let rows = self.read().rows(
            &TenantName::system(),
            fastness::domain::state::Kind::Token,
            super::world::ALL,
        );
        let rows = rows.unwrap();
        let unknown = TokenId::derive(Timestamp::from_ms(0), 1, 1);
        if rows.is_empty() {
            return unknown;
        }
        let index = self.random.below(rows.len() as u64) as usize;
        rows[index].1.as_token().map_or(unknown, |token| token.id)
    }

    /// The worker does what it is for: it completes, or stops when it was asked to.
    pub fn complete_well(&mut self, leased: &Leased) {
        let lease = self
            .held
            .iter()
            .find(|held| held.job == leased.job.id)
            .cloned()
            .unwrap();
        let outcome = if leased.job.cancel_requested.is_some() {
            Outcome::Cancelled
        } else {
            Outcome::Completed(None)
        };
        let command = Command::CompleteJob(Box::new(report(&lease, outcome)));
        let actor = Actor::worker(&lease.worker);
        let reply = self
            .engine()
            .submit(&lease.tenant, &actor, command)
            .unwrap()
            .unwrap();
        assert!(matches!(reply, Reply::Job(job) if job.is_terminal()));
        self.let_go(&lease.tenant, lease.job);
    }
}

/// Few keys, with limits that differ.
fn random_bound(random: &mut Random) -> Option<Concurrency> {
    random.once_in(3).then(|| Concurrency {
        key: ["host-1", "host-2"][random.below(2) as usize].to_owned(),
        limit: 1 + random.below(3) as u32,
    })
}

fn random_requires(random: &mut Random) -> BTreeMap<String, String> {
    let required = random.once_in(5).then(|| ("os".to_owned(), "linux".to_owned()));
    required.into_iter().collect()
}

/// Few keys and few bodies: the same request comes again, and another one under its key.
fn random_key(random: &mut Random, route: &str) -> Idempotency {
    Idempotency {
        body: Digest::of(&random.below(2).to_be_bytes()),
        key: format!("k-{}", random.below(6)),
        route: route.to_owned(),
    }
}

fn random_retries(random: &mut Random) -> RetryPolicy {
    RetryPolicy {
        backoff: [Backoff::Exponential, Backoff::Fixed][random.below(2) as usize],
        cap_ms: 60_000,
        initial_ms: [10, 1_000, 50_000][random.below(3) as usize],
        jitter: [Jitter::Full, Jitter::None][random.below(2) as usize],
        max: random.below(4) as u32,
    }
}

/// Few contents, so that the same one comes back under other names and types.
fn random_artifact(random: &mut Random, index: u64) -> Artifact {
    let content = random.below(4);
    Artifact {
        mime: ["text/plain", "application/json"][random.below(2) as usize].to_owned(),
        name: format!("file-{index}.txt").parse().unwrap(),
        sha256: Digest::of(&content.to_be_bytes()),
        size: 100 + content,
    }
}

fn logs() -> AttemptLogs {
    let stream = OutputDigest {
        bytes: 3,
        lines: 1,
        sha256: Digest::of(b"ok\n"),
        truncated: false,
    };
    AttemptLogs {
        index_sha256: Digest::of(b"index"),
        stderr: stream.clone(),
        stdout: stream,
    }
}
