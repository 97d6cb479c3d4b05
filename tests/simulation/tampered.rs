//! The oracles are checked themselves: histories that no correct engine records must be found out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastness::domain::Timestamp;
use fastness::domain::event::{Event, EventBody};

use super::history::History;
use super::turns::Tally;
use super::world::World;

/// The ledgers of a long sequence that went well.
fn good_histories() -> Vec<Vec<Event>> {
    let mut world = World::new(501);
    let mut tally = Tally::default();
    for _ in 0..400 {
        world.turn(&mut tally);
    }
    world.settle();
    world.heal();
    let tenants = world.tenants.clone();
    tenants.iter().map(|tenant| world.parsed(tenant)).collect()
}

fn is_found(events: &[Event]) -> bool {
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let mut history = History::default();
        for event in events {
            history.event(event, &mut Tally::default());
        }
        history.check_ended();
    }));
    judged.is_err()
}

/// Plants one mistake wherever it can be made, and counts how often it is found.
fn plant(name: &str, mistake: impl Fn(&[Event], usize) -> Option<Vec<Event>>) {
    let (mut planted, mut found) = (0, 0);
    for events in good_histories() {
        assert!(!is_found(&events), "a good history is taken for a bad one");
        for at in 0..events.len() {
            if let Some(tampered) = mistake(&events, at) {
                planted += 1;
                found += u32::from(is_found(&tampered));
            }
        }
    }
    println!("{name}: {found} of {planted}");
    assert!(planted >= 10, "{name} could be planted only {planted} times");
    assert_eq!(found, planted, "{name} is not always found");
}

fn without(events: &[Event], at: usize) -> Vec<Event> {
    let mut left = events.to_vec();
    left.remove(at);
    left
}

#[test]
fn a_report_under_a_stale_epoch_that_was_applied_is_found() {
    plant("a skipped epoch check", |events, at| {
        let mut tampered = events.to_vec();
        match &mut tampered[at].body {
            EventBody::JobCompleted(completed) if completed.epoch > 1 => completed.epoch -= 1,
            EventBody::JobFailed(failed) if failed.epoch > 1 => failed.epoch -= 1,
            _ => return None,
        }
        Some(tampered)
    });
}

#[test]
fn a_dependent_that_was_forgotten_is_found() {
    let goes_on = |events: &[Event], at: usize| {
        let job = events[at].subject.job;
        let starts = |event: &Event| matches!(event.body, EventBody::JobStarted(_));
        events[at..]
            .iter()
            .any(|event| event.subject.job == job && starts(event))
    };
    plant("a dropped dependent", |events, at| match &events[at].body {
        EventBody::JobScheduled(scheduled) if scheduled.reason == "needs_met" => {
            goes_on(events, at).then(|| without(events, at))
        }
        EventBody::JobCancelled(cancelled) if cancelled.reason == "upstream_failed" => {
            Some(without(events, at))
        }
        _ => None,
    });
}

#[test]
fn a_lease_granted_twice_is_found() {
    plant("a doubled grant", |events, at| {
        let EventBody::JobStarted(started) = &events[at].body else {
            return None;
        };
        let mut second = events[at].clone();
        let mut again = started.clone();
        (again.attempt, again.epoch) = (again.attempt + 1, again.epoch + 1);
        second.body = EventBody::JobStarted(again);
        let mut tampered = events.to_vec();
        tampered.insert(at + 1, second);
        Some(tampered)
    });
}

#[test]
fn an_outcome_recorded_twice_is_found() {
    plant("a second outcome", |events, at| match &events[at].body {
        EventBody::JobCompleted(_) | EventBody::JobFailed(_) => {
            let mut tampered = events.to_vec();
            tampered.insert(at + 1, events[at].clone());
            Some(tampered)
        }
        _ => None,
    });
}

#[test]
fn a_lost_job_is_found() {
    plant("a lost end", |events, at| match &events[at].body {
        EventBody::JobCompleted(_) => Some(without(events, at)),
        _ => None,
    });
}

#[test]
fn time_that_runs_back_is_found_where_it_matters() {
    plant("a retry before its time", |events, at| {
        let EventBody::JobFailed(failed) = &events[at].body else {
            return None;
        };
        failed.next_attempt_at?;
        let job = events[at].subject.job;
        let later = events[at + 1..]
            .iter()
            .position(|event| event.subject.job == job && matches!(event.body, EventBody::JobScheduled(_)))?;
        let mut tampered = events.to_vec();
        let early = failed.next_attempt_at?.as_ms() - 1;
        tampered[at + 1 + later].at = Timestamp::from_ms(early);
        Some(tampered)
    });
}
