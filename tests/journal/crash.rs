//! Crashes and failing operations at every point of seeded runs.

use super::{Driver, Stop};
use crate::support::sim_disk::{Fault, SimDisk};

const STEPS: usize = 36;

/// One run: steps with a fault armed, a restart or a crash, more steps, and a crash at the end. Says whether
/// the fault struck.
fn run(seed: u64, lying: bool, operation: u64, fault: Fault) -> Result<bool, String> {
    let mut driver = Driver::new(seed);
    driver.disk.set_lying(lying);
    driver.disk.fail_operation(operation, fault);
    match driver.steps(STEPS) {
        Ok(()) => {}
        Err(Stop::Disk(_)) => check_poisoned(&mut driver)?,
        Err(Stop::Broken(what)) => return Err(what),
    }
    let struck = driver.disk.disarm();
    // Without a crash the process alone starts again, and sees what the system kept in memory.
    if fault == Fault::Halt || driver.random.once_in(2) {
        let seed = driver.random.next();
        driver.disk.crash(seed);
    }
    recover(&mut driver)?;
    finish(driver.steps(3))?;
    let seed = driver.random.next();
    driver.disk.crash(seed);
    finish(driver.reopen().map(|_| ()))?;
    Ok(struck)
}

/// After a failed change every call is refused.
fn check_poisoned(driver: &mut Driver) -> Result<(), String> {
    use fastness::journal::{AppendError, Journal, ReadError};
    let Some(mut journal) = driver.journal.take() else {
        return Ok(());
    };
    let (start, end, term) = (journal.start(), journal.end(), journal.term());
    match (
        journal.append(term, end, &[]),
        journal.read(start, end, &mut |_| std::ops::ControlFlow::Continue(())),
    ) {
        (Err(AppendError::Poisoned), Err(ReadError::Poisoned)) => Ok(()),
        (append, read) => Err(format!("not poisoned: {append:?}, {read:?}")),
    }
}

/// Opens, perhaps only after crashes and failures in the midst of it.
fn recover(driver: &mut Driver) -> Result<(), String> {
    for _ in 0..driver.random.below(4) {
        let operation = 1 + driver.random.below(24);
        let fault = [Fault::Halt, Fault::Halt, Fault::Eio, Fault::NoSpace][driver.random.below(4) as usize];
        driver.disk.fail_operation(operation, fault);
        match driver.reopen() {
            Ok(_) | Err(Stop::Disk(_)) => {}
            Err(Stop::Broken(what)) => return Err(what),
        }
        driver.disk.disarm();
        if fault == Fault::Halt || driver.random.once_in(2) {
            let seed = driver.random.next();
            driver.disk.crash(seed);
        }
    }
    finish(driver.reopen().map(|_| ()))
}

fn finish(result: Result<(), Stop>) -> Result<(), String> {
    match result {
        Ok(()) => Ok(()),
        Err(Stop::Disk(what)) => Err(format!("a healthy disk failed: {what}")),
        Err(Stop::Broken(what)) => Err(what),
    }
}

/// Every operation of the run of each seed meets the fault. Returns how many did, and what broke.
fn sweep(seeds: std::ops::Range<u64>, lying: bool, fault: Fault) -> (usize, Vec<String>) {
    let (mut points, mut broken) = (0, Vec::new());
    for seed in seeds {
        for operation in 1.. {
            match run(seed, lying, operation, fault) {
                Ok(true) => points += 1,
                Ok(false) => break,
                Err(what) => {
                    points += 1;
                    broken.push(format!("seed {seed}, {fault:?} at operation {operation}: {what}"));
                }
            }
            // A broken run may end before its fault; a run has far fewer operations than this.
            if operation > 2_000 {
                break;
            }
        }
    }
    (points, broken)
}

fn check(seeds: std::ops::Range<u64>, fault: Fault) {
    let (points, broken) = sweep(seeds, false, fault);
    let shown = &broken[..broken.len().min(5)];
    assert!(
        broken.is_empty(),
        "{} of {points} points: {shown:#?}",
        broken.len()
    );
    assert!(points >= 4_000, "only {points} points");
}

#[test]
fn a_crash_at_any_operation_loses_no_acknowledged_record() {
    check(0..30, Fault::Halt);
}

#[test]
fn an_input_output_error_at_any_operation_loses_no_acknowledged_record() {
    check(100..130, Fault::Eio);
}

#[test]
fn a_full_disk_at_any_operation_loses_no_acknowledged_record() {
    check(200..230, Fault::NoSpace);
}

#[test]
fn the_same_check_finds_losses_when_flushes_lie() {
    let (points, broken) = sweep(300..301, true, Fault::Halt);
    assert!(
        broken.len() * 4 > points,
        "{} of {points} runs found a loss",
        broken.len()
    );
}

#[test]
fn a_crash_anywhere_within_recovery_can_be_recovered_from() {
    let mut points = 0;
    for seed in 400..460 {
        let mut driver = Driver::new(seed);
        let operation = 40 + driver.random.below(150);
        driver.disk.fail_operation(operation, Fault::Halt);
        let _: Result<(), Stop> = driver.steps(STEPS);
        driver.disk.crash(seed);
        let before = driver.disk.fork();
        for operation in 1.. {
            driver.disk = before.fork();
            if !crash_in_recovery(&driver, operation, seed) {
                break;
            }
            points += 1;
        }
    }
    assert!(points >= 600, "only {points} points");
}

/// False when recovery was over before the operation.
fn crash_in_recovery(driver: &Driver, operation: u64, seed: u64) -> bool {
    let disk: &SimDisk = &driver.disk;
    disk.fail_operation(operation, Fault::Halt);
    let opened = super::open(disk, fastness::journal::Floor::default());
    let struck = disk.disarm();
    if !struck {
        return false;
    }
    drop(opened);
    disk.crash(seed.wrapping_mul(31).wrapping_add(operation));
    let mut model = Driver::new(seed);
    model.disk = disk.clone();
    model.certain.clone_from(&driver.certain);
    model.in_flight.clone_from(&driver.in_flight);
    model.released = driver.released;
    model.term = driver.term;
    model.certain_term = driver.certain_term;
    if let Err(stop) = model.reopen() {
        panic!("seed {seed}, crash at operation {operation} of recovery: {stop:?}");
    }
    true
}
