//! One attempt of one leased job, from the claim to the completion.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;

use super::collect;
use super::error::{RunnerError, bounded};
use super::keeper::{Keeper, Stop, raise};
use super::launch::{Cause, LaunchSpec, Launcher};
use super::leases::{Failure, FailureClass, LeaseError, LeasedJob, Leases, Outcome, OutputSummary};
use super::process::{Finished, Seen, see_through};
use super::workspace::Workspace;
use crate::clock::Clock;
use crate::domain::Timestamp;
use crate::domain::pack::StepTask;
use crate::limits;
use crate::output::{AttemptAsk, AttemptKey, AttemptLog, AttemptSummary, Output, RunScope};

/// What every attempt of a runner shares.
#[derive(Debug)]
pub(super) struct Shared<L> {
    pub config: super::RunnerConfig,
    pub leases: Arc<L>,
    pub launcher: Arc<dyn Launcher>,
    pub output: Arc<Output>,
    pub clock: Arc<dyn Clock>,
    /// Written by each heartbeat: the server wants no more claims while jobs run here.
    pub drain: Arc<AtomicBool>,
}

/// How far an attempt got, and what is to be told.
struct Ending {
    outcome: Outcome,
    ended: OutputSummary,
}

/// Runs a job to its end and reports it, renewing its lease all the while.
pub(super) async fn run<L: Leases>(shared: Arc<Shared<L>>, job: LeasedJob, kill: watch::Receiver<bool>) {
    let stop = watch::Sender::new(Stop::No);
    if job.cancel_requested {
        raise(&stop, Stop::Cancel);
    }
    let keeper = Keeper {
        leases: Arc::clone(&shared.leases),
        clock: Arc::clone(&shared.clock),
        job: job.id,
        epoch: job.epoch,
        lease_ms: shared.config.lease_ms,
        heartbeat_ms: shared.config.heartbeat_ms,
        drain: Arc::clone(&shared.drain),
        stop: stop.clone(),
        kill,
    };
    let work = async {
        let ending = Box::pin(execute(&shared, &job, stop.subscribe())).await;
        report(&shared, &job, ending, stop.subscribe()).await;
    };
    tokio::select! {
        () = work => {}
        () = keeper.run() => {}
    }
}

/// Gives back a job that will not be started.
pub(super) async fn give_back<L: Leases>(shared: &Shared<L>, job: &LeasedJob) {
    let ended = OutputSummary::default();
    let given = shared
        .leases
        .complete(job.id, job.epoch, Outcome::Interrupted, ended)
        .await;
    if let Err(error) = given {
        tracing::warn!(job = %job.id, %error, "a job could not be given back; its lease will run out");
    }
}

async fn execute<L: Leases>(shared: &Shared<L>, job: &LeasedJob, stop: watch::Receiver<Stop>) -> Ending {
    match try_execute(shared, job, stop).await {
        Ok(ending) => ending,
        Err(error) => {
            tracing::warn!(job = %job.id, %error, "a step could not be run");
            Ending {
                outcome: Outcome::Failed(error.failure(None)),
                ended: OutputSummary::default(),
            }
        }
    }
}

async fn try_execute<L: Leases>(
    shared: &Shared<L>,
    job: &LeasedJob,
    stop: watch::Receiver<Stop>,
) -> Result<Ending, RunnerError> {
    let task = StepTask::parse(&job.payload)?;
    let now = Timestamp::from_ms(shared.clock.wall_ms());
    let asked = AttemptAsk {
        key: key(job),
        step: job.step.clone(),
        bytes_max: task.output_bytes_max,
    };
    let secrets = shared.leases.secrets(job.id, task.secrets.clone()).await;
    let secrets = secrets.map_err(RunnerError::Secret)?;
    let (output, work_dir, leased) = (
        Arc::clone(&shared.output),
        shared.config.work_dir.clone(),
        job.clone(),
    );
    let prepare = move || {
        let workspace = Workspace::create(&work_dir, leased.id, leased.attempt)?;
        let log = workspace
            .hand_over(&leased.needs, output.blobs())
            .and_then(|()| workspace.hand_secrets(&secrets))
            .and_then(|()| output.attempt(&asked, now).map_err(RunnerError::Log));
        match log {
            Ok(log) => Ok((workspace, log)),
            Err(error) => {
                drop_workspace(workspace);
                Err(error)
            }
        }
    };
    let (workspace, log) = on_blocking_thread(prepare).await?;
    let spec = LaunchSpec {
        argv: task.argv(),
        env: workspace.environment(job, &task),
        grace_ms: shared.config.cancel_grace_ms,
        timeout_ms: task.timeout_ms,
        work_dir: workspace.dir().to_owned(),
    };
    let started = start(shared, spec, log, &stop).await;
    let (output, clock) = (Arc::clone(&shared.output), Arc::clone(&shared.clock));
    let closing = Closing {
        key: key(job),
        stop: *stop.borrow(),
        task,
    };
    on_blocking_thread(move || {
        let ending = started.map(|started| closing.close(started, &workspace, &output, &*clock));
        drop_workspace(workspace);
        ending
    })
    .await
}

async fn start<L: Leases>(
    shared: &Shared<L>,
    spec: LaunchSpec,
    log: AttemptLog,
    stop: &watch::Receiver<Stop>,
) -> Result<Started, RunnerError> {
    if *stop.borrow() > Stop::No {
        return Ok(Started::Never(log));
    }
    let launched = match shared.launcher.launch(spec).await {
        Ok(launched) => launched,
        Err(error) => return Ok(Started::NotLaunched(log, RunnerError::Launch(error))),
    };
    let clock = Arc::clone(&shared.clock);
    see_through(launched, log, stop.clone(), clock)
        .await
        .map(Started::Seen)
        .map_err(RunnerError::Launch)
}

enum Started {
    Seen(Seen),
    NotLaunched(AttemptLog, RunnerError),
    /// There was a reason to stop before it began.
    Never(AttemptLog),
}

/// What is needed to judge a step that is over.
struct Closing {
    key: AttemptKey,
    stop: Stop,
    task: StepTask,
}

impl Closing {
    /// Flushes the log, stores the artifacts, decides the outcome. Blocks on the disk.
    fn close(self, started: Started, workspace: &Workspace, output: &Output, clock: &dyn Clock) -> Ending {
        let mut ended = OutputSummary::default();
        // No artifact is ever taken from there, whatever its path says.
        if let Err(error) = workspace.drop_secrets() {
            tracing::error!(%error, "secrets were left in a work folder");
        }
        let (log, log_error, mut outcome) = match started {
            Started::Never(log) => (log, None, stopped(self.stop)),
            Started::NotLaunched(log, error) => (log, None, Outcome::Failed(error.failure(None))),
            Started::Seen(seen) => {
                match &seen.finished {
                    Finished::Ended(end) => ended.exit_code = end.exit_code,
                    Finished::SupervisorLost => workspace.kill_left(),
                    Finished::Refused(_) => {}
                }
                let outcome = judge(seen.finished, self.stop, self.task.timeout_ms);
                (seen.log, seen.log_error, outcome)
            }
        };
        let logs = match log_error {
            Some(error) => Err(error),
            None => log.finish(Timestamp::from_ms(clock.wall_ms())),
        };
        match logs {
            Ok(logs) => {
                outcome = self.collect(outcome, &logs, &mut ended, workspace, output);
                ended.logs = Some(logs);
            }
            Err(error) => {
                tracing::error!(%error, "the output of a step could not be kept");
                // The step was killed for it, unless this runner ends anyway.
                if self.stop < Stop::Interrupt {
                    outcome = Outcome::Failed(RunnerError::Log(error).failure(ended.exit_code));
                }
            }
        }
        Ending { outcome, ended }
    }

    /// Stores what the step left. A success that lacks something promised is a failure; a failure keeps what there is.
    fn collect(
        &self,
        outcome: Outcome,
        logs: &AttemptSummary,
        ended: &mut OutputSummary,
        workspace: &Workspace,
        output: &Output,
    ) -> Outcome {
        if matches!(outcome, Outcome::Cancelled | Outcome::Interrupted) {
            return outcome;
        }
        let mut missed = None;
        for asked in &self.task.artifacts {
            match collect::artifact(output, &self.key, logs, workspace.dir(), asked) {
                Ok(artifact) => ended.artifacts.push(artifact),
                Err(error) => missed = missed.or(Some(error)),
            }
        }
        if matches!(outcome, Outcome::Failed(_)) {
            return outcome;
        }
        match missed.map_or_else(|| collect::outputs(workspace.dir()), Err) {
            Ok(outputs) => Outcome::Completed { outputs },
            Err(error) => Outcome::Failed(error.failure(ended.exit_code)),
        }
    }
}

/// What a step's end means. Pure.
fn judge(finished: Finished, stop: Stop, timeout_ms: u64) -> Outcome {
    let ended = match finished {
        Finished::Ended(ended) => ended,
        Finished::Refused(message) => {
            return Outcome::Failed(RunnerError::Refused(bounded(message)).failure(None));
        }
        Finished::SupervisorLost if stop >= Stop::Interrupt => return Outcome::Interrupted,
        Finished::SupervisorLost => return Outcome::Failed(RunnerError::SupervisorLost.failure(None)),
    };
    let failed = |class, message, code| {
        Outcome::Failed(Failure {
            class,
            message,
            code,
            exit_code: ended.exit_code,
            retryable: true,
        })
    };
    match (ended.cause, ended.exit_code, ended.signal) {
        (Cause::Exit, Some(0), _) => Outcome::Completed {
            outputs: Default::default(),
        },
        (Cause::Exit, Some(code), _) => failed(FailureClass::Exit, format!("exit code {code}"), None),
        (Cause::Exit, None, signal) => {
            let message = format!("ended by signal {}", signal.unwrap_or(0));
            failed(FailureClass::Exit, message, Some("signal"))
        }
        (Cause::Timeout, _, _) => failed(
            FailureClass::Timeout,
            format!("ran longer than {timeout_ms} ms"),
            None,
        ),
        (Cause::Cancel, _, _) => Outcome::Cancelled,
        // Killed on our order: because we stop, or because the log broke, which the caller sees itself.
        (Cause::Kill | Cause::Orphaned, _, _) => Outcome::Interrupted,
        (Cause::Signal, _, _) if stop >= Stop::Interrupt => Outcome::Interrupted,
        // A step can do this itself; as an interruption it would be repeated for ever.
        (Cause::Signal, _, _) => Outcome::Failed(RunnerError::SupervisorSignalled.failure(ended.exit_code)),
    }
}

fn stopped(stop: Stop) -> Outcome {
    match stop {
        Stop::No | Stop::Interrupt | Stop::Lost => Outcome::Interrupted,
        Stop::Cancel => Outcome::Cancelled,
    }
}

/// Tries until the end is recorded or the lease is lost.
async fn report<L: Leases>(
    shared: &Shared<L>,
    job: &LeasedJob,
    ending: Ending,
    mut stop: watch::Receiver<Stop>,
) {
    let mut pause_ms = limits::REPORT_AGAIN_MS_MIN;
    loop {
        if *stop.borrow_and_update() == Stop::Lost {
            return;
        }
        let Ending { outcome, ended } = &ending;
        match shared
            .leases
            .complete(job.id, job.epoch, outcome.clone(), ended.clone())
            .await
        {
            Ok(()) => return,
            Err(LeaseError::Stale) => {
                tracing::warn!(job = %job.id, epoch = job.epoch, "a result came too late and was not taken");
                return;
            }
            Err(LeaseError::Unavailable(reason)) => {
                tracing::warn!(job = %job.id, reason, "a result could not be reported yet");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            _ = stop.changed() => {}
        }
        pause_ms = (2 * pause_ms).min(limits::REPORT_AGAIN_MS_MAX);
    }
}

fn key(job: &LeasedJob) -> AttemptKey {
    AttemptKey {
        scope: RunScope::of_job(job.tenant.clone(), job.run, job.id),
        job: job.id,
        attempt: job.attempt,
    }
}

fn drop_workspace(workspace: Workspace) {
    // What is left is removed when the next runner starts.
    if let Err(error) = workspace.remove() {
        tracing::warn!(%error, "a work folder was left behind");
    }
}

async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RunnerError> + Send + 'static,
) -> Result<T, RunnerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RunnerError::Launch(std::io::Error::other(error))),
    }
}
