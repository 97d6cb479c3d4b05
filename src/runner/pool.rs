//! The runner's loop: claims what its free slots can take, owns every attempt, stops in order.
//!
//! Stopping has three stages: no more claims; running steps may end until the deadline; then they are killed and
//! reported as interrupted. Each stage is bounded.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::attempt::{self, Shared};
use super::error::RunnerError;
use super::launch::Launcher;
use super::leases::{ClaimAsk, LeasedJob, Leases};
use super::{RunnerConfig, workspace};
use crate::clock::Clock;
use crate::limits;
use crate::output::Output;

/// Pause after a claim that brought nothing or failed, so that a server that answers at once is not flooded.
const EMPTY_CLAIM_PAUSE_MS: u64 = 50;
const FAILED_CLAIM_PAUSE_MS: u64 = 1_000;

/// Starts runners.
#[derive(Debug)]
pub struct Runner;

/// A running runner. Dropping it stops the runner as [`RunnerHandle::drain`] with no time would.
#[derive(Debug)]
pub struct RunnerHandle {
    clock: Arc<dyn Clock>,
    /// The deadline in monotonic milliseconds, once there is one.
    drain: watch::Sender<Option<u64>>,
    pool: JoinHandle<()>,
}

impl Runner {
    /// Ends what an earlier runner left in the work folder, then begins to claim.
    ///
    /// # Errors
    /// When the work folder cannot be used.
    pub async fn start<L: Leases>(
        mut config: RunnerConfig,
        leases: Arc<L>,
        launcher: Arc<dyn Launcher>,
        output: Arc<Output>,
        clock: Arc<dyn Clock>,
    ) -> Result<RunnerHandle, RunnerError> {
        config.slots = config.slots.clamp(1, limits::RUNNER_SLOTS_MAX);
        config.work_dir = absolute(&config.work_dir)?;
        let work_dir = config.work_dir.clone();
        tokio::task::spawn_blocking(move || workspace::sweep(&work_dir))
            .await
            .map_err(|error| RunnerError::Launch(std::io::Error::other(error)))??;
        let (drain, draining) = watch::channel(None);
        let pool = Pool {
            shared: Arc::new(Shared {
                config,
                leases,
                launcher,
                output,
                clock: Arc::clone(&clock),
                drain: Arc::new(AtomicBool::new(false)),
            }),
            jobs: JoinSet::new(),
            kill: watch::Sender::new(false),
            draining,
        };
        Ok(RunnerHandle {
            clock,
            drain,
            pool: tokio::spawn(pool.run()),
        })
    }
}

impl RunnerHandle {
    /// Takes no more work; running steps may end for so long, then they are killed and reported as interrupted.
    /// Calling again replaces the deadline: no time at all ends them at once.
    pub fn drain(&self, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = self.clock.monotonic_ms().saturating_add(within_ms);
        self.drain.send_replace(Some(deadline_ms));
    }

    /// Ready when the runner has stopped, which [`RunnerHandle::drain`] brings about.
    pub async fn join(&mut self) {
        if let Err(error) = (&mut self.pool).await {
            tracing::error!(%error, "the runner ended by a fault of its own");
        }
    }
}

type Claim = Pin<Box<dyn Future<Output = Vec<LeasedJob>> + Send>>;

struct Pool<L> {
    shared: Arc<Shared<L>>,
    /// Owns the attempts.
    jobs: JoinSet<()>,
    /// Told to every attempt: the last deadline has passed.
    kill: watch::Sender<bool>,
    draining: watch::Receiver<Option<u64>>,
}

impl<L: Leases> Pool<L> {
    async fn run(mut self) {
        let mut claim: Option<Claim> = None;
        while self.deadline().is_none() {
            if claim.is_none() {
                claim = self.next_claim();
            }
            tokio::select! {
                granted = next(&mut claim) => self.begin(granted),
                ended = self.jobs.join_next(), if !self.jobs.is_empty() => note(ended),
                changed = self.draining.changed() => if changed.is_err() { break },
            }
        }
        self.drain(claim).await;
    }

    /// The deadline of the drain; a handle that was dropped leaves no time.
    fn deadline(&self) -> Option<u64> {
        let asked = *self.draining.borrow();
        match self.draining.has_changed() {
            Ok(_) => asked,
            Err(_) => Some(asked.unwrap_or(0)),
        }
    }

    fn next_claim(&self) -> Option<Claim> {
        let free = self.shared.config.slots - self.jobs.len().min(self.shared.config.slots);
        // What the last heartbeat said holds only while something runs that sends heartbeats.
        let is_held = !self.jobs.is_empty() && self.shared.drain.load(Ordering::Relaxed);
        (free > 0 && !is_held).then(|| Box::pin(claim(Arc::clone(&self.shared), free)) as Claim)
    }

    fn begin(&mut self, granted: Vec<LeasedJob>) {
        for job in granted {
            self.jobs
                .spawn(attempt::run(Arc::clone(&self.shared), job, self.kill.subscribe()));
        }
    }

    async fn drain(mut self, mut claim: Option<Claim>) {
        self.shared.leases.stop_claiming();
        while !self.jobs.is_empty() || claim.is_some() {
            let now_ms = self.shared.clock.monotonic_ms();
            let left_ms = self.deadline().unwrap_or(0).saturating_sub(now_ms);
            if left_ms == 0 {
                break;
            }
            tokio::select! {
                granted = next(&mut claim) => for job in granted {
                    attempt::give_back(&self.shared, &job).await;
                },
                ended = self.jobs.join_next(), if !self.jobs.is_empty() => note(ended),
                () = tokio::time::sleep(Duration::from_millis(left_ms)) => {}
                // A handle that was dropped shows in the deadline.
                _ = self.draining.changed(), if self.draining.has_changed().is_ok() => {}
            }
        }
        drop(claim);
        self.kill.send_replace(true);
        let all = async { while self.jobs.join_next().await.is_some() {} };
        let waited = tokio::time::timeout(Duration::from_millis(limits::KILLED_WAIT_MS_MAX), all).await;
        if waited.is_err() {
            tracing::error!("steps could not be reported in time; their supervisors end them");
            self.jobs.shutdown().await;
        }
    }
}

/// What the pending claim grants; never ready without one.
async fn next(claim: &mut Option<Claim>) -> Vec<LeasedJob> {
    match claim {
        Some(pending) => {
            let granted = pending.await;
            *claim = None;
            granted
        }
        None => std::future::pending().await,
    }
}

async fn claim<L: Leases>(shared: Arc<Shared<L>>, max: usize) -> Vec<LeasedJob> {
    let config = &shared.config;
    let ask = ClaimAsk {
        worker: config.worker.clone(),
        queues: config.queues.clone(),
        types: config.types.clone(),
        max,
        lease_ms: config.lease_ms,
        wait_ms: config.claim_wait_ms,
    };
    let pause_ms = match shared.leases.claim(ask).await {
        Ok(granted) if !granted.is_empty() => return granted,
        Ok(_) => EMPTY_CLAIM_PAUSE_MS,
        Err(error) => {
            tracing::warn!(%error, "no work could be claimed");
            FAILED_CLAIM_PAUSE_MS
        }
    };
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    Vec::new()
}

fn note(ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended {
        tracing::error!(%error, "an attempt ended by a fault of ours; its lease will run out");
    }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, RunnerError> {
    std::path::absolute(path).map_err(RunnerError::workspace("find", path))
}
