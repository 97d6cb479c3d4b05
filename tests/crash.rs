//! The whole engine on a disk that fails: power cuts, errors and full disks at every position of a seeded workload.
//!
//! After each: nothing acknowledged is lost, nothing is invented, no batch is there in part, the projection is what the
//! ledger folds to, and every checkpoint ever stored still holds.

pub mod check;
mod points;
mod truth;
mod workload;

use std::time::{Duration, Instant};

use self::points::World;
use self::workload::{ACTIONS, Action};
use crate::support::sim_disk::Fault;

/// Crash points that each kind of fault must come to. The seeds fix them; a smaller number means that the workload broke.
const POWER_CUTS_MIN: u64 = 3_000;
const ERRORS_MIN: u64 = 3_000;
const FAILED_FLUSHES_MIN: u64 = 10_000;
/// What one run of the tests must come to, the points of failed flushes not counted: many of those are near each other.
const POINTS_MIN: u64 = 10_000;
const _: () = assert!(2 * POWER_CUTS_MIN + 2 * ERRORS_MIN >= POINTS_MIN);

/// Power is cut at every change that a young folder goes through, its first start included.
#[test]
fn a_power_cut_at_any_change_of_a_young_folder_loses_nothing() {
    let world = power_cuts(11, 0, 12);
    world.conclude("power cuts");
    assert!(world.points >= POWER_CUTS_MIN, "too few points to mean anything");
}

/// The same, where frames of 256 events fill up and segments are used again.
#[test]
fn a_power_cut_at_any_change_of_an_older_folder_loses_nothing() {
    let world = power_cuts(12, 14, 12);
    world.conclude("power cuts");
    assert!(world.points >= POWER_CUTS_MIN, "too few points to mean anything");
}

#[test]
fn an_input_output_error_at_any_operation_loses_nothing() {
    let world = errors(21, Fault::Eio, &[0, 4, 8, 3]);
    world.conclude("input/output errors");
    assert!(world.points >= ERRORS_MIN, "too few points to mean anything");
}

#[test]
fn a_full_disk_at_any_operation_loses_nothing() {
    let world = errors(22, Fault::NoSpace, &[0, 4, 8, 3]);
    world.conclude("full disks");
    assert!(world.points >= ERRORS_MIN, "too few points to mean anything");
}

/// After a failed flush the system shows what it did not write. Nothing may be built upon that.
#[test]
fn what_only_looks_durable_is_not_built_upon() {
    let world = built_upon(41, 3);
    world.conclude("failed flushes");
    assert!(
        world.points >= FAILED_FLUSHES_MIN,
        "too few points to mean anything"
    );
}

fn built_upon(seed: u64, sessions: usize) -> World {
    use Action::{Archive, Flush, Sign, Submit, SubmitAndFlush};
    let follow_ups: [&[Action]; 5] = [
        &[Archive],
        &[Sign, Archive],
        &[Flush, Submit],
        &[SubmitAndFlush, SubmitAndFlush],
        &[Submit, Submit, Flush],
    ];
    let mut world = World::new(seed);
    for _ in 0..sessions {
        world.session(0, |_, _, _, _| {});
        for action in ACTIONS {
            for then in follow_ups {
                world.fail_action(action, then);
            }
        }
    }
    world
}

/// The check itself is checked: on a disk whose flushes do nothing it must find losses.
#[test]
fn the_same_check_finds_losses_when_flushes_lie() {
    let mut lost = 0;
    for seed in 31..35 {
        let mut world = World::new(seed);
        for _ in 0..2 {
            world.session(0, |_, _, _, _| {});
        }
        world.lie();
        world.session(2, |world, disk, acked, possible| {
            world.cut_power(disk, acked, Some(possible));
        });
        assert!(
            world.failures.len() as u64 > world.points / 4,
            "few failures were found at {} points: {:?}",
            world.points,
            world.failures
        );
        // Others are journals that are found damaged, which is not served either.
        let losses = world.failures.iter().filter(|failure| failure.contains("LOST"));
        lost += losses.count();
    }
    assert!(lost > 0, "no loss was found");
}

/// Minutes: `SOAK_MINUTES`, 10 when it is not set.
#[test]
#[ignore = "runs for minutes; `just soak` calls it"]
fn soak_crashes_with_ever_new_seeds() {
    let minutes = std::env::var("SOAK_MINUTES")
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(10));
    let mut points = 0;
    for seed in 1_000.. {
        let age = (seed % 7) as usize * 3;
        for world in [
            power_cuts(seed, age, 4),
            errors(seed, Fault::Eio, &[age, 3]),
            errors(!seed, Fault::NoSpace, &[age, 3]),
            built_upon(seed, age),
        ] {
            world.conclude("soak");
            points += world.points;
        }
        if Instant::now() > end {
            break;
        }
    }
    println!("soak: {points} points");
}

fn power_cuts(seed: u64, age: usize, sessions: usize) -> World {
    let mut world = World::new(seed);
    for _ in 0..age {
        world.session(0, |_, _, _, _| {});
    }
    for _ in 0..sessions {
        world.session(1, |world, disk, acked, possible| {
            world.cut_power(disk, acked, Some(possible));
        });
    }
    world
}

/// A session is gone through again and again, each time with an error at another operation; before the first, between
/// them and before the last so many sessions go well.
fn errors(seed: u64, fault: Fault, ages: &[usize]) -> World {
    let mut world = World::new(seed);
    for age in ages {
        for _ in 0..*age {
            world.session(0, |_, _, _, _| {});
        }
        let recorded = world.session(0, |_, _, _, _| {});
        let mut operation = 1;
        while operation <= recorded.operations {
            world.fail_at(&recorded, operation, fault);
            operation += 1 + world.random.below(3);
        }
    }
    world
}
