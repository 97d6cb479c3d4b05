//! What a run of a pack would do, told without a run: the order of its steps, the longest way through them, and what
//! sealed mode would refuse. It must never record anything, and reads nothing but the definition and the inputs.

use std::collections::BTreeMap;

use super::inputs::resolve_inputs;
use super::spec::{Network, PackSpec, SealedUse};
use crate::domain::canonical::Value;
use crate::domain::rejection::Rejection;
use crate::domain::run::{GraphNode, RunGraph};
use crate::domain::{JobId, StepName, Timestamp};

/// A run, foretold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The longest chain of steps that wait for each other, first to last; of equally long ones that of the first steps.
    pub critical_path: Vec<StepName>,
    /// Inputs after defaults were filled in.
    pub inputs: BTreeMap<String, Value>,
    /// Every step, such that each stands behind all it needs; side by side they are in the order of the source.
    pub order: Vec<Placed>,
    /// Why sealed mode would refuse the pack; empty when it would not.
    pub sealed_refuses: Vec<SealedRefusal>,
}

/// A step in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Steps on the longest chain before it.
    pub depth: u32,
    /// Its name.
    pub id: StepName,
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
        let inputs = resolve_inputs(self, given)?;
        let graph = self.graph();
        // A parsed pack has no cycle; of one that came otherwise nothing can be told.
        let indexes = graph.order().unwrap_or_default();
        let mut depths = vec![0_u32; graph.nodes.len()];
        for index in &indexes {
            let needs = graph.nodes[*index as usize].needs.iter();
            depths[*index as usize] = needs.map(|need| depths[*need as usize] + 1).max().unwrap_or(0);
        }
        let order = indexes.iter().map(|index| Placed {
            depth: depths[*index as usize],
            id: self.steps[*index as usize].id.clone(),
        });
        Ok(Plan {
            critical_path: self.longest_chain(&graph, &depths),
            inputs,
            order: order.collect(),
            sealed_refuses: self.sealed_refuses(),
        })
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
