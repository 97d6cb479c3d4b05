//! Where a step of a run stands, whichever way it is done: by a job, by one for each item of a list, or by none.

use serde::{Deserialize, Serialize};

use super::canonical::Value;
use super::job::{Job, JobStatus};
use super::run::{GraphNode, NodeEnd, RunNode};
use super::state::{Unavailable, View};
use super::{RunId, StepName};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// What it needs has not ended, or it is held.
    Pending,
    /// Eligible.
    Scheduled,
    /// Under a lease.
    Running,
    /// A gate that asks persons.
    Waiting,
    /// Ended well.
    Completed,
    /// Failed; for good, or until its retry.
    Failed,
    /// Ended without success or failure.
    Cancelled,
    /// Nothing was to be done.
    Skipped,
}

impl StepStatus {
    /// The name as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            StepStatus::Pending => "pending",
            StepStatus::Scheduled => "scheduled",
            StepStatus::Running => "running",
            StepStatus::Waiting => "waiting",
            StepStatus::Completed => "completed",
            StepStatus::Failed => "failed",
            StepStatus::Cancelled => "cancelled",
            StepStatus::Skipped => "skipped",
        }
    }

    /// What needs it may go on.
    pub const fn is_good(self) -> bool {
        matches!(self, StepStatus::Completed | StepStatus::Skipped)
    }
}

impl From<JobStatus> for StepStatus {
    fn from(status: JobStatus) -> Self {
        match status {
            JobStatus::Pending => StepStatus::Pending,
            JobStatus::Scheduled => StepStatus::Scheduled,
            JobStatus::Running => StepStatus::Running,
            JobStatus::Completed => StepStatus::Completed,
            JobStatus::Failed => StepStatus::Failed,
            JobStatus::Cancelled => StepStatus::Cancelled,
        }
    }
}

impl From<NodeEnd> for StepStatus {
    fn from(end: NodeEnd) -> Self {
        match end {
            NodeEnd::Cancelled => StepStatus::Cancelled,
            NodeEnd::Failed => StepStatus::Failed,
            NodeEnd::Passed => StepStatus::Completed,
            NodeEnd::Skipped => StepStatus::Skipped,
        }
    }
}

/// A step as it stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The jobs that do it: none, one, or one for each item of its list.
    pub jobs: Vec<Job>,
    /// What it waits for, and how it ended without a job.
    pub node: RunNode,
    /// Where it stands.
    pub status: StepStatus,
}

impl Standing {
    /// Looks the step at `index` of a run up. Its job, when it is that of an earlier run, is looked up in `earlier`.
    ///
    /// # Errors
    /// [`Unavailable`] when a row cannot be read.
    pub fn of(
        view: &dyn View,
        earlier: &dyn View,
        run: RunId,
        place: (u32, &GraphNode),
    ) -> Result<Standing, Unavailable> {
        let (index, place) = place;
        let node = view.node(run, index)?.unwrap_or_default();
        let from = if place.reused { earlier } else { view };
        let mut jobs = Vec::with_capacity(node.jobs.len().max(1));
        if node.jobs.is_empty() {
            jobs.extend(from.job(place.job)?);
        }
        for job in &node.jobs {
            jobs.extend(from.job(*job)?);
        }
        let status = match (node.end, jobs.as_slice()) {
            (Some(end), _) => StepStatus::from(end),
            (None, []) if node.gate.is_some() => StepStatus::Waiting,
            (None, []) => StepStatus::Pending,
            (None, [job]) if node.jobs.is_empty() => StepStatus::from(job.status),
            (None, jobs) => together(jobs),
        };
        Ok(Standing { jobs, node, status })
    }

    /// The one job that does it, when there is one.
    pub fn job(&self) -> Option<&Job> {
        if self.node.jobs.is_empty() {
            self.jobs.first()
        } else {
            None
        }
    }

    /// It is mapped, and its jobs are known.
    pub fn is_mapped(&self) -> bool {
        !self.node.jobs.is_empty()
    }

    /// Nothing can happen to it any more.
    pub fn has_ended(&self) -> bool {
        let by_jobs =
            !self.jobs.is_empty() && self.node.open_jobs == 0 && self.jobs.iter().all(Job::is_terminal);
        self.node.end.is_some() || by_jobs
    }

    /// It is known what it comes to, or persons are asked.
    pub fn is_worked_out(&self) -> bool {
        self.node.end.is_some() || !self.jobs.is_empty() || self.node.gate.is_some()
    }

    /// It is a gate that asks persons.
    pub fn asks(&self) -> bool {
        self.node.end.is_none() && self.node.gate.is_some()
    }

    /// What it handed on: an object; of a mapped step a list of them; of one without a job an empty object.
    pub fn outputs(&self) -> Value {
        let of = |job: &Job| {
            let output = job.output.clone();
            output.unwrap_or_else(|| Value::Object(Default::default()))
        };
        if self.is_mapped() {
            return Value::Array(self.jobs.iter().map(of).collect());
        }
        self.jobs
            .first()
            .map_or_else(|| Value::Object(Default::default()), of)
    }
}

/// Where a mapped step stands, by its jobs.
fn together(jobs: &[Job]) -> StepStatus {
    let any = |status: JobStatus| jobs.iter().any(|job| job.status == status);
    if !jobs.iter().all(Job::is_terminal) {
        return match (any(JobStatus::Running), any(JobStatus::Pending)) {
            (true, _) => StepStatus::Running,
            (false, true) => StepStatus::Pending,
            (false, false) => StepStatus::Scheduled,
        };
    }
    match (any(JobStatus::Failed), any(JobStatus::Cancelled)) {
        (true, _) => StepStatus::Failed,
        (false, true) => StepStatus::Cancelled,
        (false, false) => StepStatus::Completed,
    }
}

/// The name of the job that does one item of a mapped step. None when it would be too long.
pub fn item_name(step: &StepName, item: usize) -> Option<StepName> {
    format!("{step}[{item}]").parse().ok()
}
