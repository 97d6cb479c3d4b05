//! Decisions about graphs of jobs: a run comes into being with all of its jobs, or not at all.

use std::collections::BTreeMap;

use super::bounds::{check_correlation, check_idempotency, check_range, check_submit};
use super::job::Place;
use super::{Draft, Labels};
use crate::domain::RunId;
use crate::domain::command::{GraphJob, Reply, StartGraph, SubmitJob};
use crate::domain::event::{EventBody, Subject};
use crate::domain::payload::RunCreated;
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::{GraphNode, RunGraph};
use crate::limits;

impl Draft<'_> {
    pub(super) fn start_graph(&mut self, request: &StartGraph) -> Result<Reply, Refusal> {
        check_correlation(request.correlation_id.as_deref())?;
        check_idempotency(request.idempotency.as_ref())?;
        if let Some(most) = request.max_parallel {
            check_range("/maxParallel", u64::from(most), 1, limits::RUN_JOBS_MAX as u64)?;
        }
        if let Some(timeout_ms) = request.timeout_ms {
            check_range(
                "/timeoutMs",
                timeout_ms,
                limits::TIMEOUT_MS_MIN,
                limits::TIMEOUT_MS_MAX,
            )?;
        }
        if let Some(before) = self.known_request(request.idempotency.as_ref())? {
            return Ok(before);
        }
        let created = RunCreated {
            disclosures: None,
            env_sd: Vec::new(),
            graph: self.draw_graph(&request.jobs)?,
            idempotency: request.idempotency.clone(),
            inputs: BTreeMap::new(),
            max_parallel: request.max_parallel,
            order_id: None,
            pack: None,
            replay_of: None,
            timeout_ms: request.timeout_ms,
        };
        let run = self.draw_run();
        self.create_run(
            run,
            created,
            request.jobs.clone(),
            request.correlation_id.as_deref(),
        )
    }

    /// Records a run and those of its jobs that are not reused.
    pub(super) fn create_run(
        &mut self,
        run: RunId,
        created: RunCreated,
        jobs: Vec<GraphJob>,
        correlation_id: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let labels = Labels {
            correlation_id: correlation_id.map(str::to_owned),
            project: None,
        };
        let subject = Subject {
            run: Some(run),
            ..Subject::default()
        };
        let graph = created.graph.clone();
        let is_replay = created.replay_of.is_some();
        self.emit(EventBody::RunCreated(Box::new(created)), subject, labels)?;
        if !is_replay {
            self.leave_room_for_replays(graph.len())?;
        }
        let waits = |node: &GraphNode| node.needs.iter().any(|need| !graph[*need as usize].reused);
        for (index, (node, job)) in graph.iter().zip(jobs).enumerate() {
            if node.reused || node.later {
                continue;
            }
            let request = SubmitJob {
                correlation_id: correlation_id.map(str::to_owned),
                idempotency: None,
                payload: job.payload,
                replay_of: None,
                sensitive: job.sensitive,
                spec: job.spec,
            };
            check_submit(&request).map_err(|refused| at_job(refused, index))?;
            let place = Place {
                run,
                node: index as u32,
                name: &node.name,
                waits: waits(node),
            };
            self.create_job(&request, node.job, Some(place))
                .map_err(|refused| refused_at(refused, index))?;
        }
        self.begin_steps(run, RunGraph::new(graph))?;
        self.reply_run(run)
    }

    /// The graph of a replay is a little longer: it marks the jobs whose work is kept, and names the run.
    fn leave_room_for_replays(&self, nodes: usize) -> Result<(), Rejection> {
        let bytes = self.events.last().map_or(0, |created| created.bytes.len());
        let bytes_max = limits::EVENT_BYTES_MAX - (nodes + 8) * limits::REUSED_MARK_BYTES_MAX;
        if bytes <= bytes_max {
            return Ok(());
        }
        let detail = format!("the graph has {bytes} bytes; with {nodes} jobs it may have {bytes_max}");
        Err(Rejection::field(Code::TooLarge, "/jobs", detail))
    }

    /// Steps that wait for nothing are worked out at once; a run for which nothing is to be done has ended.
    fn begin_steps(&mut self, run: RunId, graph: RunGraph) -> Result<(), Refusal> {
        if !graph.nodes.iter().any(|node| node.later) {
            return Ok(());
        }
        let row = self.run_row(run)?;
        for index in 0..graph.nodes.len() as u32 {
            let node = &graph.nodes[index as usize];
            let waits = node.needs.iter().any(|need| !graph.nodes[*need as usize].reused);
            if node.later && !node.reused && !waits && self.work_out(&row, &graph, index)? {
                self.follow(&row, &graph, vec![index])?;
            }
        }
        self.end_run(run)
    }

    /// The nodes of a graph, with an id for each job.
    pub(super) fn draw_graph(&mut self, jobs: &[GraphJob]) -> Result<Vec<GraphNode>, Refusal> {
        if jobs.is_empty() || jobs.len() > limits::RUN_JOBS_MAX {
            let detail = format!("a run has 1 to {} jobs", limits::RUN_JOBS_MAX);
            return Err(Rejection::field(Code::TooLarge, "/jobs", detail).into());
        }
        let mut places = BTreeMap::new();
        for (index, job) in jobs.iter().enumerate() {
            if places.insert(&job.name, index as u32).is_some() {
                let pointer = format!("/jobs/{index}/name");
                let detail = format!("{} names two jobs", job.name);
                return Err(Rejection::field(Code::InvalidField, pointer, detail).into());
            }
        }
        let mut nodes = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            let mut needs = Vec::with_capacity(job.needs.len());
            for need in &job.needs {
                let place = places.get(need).copied().ok_or_else(|| {
                    let detail = format!("{} needs {need}, which is not there", job.name);
                    Rejection::field(Code::InvalidField, format!("/jobs/{index}/needs"), detail)
                })?;
                needs.push(place);
            }
            needs.sort_unstable();
            if needs.windows(2).any(|pair| pair[0] == pair[1]) {
                let detail = format!("{} needs a job twice", job.name);
                return Err(
                    Rejection::field(Code::InvalidField, format!("/jobs/{index}/needs"), detail).into(),
                );
            }
            nodes.push(GraphNode {
                job: self.draw_job(),
                later: false,
                name: job.name.clone(),
                needs,
                reused: false,
            });
        }
        refuse_cycle(&nodes)?;
        Ok(nodes)
    }
}

/// Names a cycle, one job after the other, when there is one.
fn refuse_cycle(nodes: &[GraphNode]) -> Result<(), Rejection> {
    let graph = RunGraph::new(nodes.to_vec());
    let Err(left) = graph.order() else { return Ok(()) };
    // Whoever is left needs somebody who is left: following that leads into a cycle.
    let is_left: std::collections::BTreeSet<u32> = left.iter().copied().collect();
    let mut path: Vec<u32> = Vec::new();
    let mut at = left.first().copied();
    while let Some(index) = at {
        if let Some(begin) = path.iter().position(|seen| *seen == index) {
            path.drain(..begin);
            path.push(index);
            break;
        }
        path.push(index);
        let needs = &nodes[index as usize].needs;
        at = needs.iter().copied().find(|need| is_left.contains(need));
    }
    let mut names: Vec<&str> = path
        .iter()
        .map(|index| nodes[*index as usize].name.as_str())
        .collect();
    let total = names.len();
    names.truncate(limits::CYCLE_NAMES_MAX);
    let more = if total > names.len() { " -> ..." } else { "" };
    let detail = format!("a cycle of {} jobs: {}{more}", total - 1, names.join(" -> "));
    Err(Rejection::field(Code::Cycle, "/jobs", detail))
}

/// A job whose payload cannot be redacted; all else is about the request as a whole.
fn refused_at(refused: Refusal, index: usize) -> Refusal {
    match refused {
        Refusal::Rejected(rejection) if rejection.pointer.is_some() => at_job(rejection, index).into(),
        other => other,
    }
}

fn at_job(refused: Rejection, index: usize) -> Rejection {
    let pointer = refused.pointer.unwrap_or_default();
    Rejection {
        pointer: Some(format!("/jobs/{index}{pointer}")),
        ..refused
    }
}
