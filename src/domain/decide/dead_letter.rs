//! Decisions about dead letters: they come with the last failure, and go by retry, replay or a note.

use super::Draft;
use super::bounds::clip;
use crate::domain::JobId;
use crate::domain::command::Reply;
use crate::domain::dead_letter::{Fingerprint, Resolution, pattern};
use crate::domain::event::EventBody;
use crate::domain::job::{Failure, Job};
use crate::domain::payload::{DeadLetterCreated, DeadLetterResolved};
use crate::domain::rejection::{Code, Refusal, Rejection};

impl Draft<'_> {
    pub(super) fn open_letter(&mut self, job: &Job, failure: &Failure) -> Result<(), Refusal> {
        let pattern = pattern(&failure.message);
        let created = DeadLetterCreated {
            fingerprint: Fingerprint::of(failure.class, &job.spec.job_type, &pattern),
            pattern,
        };
        self.emit_job(job, EventBody::DeadLetterCreated(created))
    }

    /// Resolves the letter of a job, when it has an open one.
    pub(super) fn resolve_open_letter(
        &mut self,
        job: &Job,
        how: Resolution,
        note: &str,
    ) -> Result<(), Refusal> {
        let letter = self.read(|view| view.dead_letter(job.id))?;
        if letter.is_none_or(|letter| letter.resolved.is_some()) {
            return Ok(());
        }
        let note = note.to_owned();
        self.emit_job(
            job,
            EventBody::DeadLetterResolved(DeadLetterResolved { how, note }),
        )
    }

    pub(super) fn replay_letter(&mut self, id: JobId, reason: &str) -> Result<Reply, Refusal> {
        self.open_letter_of(id)?;
        self.replay_job(id, reason, None)
    }

    /// Refuses a job that has no letter, or whose letter somebody else has seen to.
    fn open_letter_of(&self, id: JobId) -> Result<(), Refusal> {
        let letter = self.read(|view| view.dead_letter(id))?;
        let letter = letter.ok_or_else(|| Rejection::not_found("dead letter"))?;
        if letter.resolved.is_some() {
            return Err(Rejection::new(Code::IllegalTransition, "the dead letter is resolved").into());
        }
        Ok(())
    }

    pub(super) fn resolve_letter(
        &mut self,
        id: JobId,
        how: Resolution,
        note: &str,
    ) -> Result<Reply, Refusal> {
        self.open_letter_of(id)?;
        let job = self.job_row(id)?;
        self.resolve_open_letter(&job, how, &clip(note))?;
        self.reply_job(id)
    }
}
