//! A run: one execution of a graph of jobs. A pack run is a run made from a pack version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::canonical::Value;
use super::{Digest, JobId, OrderId, PackName, RunId, Seq, StepName, Timestamp};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Nothing has started.
    Pending,
    /// At least one job has started, and not all have ended.
    Running,
    /// Only gates are left.
    Waiting,
    /// Every job completed or was skipped.
    Completed,
    /// A failure, and at least one completed job that is not marked `always`.
    PartiallyFailed,
    /// A failure, and no such job.
    Failed,
    /// Ended by request.
    Cancelled,
}

impl RunStatus {
    /// Every state.
    pub const ALL: [RunStatus; 7] = [
        RunStatus::Pending,
        RunStatus::Running,
        RunStatus::Waiting,
        RunStatus::Completed,
        RunStatus::PartiallyFailed,
        RunStatus::Failed,
        RunStatus::Cancelled,
    ];

    /// The name as it is recorded.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunStatus::Pending => "pending",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Completed => "completed",
            RunStatus::PartiallyFailed => "partially_failed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }

    /// Nothing can happen to it any more.
    pub const fn is_terminal(self) -> bool {
        match self {
            RunStatus::Pending | RunStatus::Running | RunStatus::Waiting => false,
            RunStatus::Completed | RunStatus::PartiallyFailed | RunStatus::Failed | RunStatus::Cancelled => {
                true
            }
        }
    }

    /// The one table of legal transitions.
    pub const fn may_become(self, next: RunStatus) -> bool {
        match self {
            RunStatus::Pending => !matches!(next, RunStatus::Pending),
            RunStatus::Running => !matches!(next, RunStatus::Pending | RunStatus::Running),
            RunStatus::Waiting => !matches!(next, RunStatus::Pending | RunStatus::Waiting),
            RunStatus::Completed | RunStatus::PartiallyFailed | RunStatus::Failed | RunStatus::Cancelled => {
                false
            }
        }
    }
}

/// Which pack version a run was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackReference {
    /// Name of the pack.
    pub name: PackName,
    /// SHA-256 of its canonical normalised graph.
    pub plan_hash: Digest,
    /// Version, from 1.
    pub version: u32,
}

/// One job of a graph, as recorded in `run.created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GraphNode {
    /// The job that stands here.
    pub job: JobId,
    /// What it comes to is worked out when all it needs has ended: the job comes into being then, or others in its stead,
    /// or none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub later: bool,
    /// Unique within the run.
    pub name: StepName,
    /// Indexes of the nodes that must end first; ascending, all of other nodes, without a cycle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<u32>,
    /// The job is that of an earlier run, whose end counts here too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reused: bool,
}

/// The graph of a run, with the edges also turned round. Written once, by `run.created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunGraph {
    /// For each node, who waits for it.
    pub dependents: Vec<Vec<u32>>,
    /// The nodes, in the order of the pack's steps.
    pub nodes: Vec<GraphNode>,
}

impl RunGraph {
    /// Turns the edges round. Needs that point outside are left out; `run.created` is refused for them before.
    pub fn new(nodes: Vec<GraphNode>) -> Self {
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            for need in &node.needs {
                if let Some(list) = dependents.get_mut(*need as usize) {
                    list.push(index as u32);
                }
            }
        }
        RunGraph { dependents, nodes }
    }

    /// Node indexes such that each stands behind all it needs, or the nodes left over when there is a cycle.
    pub fn order(&self) -> Result<Vec<u32>, Vec<u32>> {
        let mut open: Vec<usize> = self.nodes.iter().map(|node| node.needs.len()).collect();
        let mut order: Vec<u32> = (0..self.nodes.len() as u32)
            .filter(|index| open[*index as usize] == 0)
            .collect();
        let mut at = 0;
        while at < order.len() {
            for dependent in &self.dependents[order[at] as usize] {
                open[*dependent as usize] -= 1;
                if open[*dependent as usize] == 0 {
                    order.push(*dependent);
                }
            }
            at += 1;
        }
        if order.len() == self.nodes.len() {
            return Ok(order);
        }
        Err((0..self.nodes.len() as u32)
            .filter(|index| open[*index as usize] > 0)
            .collect())
    }
}

/// How a node ended for which no job did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEnd {
    /// Before it was worked out: the run was stopped, or what it needs did not complete.
    Cancelled,
    /// Its expressions came to nothing that could stand there, or it is a gate that was not passed.
    Failed,
    /// A gate that lets the run go on.
    Passed,
    /// Nothing was to be done.
    Skipped,
}

impl NodeEnd {
    /// The name as it is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            NodeEnd::Cancelled => "cancelled",
            NodeEnd::Failed => "failed",
            NodeEnd::Passed => "passed",
            NodeEnd::Skipped => "skipped",
        }
    }
}

/// Where a node stands, besides its job: how many needs are open, which changes with the events of *other* jobs, and what
/// it came to when that is known later than the graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunNode {
    /// How it ended without a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<NodeEnd>,
    /// When it ended without a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// A gate that asks persons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<AskedGate>,
    /// The jobs of a mapped step, in the order of its list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobId>,
    /// Of them have not ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open_jobs: u32,
    /// Needs that have not ended.
    pub open_needs: u32,
    /// Why it ended without a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A gate that asks persons, and what they said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskedGate {
    /// Those who approved, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// How many have to.
    pub approvers: u32,
    /// What they approve.
    pub binding: Digest,
    /// Since when it asks.
    pub started_at: Timestamp,
}

/// What one person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// When.
    pub at: Timestamp,
    /// The person behind the token.
    pub person: String,
    /// Why.
    pub reason: String,
}

/// By reference, as serde asks.
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How many jobs of a run stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunCounts {
    /// Cancelled.
    pub cancelled: u32,
    /// Completed, `always` ones included.
    pub completed: u32,
    /// Completed and not marked `always`.
    pub completed_main: u32,
    /// Terminally failed.
    pub failed: u32,
    /// Running now.
    pub running: u32,
    /// Steps for which nothing was to be done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u32,
    /// All jobs of the graph; a mapped step counts as one until its jobs are known.
    pub total: u32,
    /// Gates that ask persons now; not among the ended ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting: u32,
}

impl RunCounts {
    /// Jobs that have ended.
    pub const fn ended(&self) -> u32 {
        self.cancelled + self.completed + self.failed + self.skipped
    }
}

/// A run as the ledger says it stands. A pure function of the events that name it; one line of `runs.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// Why cancelling was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<String>,
    /// Ties what belongs together across runs and systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// How many jobs stand where.
    pub counts: RunCounts,
    /// When it was created.
    pub created_at: Timestamp,
    /// The event with which the disclosures of its sensitive inputs are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosures: Option<Seq>,
    /// When it became terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Digests of the variables in which its steps get sensitive inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_sd: Vec<String>,
    /// Identity, drawn when it was created.
    pub id: RunId,
    /// Inputs after defaults were filled in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Value>,
    /// Most of its jobs that may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// The work order that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// The pack version it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<PackReference>,
    /// Why nothing more of it starts, while that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The run whose work it does again, in whole or in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<RunId>,
    /// The person who started it, who does not count at its gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// The last event that names it.
    pub seq: Seq,
    /// When its first job started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Where it stands.
    pub status: RunStatus,
    /// True once it ran longer than allowed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// Longest time from creation to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl Run {
    /// Bytes that what may be large of it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let inputs = self
            .inputs
            .iter()
            .map(|(name, value)| name.len() + value.weight());
        inputs.sum::<usize>() + self.env_sd.iter().map(String::len).sum::<usize>()
    }

    /// It was cancelled or timed out: what is left of it ends, and nothing but `always` jobs starts.
    pub const fn is_stopping(&self) -> bool {
        self.cancel_requested.is_some() || self.timed_out
    }

    /// The terminal state that its counts call for, once every job has ended.
    pub fn outcome(&self) -> RunStatus {
        if self.cancel_requested.is_some() {
            RunStatus::Cancelled
        } else if self.counts.failed == 0 && self.counts.cancelled == 0 && !self.timed_out {
            RunStatus::Completed
        } else if self.counts.completed_main > 0 {
            RunStatus::PartiallyFailed
        } else {
            RunStatus::Failed
        }
    }
}
