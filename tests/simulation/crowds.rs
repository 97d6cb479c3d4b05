//! Many at once: leases that run out under load, and a tenant beside another that never stops asking.

use std::collections::BTreeSet;
use std::time::Duration;

use fastness::domain::command::{Command, Outcome, Reply};
use fastness::domain::event::Actor;
use fastness::domain::job::JobStatus;
use fastness::engine::Reach;

use super::deeds::{failure, plain_job, report};
use super::history;
use super::turns::Tally;
use super::world::{Trip, World, claim};

const EXPIRING: usize = 1_000;
/// Jobs of the tenant that never stops asking.
const CROWD: usize = 20_000;

fn submit(world: &mut World, tenant: usize, count: usize) {
    let tenant = world.tenants[tenant].clone();
    for first in (0..count).step_by(1_000) {
        let commands = (first..count.min(first + 1_000)).map(|_| Command::SubmitJob(Box::new(plain_job())));
        let trip = (tenant.clone(), Actor::system("test"), commands.collect(), None);
        let answer = world.batch(vec![trip]).remove(0);
        assert!(answer.results.iter().all(Result::is_ok));
    }
}

#[test]
fn a_thousand_leases_expire_under_load_and_nothing_is_done_twice_or_forgotten() {
    let mut world = World::full_size(901);
    submit(&mut world, 0, EXPIRING + 500);
    let tenant = world.tenants[0].clone();
    // Workers that stall: they hold 1,000 leases of a second each.
    let mut stalled = Vec::new();
    while stalled.len() < EXPIRING {
        let mut ask = claim("stalled", Reach::OneTenant, 250);
        ask.lease_ms = 1_000;
        let trip = (tenant.clone(), Actor::worker("stalled"), Vec::new(), Some(ask));
        let jobs = world.batch(vec![trip]).remove(0).jobs;
        assert_eq!(jobs.len(), 250);
        world.hold(&jobs);
        stalled.extend(jobs);
    }
    let late = world.held.clone();
    world.clock.advance(Duration::from_secs(1));
    // In the batches in which the leases run out others submit, claim and complete, and every stalled worker reports.
    for (index, held) in late.iter().enumerate() {
        let outcome = match index % 2 {
            0 => Outcome::Completed(None),
            _ => Outcome::Failed(failure(true), 0),
        };
        let stale = Command::CompleteJob(Box::new(report(held, outcome)));
        let mut trips: Vec<Trip> = vec![(
            tenant.clone(),
            Actor::worker("stalled"),
            vec![stale.clone(), stale],
            None,
        )];
        if index % 10 == 0 {
            let ask = claim("busy", Reach::OneTenant, 3);
            trips.push((tenant.clone(), Actor::worker("busy"), Vec::new(), Some(ask)));
        }
        let answers = world.batch(trips);
        let first = &answers[0].results;
        assert!(
            matches!(&first[0], Ok(receipt) if receipt.reply == Reply::Late),
            "{first:?}"
        );
        assert!(first[1].is_err(), "a late report was taken twice");
        for leased in answers.into_iter().skip(1).flat_map(|answer| answer.jobs) {
            world.hold(std::slice::from_ref(&leased));
            world.complete_well(&leased);
        }
    }
    world.settle();
    world.heal();
    let jobs = world.jobs(&tenant);
    assert_eq!(jobs.len(), EXPIRING + 500);
    assert!(
        jobs.iter().all(|job| job.status == JobStatus::Completed),
        "a job is stuck"
    );
    let mut tally = Tally::default();
    history::check(&world, &mut tally);
    assert_eq!(tally.counts["lease_expired"], EXPIRING as u64);
    assert_eq!(tally.counts["job.late_report"], EXPIRING as u64);
    assert_eq!(
        tally.counts["job.completed"],
        (EXPIRING + 500) as u64,
        "done twice"
    );
}

#[test]
fn one_job_beside_twenty_thousand_of_another_tenant_is_claimed_with_its_turn() {
    let mut world = World::full_size(902);
    submit(&mut world, 0, CROWD);
    let claim_one = |world: &mut World| {
        let trip = (
            world.tenants[0].clone(),
            Actor::worker("w-1"),
            Vec::new(),
            Some(claim("w-1", Reach::EveryTenant, 1)),
        );
        let jobs = world.batch(vec![trip]).remove(0).jobs;
        world.hold(&jobs);
        jobs[0].tenant.clone()
    };
    for _ in 0..10 {
        assert_eq!(claim_one(&mut world), world.tenants[0]);
    }
    for round in 0..20 {
        submit(&mut world, 1, 1);
        let served: BTreeSet<_> = (0..2).map(|_| claim_one(&mut world)).collect();
        assert!(
            served.contains(&world.tenants[1]),
            "round {round}: passed over twice"
        );
    }
}
