//! Decisions about what a worker tells of an attempt at work: steps, artifacts, its own events.

use super::Draft;
use super::bounds::{check_artifacts, check_range, check_text, clip};
use crate::domain::JobId;
use crate::domain::command::{Reply, ReportStep, StepPhase};
use crate::domain::event::EventBody;
use crate::domain::job::{Artifact, Job};
use crate::domain::payload::{ArtifactCreated, StepEnded, StepStarted};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::report::{Report, XReported};
use crate::limits;

impl Draft<'_> {
    pub(super) fn report_step(&mut self, report: &ReportStep) -> Result<Reply, Refusal> {
        let job = self.leased(report.job, report.epoch)?;
        let (attempt, epoch, id) = (job.attempt, report.epoch, report.step.clone());
        let detail = report.detail.as_deref().map(clip);
        let ended = |detail| StepEnded {
            attempt,
            detail,
            epoch,
            exit_code: report.exit_code,
            id: id.clone(),
        };
        let body = match report.phase {
            StepPhase::Started if report.exit_code.is_some() => {
                let detail = "a step that begins has no exit code";
                return Err(Rejection::field(Code::InvalidField, "/exitCode", detail).into());
            }
            StepPhase::Started => EventBody::StepStarted(StepStarted {
                attempt,
                detail,
                epoch,
                id,
            }),
            StepPhase::Completed => EventBody::StepCompleted(ended(detail)),
            StepPhase::Failed => EventBody::StepFailed(ended(detail)),
        };
        self.emit_job(&job, body)?;
        Ok(Reply::Done)
    }

    /// The same content under the same name again is accepted and makes no event: then [`Reply::Done`] is answered.
    pub(super) fn add_artifact(
        &mut self,
        id: JobId,
        epoch: u64,
        artifact: &Artifact,
    ) -> Result<Reply, Refusal> {
        let job = self.leased(id, epoch)?;
        let same = |known: &Artifact| known.name == artifact.name && known.sha256 == artifact.sha256;
        if job.uploaded.iter().any(same) {
            return Ok(Reply::Done);
        }
        check_text("/mime", &artifact.mime, limits::LABEL_BYTES_MAX)?;
        check_range("/size", artifact.size, 0, limits::ARTIFACT_BYTES_MAX)?;
        check_artifacts(&job, std::slice::from_ref(artifact))?;
        let created = ArtifactCreated {
            artifact: artifact.clone(),
            attempt: job.attempt,
        };
        self.emit_job(&job, EventBody::ArtifactCreated(created))?;
        Ok(Reply::Job(Box::new(self.job_row(id)?)))
    }

    pub(super) fn record_report(&mut self, id: JobId, epoch: u64, report: &Report) -> Result<Reply, Refusal> {
        let job = self.leased(id, epoch)?;
        check(&job, report)?;
        let body = report.clone().into_body(job.attempt, epoch);
        self.emit_job(&job, body)?;
        Ok(Reply::Done)
    }
}

/// What events take over as it is: texts that canonical JSON holds, and numbers that everybody reads.
fn check(job: &Job, report: &Report) -> Result<(), Rejection> {
    let text = |pointer: &str, text: Option<&String>| match text {
        Some(text) if text.is_empty() => Err(Rejection::field(
            Code::InvalidField,
            pointer,
            "it must not be empty",
        )),
        Some(text) => check_text(pointer, text, limits::LABEL_BYTES_MAX),
        None => Ok(()),
    };
    let number =
        |pointer: &str, number: u64| check_range(pointer, number, 0, limits::JSON_INTEGER_MAX as u64);
    match report {
        Report::ToolCalled(called) => {
            text("/payload/tool", Some(&called.tool))?;
            text("/payload/model", called.model.as_ref())?;
            number("/payload/durationMs", called.duration_ms.unwrap_or(0))
        }
        Report::TokensUsed(used) => {
            text("/payload/model", Some(&used.model))?;
            number("/payload/inputTokens", used.input_tokens)?;
            number("/payload/outputTokens", used.output_tokens)?;
            number("/payload/cachedTokens", used.cached_tokens.unwrap_or(0))
        }
        Report::ArtifactCreated(made) => {
            text("/payload/model", made.model.as_ref())?;
            text("/payload/tool", made.tool.as_ref())?;
            let mut known = job.uploaded.iter();
            if known.any(|artifact| artifact.name == made.name && artifact.sha256 == made.sha256) {
                return Ok(());
            }
            let detail = "the attempt has no artifact of this name and digest: upload it first";
            Err(Rejection::field(Code::NotFound, "/payload/name", detail))
        }
        Report::Own(own) => check_own(own),
    }
}

fn check_own(own: &XReported) -> Result<(), Rejection> {
    let bytes = match (&own.payload, &own.payload_text) {
        (Some(text), None) => text.as_str().len(),
        (None, Some(text)) => text.len(),
        (None, None) => 0,
        (Some(_), Some(_)) => {
            let detail = "a payload is a value or a text";
            return Err(Rejection::field(Code::InvalidField, "/payload", detail));
        }
    };
    if bytes > limits::REPORT_BYTES_MAX {
        let detail = format!("a payload has at most {} bytes", limits::REPORT_BYTES_MAX);
        return Err(Rejection::field(Code::TooLarge, "/payload", detail));
    }
    Ok(())
}
