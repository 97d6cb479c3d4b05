//! Which dead letters a replay means, found without walking over those that it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Api;
use super::auth::Caller;
use super::dead_letters::Filter;
use super::error::ApiError;
use super::letter_replay::ReplayLetters;
use super::reading::{Asked, Reading, list_rows, read_hex};
use crate::domain::dead_letter::{DeadLetter, Fingerprint};
use crate::domain::standing::Standing;
use crate::domain::state::Kind;
use crate::domain::{JobId, RunId};
use crate::limits;
use crate::store::{Direction, Page};

/// The letters of one request: at most [`limits::BATCH_ITEMS_MAX`] and those that go with them, since a run is replayed
/// with all of its letters; of runs with at most [`limits::REPLAY_JOBS_MAX`] jobs.
#[derive(Debug, Default)]
pub struct Chosen {
    /// Letters of jobs that stand alone.
    pub alone: Vec<JobId>,
    /// There are letters that belong to none of these.
    pub more: bool,
    /// Letters by their run.
    pub runs: BTreeMap<RunId, Vec<JobId>>,
    /// Letters that asked for a place of their own: those alone, and the first of each run.
    places: usize,
    /// Jobs of these runs.
    jobs: u64,
}

impl Chosen {
    /// Takes a letter up. False when it is one too many.
    fn take(&mut self, reading: &Reading, letter: &DeadLetter) -> Result<bool, ApiError> {
        if let Some(known) = letter.run.and_then(|run| self.runs.get_mut(&run)) {
            known.push(letter.job);
            return Ok(true);
        }
        let mut jobs = self.jobs;
        if let Some(run) = letter.run {
            let row = reading.view().run(run)?;
            jobs += row.map_or(0, |row| u64::from(row.counts.total));
        }
        let is_first = self.runs.is_empty();
        if self.places >= limits::BATCH_ITEMS_MAX || (jobs > limits::REPLAY_JOBS_MAX && !is_first) {
            self.more = true;
            return Ok(false);
        }
        self.jobs = jobs;
        self.places += 1;
        match letter.run {
            Some(run) => self.runs.entry(run).or_default().push(letter.job),
            None => self.alone.push(letter.job),
        }
        Ok(true)
    }
}

/// The open letters that a request means.
pub async fn chosen(api: &Arc<Api>, caller: &Caller, body: &ReplayLetters) -> Result<Chosen, ApiError> {
    let filter = match (&body.ids, &body.filter, &body.cluster) {
        (Some(ids), None, None) => return named(api, caller, ids.clone()).await,
        (None, Some(filter), None) => filter.clone(),
        (None, None, Some(cluster)) => Filter {
            cluster: Some(cluster.clone()),
            ..Filter::default()
        },
        _ => {
            let detail = "exactly one of `ids`, `filter` and `cluster` says which letters";
            return Err(ApiError::field("invalid_field", "", detail));
        }
    };
    let read = api.read(caller.tenant()?, move |reading| match filter.run {
        Some(run) => of_run(reading, run, &filter),
        None => of_clusters(reading, &filter),
    });
    read.await
}

async fn named(api: &Arc<Api>, caller: &Caller, mut ids: Vec<JobId>) -> Result<Chosen, ApiError> {
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() || ids.len() > limits::BATCH_ITEMS_MAX {
        let detail = format!("1 to {} ids", limits::BATCH_ITEMS_MAX);
        return Err(ApiError::field("invalid_field", "/ids", detail));
    }
    let read = api.read(caller.tenant()?, move |reading| {
        let mut chosen = Chosen::default();
        for id in ids {
            let letter = reading.view().dead_letter(id)?;
            let letter = letter.ok_or_else(|| ApiError::not_found("dead letter"))?;
            if letter.resolved.is_some() {
                let detail = format!("the dead letter {id} is resolved");
                return Err(ApiError::conflict("illegal_transition", detail));
            }
            if !chosen.take(reading, &letter)? {
                let detail = format!(
                    "their runs have more than {} jobs together",
                    limits::REPLAY_JOBS_MAX
                );
                return Err(ApiError::field("too_large", "/ids", detail));
            }
        }
        Ok(chosen)
    });
    read.await
}

/// The letters of one run are those of its jobs.
fn of_run(reading: &Reading, run: RunId, filter: &Filter) -> Result<Chosen, ApiError> {
    let mut chosen = Chosen::default();
    let view = reading.view();
    let Some(row) = view.graph(run)? else {
        return Ok(chosen);
    };
    let nodes = row.as_graph().map_or(&[][..], |graph| &graph.nodes);
    for (index, node) in (0..).zip(nodes).filter(|(_, node)| !node.reused) {
        for job in Standing::of(&*view, &*view, run, (index, node))?.jobs {
            let letter = view.dead_letter(job.id)?;
            let meant = letter.filter(|letter| letter.resolved.is_none() && filter.admits(letter));
            if let Some(letter) = meant
                && !chosen.take(reading, &letter)?
            {
                return Ok(chosen);
            }
        }
    }
    Ok(chosen)
}

/// Other letters are found by their clusters, which know the type of their jobs.
fn of_clusters(reading: &Reading, filter: &Filter) -> Result<Chosen, ApiError> {
    let mut chosen = Chosen::default();
    if let Some(cluster) = &filter.cluster {
        of_cluster(reading, cluster, filter, &mut chosen)?;
        return Ok(chosen);
    }
    let mut asked = Asked {
        limit: limits::PAGE_ITEMS_MAX,
        after: None,
    };
    loop {
        let page = list_rows(reading, Kind::Cluster, &asked, |row| {
            let open = row.as_cluster().filter(|cluster| cluster.open > 0);
            let meant = open.filter(|cluster| filter.admits_type(&cluster.job_type));
            Ok(meant.map(|cluster| cluster.fingerprint.clone()))
        })?;
        for cluster in &page.items {
            if !of_cluster(reading, cluster, filter, &mut chosen)? {
                return Ok(chosen);
            }
        }
        match page.next_cursor {
            Some(cursor) => asked.after = read_hex(&cursor),
            None => return Ok(chosen),
        }
    }
}

/// False when there is one letter too many.
fn of_cluster(
    reading: &Reading,
    cluster: &Fingerprint,
    filter: &Filter,
    chosen: &mut Chosen,
) -> Result<bool, ApiError> {
    let mut after: Option<JobId> = None;
    loop {
        let page = Page {
            after: after.as_ref().map(|id| id.as_bytes().as_slice()),
            direction: Direction::Backward,
            limit: limits::PAGE_ITEMS_MAX,
        };
        let ids = reading.snapshot().open_letters(reading.tenant(), cluster, page)?;
        let Some(last) = ids.last() else {
            return Ok(true);
        };
        after = Some(*last);
        for id in ids {
            let letter = reading.view().dead_letter(id)?;
            if let Some(letter) = letter.filter(|letter| filter.admits(letter))
                && !chosen.take(reading, &letter)?
            {
                return Ok(false);
            }
        }
    }
}
