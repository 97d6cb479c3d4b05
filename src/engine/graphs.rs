//! Graphs of runs, decoded once: each event of a job looks at the graph of its run, which may have thousands of nodes.
//!
//! A graph is written once and never changes, so what is kept here is never out of date. Owned by one folding thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::state::{Key, Row, Unavailable, View};
use crate::domain::{RunId, TenantName};
use crate::limits;

type Place = (TenantName, RunId);

/// Graphs seen of late.
#[derive(Debug, Default)]
pub(super) struct Graphs(RefCell<Kept>);

#[derive(Debug, Default)]
struct Kept {
    young: HashMap<Place, Arc<Row>>,
    young_nodes: usize,
    old: HashMap<Place, Arc<Row>>,
}

impl Graphs {
    /// The graph under `run`, read from `below` when it is not kept.
    pub(super) fn get(
        &self,
        tenant: &TenantName,
        run: RunId,
        below: &dyn View,
    ) -> Result<Option<Arc<Row>>, Unavailable> {
        let place = (tenant.clone(), run);
        let mut kept = self.0.borrow_mut();
        if let Some(row) = kept.young.get(&place) {
            return Ok(Some(row.clone()));
        }
        let found = match kept.old.remove(&place) {
            Some(row) => Some(row),
            None => below.get(&Key::Graph(run))?,
        };
        if let Some(row) = &found {
            kept.keep(place, row.clone());
        }
        Ok(found)
    }

    /// Keeps a graph that was written.
    pub(super) fn keep(&self, tenant: &TenantName, run: RunId, row: &Arc<Row>) {
        self.0.borrow_mut().keep((tenant.clone(), run), row.clone());
    }
}

impl Kept {
    fn keep(&mut self, place: Place, row: Arc<Row>) {
        let nodes = row.as_graph().map_or(0, |graph| graph.nodes.len());
        if self.young_nodes + nodes > limits::GRAPH_NODES_KEPT_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_nodes = 0;
        }
        self.young_nodes += nodes;
        self.young.insert(place, row);
    }
}

/// A view whose graphs are decoded once.
pub(super) struct WithGraphs<'v> {
    pub(super) tenant: &'v TenantName,
    pub(super) graphs: &'v Graphs,
    pub(super) below: &'v dyn View,
}

impl View for WithGraphs<'_> {
    fn get(&self, key: &Key) -> Result<Option<Arc<Row>>, Unavailable> {
        match key {
            Key::Graph(run) => self.graphs.get(self.tenant, *run, self.below),
            _ => self.below.get(key),
        }
    }
}
