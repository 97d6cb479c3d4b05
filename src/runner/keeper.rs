//! Keeps one lease alive, and turns whatever should end the step into one growing word: [`Stop`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::leases::{LeaseError, Leases};
use crate::clock::Clock;
use crate::domain::JobId;

/// Why a step is to end. Grows only; the greatest reason counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    No,
    /// Asked for: TERM, grace, KILL.
    Cancel,
    /// This runner ends: KILL.
    Interrupt,
    /// The job is no longer ours: KILL, and no word to anyone.
    Lost,
}

/// What the keeper of one lease works with.
#[derive(Debug)]
pub(super) struct Keeper<L> {
    pub leases: Arc<L>,
    pub clock: Arc<dyn Clock>,
    pub job: JobId,
    pub epoch: u64,
    pub lease_ms: u64,
    pub heartbeat_ms: u64,
    /// Written by each heartbeat's answer: the server wants this runner to take no more.
    pub drain: Arc<AtomicBool>,
    pub stop: watch::Sender<Stop>,
    /// True once the runner's last deadline has passed.
    pub kill: watch::Receiver<bool>,
}

impl<L: Leases> Keeper<L> {
    /// Never ends; dropped with the attempt it serves.
    pub async fn run(mut self) {
        let leases = Arc::clone(&self.leases);
        let cancelled = leases.cancel_requested(self.job, self.epoch);
        tokio::pin!(cancelled);
        let mut is_cancelled = false;
        let mut kill = self.kill.clone();
        let mut is_killed = *kill.borrow_and_update();
        if is_killed {
            raise(&self.stop, Stop::Interrupt);
        }
        // A tenth before the server's deadline, so that the tree is dead before anyone else may start.
        let good_ms = self.lease_ms - self.lease_ms / 10;
        let mut deadline_ms = self.clock.monotonic_ms() + good_ms;
        loop {
            let left_ms = deadline_ms.saturating_sub(self.clock.monotonic_ms());
            if left_ms == 0 {
                raise(&self.stop, Stop::Lost);
            }
            let pause = Duration::from_millis(self.heartbeat_ms.min(left_ms.max(1)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {
                    let asked_ms = self.clock.monotonic_ms();
                    if self.beat(deadline_ms.saturating_sub(asked_ms)).await {
                        deadline_ms = asked_ms + good_ms;
                    }
                }
                () = &mut cancelled, if !is_cancelled => {
                    is_cancelled = true;
                    raise(&self.stop, Stop::Cancel);
                }
                changed = kill.changed(), if !is_killed => {
                    is_killed = changed.is_err() || *kill.borrow_and_update();
                    if is_killed {
                        raise(&self.stop, Stop::Interrupt);
                    }
                }
            }
        }
    }

    /// One heartbeat; true when the lease was renewed.
    async fn beat(&mut self, left_ms: u64) -> bool {
        let wait = Duration::from_millis(self.heartbeat_ms.min(left_ms));
        let answer = tokio::time::timeout(wait, self.leases.heartbeat(self.job, self.epoch)).await;
        match answer {
            Ok(Ok(renewal)) => {
                self.drain.store(renewal.drain, Ordering::Relaxed);
                if renewal.cancel_requested {
                    raise(&self.stop, Stop::Cancel);
                }
                true
            }
            Ok(Err(LeaseError::Stale)) => {
                tracing::warn!(job = %self.job, epoch = self.epoch, "the lease has gone to someone else");
                raise(&self.stop, Stop::Lost);
                false
            }
            Ok(Err(LeaseError::Unavailable(reason))) => {
                tracing::warn!(job = %self.job, reason, "the lease could not be renewed");
                false
            }
            Err(_) => false,
        }
    }
}

pub(super) fn raise(stop: &watch::Sender<Stop>, reason: Stop) {
    stop.send_if_modified(|present| {
        let is_greater = reason > *present;
        *present = reason.max(*present);
        is_greater
    });
}
