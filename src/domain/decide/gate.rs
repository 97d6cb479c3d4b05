//! Decisions about gates: whom they ask, who may answer, and when a run waits for nothing else.

use super::Draft;
use super::bounds::{check_text, clip};
use crate::domain::Digest;
use crate::domain::command::{DecideGate, Reply, Verdict};
use crate::domain::event::{ActorKind, EventBody};
use crate::domain::payload::{GateApproved, GateFailed, GatePassed, GateStarted, RunContinued, RunWaiting};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{AskedGate, Run, RunGraph, RunStatus};
use crate::limits;

impl Draft<'_> {
    pub(super) fn ask(
        &mut self,
        run: &Run,
        graph: &RunGraph,
        index: u32,
        (approvers, binding): (u32, Digest),
    ) -> Result<(), Refusal> {
        let started = GateStarted {
            approvers,
            binding,
            node: index,
        };
        self.emit_step(run, graph, index, EventBody::GateStarted(started))
    }

    pub(super) fn decide_policy(
        &mut self,
        run: &Run,
        graph: &RunGraph,
        index: u32,
        passed: bool,
    ) -> Result<(), Refusal> {
        let reason = "policy".to_owned();
        let body = if passed {
            EventBody::GatePassed(GatePassed { node: index, reason })
        } else {
            EventBody::GateFailed(GateFailed {
                detail: "the policy of the gate comes to false".to_owned(),
                node: index,
                reason,
            })
        };
        self.emit_step(run, graph, index, body)
    }

    pub(super) fn decide_gate(&mut self, request: &DecideGate) -> Result<Reply, Refusal> {
        check_text("/reason", &request.reason, limits::TEXT_BYTES_MAX)?;
        let run = self.run_row(request.run)?;
        let row = self.read(|view| view.graph(run.id))?;
        let row = row.ok_or_else(|| Rejection::not_found("run"))?;
        let graph = row.as_graph().ok_or_else(|| Rejection::not_found("run"))?;
        let place = graph.nodes.iter().position(|node| node.name == request.step);
        let index = place.ok_or_else(|| Rejection::not_found("step"))? as u32;
        let standing = self.standing(&run, graph, index)?;
        let gate = standing.node.gate.as_ref().filter(|_| standing.asks());
        let Some(gate) = gate.filter(|_| !run.status.is_terminal()) else {
            let detail = format!("the step {} is no gate that asks now", request.step);
            return Err(Rejection::new(Code::IllegalTransition, detail).into());
        };
        if request.binding.is_some_and(|binding| binding != gate.binding) {
            let detail = format!("the gate asks about {} now", gate.binding);
            return Err(Rejection::new(Code::GateChanged, detail).into());
        }
        let reason = clip(&request.reason);
        match request.verdict {
            Verdict::Approve => self.approve(&run, graph, index, gate, reason)?,
            Verdict::Reject => {
                let failed = GateFailed {
                    detail: reason,
                    node: index,
                    reason: "rejected".to_owned(),
                };
                self.emit_step(&run, graph, index, EventBody::GateFailed(failed))?;
                self.go_on_behind(&run, graph, index)?;
            }
        }
        self.reply_run(run.id)
    }

    fn approve(
        &mut self,
        run: &Run,
        graph: &RunGraph,
        index: u32,
        gate: &AskedGate,
        reason: String,
    ) -> Result<(), Refusal> {
        let person = &self.stamp.actor.id;
        if self.stamp.actor.kind != ActorKind::Person || run.requester.as_ref() == Some(person) {
            let detail = format!("{person} started the run: somebody else has to approve");
            return Err(Rejection::new(Code::SelfApproval, detail).into());
        }
        if gate.approvals.iter().any(|before| before.person == *person) {
            let detail = format!("{person} has approved before: another person has to");
            return Err(Rejection::new(Code::AlreadyApproved, detail).into());
        }
        let approved = GateApproved {
            binding: gate.binding,
            node: index,
            reason,
        };
        self.emit_step(run, graph, index, EventBody::GateApproved(approved))?;
        if gate.approvals.len() as u32 + 1 < gate.approvers {
            return Ok(());
        }
        let passed = GatePassed {
            node: index,
            reason: "approved".to_owned(),
        };
        self.emit_step(run, graph, index, EventBody::GatePassed(passed))?;
        self.go_on_behind(run, graph, index)
    }

    fn go_on_behind(&mut self, run: &Run, graph: &RunGraph, index: u32) -> Result<(), Refusal> {
        self.follow(run, graph, vec![index])?;
        self.end_run(run.id)
    }

    /// A run of which only gates are left waits, and goes on when something else is.
    pub(super) fn rest(&mut self, run: &Run) -> Result<(), Refusal> {
        if run.counts.waiting == 0 && run.status != RunStatus::Waiting {
            return Ok(());
        }
        let waits = self.only_gates_are_left(run)?;
        match (waits, run.status) {
            (true, RunStatus::Pending | RunStatus::Running) => {
                self.emit_run(run, EventBody::RunWaiting(RunWaiting {}))
            }
            (false, RunStatus::Waiting) => self.emit_run(run, EventBody::RunContinued(RunContinued {})),
            _ => Ok(()),
        }
    }

    fn only_gates_are_left(&self, run: &Run) -> Result<bool, Refusal> {
        if run.counts.waiting == 0 || run.counts.running > 0 {
            return Ok(false);
        }
        let row = self.read(|view| view.graph(run.id))?;
        let row = row.ok_or_else(|| Rejection::not_found("run"))?;
        let nodes = row.as_graph().map_or(0, |graph| graph.nodes.len() as u32);
        for index in 0..nodes {
            let Some(graph) = row.as_graph() else { break };
            let standing = self.standing(run, graph, index)?;
            let moves = !standing.has_ended() && !standing.asks() && standing.node.open_needs == 0;
            if moves {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
