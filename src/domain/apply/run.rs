//! What events change about a run: its graph, what its nodes still wait for, its counts, its end.
//!
//! Promises: the counts of a run equal the states of its jobs after each event, and a run ends only as its counts say.
//! It must never count a job twice, or open a need twice.

use super::{ApplyError, Fold};
use crate::domain::RunId;
use crate::domain::event::ActorKind;
use crate::domain::job::Job;
use crate::domain::payload::{RunCancelRequested, RunCreated, RunEnded, RunPaused};
use crate::domain::run::{Run, RunCounts, RunGraph, RunNode, RunStatus};
use crate::domain::state::{Key, Row};

impl Fold<'_> {
    pub(super) fn run_created(&mut self, payload: &RunCreated) -> Result<(), ApplyError> {
        let id = self.run_id()?;
        self.refuse_existing(&Key::Run(id))?;
        self.check_kept_with(payload.disclosures)?;
        let total = payload.graph.len() as u32;
        if payload
            .graph
            .iter()
            .flat_map(|node| &node.needs)
            .any(|need| *need >= total)
        {
            return Err(self.illegal("a need points outside the graph"));
        }
        let graph = RunGraph::new(payload.graph.clone());
        if graph.order().is_err() {
            return Err(self.illegal("the graph has a cycle"));
        }
        let is_open = |need: &&u32| !graph.nodes[**need as usize].reused;
        for (index, node) in graph.nodes.iter().enumerate() {
            let row = RunNode {
                open_needs: node.needs.iter().filter(is_open).count() as u32,
                ..RunNode::default()
            };
            self.changes.put(Key::Node(id, index as u32), Row::Node(row));
        }
        let reused = graph.nodes.iter().filter(|node| node.reused).count() as u32;
        if reused == total || reused > 0 && payload.replay_of.is_none() {
            return Err(self.illegal("it does nothing, or takes jobs of no earlier run"));
        }
        self.changes.put(Key::Graph(id), Row::Graph(graph));
        self.keep_request(payload.idempotency.as_ref())?;
        self.put_run(Run {
            cancel_requested: None,
            correlation_id: self.event.correlation_id.clone(),
            counts: RunCounts {
                completed: reused,
                completed_main: reused,
                total,
                ..RunCounts::default()
            },
            created_at: self.event.at,
            disclosures: payload.disclosures,
            ended_at: None,
            env_sd: payload.env_sd.clone(),
            id,
            inputs: payload.inputs.clone(),
            max_parallel: payload.max_parallel,
            order_id: payload.order_id,
            pack: payload.pack.clone(),
            paused: None,
            replay_of: payload.replay_of,
            requester: (self.event.actor.kind == ActorKind::Person).then(|| self.event.actor.id.clone()),
            seq: self.event.seq,
            started_at: None,
            status: RunStatus::Pending,
            timed_out: false,
            timeout_ms: payload.timeout_ms,
        });
        Ok(())
    }

    pub(super) fn run_started(&mut self) -> Result<(), ApplyError> {
        let mut run = self.run_row()?;
        let goes_on = run.status == RunStatus::Running || run.status.may_become(RunStatus::Running);
        if !goes_on || run.started_at.is_some() {
            return Err(self.illegal("the run has started before, or has ended"));
        }
        run.status = RunStatus::Running;
        run.started_at = Some(self.event.at);
        self.put_run(run);
        Ok(())
    }

    pub(super) fn run_waiting(&mut self) -> Result<(), ApplyError> {
        let mut run = self.run_in(RunStatus::Waiting)?;
        if run.counts.waiting == 0 || run.counts.running > 0 {
            return Err(self.illegal("no gate asks, or jobs are running"));
        }
        run.status = RunStatus::Waiting;
        self.put_run(run);
        Ok(())
    }

    pub(super) fn run_continued(&mut self) -> Result<(), ApplyError> {
        let mut run = self.run_row()?;
        if run.status != RunStatus::Waiting {
            return Err(self.illegal("the run does not wait"));
        }
        run.status = RunStatus::Running;
        self.put_run(run);
        Ok(())
    }

    pub(super) fn run_paused(&mut self, payload: &RunPaused) -> Result<(), ApplyError> {
        let mut run = self.run_row()?;
        if run.status.is_terminal() || run.is_stopping() || run.paused.is_some() {
            return Err(self.illegal("the run has ended, is being stopped, or is paused"));
        }
        run.paused = Some(payload.reason.clone());
        self.put_run(run);
        Ok(())
    }

    pub(super) fn run_resumed(&mut self) -> Result<(), ApplyError> {
        let mut run = self.run_row()?;
        if run.paused.take().is_none() {
            return Err(self.illegal("the run is not paused"));
        }
        self.put_run(run);
        Ok(())
    }

    pub(super) fn run_cancel_requested(&mut self, payload: &RunCancelRequested) -> Result<(), ApplyError> {
        let mut run = self.run_row()?;
        if run.status.is_terminal() || run.paused.is_some() {
            return Err(self.illegal("the run has ended, or is paused"));
        }
        if payload.timed_out {
            run.timed_out = true;
        } else {
            run.cancel_requested = Some(payload.reason.clone());
        }
        self.put_run(run);
        Ok(())
    }

    pub(super) fn run_ended(&mut self, payload: &RunEnded, status: RunStatus) -> Result<(), ApplyError> {
        let mut run = self.run_in(status)?;
        if run.counts != payload.counts || run.counts.ended() != run.counts.total || run.outcome() != status {
            return Err(self.illegal("the counts of the run call for another end"));
        }
        run.status = status;
        run.paused = None;
        run.ended_at = Some(self.event.at);
        self.put_run(run);
        Ok(())
    }

    /// An ended job opens the dependents of its node by one need each; one of a mapped step does when it is the last.
    pub(super) fn close_node(&mut self, job: &Job) -> Result<(), ApplyError> {
        let (Some(run), Some(index)) = (job.run, job.node) else {
            return Ok(());
        };
        let node = self.with(|view| view.node(run, index))?.unwrap_or_default();
        if !node.jobs.is_empty() {
            let Some(open_jobs) = node.open_jobs.checked_sub(1) else {
                return Err(self.illegal("a job of the step ended twice"));
            };
            let node = RunNode { open_jobs, ..node };
            self.changes.put(Key::Node(run, index), Row::Node(node));
            if open_jobs > 0 {
                return Ok(());
            }
        }
        self.open_dependents(run, index)
    }

    /// What waits for a node that has ended has one open need less.
    pub(super) fn open_dependents(&mut self, run: RunId, index: u32) -> Result<(), ApplyError> {
        let Some(row) = self.with(|view| view.graph(run))? else {
            return Err(self.illegal("the run has no graph"));
        };
        let dependents = row
            .as_graph()
            .and_then(|graph| graph.dependents.get(index as usize));
        let Some(dependents) = dependents else {
            return Err(self.illegal("the node is not in the graph"));
        };
        for dependent in dependents {
            let node = self.with(|view| view.node(run, *dependent))?.unwrap_or_default();
            match node.open_needs.checked_sub(1) {
                Some(open_needs) => {
                    let node = RunNode { open_needs, ..node };
                    self.changes.put(Key::Node(run, *dependent), Row::Node(node));
                }
                None => return Err(self.illegal("a need ended twice")),
            }
        }
        Ok(())
    }

    pub(super) fn touch_run(&mut self) -> Result<(), ApplyError> {
        self.count(|_| {})
    }

    pub(super) fn count(&mut self, change: impl FnOnce(&mut RunCounts)) -> Result<(), ApplyError> {
        if self.event.subject.run.is_none() {
            return Ok(());
        }
        let mut run = self.run_row()?;
        change(&mut run.counts);
        self.put_run(run);
        Ok(())
    }

    fn run_in(&self, next: RunStatus) -> Result<Run, ApplyError> {
        let run = self.run_row()?;
        if run.status.may_become(next) {
            Ok(run)
        } else {
            Err(self.illegal(format!(
                "{} may not become {}",
                run.status.as_str(),
                next.as_str()
            )))
        }
    }

    pub(super) fn run_row(&self) -> Result<Run, ApplyError> {
        let id = self.run_id()?;
        self.with(|view| view.run(id))?
            .ok_or_else(|| self.illegal("no such run"))
    }

    fn put_run(&mut self, mut run: Run) {
        run.seq = self.event.seq;
        self.changes.put(Key::Run(run.id), Row::Run(run));
    }
}
