//! What events change about steps whose work is only known later than the graph: skipped, mapped, cancelled, unresolved.
//!
//! Promises: a step is worked out once, when nothing it needs is open, or cancelled before. It must never touch a step that
//! has a job.

use std::collections::BTreeSet;

use super::{ApplyError, Fold};
use crate::domain::event::EventBody;
use crate::domain::payload::{StepCancelled, StepMapped, StepSkipped, StepUnresolved};
use crate::domain::run::{NodeEnd, RunCounts, RunNode};
use crate::domain::state::{Key, Row};
use crate::limits;

impl Fold<'_> {
    /// One line an event, as in the table that leads here.
    pub(super) fn later_step(&mut self) -> Result<(), ApplyError> {
        let event = self.event;
        match &event.body {
            EventBody::StepSkipped(payload) => self.step_skipped(payload),
            EventBody::StepMapped(payload) => self.step_mapped(payload),
            EventBody::StepCancelled(payload) => self.step_cancelled(payload),
            EventBody::StepUnresolved(payload) => self.step_unresolved(payload),
            _ => Err(self.illegal("it is no event of a step without a job")),
        }
    }

    fn step_skipped(&mut self, payload: &StepSkipped) -> Result<(), ApplyError> {
        let node = self.ready_node(payload.node)?;
        self.end_node(payload.node, node, NodeEnd::Skipped, &payload.reason)?;
        self.count(|counts| counts.skipped += 1)
    }

    fn step_cancelled(&mut self, payload: &StepCancelled) -> Result<(), ApplyError> {
        let node = self.open_node(payload.node)?;
        let asked = u32::from(node.gate.is_some());
        self.end_node(payload.node, node, NodeEnd::Cancelled, &payload.reason)?;
        self.count(|counts| {
            counts.cancelled += 1;
            counts.waiting -= asked;
        })
    }

    fn step_unresolved(&mut self, payload: &StepUnresolved) -> Result<(), ApplyError> {
        let node = self.ready_node(payload.node)?;
        self.end_node(payload.node, node, NodeEnd::Failed, &payload.detail)?;
        self.count(|counts| counts.failed += 1)
    }

    fn step_mapped(&mut self, payload: &StepMapped) -> Result<(), ApplyError> {
        let run = self.run_id()?;
        let node = self.ready_node(payload.node)?;
        let distinct: BTreeSet<_> = payload.jobs.iter().collect();
        let count = payload.jobs.len();
        if count == 0 || count > limits::EXPRESSION_ITEMS_MAX || distinct.len() != count {
            return Err(self.illegal("a mapped step has 1 to 1000 jobs, all different"));
        }
        let more = count as u32 - 1;
        let mut total = 0;
        self.count(|counts: &mut RunCounts| {
            counts.total += more;
            total = counts.total;
        })?;
        if total as usize > limits::RUN_JOBS_MAX {
            return Err(self.illegal("the run has too many jobs"));
        }
        let node = RunNode {
            jobs: payload.jobs.clone(),
            open_jobs: count as u32,
            ..node
        };
        self.changes.put(Key::Node(run, payload.node), Row::Node(node));
        Ok(())
    }

    pub(super) fn end_node(
        &mut self,
        index: u32,
        node: RunNode,
        end: NodeEnd,
        reason: &str,
    ) -> Result<(), ApplyError> {
        let run = self.run_id()?;
        let node = RunNode {
            end: Some(end),
            ended_at: Some(self.event.at),
            reason: Some(reason.to_owned()),
            ..node
        };
        self.changes.put(Key::Node(run, index), Row::Node(node));
        self.open_dependents(run, index)
    }

    /// The node, when it can be worked out.
    pub(super) fn ready_node(&self, index: u32) -> Result<RunNode, ApplyError> {
        let node = self.open_node(index)?;
        if node.open_needs > 0 || node.gate.is_some() {
            return Err(self.illegal("what the step needs has not ended, or it asks already"));
        }
        Ok(node)
    }

    /// The node, when it was not worked out yet, or is a gate that asks.
    pub(super) fn open_node(&self, index: u32) -> Result<RunNode, ApplyError> {
        let run = self.run_id()?;
        if self.run_row()?.status.is_terminal() {
            return Err(self.illegal("the run has ended"));
        }
        let row = self.with(|view| view.graph(run))?;
        let graph = row.as_ref().and_then(|row| row.as_graph());
        let place = graph.and_then(|graph| graph.nodes.get(index as usize));
        let place = place.ok_or_else(|| self.illegal("the node is not in the graph"))?;
        let named = self.event.subject.step.as_ref() == Some(&place.name);
        if !place.later || place.reused || !named || self.event.subject.job.is_some() {
            return Err(self.illegal("the graph has no such step that is worked out later"));
        }
        let node = self.with(|view| view.node(run, index))?.unwrap_or_default();
        let is_worked_out = node.end.is_some() || !node.jobs.is_empty();
        if is_worked_out || self.with(|view| view.job(place.job))?.is_some() {
            return Err(self.illegal("the step was worked out before"));
        }
        Ok(node)
    }
}
