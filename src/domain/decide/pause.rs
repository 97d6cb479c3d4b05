//! Decisions about pauses: when a run may be held up, and what ends that.
//!
//! A pause is a flag. It keeps jobs from being started and changes the state of none: what runs goes on, gates may be
//! answered, retries and times come due, and the run's own time goes on counting.

use super::Draft;
use super::bounds::clip;
use crate::domain::RunId;
use crate::domain::command::Reply;
use crate::domain::event::EventBody;
use crate::domain::payload::{RunPaused, RunResumed};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::Run;

impl Draft<'_> {
    pub(super) fn pause_run(&mut self, id: RunId, reason: &str) -> Result<Reply, Refusal> {
        let run = self.run_row(id)?;
        refuse_ended(&run, "paused")?;
        if run.paused.is_some() {
            return Err(Rejection::new(Code::RunPaused, "the run is paused already").into());
        }
        if run.is_stopping() {
            let detail = "a run that is being stopped cannot be paused";
            return Err(Rejection::new(Code::IllegalTransition, detail).into());
        }
        let reason = clip(reason);
        self.emit_run(&run, EventBody::RunPaused(RunPaused { reason }))?;
        self.reply_run(id)
    }

    pub(super) fn resume_run(&mut self, id: RunId, reason: &str) -> Result<Reply, Refusal> {
        let run = self.run_row(id)?;
        refuse_ended(&run, "resumed")?;
        if run.paused.is_none() {
            return Err(Rejection::new(Code::RunNotPaused, "the run is not paused").into());
        }
        self.end_pause(&run, &clip(reason))?;
        self.reply_run(id)
    }

    /// What is to be stopped must be able to end: jobs marked `always` still run.
    pub(super) fn end_pause(&mut self, run: &Run, reason: &str) -> Result<(), Refusal> {
        if run.paused.is_none() {
            return Ok(());
        }
        let reason = reason.to_owned();
        self.emit_run(run, EventBody::RunResumed(RunResumed { reason }))
    }
}

fn refuse_ended(run: &Run, what: &str) -> Result<(), Rejection> {
    if run.status.is_terminal() {
        let detail = format!("a run that is {} cannot be {what}", run.status.as_str());
        return Err(Rejection::new(Code::IllegalTransition, detail));
    }
    Ok(())
}
