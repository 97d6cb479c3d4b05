//! What events change about gates: asked, approved by a person, passed or not.
//!
//! Promises: a gate passes when so many different persons approved what it asked, none of whom started the run, or when its
//! policy said so. It must never count a person twice, or take an approval of something else.

use super::{ApplyError, Fold};
use crate::domain::event::ActorKind;
use crate::domain::pack::{Action, Gate};
use crate::domain::payload::{GateApproved, GateFailed, GatePassed, GateStarted};
use crate::domain::run::{Approval, AskedGate, NodeEnd, RunNode};
use crate::domain::state::{Key, Row};

impl Fold<'_> {
    pub(super) fn gate_started(&mut self, payload: &GateStarted) -> Result<(), ApplyError> {
        let run = self.run_id()?;
        let node = self.ready_node(payload.node)?;
        match self.gate_at(payload.node)? {
            Gate::Approval { approvers } if approvers == payload.approvers => {}
            _ => return Err(self.illegal("the pack has another gate there")),
        }
        let gate = AskedGate {
            approvals: Vec::new(),
            approvers: payload.approvers,
            binding: payload.binding,
            started_at: self.event.at,
        };
        let node = RunNode {
            gate: Some(gate),
            ..node
        };
        self.changes.put(Key::Node(run, payload.node), Row::Node(node));
        self.count(|counts| counts.waiting += 1)
    }

    pub(super) fn gate_approved(&mut self, payload: &GateApproved) -> Result<(), ApplyError> {
        let run = self.run_row()?;
        let mut node = self.open_node(payload.node)?;
        let actor = &self.event.actor;
        let Some(gate) = node.gate.as_mut() else {
            return Err(self.illegal("the gate asks nobody"));
        };
        let counts = actor.kind == ActorKind::Person
            && run.requester.as_ref() != Some(&actor.id)
            && gate.approvals.iter().all(|before| before.person != actor.id);
        let is_open = (gate.approvals.len() as u32) < gate.approvers;
        if !counts || !is_open || gate.binding != payload.binding {
            return Err(self.illegal("the approval does not count there"));
        }
        gate.approvals.push(Approval {
            at: self.event.at,
            person: actor.id.clone(),
            reason: payload.reason.clone(),
        });
        self.changes.put(Key::Node(run.id, payload.node), Row::Node(node));
        self.touch_run()
    }

    pub(super) fn gate_passed(&mut self, payload: &GatePassed) -> Result<(), ApplyError> {
        let node = self.gate_that_ends(payload.node)?;
        let asked = u32::from(node.gate.is_some());
        if let Some(gate) = &node.gate
            && (gate.approvals.len() as u32) < gate.approvers
        {
            return Err(self.illegal("too few persons approved"));
        }
        self.end_node(payload.node, node, NodeEnd::Passed, &payload.reason)?;
        self.count(|counts| {
            counts.completed += 1;
            counts.waiting -= asked;
        })
    }

    pub(super) fn gate_failed(&mut self, payload: &GateFailed) -> Result<(), ApplyError> {
        let node = self.gate_that_ends(payload.node)?;
        let asked = u32::from(node.gate.is_some());
        self.end_node(payload.node, node, NodeEnd::Failed, &payload.detail)?;
        self.count(|counts| {
            counts.failed += 1;
            counts.waiting -= asked;
        })
    }

    /// A policy is decided at once; persons are asked before.
    fn gate_that_ends(&self, index: u32) -> Result<RunNode, ApplyError> {
        let node = match self.gate_at(index)? {
            Gate::Policy { .. } => self.ready_node(index)?,
            Gate::Approval { .. } => self.open_node(index)?,
        };
        let is_asked = node.gate.is_some();
        match self.gate_at(index)? {
            Gate::Approval { .. } if !is_asked => Err(self.illegal("nobody was asked")),
            _ => Ok(node),
        }
    }

    fn gate_at(&self, index: u32) -> Result<Gate, ApplyError> {
        let run = self.run_row()?;
        let of = run.pack.ok_or_else(|| self.illegal("the run has no pack"))?;
        let pack = self.with(|view| view.pack(&of.name, of.version))?;
        let pack = pack.ok_or_else(|| self.illegal("no such pack version"))?;
        match pack.spec.steps.get(index as usize).map(|step| &step.action) {
            Some(Action::Gate(gate)) => Ok(gate.clone()),
            _ => Err(self.illegal("the step is no gate")),
        }
    }
}
