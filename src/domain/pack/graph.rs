//! The graph of steps: names are unique, needs are known, nothing waits for itself.

use std::collections::BTreeMap;

use super::error::{Findings, PackCode};
use super::step::ReadStep;
use crate::domain::StepName;
use crate::limits;

pub(super) fn check_graph(steps: &[ReadStep<'_>], log: &mut Findings) {
    let mut places: BTreeMap<&StepName, usize> = BTreeMap::new();
    for (index, step) in steps.iter().enumerate() {
        if places.insert(&step.id, index).is_some() {
            let message = format!("another step is named {}", step.id);
            log.add(step.id_at.error(PackCode::DuplicateName, message));
        }
    }
    for step in steps {
        for (need, at) in &step.needs_at {
            if !places.contains_key(need) {
                log.add(at.error(PackCode::UnknownNeed, format!("there is no step {need}")));
            }
        }
    }
    let edges: Vec<Vec<usize>> = steps
        .iter()
        .map(|step| {
            step.needs_at
                .iter()
                .filter_map(|(need, _)| places.get(need).copied())
                .collect()
        })
        .collect();
    if let Some(cycle) = find_cycle(&edges) {
        let names: Vec<&str> = cycle.iter().map(|index| steps[*index].id.as_str()).collect();
        let first = &steps[cycle[0]];
        let closing = first
            .needs_at
            .iter()
            .find(|(need, _)| *need == steps[cycle[1]].id);
        let at = closing.map_or(&first.id_at, |(_, at)| at);
        log.add(at.error(
            PackCode::Cycle,
            format!("these steps wait for each other: {}", show(&names)),
        ));
    }
}

fn show(names: &[&str]) -> String {
    if names.len() <= limits::PACK_CYCLE_NAMES_MAX {
        return names.join(" → ");
    }
    let shown = names[..limits::PACK_CYCLE_NAMES_MAX - 1].join(" → ");
    format!("{shown} → … ({} steps) → {}", names.len() - 1, names[0])
}

/// The first cycle, as `a, b, a`. Depth-first with a stack of its own, so that a long chain costs no recursion.
fn find_cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // Nodes on the way, each with the edge to look at next.
        let mut way = vec![(start, 0)];
        marks[start] = Mark::Open;
        while let Some((node, next)) = way.last_mut() {
            let Some(target) = edges[*node].get(*next).copied() else {
                marks[*node] = Mark::Done;
                way.pop();
                continue;
            };
            *next += 1;
            match marks[target] {
                Mark::Done => {}
                Mark::New => {
                    marks[target] = Mark::Open;
                    way.push((target, 0));
                }
                Mark::Open => {
                    let nodes = way.iter().map(|(node, _)| *node);
                    let mut cycle: Vec<usize> = nodes.skip_while(|node| *node != target).collect();
                    cycle.push(target);
                    return Some(cycle);
                }
            }
        }
    }
    None
}
