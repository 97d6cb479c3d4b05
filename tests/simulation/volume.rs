//! Consequences larger than a batch of the journal: nothing may stop the writer, and nothing may be left lying.

use std::time::Duration;

use fastness::domain::canonical::Value;
use fastness::domain::command::{Command, CreateToken, Outcome, Reply, StartRun};
use fastness::domain::event::Actor;
use fastness::domain::job::JobStatus;
use fastness::domain::run::RunStatus;
use fastness::domain::{Digest, RunId, TenantName};
use fastness::engine::Reach;
use fastness::limits;

use super::deeds::{failure, plain_job, report};
use super::packs;
use super::world::{World, assert_same, claim};

/// Ends of that many jobs, with these labels, are more bytes than a batch of the journal holds, in any two runs.
const STEPS: usize = 7_000;
const RUNS: usize = 3;

/// A step that all others need, a bound on time, and names that make each event long.
fn wide_pack() -> String {
    let mut source = "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: wide}\n\
        spec: {timeout: 60s, steps: [{id: root, run: [x], retries: {max: 0}}"
        .to_owned();
    for index in 1..STEPS {
        source.push_str(&format!(", {{id: s{index:05}, run: [x], needs: [root]}}"));
    }
    source.push_str("]}\n");
    source
}

fn start_wide_runs(world: &mut World) -> Vec<RunId> {
    let tenant = world.tenants[0].clone();
    let actor = Actor::system("test");
    world
        .engine()
        .submit(&tenant, &actor, packs::register(&wide_pack()))
        .unwrap()
        .unwrap();
    let start = Command::StartRun(Box::new(StartRun {
        pack: "wide".parse().unwrap(),
        version: None,
        inputs: Default::default(),
        correlation_id: Some("c".repeat(limits::LABEL_BYTES_MAX)),
        idempotency: None,
    }));
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let reply = world
            .engine()
            .submit(&tenant, &actor, start.clone())
            .unwrap()
            .unwrap();
        let Reply::Run(run) = reply else {
            panic!("a run is answered")
        };
        runs.push(run.id);
    }
    runs
}

/// Sum of the bytes that follow `from`.
fn bytes_since(world: &World, from: usize) -> usize {
    let events = world.events(&world.tenants[0]);
    events[from..].iter().map(|(_, bytes)| bytes.len()).sum()
}

fn check_ended(world: &World, from: usize, status: RunStatus) {
    assert!(
        bytes_since(world, from) > limits::BATCH_BYTES_MAX,
        "too little to prove anything"
    );
    let runs = world.runs(&world.tenants[0]);
    assert_eq!(runs.len(), RUNS);
    for run in runs {
        assert_eq!((run.status, run.counts.ended()), (status, STEPS as u32));
    }
    assert_same(&world.dump(), &world.folded(), "folded beside it");
}

#[test]
fn wide_runs_that_time_out_at_once_all_end() {
    let mut world = World::full_size(1);
    start_wide_runs(&mut world);
    let from = world.events(&world.tenants[0]).len();
    world.clock.advance(Duration::from_secs(60));
    world.settle();
    check_ended(&world, from, RunStatus::Failed);
}

#[test]
fn wide_runs_cancelled_in_one_trip_all_end() {
    let mut world = World::full_size(2);
    let runs = start_wide_runs(&mut world);
    let tenant = world.tenants[0].clone();
    let from = world.events(&tenant).len();
    let reason = "enough".to_owned();
    let commands = runs.into_iter().map(|run| Command::CancelRun {
        run,
        reason: reason.clone(),
    });
    let trip = (tenant, Actor::system("test"), commands.collect(), None);
    let answer = world.batch(vec![trip]).remove(0);
    assert!(answer.results.iter().all(Result::is_ok));
    check_ended(&world, from, RunStatus::Cancelled);
}

#[test]
fn wide_runs_whose_roots_fail_in_one_trip_or_by_their_leases_all_end() {
    let mut world = World::full_size(3);
    start_wide_runs(&mut world);
    let tenant = world.tenants[0].clone();
    let from = world.events(&tenant).len();
    let trip = (
        tenant,
        Actor::worker("w"),
        Vec::new(),
        Some(claim("w", Reach::OneTenant, RUNS)),
    );
    let jobs = world.batch(vec![trip]).remove(0).jobs;
    assert_eq!(jobs.len(), RUNS);
    world.hold(&jobs);
    let held = world.held[0].clone();
    let command = Command::CompleteJob(Box::new(report(&held, Outcome::Failed(failure(true), 0))));
    world
        .engine()
        .submit(&held.tenant, &Actor::worker("w"), command)
        .unwrap()
        .unwrap();
    world.let_go(&held.tenant, held.job);
    world.clock.advance(Duration::from_secs(30));
    world.settle();
    check_ended(&world, from, RunStatus::Failed);
}

#[test]
fn a_trip_of_many_large_payloads_is_taken_whole() {
    let mut world = World::full_size(4);
    let tenant = world.tenants[0].clone();
    let mut job = plain_job();
    job.payload = fastness::domain::canonical::Payload::of(&Value::from("x".repeat(500_000)));
    let commands = vec![Command::SubmitJob(Box::new(job)); 30];
    let trip = (tenant.clone(), Actor::system("test"), commands, None);
    let answer = world.batch(vec![trip]).remove(0);
    assert_eq!(answer.results.len(), 30);
    assert!(answer.results.iter().all(Result::is_ok));
    let mut seqs: Vec<_> = answer
        .results
        .iter()
        .flatten()
        .map(|receipt| receipt.as_of)
        .collect();
    seqs.dedup();
    assert_eq!(seqs.len(), 30, "each answer tells its own place");
    assert_eq!(
        world
            .read()
            .jobs_by_status(&tenant, JobStatus::Scheduled, super::world::ALL)
            .unwrap()
            .len(),
        30
    );
    assert_same(&world.dump(), &world.folded(), "folded beside it");
}

#[test]
fn every_token_works_after_a_restart_however_many_there_are() {
    let mut world = World::full_size(5);
    let token = |number: usize| {
        Command::CreateToken(Box::new(CreateToken {
            expires_at: None,
            name: format!("token {number}"),
            person: "ada".to_owned(),
            scopes: Vec::new(),
            secret_sha256: Digest::of(format!("secret {number}").as_bytes()),
            tenants: vec![TenantName::system()],
        }))
    };
    let count = 10_001;
    for first in (0..count).step_by(1_000) {
        let commands = (first..count.min(first + 1_000)).map(token).collect();
        let trip = (TenantName::system(), Actor::system("test"), commands, None);
        world.batch(vec![trip]);
    }
    world.reopen(fastness::engine::Trusted::Yes, |_| {});
    for number in [0, 1, count - 1] {
        assert!(
            world.view().token(&format!("secret {number}")).is_some(),
            "token {number}"
        );
    }
}
