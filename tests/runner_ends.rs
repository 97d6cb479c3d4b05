//! No survivor, ever: however a step, its lease or its runner ends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fastness::disk::OsDisk;
use fastness::output::Stream;
use fastness::runner::{FailureClass, LaunchSpec, Outcome, encode_order};
use serde_json::json;

use crate::runner_support::{House, PROGRAM, house, house_with, marked, shell, until};

/// A daemon: twice forked, in a session of its own, holding none of the step's descriptors.
const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & setsid sleep 1000 &' & ";
/// The same, deaf to TERM.
const DEAF: &str = "trap '' TERM; ";
const WAIT: &str = "echo ready; while :; do sleep 1000; done";

/// More time than any test takes, and hardly any.
const GRACE_LONG_MS: u64 = 600_000;
const GRACE_SHORT_MS: u64 = 200;

async fn house_with_grace(grace_ms: u64) -> House {
    house_with(Arc::new(OsDisk), |config| {
        config.cancel_grace_ms = grace_ms;
        config.lease_ms = 3_600_000;
    })
    .await
}

fn assert_nothing_left(house: &House) {
    assert_eq!(house.survivors(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_whole_tree_with_its_daemons() {
    let house = house_with_grace(GRACE_SHORT_MS).await;
    for prefix in ["", DEAF] {
        let mut task = shell(&format!("{prefix}{DAEMON}{WAIT}"));
        task["timeoutMs"] = json!(500);
        let done = house.run(task).await;
        match &done.outcome {
            Outcome::Failed(failure) => assert_eq!(failure.class, FailureClass::Timeout),
            other => panic!("{other:?}"),
        }
        assert_nothing_left(&house);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_step_leaves_running_dies_with_its_main_process() {
    let house = house().await;
    let text = format!("{DEAF}{DAEMON}(sleep 1000; echo never) & echo ready");
    let done = house.run(shell(&text)).await;
    assert!(matches!(done.outcome, Outcome::Completed { .. }), "{done:?}");
    assert_nothing_left(&house);
    assert_eq!(house.text(done.job, Stream::Stdout), ["ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_step_may_end_in_its_grace_and_is_killed_after_it() {
    let house = house_with_grace(GRACE_LONG_MS).await;
    let polite = "trap 'echo bye; exit 0' TERM; echo ready; sleep 1000 & wait";
    let job = house.submit(shell(polite));
    house.line(job, "ready").await;
    house.desk.cancel(job);
    assert_eq!(house.done(job).await.outcome, Outcome::Cancelled);
    assert_eq!(house.text(job, Stream::Stdout), ["ready", "bye"]);
    assert_nothing_left(&house);

    let house = house_with_grace(GRACE_SHORT_MS).await;
    let job = house.submit(shell(&format!("{DEAF}{DAEMON}{WAIT}")));
    house.line(job, "ready").await;
    house.desk.cancel(job);
    let done = house.done(job).await;
    assert_eq!(done.outcome, Outcome::Cancelled);
    assert!(done.ended.logs.is_some());
    assert_nothing_left(&house);
    assert_eq!(house.work_folders(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_hears_its_cancellation() {
    let house = house_with_grace(GRACE_LONG_MS).await;
    let job = house.submit(shell("echo ready; kill -STOP $$"));
    house.line(job, "ready").await;
    house.desk.cancel(job);
    assert_eq!(house.done(job).await.outcome, Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_kills_the_tree_and_nothing_is_reported() {
    let house = house_with_grace(GRACE_LONG_MS).await;
    let job = house.submit(shell(&format!("{DEAF}{DAEMON}{WAIT}")));
    house.line(job, "ready").await;
    house.desk.reassign(job);
    until("the tree is dead", || house.survivors().is_empty()).await;
    until("the folder is gone", || house.work_folders() == 0).await;
    assert!(house.desk.done().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_renewed_ends_the_step_before_it_ends_itself() {
    let house = house_with(Arc::new(OsDisk), |config| config.lease_ms = 1_000).await;
    let job = house.submit(shell(WAIT));
    house.line(job, "ready").await;
    until("the lease is renewed", || house.desk.heartbeats() > 3).await;
    house.desk.fall_silent(u64::MAX);
    until("the tree is dead", || house.survivors().is_empty()).await;
    until("the folder is gone", || house.work_folders() == 0).await;
    assert!(house.desk.done().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_reported_again_until_it_is_taken() {
    let house = house().await;
    let job = house.submit(shell("mkfifo go; echo ready; read _ < go"));
    house.line(job, "ready").await;
    house.desk.fall_silent(3);
    std::fs::write(house.dir.path().join(format!("work/{job}-1/go")), "\n").unwrap();
    let done = house.done(job).await;
    assert!(matches!(done.outcome, Outcome::Completed { .. }));
    assert_eq!(house.desk.done().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_for_running_steps_until_the_deadline() {
    let mut house = house().await;
    let job = house.submit(shell("mkfifo go; echo ready; read _ < go"));
    house.line(job, "ready").await;
    house.runner.drain(Duration::from_secs(600));
    until("claims are stopped", || house.desk.is_stopped()).await;
    let late = house.submit(shell("true"));
    std::fs::write(house.dir.path().join(format!("work/{job}-1/go")), "\n").unwrap();
    assert!(matches!(house.done(job).await.outcome, Outcome::Completed { .. }));
    house.stop(Duration::from_secs(600)).await;
    // A job that a claim brought while stopping is given back, not run.
    for done in house.desk.done().iter().filter(|done| done.job == late) {
        assert_eq!(done.outcome, Outcome::Interrupted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_runner_stops_at_once_and_a_busy_one_interrupts_at_the_deadline() {
    let mut house = house().await;
    let started = std::time::Instant::now();
    house.stop(Duration::from_secs(600)).await;
    assert!(started.elapsed() < Duration::from_secs(20));

    let mut house = house_with_grace(GRACE_LONG_MS).await;
    let job = house.submit(shell(&format!("{DEAF}{DAEMON}{WAIT}")));
    house.line(job, "ready").await;
    house.runner.drain(Duration::from_secs(600));
    // A second word replaces the deadline.
    house.stop(Duration::ZERO).await;
    let done = house.done(job).await;
    assert_eq!(done.outcome, Outcome::Interrupted);
    assert!(done.ended.logs.is_some());
    assert_nothing_left(&house);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_kills_its_supervisor_does_not_escape() {
    let house = house_with_grace(GRACE_SHORT_MS).await;
    let done = house
        .run(shell(&format!("{DAEMON}kill -9 $PPID; sleep 1000")))
        .await;
    match &done.outcome {
        Outcome::Failed(failure) => assert_eq!(failure.code, Some("supervisor_lost")),
        other => panic!("{other:?}"),
    }
    assert_nothing_left(&house);
    let task = shell(&format!("{DAEMON}kill $PPID; {WAIT}"));
    match &house.run(task).await.outcome {
        Outcome::Failed(failure) => assert_eq!(failure.code, Some("supervisor_signalled")),
        other => panic!("{other:?}"),
    }
    assert_nothing_left(&house);
}

/// Starts a supervisor as a runner would, with `text` for a step; the answer is this side of its control socket.
fn supervise(dir: &std::path::Path, mark: &str, text: &str) -> (UnixStream, std::process::Child) {
    let (control, theirs) = UnixStream::pair().unwrap();
    let (name, value) = mark.split_once('=').unwrap();
    let env = [("PATH", "/usr/bin:/bin"), (name, value)];
    let spec = LaunchSpec {
        argv: ["/bin/sh", "-eu", "-c", text].map(str::to_owned).to_vec(),
        env: env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        grace_ms: 200,
        timeout_ms: 600_000,
        work_dir: dir.to_owned(),
    };
    let supervisor = Command::new(PROGRAM)
        .arg("__step")
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut order = &control;
    order.write_all(&encode_order(&spec).unwrap()).unwrap();
    (control, supervisor)
}

#[test]
fn the_death_of_the_runner_leaves_no_survivor() {
    let dir = tempfile::tempdir().unwrap();
    let mark = format!("FASTNESS_TEST_MARK={}", dir.path().display());
    for prefix in ["", DEAF] {
        let (control, mut supervisor) = supervise(dir.path(), &mark, &format!("{prefix}{DAEMON}{WAIT}"));
        let mut ready = [0; 6];
        supervisor
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        assert_eq!(&ready, b"ready\n");
        assert!(!marked(&mark).is_empty());
        // What the kernel does to the descriptors of a process that was killed.
        drop(control);
        supervisor.wait().unwrap();
        assert_eq!(marked(&mark), [""; 0]);
    }
}

#[test]
fn a_supervisor_without_a_whole_order_starts_nothing() {
    for order in [
        &b""[..],
        &[5, 0, 0, 0, b'{'],
        &[0xff; 4],
        &[2, 0, 0, 0, b'{', b'}'],
    ] {
        let (control, theirs) = UnixStream::pair().unwrap();
        let mut supervisor = Command::new(PROGRAM)
            .arg("__step")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut control = control;
        control.write_all(order).unwrap();
        control.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!supervisor.wait().unwrap().success(), "{order:?}");
        let mut said = String::new();
        control.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("{\"refused\":"), "{order:?}: {said}");
    }
}
