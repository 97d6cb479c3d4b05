//! Decisions about steps that are worked out when a run comes to them: skip, make the job or the jobs, or fail the step.
//!
//! This is the one place where expressions are evaluated. What they came to goes into the events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::Draft;
use super::job::Place;
use super::redaction::{plain_inputs, step_payload};
use super::run::step_spec;
use crate::domain::Digest;
use crate::domain::canonical::{Value, write};
use crate::domain::command::SubmitJob;
use crate::domain::concurrency::Concurrency;
use crate::domain::event::EventBody;
use crate::domain::job::JobStatus;
use crate::domain::pack::{Facts, Resolution, StepSpec, StepTask, step_facts};
use crate::domain::payload::{StepCancelled, StepMapped, StepSkipped, StepUnresolved};
use crate::domain::redaction::Sensitive;
use crate::domain::rejection::{Refusal, Rejection};
use crate::domain::run::{Run, RunGraph};
use crate::domain::standing::{Standing, item_name};
use crate::domain::state::Pack;
use crate::limits;

use super::bounds::clip;

impl Draft<'_> {
    pub(super) fn standing(&self, run: &Run, graph: &RunGraph, index: u32) -> Result<Standing, Refusal> {
        let place = &graph.nodes[index as usize];
        self.read(|view| Standing::of(view, view, run.id, (index, place)))
    }

    /// What follows from nodes that have ended: their dependents become eligible, are worked out, or can no longer succeed.
    pub(super) fn follow(&mut self, run: &Run, graph: &RunGraph, ends: Vec<u32>) -> Result<(), Refusal> {
        let mut ends = VecDeque::from(ends);
        while let Some(index) = ends.pop_front() {
            let good = self.standing(run, graph, index)?.status.is_good();
            for dependent in &graph.dependents[index as usize] {
                if self.follow_one(run, graph, *dependent, good)? {
                    ends.push_back(*dependent);
                }
            }
        }
        Ok(())
    }

    /// Gives true when the dependent has ended by that.
    fn follow_one(&mut self, run: &Run, graph: &RunGraph, index: u32, good: bool) -> Result<bool, Refusal> {
        let place = &graph.nodes[index as usize];
        let standing = self.standing(run, graph, index)?;
        // Several of its needs may have ended at once, some well and some not.
        let good = good && (standing.node.open_needs > 0 || self.needs_are_good(run, graph, index)?);
        if place.later {
            if standing.is_worked_out() {
                return Ok(false);
            }
            if !good && !self.step_of(run, index)?.always {
                self.cancel_step(run, graph, index, "upstream_failed")?;
                return Ok(true);
            }
            return match standing.node.open_needs {
                0 => self.work_out(run, graph, index),
                _ => Ok(false),
            };
        }
        let Some(job) = standing.job().filter(|job| job.status == JobStatus::Pending) else {
            return Ok(false);
        };
        if !good && !job.spec.always {
            self.cancel_alone(job, "upstream_failed")?;
            return Ok(true);
        }
        if standing.node.open_needs == 0 && self.is_eligible(job)? {
            self.schedule(job, "needs_met")?;
        }
        Ok(false)
    }

    fn needs_are_good(&self, run: &Run, graph: &RunGraph, index: u32) -> Result<bool, Refusal> {
        for need in &graph.nodes[index as usize].needs {
            if !self.standing(run, graph, *need)?.status.is_good() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn cancel_step(
        &mut self,
        run: &Run,
        graph: &RunGraph,
        index: u32,
        reason: &str,
    ) -> Result<(), Refusal> {
        let cancelled = StepCancelled {
            node: index,
            reason: reason.to_owned(),
        };
        self.emit_step(run, graph, index, EventBody::StepCancelled(cancelled))
    }

    /// Works a step out: nothing it needs is open. Gives true when it has ended by that.
    pub(super) fn work_out(&mut self, run: &Run, graph: &RunGraph, index: u32) -> Result<bool, Refusal> {
        let pack = self.pack_of(run)?;
        let step = step_at(&pack, index)?;
        let facts = self.facts(run, graph, index, &pack)?;
        let binding = binding(&pack, run, &facts);
        match self.resolution(run, index, &pack, &facts) {
            Err(refusal) => Err(refusal),
            Ok(Err(detail)) => {
                let unresolved = StepUnresolved {
                    detail: clip(&detail),
                    node: index,
                };
                self.emit_step(run, graph, index, EventBody::StepUnresolved(unresolved))?;
                Ok(true)
            }
            Ok(Ok(Resolution::Skipped(reason))) => {
                let skipped = StepSkipped {
                    node: index,
                    reason: reason.to_owned(),
                };
                self.emit_step(run, graph, index, EventBody::StepSkipped(skipped))?;
                Ok(true)
            }
            Ok(Ok(Resolution::Asks(approvers))) => {
                self.ask(run, graph, index, (approvers, binding))?;
                Ok(false)
            }
            Ok(Ok(Resolution::Decided(passed))) => {
                self.decide_policy(run, graph, index, passed)?;
                Ok(true)
            }
            Ok(Ok(Resolution::One(task))) => {
                let place = &graph.nodes[index as usize];
                let request = job_of(run, step, &task);
                let name = &place.name;
                self.create_job(&request, place.job, Some(placed(run, index, name)))?;
                Ok(false)
            }
            Ok(Ok(Resolution::Mapped(tasks))) => {
                self.make_mapped(run, graph, index, step, &tasks)?;
                Ok(false)
            }
        }
    }

    fn make_mapped(
        &mut self,
        run: &Run,
        graph: &RunGraph,
        index: u32,
        step: &StepSpec,
        tasks: &[StepTask],
    ) -> Result<(), Refusal> {
        let jobs: Vec<_> = tasks.iter().map(|_| self.draw_job()).collect();
        let mapped = StepMapped {
            jobs: jobs.clone(),
            node: index,
        };
        self.emit_step(run, graph, index, EventBody::StepMapped(Box::new(mapped)))?;
        let limit = step.map.as_ref().and_then(|map| map.max_parallel);
        for (item, (id, task)) in jobs.into_iter().zip(tasks).enumerate() {
            let mut request = job_of(run, step, task);
            Arc::make_mut(&mut request.spec).concurrency = limit.map(|limit| Concurrency {
                key: format!("{}/{}", run.id, step.id),
                limit,
            });
            let name = item_name(&step.id, item).ok_or_else(|| Rejection::not_found("name"))?;
            self.create_job(&request, id, Some(placed(run, index, &name)))?;
        }
        Ok(())
    }

    /// What the step comes to, or why it comes to nothing.
    fn resolution(
        &self,
        run: &Run,
        index: u32,
        pack: &Pack,
        facts: &Facts,
    ) -> Result<Result<Resolution, String>, Refusal> {
        let step = step_at(pack, index)?;
        let found = pack.spec.resolve(step, facts);
        let (jobs, bytes) = match &found {
            Ok(Resolution::One(task)) => (1, task_bytes(task)),
            Ok(Resolution::Mapped(tasks)) => (tasks.len(), tasks.iter().map(task_bytes).sum()),
            Ok(Resolution::Skipped(_) | Resolution::Asks(_) | Resolution::Decided(_)) | Err(_) => (0, 0),
        };
        let jobs_now = self.run_row(run.id)?.counts.total as usize;
        if jobs_now + jobs > limits::RUN_JOBS_MAX + 1 {
            return Ok(Err(format!(
                "the run would have more than {} jobs",
                limits::RUN_JOBS_MAX
            )));
        }
        // Whatever ended before must be recorded: a step that does not fit beside it fails instead.
        if self.bytes + bytes > limits::RESOLVED_BYTES_MAX {
            return Ok(Err("too much is worked out at once".to_owned()));
        }
        Ok(found)
    }

    /// What the expressions of a step may look at.
    fn facts(&self, run: &Run, graph: &RunGraph, index: u32, pack: &Pack) -> Result<Facts, Refusal> {
        let mut facts = Facts {
            inputs: plain_inputs(run),
            item: None,
            run: BTreeMap::from([
                ("id".to_owned(), Value::String(run.id.to_string())),
                ("pack".to_owned(), Value::from(pack.name.as_str())),
                ("version".to_owned(), Value::Int(i64::from(pack.version))),
            ]),
            steps: BTreeMap::new(),
        };
        for need in &graph.nodes[index as usize].needs {
            let standing = self.standing(run, graph, *need)?;
            let name = graph.nodes[*need as usize].name.to_string();
            facts
                .steps
                .insert(name, step_facts(standing.status.as_str(), standing.outputs()));
        }
        Ok(facts)
    }

    pub(super) fn step_of(&self, run: &Run, index: u32) -> Result<StepSpec, Refusal> {
        let pack = self.pack_of(run)?;
        step_at(&pack, index).cloned()
    }

    pub(super) fn pack_of(&self, run: &Run) -> Result<Box<Pack>, Refusal> {
        let missing = || Rejection::not_found("pack version");
        let of = run.pack.as_ref().ok_or_else(missing)?;
        let pack = self.read(|view| view.pack(&of.name, of.version))?;
        Ok(pack.ok_or_else(missing)?)
    }

    pub(super) fn emit_step(
        &mut self,
        run: &Run,
        graph: &RunGraph,
        index: u32,
        body: EventBody,
    ) -> Result<(), Refusal> {
        let step = graph.nodes[index as usize].name.clone();
        self.emit_in_run(run, Some(step), body)
    }
}

/// What a gate asks about: the plan, the inputs of the run, and what the steps before it came to.
fn binding(pack: &Pack, run: &Run, facts: &Facts) -> Digest {
    let about = Value::Object(BTreeMap::from([
        ("inputs".to_owned(), Value::Object(run.inputs.clone())),
        ("planHash".to_owned(), Value::from(pack.plan_hash.to_string())),
        ("steps".to_owned(), Value::Object(facts.steps.clone())),
    ]));
    Digest::of(&write(&about))
}

/// The steps of a pack stand in the order of its graph.
fn step_at(pack: &Pack, index: u32) -> Result<&StepSpec, Refusal> {
    let step = pack.spec.steps.get(index as usize);
    Ok(step.ok_or_else(|| Rejection::not_found("step"))?)
}

fn placed<'a>(run: &Run, node: u32, name: &'a crate::domain::StepName) -> Place<'a> {
    Place {
        run: run.id,
        node,
        name,
        waits: false,
    }
}

fn job_of(run: &Run, step: &StepSpec, task: &StepTask) -> SubmitJob {
    SubmitJob {
        correlation_id: run.correlation_id.clone(),
        sensitive: Sensitive::again(run.disclosures),
        ..SubmitJob::new(step_spec(step), step_payload(task, &run.env_sd))
    }
}

/// What its event takes, about.
fn task_bytes(task: &StepTask) -> usize {
    const ENVELOPE_BYTES: usize = 1_024;
    serde_json::to_vec(task).map_or(0, |bytes| bytes.len()) + ENVELOPE_BYTES
}
