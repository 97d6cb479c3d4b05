//! What the events of dead letters change: the letter, and the error cluster it belongs to.

use super::{ApplyError, Fold};
use crate::domain::JobId;
use crate::domain::dead_letter::{DeadLetter, ErrorCluster, Fingerprint, Resolution, Resolved};
use crate::domain::job::{Failure, Job, JobStatus};
use crate::domain::payload::{DeadLetterCreated, DeadLetterResolved, DeadLettersReplayed};
use crate::domain::state::{Key, Row};

/// What is noted with letters whose run is replayed.
const RUN_REPLAYED: &str = "the run is replayed";

impl Fold<'_> {
    pub(super) fn dead_letter_created(&mut self, payload: &DeadLetterCreated) -> Result<(), ApplyError> {
        let job = self.job()?;
        let Some(failure) = job
            .failure
            .clone()
            .filter(|_| job.status == JobStatus::Failed && job.is_terminal())
        else {
            return Err(self.illegal("the job has not failed for good"));
        };
        let known = self.with(|view| view.dead_letter(job.id))?;
        if known.is_some_and(|letter| letter.resolved.is_none()) {
            return Err(self.illegal("the job has an open dead letter"));
        }
        self.count_letter(&job, &failure, payload)?;
        let letter = DeadLetter {
            attempt: job.attempt,
            created_at: self.event.at,
            failure,
            fingerprint: payload.fingerprint.clone(),
            job: job.id,
            job_type: job.spec.job_type.clone(),
            resolved: None,
            run: job.run,
            seq: self.event.seq,
            step: job.name.clone(),
        };
        self.changes.put(Key::DeadLetter(job.id), Row::DeadLetter(letter));
        self.put_job(job)
    }

    fn count_letter(
        &mut self,
        job: &Job,
        failure: &Failure,
        payload: &DeadLetterCreated,
    ) -> Result<(), ApplyError> {
        let fingerprint = &payload.fingerprint;
        if Fingerprint::of(failure.class, &job.spec.job_type, &payload.pattern) != *fingerprint {
            return Err(self.illegal("the fingerprint is not that of the failure"));
        }
        let known = self.with(|view| view.cluster(fingerprint))?;
        let mut cluster = known.unwrap_or_else(|| ErrorCluster {
            class: failure.class,
            fingerprint: fingerprint.clone(),
            first_at: self.event.at,
            job_type: job.spec.job_type.clone(),
            last_at: self.event.at,
            open: 0,
            pattern: payload.pattern.clone(),
            total: 0,
        });
        cluster.last_at = self.event.at;
        cluster.open += 1;
        cluster.total += 1;
        self.changes
            .put(Key::Cluster(fingerprint.clone()), Row::Cluster(cluster));
        Ok(())
    }

    pub(super) fn dead_letter_resolved(&mut self, payload: &DeadLetterResolved) -> Result<(), ApplyError> {
        let job = self.job()?;
        self.close_letter(job.id, payload.how, &payload.note)?;
        self.put_job(job)
    }

    pub(super) fn dead_letters_replayed(&mut self, payload: &DeadLettersReplayed) -> Result<(), ApplyError> {
        for job in &payload.jobs {
            let run = self.close_letter(*job, Resolution::Replayed, RUN_REPLAYED)?.run;
            if run.is_none() || run != self.event.subject.run {
                return Err(self.illegal("the dead letter is of another run"));
            }
        }
        self.touch_run()
    }

    fn close_letter(&mut self, job: JobId, how: Resolution, note: &str) -> Result<DeadLetter, ApplyError> {
        let known = self.with(|view| view.dead_letter(job))?;
        let Some(mut letter) = known.filter(|letter| letter.resolved.is_none()) else {
            return Err(self.illegal("the job has no open dead letter"));
        };
        let known = self.with(|view| view.cluster(&letter.fingerprint))?;
        let Some(mut cluster) = known.filter(|cluster| cluster.open > 0) else {
            return Err(self.illegal("the dead letter is in no cluster"));
        };
        cluster.open -= 1;
        letter.resolved = Some(Resolved {
            at: self.event.at,
            by: self.event.actor.id.clone(),
            how,
            note: note.to_owned(),
        });
        letter.seq = self.event.seq;
        self.changes
            .put(Key::Cluster(cluster.fingerprint.clone()), Row::Cluster(cluster));
        self.changes
            .put(Key::DeadLetter(job), Row::DeadLetter(letter.clone()));
        Ok(letter)
    }
}
