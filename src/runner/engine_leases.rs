//! Leases straight from the engine of this process: the local runner goes through the same commands as any worker.

use std::sync::Arc;

use bytes::Bytes;

use super::leases::{
    ClaimAsk, FailureClass, LeaseError, LeasedJob, Leases, NeededArtifact, NoSecret, Outcome, OutputSummary,
    Renewal,
};
use crate::domain::canonical::{Value, key_fits, text_fits};
use crate::domain::command::{self, Command, CompleteJob, Leased};
use crate::domain::event::Actor;
use crate::domain::job::{self, Artifact, AttemptLogs, Failure, OutputDigest};
use crate::domain::rejection::Code;
use crate::domain::state::View;
use crate::domain::{JobId, SecretName, TenantName};
use crate::engine::{Claim, CommandError, Handle, Reach, SubmitError, Wanted};
use crate::limits;
use crate::output::{AttemptSummary, StreamSummary};
use crate::secrets::{SecretValue, Secrets};

/// The engine as the runner sees it. Remembers which tenant each leased job belongs to.
#[derive(Debug)]
pub struct EngineLeases {
    engine: Handle,
    secrets: Arc<Secrets>,
    actor: Actor,
    worker: String,
    /// Guards the tenants of leased jobs; held for one look-up.
    tenants:
        std::sync::Mutex<std::collections::HashMap<JobId, (TenantName, Option<crate::domain::StepName>)>>,
}

impl EngineLeases {
    /// Claims as `worker`.
    pub fn new(engine: Handle, secrets: Arc<Secrets>, worker: &str) -> Arc<Self> {
        Arc::new(EngineLeases {
            engine,
            secrets,
            actor: Actor::worker(worker),
            worker: worker.to_owned(),
            tenants: std::sync::Mutex::default(),
        })
    }

    fn place(&self, job: JobId) -> Result<(TenantName, Option<crate::domain::StepName>), LeaseError> {
        let tenants = self
            .tenants
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        tenants.get(&job).cloned().ok_or(LeaseError::Stale)
    }

    fn remember(&self, leased: &Leased) {
        let mut tenants = self
            .tenants
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        tenants.insert(leased.job.id, (leased.tenant.clone(), leased.job.name.clone()));
    }

    fn forget(&self, job: JobId) {
        self.tenants
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .remove(&job);
    }

    /// The local runner reports a pack step as one step, which begins with the lease.
    async fn begin_steps(&self, granted: &[Leased]) -> Result<(), LeaseError> {
        for leased in granted {
            if let Some(step) = &leased.job.name {
                let start = Command::StartStep {
                    job: leased.job.id,
                    epoch: leased.job.epoch,
                    step: step.clone(),
                };
                self.engine
                    .submit(&leased.tenant, &self.actor, start)
                    .await
                    .map_err(lease_error)?;
            }
        }
        Ok(())
    }
}

/// The present value of a secret, or why there is none. Blocks on the disk.
fn one_secret(
    engine: &Handle,
    secrets: &Secrets,
    tenant: &TenantName,
    name: &SecretName,
) -> Result<SecretValue, String> {
    let mut looked_for = None;
    for _ in 0..limits::SECRET_LOOKS_MAX {
        let snapshot = engine.read().map_err(|error| error.to_string())?;
        let view: &dyn View = &snapshot.view(tenant);
        let row = view.secret(name).map_err(|error| error.to_string())?;
        let row = row.ok_or("it is not set")?;
        let value = secrets.get(tenant, name, row.version);
        match value.map_err(|error| error.to_string())? {
            Some(value) => return Ok(value),
            None if looked_for == Some(row.version) => break,
            // Set anew between the two looks: then there is a newer one.
            None => looked_for = Some(row.version),
        }
    }
    Err("its value is not there".to_owned())
}

impl Leases for EngineLeases {
    async fn claim(&self, ask: ClaimAsk) -> Result<Vec<LeasedJob>, LeaseError> {
        let claim = Claim {
            worker: ask.worker,
            reach: Reach::EveryTenant,
            wanted: Wanted {
                labels: std::collections::BTreeMap::new(),
                queues: ask.queues,
                types: ask.types,
            },
            max: ask.max,
            lease_ms: ask.lease_ms,
            wait_ms: ask.wait_ms.min(limits::RUNNER_CLAIM_WAIT_MS_MAX),
            token: None,
        };
        let system = TenantName::system();
        let answer = self
            .engine
            .trip(&system, &self.actor, Vec::new(), Some(claim))
            .await;
        let granted = answer
            .map_err(|error| LeaseError::Unavailable(error.to_string()))?
            .jobs;
        granted.iter().for_each(|leased| self.remember(leased));
        self.begin_steps(&granted).await?;
        Ok(granted.into_iter().map(leased_job).collect())
    }

    async fn heartbeat(&self, job: JobId, epoch: u64) -> Result<Renewal, LeaseError> {
        let (tenant, _) = self.place(job)?;
        let renewed = self
            .engine
            .renew(&tenant, job, epoch, &self.worker)
            .map_err(|_| LeaseError::Stale)?;
        Ok(Renewal {
            lease_until_ms: self
                .engine
                .clock()
                .wall_ms()
                .saturating_add(i64::try_from(renewed.lease_ms).unwrap_or(i64::MAX)),
            cancel_requested: renewed.cancel_requested,
            drain: false,
        })
    }

    async fn cancel_requested(&self, job: JobId, epoch: u64) {
        let mut feed = self.engine.feed().subscribe();
        // Asked for before the subscription began.
        if let Ok(Renewal {
            cancel_requested: true,
            ..
        }) = self.heartbeat(job, epoch).await
        {
            return;
        }
        loop {
            match feed.recv().await {
                Ok(batch) => {
                    let asked = |event: &crate::engine::Committed| {
                        event.job == Some(job) && event.type_name == "job.cancel_requested"
                    };
                    if batch.iter().any(asked) {
                        return;
                    }
                }
                // Too far behind: the next heartbeat tells.
                Err(_) => return std::future::pending().await,
            }
        }
    }

    async fn secrets(
        &self,
        job: JobId,
        names: Vec<SecretName>,
    ) -> Result<Vec<(SecretName, SecretValue)>, NoSecret> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.place(job);
        let (engine, secrets) = (self.engine.clone(), self.secrets.clone());
        let first = names[0].clone();
        let lost = move |reason: String| NoSecret { name: first, reason };
        let tenant = match place {
            Ok((tenant, _)) => tenant,
            Err(error) => return Err(lost(error.to_string())),
        };
        let read = tokio::task::spawn_blocking(move || {
            let one = |name: SecretName| match one_secret(&engine, &secrets, &tenant, &name) {
                Ok(value) => Ok((name, value)),
                Err(reason) => Err(NoSecret { name, reason }),
            };
            names.into_iter().map(one).collect()
        });
        read.await.unwrap_or_else(|error| Err(lost(error.to_string())))
    }

    async fn complete(
        &self,
        job: JobId,
        epoch: u64,
        outcome: Outcome,
        ended: OutputSummary,
    ) -> Result<(), LeaseError> {
        let (tenant, step) = self.place(job)?;
        let command = match outcome {
            Outcome::Interrupted => Command::ReleaseJob {
                job,
                epoch,
                reason: "interrupted".to_owned(),
                logs: ended.logs.as_ref().map(|logs| Box::new(logs_of(logs))),
            },
            outcome => Command::CompleteJob(Box::new(CompleteJob {
                job,
                epoch,
                outcome: outcome_of(outcome),
                artifacts: ended
                    .artifacts
                    .iter()
                    .map(|artifact| Artifact {
                        mime: artifact.mime.to_owned(),
                        name: artifact.name.clone(),
                        sha256: artifact.sha256,
                        size: artifact.bytes,
                    })
                    .collect(),
                exit_code: ended.exit_code,
                logs: ended.logs.as_ref().map(logs_of),
                step,
            })),
        };
        let result = self.engine.submit(&tenant, &self.actor, command).await;
        match result {
            Ok(_) => {
                self.forget(job);
                Ok(())
            }
            Err(error) => {
                let error = lease_error(error);
                if error == LeaseError::Stale {
                    self.forget(job);
                }
                Err(error)
            }
        }
    }
}

fn leased_job(leased: Leased) -> LeasedJob {
    let payload = match (&leased.payload.payload, &leased.payload.payload_text) {
        (Some(text), _) => Bytes::copy_from_slice(text.as_str().as_bytes()),
        (None, Some(text)) => Bytes::from(text.clone()),
        (None, None) => Bytes::from_static(b"null"),
    };
    LeasedJob {
        id: leased.job.id,
        run: leased.job.run,
        tenant: leased.tenant,
        step: leased.job.name,
        attempt: leased.job.attempt,
        epoch: leased.job.epoch,
        payload,
        needs: leased
            .needs
            .into_iter()
            .map(|(step, artifact)| NeededArtifact {
                step,
                name: artifact.name,
                sha256: artifact.sha256,
            })
            .collect(),
        cancel_requested: leased.job.cancel_requested.is_some(),
    }
}

fn outcome_of(outcome: Outcome) -> command::Outcome {
    match outcome {
        Outcome::Completed { outputs } => {
            if let Some((key, _)) = outputs
                .iter()
                .find(|(key, value)| !key_fits(key) || !text_fits(value))
            {
                let message = format!(
                    "output {key:?} cannot be recorded: a key is [A-Za-z0-9_.:-]{{1,64}}, and neither holds U+007F"
                );
                let failure = Failure {
                    class: job::FailureClass::SchemaMismatch,
                    code: Some("output_invalid".to_owned()),
                    message,
                    retryable: false,
                };
                return command::Outcome::Failed(failure, 0);
            }
            let object = outputs
                .into_iter()
                .map(|(key, value)| (key, Value::String(value)))
                .collect::<std::collections::BTreeMap<_, _>>();
            command::Outcome::Completed((!object.is_empty()).then_some(Value::Object(object)))
        }
        Outcome::Failed(failure) => {
            let class = match failure.class {
                FailureClass::Exit => job::FailureClass::Exit,
                FailureClass::Timeout => job::FailureClass::Timeout,
                FailureClass::Other => job::FailureClass::Other,
            };
            let failure = Failure {
                class,
                code: failure.code.map(str::to_owned),
                message: failure.message,
                retryable: failure.retryable,
            };
            command::Outcome::Failed(failure, 0)
        }
        Outcome::Cancelled | Outcome::Interrupted => command::Outcome::Cancelled,
    }
}

fn logs_of(summary: &AttemptSummary) -> AttemptLogs {
    AttemptLogs {
        index_sha256: summary.index,
        stderr: stream_of(&summary.stderr),
        stdout: stream_of(&summary.stdout),
    }
}

fn stream_of(stream: &StreamSummary) -> OutputDigest {
    OutputDigest {
        bytes: stream.bytes,
        lines: stream.lines,
        sha256: stream.sha256,
        truncated: stream.truncated,
    }
}

fn lease_error(error: CommandError) -> LeaseError {
    match error {
        CommandError::Rejected(rejection)
            if matches!(
                rejection.code,
                Code::StaleEpoch | Code::NotFound | Code::IllegalTransition
            ) =>
        {
            LeaseError::Stale
        }
        // A report that can never be recorded must not be tried for ever.
        CommandError::Rejected(rejection) => {
            tracing::error!(%rejection, "a report of the local runner was refused");
            LeaseError::Stale
        }
        CommandError::Failed(SubmitError::Stopped | SubmitError::Ended(_)) => LeaseError::Stale,
        CommandError::Failed(error) => LeaseError::Unavailable(error.to_string()),
    }
}
