//! Trips to the writer and back. What comes back with a lease has its redacted fields again.
//!
//! Promises: a payload is whole for whoever holds the lease, and for nobody else; a lease whose payload cannot be made whole is
//! ended with a failure that says why, and is not handed out.

use std::sync::mpsc::TrySendError;

use tokio::sync::oneshot;

use super::request::{self, Answer, Claim, Receipt, SubmitError};
use super::thread::Message;
use super::{CommandError, Handle};
use crate::disclosures::Disclosures;
use crate::domain::TenantName;
use crate::domain::canonical::{CanonicalText, Value, parse};
use crate::domain::command::{Command, CompleteJob, Leased, Outcome};
use crate::domain::event::Actor;
use crate::domain::job::{Failure, FailureClass};
use crate::domain::redaction::{disclose, references};
use crate::limits;

/// A lease that is not handed out, and what ends it.
struct Withheld {
    leased: Leased,
    end: Command,
}

impl Handle {
    /// Brings one command to the writer and waits until its outcome is durable.
    ///
    /// # Errors
    /// [`CommandError::Rejected`]: nothing changed. [`SubmitError::OutcomeUnknown`]: it may have.
    pub async fn submit(
        &self,
        tenant: &TenantName,
        actor: &Actor,
        command: Command,
    ) -> Result<Receipt, CommandError> {
        let mut answer = self.trip(tenant, actor, vec![command], None).await?;
        match answer.results.pop() {
            Some(result) => Ok(result?),
            None => Err(SubmitError::Stopped.into()),
        }
    }

    /// Brings commands of one tenant to the writer, and a claim after them, as one batch. Whoever gets a lease gets the payload
    /// whole; there is no other way to one.
    ///
    /// # Errors
    /// [`SubmitError`]; single commands are rejected in their own results.
    pub async fn trip(
        &self,
        tenant: &TenantName,
        actor: &Actor,
        commands: Vec<Command>,
        claim: Option<Claim>,
    ) -> Result<Answer, SubmitError> {
        let answer = self.send(tenant, actor, commands, claim).await?;
        self.with_whole_payloads(answer).await
    }

    async fn send(
        &self,
        tenant: &TenantName,
        actor: &Actor,
        commands: Vec<Command>,
        claim: Option<Claim>,
    ) -> Result<Answer, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let request = request::Request {
            tenant: tenant.clone(),
            actor: actor.clone(),
            commands,
            claim,
            reply,
        };
        match self.threads.queue().try_send(Message::Request(Box::new(request))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(SubmitError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(self.shared.ended()),
        }
        answer.await.unwrap_or_else(|_| Err(self.shared.unanswered()))
    }

    /// Puts the redacted fields of what was leased back.
    async fn with_whole_payloads(&self, mut answer: Answer) -> Result<Answer, SubmitError> {
        if answer
            .jobs
            .iter()
            .all(|leased| leased.payload.disclosures.is_none())
        {
            return Ok(answer);
        }
        let (jobs, disclosures) = (std::mem::take(&mut answer.jobs), self.shared.disclosures.clone());
        let joined = tokio::task::spawn_blocking(move || make_whole(&disclosures, jobs)).await;
        let (whole, withheld) = joined.map_err(|error| SubmitError::OutcomeUnknown(error.to_string()))?;
        answer.jobs = whole;
        for Withheld { leased, end } in withheld {
            let worker = leased.job.lease.as_ref().map_or("", |lease| &lease.worker);
            let actor = Actor::worker(worker);
            // Where this is refused, the lease has ended by itself.
            if let Err(error) = self.send(&leased.tenant, &actor, vec![end], None).await {
                tracing::warn!(job = %leased.job.id, %error, "a lease without payload was not ended");
            }
        }
        Ok(answer)
    }
}

/// Those whose payload is whole, and those that are not handed out.
fn make_whole(disclosures: &Disclosures, jobs: Vec<Leased>) -> (Vec<Leased>, Vec<Withheld>) {
    let (mut whole, mut withheld, mut bytes) = (Vec::new(), Vec::new(), 0);
    for mut leased in jobs {
        let (job, epoch) = (leased.job.id, leased.job.epoch);
        // What is handed out at once is bounded by what the payloads come to, too.
        if bytes >= limits::CLAIM_BYTES_MAX {
            let end = Command::ReleaseJob {
                job,
                epoch,
                reason: "claim_full".to_owned(),
                logs: None,
            };
            withheld.push(Withheld { leased, end });
            continue;
        }
        match join(disclosures, &leased) {
            Ok(payload) => {
                leased.payload.payload = payload.or(leased.payload.payload);
                leased.payload.disclosures = None;
                bytes += leased.payload.weight();
                whole.push(leased);
            }
            Err(why) => {
                tracing::error!(tenant = %leased.tenant, %job, why, "a payload cannot be made whole");
                let failure = Failure {
                    class: FailureClass::Other,
                    code: Some("disclosure_missing".to_owned()),
                    message: format!("its redacted fields cannot be put back: {why}"),
                    retryable: true,
                };
                let end = Command::CompleteJob(Box::new(CompleteJob {
                    job,
                    epoch,
                    outcome: Outcome::Failed(failure, 0),
                    artifacts: Vec::new(),
                    exit_code: None,
                    logs: None,
                    step: None,
                }));
                withheld.push(Withheld { leased, end });
            }
        }
    }
    (whole, withheld)
}

/// The payload with its redacted fields; none when it has no such fields.
fn join(disclosures: &Disclosures, leased: &Leased) -> Result<Option<CanonicalText>, String> {
    let (Some(with), Some(text)) = (leased.payload.disclosures, &leased.payload.payload) else {
        return Ok(None);
    };
    whole(disclosures, &leased.tenant, with, text).map(Some)
}

/// A redacted object with all of its fields put back.
///
/// # Errors
/// Why there are fields that cannot be; names no value.
pub fn whole(
    disclosures: &Disclosures,
    tenant: &TenantName,
    with: crate::domain::Seq,
    redacted: &CanonicalText,
) -> Result<CanonicalText, String> {
    let mut value: Value = parse(redacted.as_str().as_bytes()).map_err(|error| error.to_string())?;
    let named = references(&value).map_err(|error| error.to_string())?;
    let mut found = disclosures.get(tenant, with).map_err(|error| error.to_string())?;
    let digests: std::collections::BTreeSet<_> = named.into_iter().flat_map(|(_, digests)| digests).collect();
    found
        .disclosures
        .retain(|disclosure| digests.contains(&disclosure.digest()));
    if found.disclosures.len() < digests.len() {
        return Err(format!(
            "{} of {} disclosures kept with event {with} are there, {} were erased",
            found.disclosures.len(),
            digests.len(),
            found.erased
        ));
    }
    disclose(&mut value, &found.disclosures).map_err(|error| error.to_string())?;
    Ok(CanonicalText::of(&value))
}
