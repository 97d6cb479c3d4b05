//! Live signals: what no ledger keeps, for whoever listens now. One who is too far behind misses the oldest.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast;

use super::Api;
use super::error::ApiError;
use super::worker_calls::ProgressView;
use crate::domain::event::Subject;
use crate::domain::{JobId, RunId, TenantName};
use crate::engine::Progress;
use crate::limits;
use crate::stream::EventHead;

/// One signal.
#[derive(Debug)]
pub struct LiveSignal {
    /// Whose.
    pub tenant: TenantName,
    /// What filters look at.
    pub head: EventHead<'static>,
    /// As JSON.
    pub body: Bytes,
}

/// The signals as they come.
#[derive(Debug)]
pub struct Signals(broadcast::Sender<Arc<LiveSignal>>);

impl Default for Signals {
    fn default() -> Self {
        Signals(broadcast::Sender::new(limits::LIVE_SIGNALS_MAX))
    }
}

impl Signals {
    /// Everything from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveSignal>> {
        self.0.subscribe()
    }
}

/// Body of `job.progress`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JobProgress {
    job_id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    #[serde(flatten)]
    progress: ProgressView,
}

/// Tells those who listen how far a job is; costs nothing when nobody does.
///
/// # Errors
/// When the job cannot be read.
pub async fn tell_progress(
    api: &Api,
    tenant: &TenantName,
    id: JobId,
    progress: Progress,
) -> Result<(), ApiError> {
    if api.signals.0.receiver_count() == 0 {
        return Ok(());
    }
    let job = api
        .read(tenant, move |reading| Ok(reading.view().job(id)?))
        .await?;
    let Some(job) = job else { return Ok(()) };
    let body = JobProgress {
        job_id: id,
        run_id: job.run,
        progress: progress.into(),
    };
    let head = EventHead {
        correlation_id: job.correlation_id.clone().map(Cow::Owned),
        project: job.spec.project.clone().map(Cow::Owned),
        subject: Subject {
            job: Some(id),
            run: body.run_id,
            ..Subject::default()
        },
        type_name: Cow::Borrowed("job.progress"),
    };
    let signal = LiveSignal {
        tenant: tenant.clone(),
        head,
        // Our own shapes always can be written.
        body: serde_json::to_vec(&body).unwrap_or_default().into(),
    };
    // Nobody listens any more: no error.
    let _ = api.signals.0.send(Arc::new(signal));
    Ok(())
}
