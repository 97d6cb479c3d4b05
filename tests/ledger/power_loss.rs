//! Power loss and failing operations at any point, on the simulated disk: what was acknowledged is there, what is
//! there is right, and archiving goes on.

use std::path::Path;
use std::sync::Arc;

use fastness::trust::KeyFolder;

use super::{Choices, check_all, open, push};
use crate::support::sim_disk::{Fault, SimDisk};

const RUNS: u64 = 150;
const LIVES: u64 = 6;

#[test]
fn what_an_archiving_acknowledged_survives_any_crash() {
    let (mut struck, mut grown) = (0, 0);
    for seed in 0..RUNS {
        let mut choices = Choices(seed);
        let disk = SimDisk::new(seed);
        let mut acknowledged = 0;
        for life in 0..LIVES {
            let place = format!("seed {seed}, life {life}");
            let ledger = open(Arc::new(disk.clone()), Path::new("/"))
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            let archived = ledger.archived();
            assert!(archived >= acknowledged, "{place}: {archived} of {acknowledged}");
            check_all(&ledger, archived);
            grown += u64::from(archived > acknowledged);
            // The engine recycles the journal by this answer, so from here on it must hold.
            acknowledged = archived;
            let fault = [Fault::Halt, Fault::Eio, Fault::NoSpace][choices.below(3) as usize];
            disk.fail_operation(1 + choices.below(120), fault);
            for _ in 0..4 {
                let from = ledger.size();
                push(&ledger, from, from + choices.below(400));
                let end = ledger.archived() + choices.below(ledger.size() - ledger.archived() + 1);
                if ledger.archive(end).is_err() {
                    break;
                }
                acknowledged = acknowledged.max(end);
            }
            struck += u64::from(disk.disarm());
            // A halt needs a crash; after an error the process may just start again.
            if fault == Fault::Halt || choices.below(2) == 0 {
                disk.crash(choices.below(u64::MAX));
            }
        }
        disk.crash(seed);
        let ledger = open(Arc::new(disk), Path::new("/")).unwrap();
        let end = ledger.archived() + 300;
        assert!(ledger.archived() >= acknowledged, "seed {seed}");
        push(&ledger, ledger.archived(), end);
        ledger.archive(end).unwrap();
        check_all(&ledger, end);
    }
    assert!(
        struck > RUNS && grown > 10,
        "the faults are not exercised: {struck} struck, {grown} uncertain"
    );
}

#[test]
fn each_step_of_an_archiving_may_be_the_last_before_power_fails() {
    // The first archiving of a ledger, and one that fills the tail's frame and begins new files.
    for (before, after) in [(0, 700), (500, 1_400)] {
        let prepared = SimDisk::new(7);
        let ledger = open(Arc::new(prepared.clone()), Path::new("/")).unwrap();
        push(&ledger, 0, before);
        ledger.archive(before).unwrap();
        let mut outcomes = [0; 2];
        for step in 1.. {
            let mut finished = false;
            for seed in 0..24 {
                let disk = prepared.fork();
                let ledger = open(Arc::new(disk.clone()), Path::new("/")).unwrap();
                push(&ledger, before, after);
                disk.fail_operation(step, Fault::Halt);
                finished = ledger.archive(after).is_ok();
                disk.crash(seed);
                let place = format!("step {step}, seed {seed}");
                let ledger =
                    open(Arc::new(disk), Path::new("/")).unwrap_or_else(|error| panic!("{place}: {error}"));
                let archived = ledger.archived();
                assert!(archived == after || (!finished && archived == before), "{place}");
                check_all(&ledger, archived);
                outcomes[usize::from(archived == after)] += 1;
            }
            if finished {
                break;
            }
        }
        assert!(outcomes[0] > 100 && outcomes[1] > 24, "{outcomes:?}");
    }
}

#[test]
fn keys_once_returned_survive_any_crash_and_are_never_drawn_again() {
    for seed in 0..RUNS {
        let mut choices = Choices(seed);
        let disk = SimDisk::new(seed);
        let mut known = None;
        let mut fill = 0;
        for life in 0..LIVES {
            let place = format!("seed {seed}, life {life}");
            let fault = [Fault::Halt, Fault::Eio, Fault::NoSpace][choices.below(3) as usize];
            disk.fail_operation(1 + choices.below(60), fault);
            let opened = KeyFolder::open_or_create(&disk, Path::new("/keys"), &mut |bytes| {
                fill += 1;
                bytes.fill(fill);
            });
            let struck = disk.disarm();
            match opened {
                Ok(keys) => {
                    let found = (keys.log().public(), keys.export().public());
                    assert_eq!(*known.get_or_insert(found), found, "{place}");
                }
                Err(error) => assert!(struck, "{place}: {error}"),
            }
            if fault == Fault::Halt || choices.below(2) == 0 {
                disk.crash(choices.below(u64::MAX));
            }
        }
    }
}
