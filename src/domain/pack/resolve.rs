//! What a step comes to when a run is at it: skipped, one task, or one for each item of a list. Pure; called by `decide` once.

use std::collections::BTreeMap;

use super::expression::{Facts, evaluate, fill};
use super::spec::{Action, Gate, InputSpec, InputType, MapSpec, PackSpec, StepSpec};
use super::task::{StepTask, input_variable};
use crate::domain::canonical::Value;
use crate::limits;

/// What a step comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing is to be done, for this reason.
    Skipped(&'static str),
    /// One job does it.
    One(Box<StepTask>),
    /// A job for each item does it.
    Mapped(Vec<StepTask>),
    /// It waits for so many persons.
    Asks(u32),
    /// Its policy says whether the run goes on.
    Decided(bool),
}

impl PackSpec {
    /// Evaluates what stands in a step.
    ///
    /// # Errors
    /// Which expression has no value that could stand there, and why.
    pub fn resolve(&self, step: &StepSpec, facts: &Facts) -> Result<Resolution, String> {
        if let Some(when) = &step.when {
            match evaluate(when, facts).map_err(|error| format!("when: {error}"))? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(Resolution::Skipped("condition")),
                _ => return Err("when: it comes to something that is not a truth value".to_owned()),
            }
        }
        match &step.action {
            Action::Gate(Gate::Approval { approvers }) => return Ok(Resolution::Asks(*approvers)),
            Action::Gate(Gate::Policy { expr }) => {
                return match evaluate(expr, facts).map_err(|error| format!("expr: {error}"))? {
                    Value::Bool(passed) => Ok(Resolution::Decided(passed)),
                    _ => Err("expr: it comes to something that is not a truth value".to_owned()),
                };
            }
            Action::Argv(_) | Action::Shell(_) => {}
        }
        let Some(map) = &step.map else {
            let task = self.filled(step, facts)?;
            return Ok(Resolution::One(Box::new(task)));
        };
        let items = items_of(map, facts)?;
        if items.is_empty() {
            return Ok(Resolution::Skipped("empty_map"));
        }
        let mut facts = facts.clone();
        // Each job would carry the whole list: it gets its item instead, through `${{ }}`.
        let lists = list_variables(&self.inputs);
        let mut tasks = Vec::with_capacity(items.len());
        let mut bytes = 0;
        for (index, item) in items.into_iter().enumerate() {
            facts.item = Some((map.item.clone(), item));
            let mut task = self.filled(step, &facts)?;
            task.env.retain(|name, _| !lists.contains(name));
            // The log and the artifacts of each job stand under its own name.
            task.step = format!("{}[{index}]", step.id)
                .parse()
                .map_err(|_| format!("{}[{index}] is too long for a name", step.id))?;
            bytes += serde_json::to_vec(&task).map_or(0, |bytes| bytes.len());
            if bytes > limits::RUN_TASKS_BYTES_MAX {
                return Err(format!(
                    "its jobs have more than {} bytes",
                    limits::RUN_TASKS_BYTES_MAX
                ));
            }
            tasks.push(task);
        }
        Ok(Resolution::Mapped(tasks))
    }

    fn filled(&self, step: &StepSpec, facts: &Facts) -> Result<StepTask, String> {
        let mut filled = step.clone();
        if let Action::Argv(argv) = &mut filled.action {
            for argument in argv.iter_mut() {
                *argument = fill(argument, facts).map_err(|error| format!("run: {error}"))?;
            }
        }
        for (name, value) in &mut filled.env {
            *value = fill(value, facts).map_err(|error| format!("env/{name}: {error}"))?;
        }
        Ok(self.task(&filled, &facts.inputs))
    }
}

/// The variables of inputs that are lists.
fn list_variables(inputs: &BTreeMap<String, InputSpec>) -> Vec<String> {
    let lists = inputs
        .iter()
        .filter(|(_, input)| input.input_type == InputType::List);
    lists.map(|(name, _)| input_variable(name)).collect()
}

fn items_of(map: &MapSpec, facts: &Facts) -> Result<Vec<Value>, String> {
    match evaluate(&map.over, facts).map_err(|error| format!("map.over: {error}"))? {
        Value::Array(items) => Ok(items),
        _ => Err("map.over: it comes to something that is not a list".to_owned()),
    }
}

/// What expressions see of a step that has ended.
pub fn step_facts(status: &str, outputs: Value) -> Value {
    Value::Object(BTreeMap::from([
        ("outputs".to_owned(), outputs),
        ("status".to_owned(), Value::from(status)),
    ]))
}
