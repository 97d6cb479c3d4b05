//! Ends of attempts that sent output: their logs are closed and flushed before their end is recorded.
//!
//! Promises: the event that ends an attempt names the digests of all that was accepted of its log, whether the worker
//! reports the end or its lease runs out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Api;
use super::error::ApiError;
use super::worker_calls::Holder;
use crate::domain::Timestamp;
use crate::domain::command::{Command, CompleteJob};
use crate::domain::event::Actor;
use crate::domain::job::{AttemptLogs, OutputDigest};
use crate::engine::{CommandError, LeaseOver, SubmitError};
use crate::output::{AttemptAsk, AttemptKey, AttemptSummary, StreamSummary};

/// Logs closed at the same time.
const CLOSING_AT_ONCE: usize = 8;
/// Pause before a queue that was full is tried again.
const AGAIN: Duration = Duration::from_millis(100);

impl Api {
    /// Closes the log of an attempt. Blocks on the disk.
    pub(super) fn close_log(&self, asked: &AttemptAsk) -> Result<Option<AttemptLogs>, ApiError> {
        let at = Timestamp::from_ms(self.now_ms());
        let summary = self.inbox.close(asked, at)?;
        Ok(summary.as_ref().map(logs_of))
    }

    /// Closes the logs of attempts whose ends a worker reports, and puts their digests into the reports. An attempt whose
    /// log cannot be closed is refused; the others go on. The keys are to be forgotten once the reports are decided.
    pub(super) async fn close_reported(
        self: &Arc<Self>,
        reports: Vec<(Holder, CompleteJob)>,
    ) -> Result<(Vec<Result<Command, ApiError>>, Vec<AttemptKey>), ApiError> {
        let mut attempts = Vec::with_capacity(reports.len());
        let mut is_quick = true;
        for (holder, report) in reports {
            // A lease that is over, or another's, is refused where the report is decided.
            let lease = self.engine().close_output(holder.named()).ok();
            let asked = lease
                .filter(|lease| lease.has_output)
                .map(|lease| holder.attempt(&lease));
            is_quick &= asked.is_none();
            attempts.push((asked, report));
        }
        let keys = attempts
            .iter()
            .filter_map(|(asked, _)| Some(asked.as_ref()?.key.clone()));
        let keys = keys.collect();
        let close = move |api: &Api| {
            let closed = attempts.into_iter().map(|(asked, mut report)| {
                report.logs = asked.map_or(Ok(None), |asked| api.close_log(&asked))?;
                Ok(Command::CompleteJob(Box::new(report)))
            });
            Ok(closed.collect())
        };
        let commands = if is_quick {
            close(self)?
        } else {
            self.blocking(close).await?
        };
        Ok((commands, keys))
    }
}

/// Ends leases that ran out and have output, until the server ends.
pub async fn end_leases(api: Weak<Api>) {
    let Some((mut ends, mut stopping)) = api
        .upgrade()
        .map(|api| (api.engine().lease_ends(), api.stopping.subscribe()))
    else {
        return;
    };
    let over = stream::poll_fn(move |context| ends.poll_recv(context));
    let ending = over.for_each_concurrent(CLOSING_AT_ONCE, |over| {
        let api = api.clone();
        async move {
            if let Some(api) = api.upgrade() {
                end(&api, over).await;
            }
        }
    });
    tokio::select! {
        () = ending => {}
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn end(api: &Arc<Api>, over: LeaseOver) {
    let holder = Holder {
        tenant: over.tenant,
        job: over.job,
        epoch: over.epoch,
        worker: over.worker,
    };
    let asked = holder.attempt(&over.lease);
    let key = asked.key.clone();
    let logs = match api.blocking(move |api| api.close_log(&asked)).await {
        Ok(logs) => logs.map(Box::new),
        Err(error) => {
            let code = error.code();
            tracing::error!(job = %holder.job, code, "the log of a lease that ran out cannot be closed");
            None
        }
    };
    loop {
        let command = Command::ExpireLease {
            job: holder.job,
            epoch: holder.epoch,
            cause: over.cause,
            logs: logs.clone(),
        };
        let actor = Actor::system("leases");
        match api.engine().submit(&holder.tenant, &actor, command).await {
            Err(CommandError::Failed(SubmitError::Busy | SubmitError::Rebuilding)) => {
                tokio::time::sleep(AGAIN).await;
            }
            // A refusal means that its worker was quicker.
            Ok(_) | Err(_) => break,
        }
    }
    api.inbox.forget(&key);
}

fn logs_of(summary: &AttemptSummary) -> AttemptLogs {
    let stream = |stream: &StreamSummary| OutputDigest {
        bytes: stream.bytes,
        lines: stream.lines,
        sha256: stream.sha256,
        truncated: stream.truncated,
    };
    AttemptLogs {
        index_sha256: summary.index,
        stderr: stream(&summary.stderr),
        stdout: stream(&summary.stdout),
    }
}
