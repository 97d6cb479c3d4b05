//! What may be recorded at all: bounds of fields and texts, whoever asks.
//!
//! Promises: what passes here makes events of canonical JSON, within their size. It must never look at the state.

use std::collections::BTreeMap;

use crate::domain::canonical::{key_fits, text_fits};
use crate::domain::command::{CompleteJob, Outcome, SubmitJob};
use crate::domain::idempotency::Idempotency;
use crate::domain::job::{Artifact, Job, JobSpec};
use crate::domain::rejection::{Code, Rejection};
use crate::limits;

/// Cuts text to what events hold, at a character.
pub(super) fn clip(text: &str) -> String {
    let clean: String = text.chars().filter(|character| *character != '\u{7f}').collect();
    clean[..clean.floor_char_boundary(limits::TEXT_BYTES_MAX)].to_owned()
}

/// Everything of a new job that does not depend on the state.
pub(super) fn check_submit(request: &SubmitJob) -> Result<(), Rejection> {
    check_spec(&request.spec)?;
    check_correlation(request.correlation_id.as_deref())?;
    check_idempotency(request.idempotency.as_ref())
}

pub(super) fn check_correlation(correlation_id: Option<&str>) -> Result<(), Rejection> {
    correlation_id.map_or(Ok(()), |text| {
        check_text("/correlationId", text, limits::LABEL_BYTES_MAX)
    })
}

pub(super) fn check_idempotency(given: Option<&Idempotency>) -> Result<(), Rejection> {
    let Some(given) = given else { return Ok(()) };
    let good = (1..=limits::IDEMPOTENCY_KEY_BYTES_MAX).contains(&given.key.len())
        && given.key.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        return Ok(());
    }
    let detail = format!(
        "1 to {} visible ASCII characters",
        limits::IDEMPOTENCY_KEY_BYTES_MAX
    );
    Err(Rejection::field(Code::InvalidField, "/idempotencyKey", detail))
}

fn check_spec(spec: &JobSpec) -> Result<(), Rejection> {
    check_label("/type", &spec.job_type)?;
    check_label("/queue", &spec.queue)?;
    if let Some(project) = &spec.project {
        check_label("/project", project)?;
    }
    if spec.priority > limits::PRIORITY_MAX {
        let detail = format!("a priority is 0 to {}", limits::PRIORITY_MAX);
        return Err(Rejection::field(Code::InvalidField, "/priority", detail));
    }
    check_pairs("/labels", &spec.labels)?;
    check_pairs("/requires", &spec.requires)?;
    if let Some(concurrency) = &spec.concurrency {
        check_label("/concurrency/key", &concurrency.key)?;
        let max = u64::from(limits::CONCURRENCY_MAX);
        check_range("/concurrency/limit", u64::from(concurrency.limit), 1, max)?;
    }
    let (delay_min, delay_max) = (limits::RETRY_DELAY_MS_MIN, limits::RETRY_DELAY_MS_MAX);
    check_range(
        "/retries/max",
        u64::from(spec.retries.max),
        0,
        u64::from(limits::RETRIES_MAX),
    )?;
    check_range(
        "/retries/initialMs",
        spec.retries.initial_ms,
        delay_min,
        delay_max,
    )?;
    check_range("/retries/capMs", spec.retries.cap_ms, delay_min, delay_max)?;
    check_range(
        "/timeoutMs",
        spec.timeout_ms,
        limits::TIMEOUT_MS_MIN,
        limits::TIMEOUT_MS_MAX,
    )
}

fn check_pairs(pointer: &str, pairs: &BTreeMap<String, String>) -> Result<(), Rejection> {
    if pairs.len() > limits::LABELS_MAX {
        let detail = format!("at most {} names", limits::LABELS_MAX);
        return Err(Rejection::field(Code::InvalidField, pointer, detail));
    }
    for (name, value) in pairs {
        if !key_fits(name) {
            let detail = format!("a name is [A-Za-z0-9_.:-]{{1,{}}}", limits::JSON_KEY_BYTES_MAX);
            return Err(Rejection::field(Code::InvalidField, pointer, detail));
        }
        check_label(&format!("{pointer}/{name}"), value)?;
    }
    Ok(())
}

/// Types, queues, projects, names of workers: 1 to 128 visible ASCII characters of a set without quotes and blanks.
///
/// # Errors
/// Too long, empty, or a character outside the set.
pub fn check_label(pointer: &str, text: &str) -> Result<(), Rejection> {
    let good = (1..=limits::LABEL_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.:-/@".contains(&byte));
    if good {
        return Ok(());
    }
    let detail = format!("1 to {} characters of [A-Za-z0-9_.:/@-]", limits::LABEL_BYTES_MAX);
    Err(Rejection::field(Code::InvalidField, pointer, detail))
}

pub(super) fn check_range(pointer: &str, value: u64, min: u64, max: u64) -> Result<(), Rejection> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Rejection::field(
        Code::InvalidField,
        pointer,
        format!("{value} is not within {min} to {max}"),
    ))
}

/// Free text of a bounded length that canonical JSON can hold.
pub(super) fn check_text(pointer: &str, text: &str, bytes_max: usize) -> Result<(), Rejection> {
    if text.len() <= bytes_max && text_fits(text) {
        return Ok(());
    }
    let detail = format!("at most {bytes_max} bytes without U+007F");
    Err(Rejection::field(Code::InvalidField, pointer, detail))
}

/// The texts and numbers of a report that events take over as they are.
pub(super) fn check_report(report: &CompleteJob) -> Result<(), Rejection> {
    if report.artifacts.len() > limits::ARTIFACTS_PER_STEP_MAX {
        let detail = format!("more than {} artifacts", limits::ARTIFACTS_PER_STEP_MAX);
        return Err(Rejection::field(Code::TooLarge, "/artifacts", detail));
    }
    for artifact in &report.artifacts {
        check_text("/artifacts", &artifact.mime, limits::LABEL_BYTES_MAX)?;
        check_range("/artifacts", artifact.size, 0, limits::JSON_INTEGER_MAX as u64)?;
    }
    if let Outcome::Failed(failure, _) = &report.outcome
        && let Some(code) = &failure.code
    {
        check_text("/error/code", code, limits::LABEL_BYTES_MAX)?;
    }
    Ok(())
}

/// Artifacts of one attempt: as many as there may be, each name once.
pub(super) fn check_artifacts(job: &Job, more: &[Artifact]) -> Result<(), Rejection> {
    if job.uploaded.len() + more.len() > limits::ARTIFACTS_PER_STEP_MAX {
        let detail = format!(
            "an attempt has at most {} artifacts",
            limits::ARTIFACTS_PER_STEP_MAX
        );
        return Err(Rejection::new(Code::LimitReached, detail));
    }
    for (index, artifact) in more.iter().enumerate() {
        let mut known = job.uploaded.iter().chain(&more[..index]);
        if known.any(|known| known.name == artifact.name) {
            let detail = format!("the attempt has an artifact {} with other content", artifact.name);
            return Err(Rejection::new(Code::NameTaken, detail));
        }
    }
    Ok(())
}
