//! How the jobs of a run stood over time: spans of waiting, queueing and running, and the path that took longest.

use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::reading::Reading;
use crate::domain::event::{Event, EventBody};
use crate::domain::job::JobStatus;
use crate::domain::run::RunGraph;
use crate::domain::standing::item_name;
use crate::domain::{JobId, RunId, Seq, StepName, Timestamp};
use crate::engine::Handle;
use crate::limits;
use crate::store::{Direction, Page};

/// What a job did in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Not eligible: needs, a delay, a time. Of a gate: it asks persons.
    Waiting,
    /// Eligible, without a worker.
    Queued,
    /// Under a lease.
    Running,
}

/// A stretch of time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Span {
    /// The attempt it belongs to; of waiting and queueing, the one to come.
    attempt: u32,
    #[schema(value_type = String)]
    from: Timestamp,
    kind: SpanKind,
    /// Null while it lasts.
    #[schema(value_type = Option<String>)]
    to: Option<Timestamp>,
}

/// One job of the run, or a gate that asked persons.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Null for a gate.
    #[schema(value_type = Option<String>)]
    job_id: Option<JobId>,
    #[schema(value_type = String)]
    name: StepName,
    spans: Vec<Span>,
    /// The node it stands for.
    #[serde(skip)]
    node: usize,
}

impl Row {
    /// Milliseconds under a lease, all attempts together; an open span lasts until `now`.
    fn running_ms(&self, now: Timestamp) -> u64 {
        let running = self.spans.iter().filter(|span| span.kind == SpanKind::Running);
        running
            .map(|span| span.to.unwrap_or(now).since_ms(span.from))
            .sum()
    }

    fn close(&mut self, at: Timestamp) {
        if let Some(span) = self.spans.last_mut()
            && span.to.is_none()
        {
            span.to = Some(at);
        }
    }

    fn open(&mut self, kind: SpanKind, attempt: u32, from: Timestamp) {
        self.close(from);
        self.spans.push(Span {
            attempt,
            from,
            kind,
            to: None,
        });
    }

    fn attempt(&self) -> u32 {
        self.spans.last().map_or(0, |span| span.attempt)
    }

    fn take(&mut self, event: &Event) {
        let at = event.at;
        match &event.body {
            EventBody::JobCreated(created) => {
                let kind = match created.status {
                    JobStatus::Scheduled => SpanKind::Queued,
                    _ => SpanKind::Waiting,
                };
                self.open(kind, 1, at);
            }
            EventBody::JobScheduled(_) => self.open(SpanKind::Queued, self.attempt(), at),
            EventBody::JobStarted(started) => self.open(SpanKind::Running, started.attempt, at),
            EventBody::JobFailed(failed) if failed.next_attempt_at.is_some() => {
                self.open(SpanKind::Waiting, failed.attempt + 1, at);
            }
            EventBody::JobReleased(_) => self.open(SpanKind::Queued, self.attempt() + 1, at),
            EventBody::JobCompleted(_) | EventBody::JobFailed(_) | EventBody::JobCancelled(_) => {
                self.close(at);
            }
            EventBody::GateStarted(_) => {
                self.job_id = None;
                self.open(SpanKind::Waiting, 0, at);
            }
            EventBody::GatePassed(_) | EventBody::GateFailed(_) | EventBody::StepCancelled(_) => {
                self.close(at);
            }
            _ => {}
        }
    }
}

/// The rows of a run, in the order of its graph, from its events.
pub fn rows(reading: &Reading, engine: &Handle, run: RunId, graph: &RunGraph) -> Result<Vec<Row>, ApiError> {
    let ledger = engine.ledger(reading.tenant())?;
    let mut rows: Vec<Row> = graph
        .nodes
        .iter()
        .map(|node| Row {
            job_id: Some(node.job),
            name: node.name.clone(),
            spans: Vec::new(),
            node: 0,
        })
        .collect();
    for (index, row) in rows.iter_mut().enumerate() {
        row.node = index;
    }
    let mut places: std::collections::HashMap<JobId, usize> = graph
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.job, index))
        .collect();
    let mut after: Option<Seq> = None;
    loop {
        let tail = after.map(|seq| seq.0.to_be_bytes());
        let page = Page {
            after: tail.as_ref().map(|tail| tail.as_slice()),
            direction: Direction::Forward,
            limit: limits::STREAM_SCAN_EVENTS_MAX as usize,
        };
        let found = reading.snapshot().events_of_run(reading.tenant(), run, page)?;
        for seq in &found {
            let event = Event::from_bytes(&ledger.event(*seq)?)
                .map_err(|error| ApiError::internal(error.to_string()))?;
            if let EventBody::StepMapped(mapped) = &event.body {
                for (item, job) in mapped.jobs.iter().enumerate() {
                    places.insert(*job, rows.len());
                    rows.push(row_of_item(graph, mapped.node, item, *job)?);
                }
            }
            let place = match gate_of(&event.body) {
                Some(node) => Some(node as usize),
                None => event.subject.job.and_then(|job| places.get(&job).copied()),
            };
            if let Some(row) = place.and_then(|place| rows.get_mut(place)) {
                row.take(&event);
            }
        }
        if found.len() < page.limit {
            // The jobs of a mapped step stand where the step does; what no job did has no row.
            let known = |row: &Row| !row.spans.is_empty() || !graph.nodes[row.node].later;
            let mut rows: Vec<Row> = rows.into_iter().filter(known).collect();
            rows.sort_by_key(|row| row.node);
            return Ok(rows);
        }
        after = found.last().copied();
    }
}

/// The node that an event tells of by itself, no job being there to do it.
fn gate_of(body: &EventBody) -> Option<u32> {
    match body {
        EventBody::GateStarted(gate) => Some(gate.node),
        EventBody::GatePassed(gate) => Some(gate.node),
        EventBody::GateFailed(gate) => Some(gate.node),
        EventBody::StepCancelled(step) => Some(step.node),
        _ => None,
    }
}

fn row_of_item(graph: &RunGraph, node: u32, item: usize, job_id: JobId) -> Result<Row, ApiError> {
    let broken = || ApiError::internal("a mapped step is not in its graph");
    let place = graph.nodes.get(node as usize).ok_or_else(broken)?;
    Ok(Row {
        job_id: Some(job_id),
        name: item_name(&place.name, item).ok_or_else(broken)?,
        spans: Vec::new(),
        node: node as usize,
    })
}

/// How long each node ran; a mapped step as long as the longest of its jobs.
pub fn running_ms(rows: &[Row], graph: &RunGraph, now: Timestamp) -> Vec<u64> {
    let mut running = vec![0; graph.nodes.len()];
    for row in rows {
        if let Some(longest) = running.get_mut(row.node) {
            *longest = row.running_ms(now).max(*longest);
        }
    }
    running
}

/// Indexes of the nodes on the path with the longest running time, first to last.
pub fn critical_path(graph: &RunGraph, running_ms: &[u64]) -> Vec<u32> {
    let Ok(order) = graph.order() else {
        return Vec::new();
    };
    let mut longest = vec![(0_u64, None::<u32>); graph.nodes.len()];
    for index in &order {
        let node = *index as usize;
        let before = graph.nodes[node]
            .needs
            .iter()
            .map(|need| (longest[*need as usize].0, Some(*need)))
            .max_by_key(|(length, need)| (*length, std::cmp::Reverse(*need)));
        let (length, from) = before.unwrap_or((0, None));
        longest[node] = (length + running_ms.get(node).copied().unwrap_or(0), from);
    }
    let end = (0..graph.nodes.len() as u32).max_by_key(|index| {
        let at = *index as usize;
        // Of equally long paths the one that goes furthest: it names what came last.
        (longest[at].0, longest[at].1.is_some(), std::cmp::Reverse(*index))
    });
    let mut path = Vec::new();
    let mut at = end.filter(|index| longest[*index as usize].0 > 0);
    while let Some(index) = at {
        path.push(index);
        at = longest[index as usize].1;
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::run::GraphNode;

    #[test]
    fn the_critical_path_is_the_longest_by_running_time() {
        let needs: [&[u32]; 5] = [&[], &[0], &[0], &[1, 2], &[]];
        let nodes = needs.iter().enumerate().map(|(index, needs)| GraphNode {
            job: JobId::derive(Timestamp::from_ms(0), 0, index as u32),
            later: false,
            name: format!("s{index}").parse().unwrap(),
            needs: needs.to_vec(),
            reused: false,
        });
        let graph = RunGraph::new(nodes.collect());
        for (running_ms, expected) in [
            ([1, 5, 2, 1, 3], vec![0, 1, 3]),
            ([1, 2, 5, 1, 3], vec![0, 2, 3]),
            ([1, 1, 1, 1, 9], vec![4]),
            ([0, 0, 0, 0, 0], vec![]),
        ] {
            assert_eq!(critical_path(&graph, &running_ms), expected, "{running_ms:?}");
        }
    }
}
