//! What a run of a pack would do, told without a run: the order of its steps, the longest way through them, and what
//! sealed mode would refuse. It must never record anything, and reads nothing but the definition and the inputs.

use std::collections::BTreeMap;

use super::dynamic::looks_at_steps;
use super::expression::{Facts, evaluate};
use super::inputs::resolve_inputs;
use super::resolve::Resolution;
use super::spec::{Network, PackSpec, SealedUse, StepSpec};
use crate::domain::canonical::Value;
use crate::domain::rejection::Rejection;
use crate::domain::run::{GraphNode, RunGraph};
use crate::domain::{JobId, StepName, Timestamp};

/// A run, foretold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The longest chain of steps that wait for each other, first to last; of equally long ones that of the first steps.
    pub critical_path: Vec<StepName>,
    /// Inputs after defaults were filled in, without those that are sensitive.
    pub inputs: BTreeMap<String, Value>,
    /// Every step, such that each stands behind all it needs; side by side they are in the order of the source.
    pub order: Vec<Placed>,
    /// Why sealed mode would refuse the pack; empty when it would not.
    pub sealed_refuses: Vec<SealedRefusal>,
}

/// A step in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What it comes to, as far as the inputs tell.
    pub comes_to: Foretold,
    /// Steps on the longest chain before it.
    pub depth: u32,
    /// Its name.
    pub id: StepName,
}

/// What a step comes to, as far as that can be told before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Foretold {
    /// A gate that asks so many persons.
    Asks(u32),
    /// A gate whose policy lets the run go on.
    Passes,
    /// One job.
    Job,
    /// A job for each of so many items.
    Jobs(usize),
    /// That depends on steps before it.
    Open,
    /// Nothing is to be done, for this reason.
    Skipped(&'static str),
    /// Its expressions come to nothing that could stand there.
    Fails(String),
}

/// One thing that sealed mode refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedRefusal {
    /// The pack says `sealed: forbidden`.
    Forbidden,
    /// The pack says `network: egress`.
    Egress,
}

impl SealedRefusal {
    /// The stable code.
    pub const fn as_str(self) -> &'static str {
        match self {
            SealedRefusal::Forbidden => "sealed_forbidden",
            SealedRefusal::Egress => "network_egress",
        }
    }
}

impl PackSpec {
    /// What a run with these inputs would do.
    ///
    /// # Errors
    /// As a start of the run: inputs that are missing, unknown or of the wrong type.
    pub fn plan(&self, given: &BTreeMap<String, Value>) -> Result<Plan, Rejection> {
        let mut inputs = resolve_inputs(self, given)?;
        let graph = self.graph();
        // A parsed pack has no cycle; of one that came otherwise nothing can be told.
        let indexes = graph.order().unwrap_or_default();
        let mut depths = vec![0_u32; graph.nodes.len()];
        for index in &indexes {
            let needs = graph.nodes[*index as usize].needs.iter();
            depths[*index as usize] = needs.map(|need| depths[*need as usize] + 1).max().unwrap_or(0);
        }
        let facts = self.facts_before(&inputs);
        let order = indexes.iter().map(|index| Placed {
            comes_to: self.foretell(&self.steps[*index as usize], &facts),
            depth: depths[*index as usize],
            id: self.steps[*index as usize].id.clone(),
        });
        let order = order.collect();
        inputs.retain(|name, _| self.inputs.get(name).is_some_and(|input| !input.sensitive));
        Ok(Plan {
            critical_path: self.longest_chain(&graph, &depths),
            inputs,
            order,
            sealed_refuses: self.sealed_refuses(),
        })
    }

    /// What expressions see before any step has ended. A run that is only foretold has no id of its own.
    fn facts_before(&self, inputs: &BTreeMap<String, Value>) -> Facts {
        Facts {
            inputs: inputs.clone(),
            item: None,
            run: BTreeMap::from([
                (
                    "id".to_owned(),
                    Value::from("00000000-0000-0000-0000-000000000000"),
                ),
                ("pack".to_owned(), Value::from(self.name.as_str())),
                ("version".to_owned(), Value::Int(0)),
            ]),
            steps: BTreeMap::new(),
        }
    }

    fn foretell(&self, step: &StepSpec, facts: &Facts) -> Foretold {
        // A condition that is false already settles it, whatever else looks at other steps.
        if let Some(when) = step.when.as_deref().filter(|when| !looks_at_steps(when, None)) {
            match evaluate(when, facts) {
                Ok(Value::Bool(false)) => return Foretold::Skipped("condition"),
                Ok(_) => {}
                Err(error) => return Foretold::Fails(format!("when: {error}")),
            }
        }
        if step.looks_back() {
            return Foretold::Open;
        }
        match self.resolve(step, facts) {
            Ok(Resolution::One(_)) => Foretold::Job,
            Ok(Resolution::Mapped(tasks)) => Foretold::Jobs(tasks.len()),
            Ok(Resolution::Skipped(reason)) => Foretold::Skipped(reason),
            Ok(Resolution::Asks(approvers)) => Foretold::Asks(approvers),
            Ok(Resolution::Decided(true)) => Foretold::Passes,
            Ok(Resolution::Decided(false)) => {
                Foretold::Fails("the policy of the gate comes to false".to_owned())
            }
            Err(error) => Foretold::Fails(error),
        }
    }

    fn graph(&self) -> RunGraph {
        let places: BTreeMap<&StepName, u32> = self
            .steps
            .iter()
            .zip(0..)
            .map(|(step, index)| (&step.id, index))
            .collect();
        let nodes = self.steps.iter().map(|step| GraphNode {
            job: JobId::derive(Timestamp::from_ms(0), 0, 0),
            later: step.is_dynamic(),
            name: step.id.clone(),
            needs: step
                .needs
                .iter()
                .filter_map(|need| places.get(need).copied())
                .collect(),
            reused: false,
        });
        RunGraph::new(nodes.collect())
    }

    fn longest_chain(&self, graph: &RunGraph, depths: &[u32]) -> Vec<StepName> {
        let deepest = |indexes: &mut dyn Iterator<Item = u32>| {
            indexes.max_by_key(|index| (depths[*index as usize], std::cmp::Reverse(*index)))
        };
        let mut chain = Vec::new();
        let mut at = deepest(&mut (0..graph.nodes.len() as u32));
        while let Some(index) = at {
            chain.push(self.steps[index as usize].id.clone());
            at = deepest(&mut graph.nodes[index as usize].needs.iter().copied());
        }
        chain.reverse();
        chain
    }

    fn sealed_refuses(&self) -> Vec<SealedRefusal> {
        let mut refuses = Vec::new();
        if self.sealed == SealedUse::Forbidden {
            refuses.push(SealedRefusal::Forbidden);
        }
        if self.network == Network::Egress {
            refuses.push(SealedRefusal::Egress);
        }
        refuses
    }
}
