//! The ready order: jobs that may be leased now, by tenant, queue and type, then priority, then arrival.
//!
//! Derived from events and rebuilt at start. The cost of a claim depends neither on finished jobs nor on waiting ones
//! that do not match.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::domain::job::Job;
use crate::domain::run::Run;
use crate::domain::{JobId, RunId, Seq, TenantName};
use crate::limits;

/// Place in a queue: priority turned round, arrival, and the job itself.
type Place = (u8, Seq, JobId);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    queue: String,
    job_type: String,
    place: Place,
    run: Option<RunId>,
}

/// The ready order of all tenants.
#[derive(Debug, Default)]
pub(super) struct Ready {
    tenants: BTreeMap<TenantName, TenantReady>,
}

#[derive(Debug, Default)]
struct TenantReady {
    queues: BTreeMap<String, BTreeMap<String, BTreeSet<Place>>>,
    entries: HashMap<JobId, Entry>,
    /// Only of runs that have a bound.
    slots: HashMap<RunId, Slots>,
}

/// How many jobs of a bounded run are running, and which wait for one of them to end.
#[derive(Debug)]
struct Slots {
    most: u32,
    running: u32,
    parked: Vec<JobId>,
}

/// What a worker takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// From these queues.
    pub queues: Vec<String>,
    /// Types by glob, `*` standing for any characters; none means all.
    pub types: Vec<String>,
}

impl Ready {
    /// Takes up a run, when it has a bound.
    pub(super) fn open_run(&mut self, tenant: &TenantName, run: &Run) {
        if let Some(most) = run.max_parallel {
            let slots = Slots {
                most,
                running: run.counts.running,
                parked: Vec::new(),
            };
            self.tenant(tenant).slots.insert(run.id, slots);
        }
    }

    /// Drops what was known of a run.
    pub(super) fn close_run(&mut self, tenant: &TenantName, run: RunId) {
        self.tenant(tenant).slots.remove(&run);
    }

    /// A job became eligible.
    pub(super) fn insert(&mut self, tenant: &TenantName, job: &Job) {
        let entry = Entry {
            queue: job.spec.queue.clone(),
            job_type: job.spec.job_type.clone(),
            place: (
                limits::PRIORITY_MAX - job.spec.priority,
                job.ready_seq.unwrap_or(job.seq),
                job.id,
            ),
            run: job.run,
        };
        let ready = self.tenant(tenant);
        ready.enqueue(&entry);
        ready.entries.insert(job.id, entry);
    }

    /// A job is no longer eligible.
    pub(super) fn remove(&mut self, tenant: &TenantName, job: JobId) {
        let ready = self.tenant(tenant);
        if let Some(entry) = ready.entries.remove(&job) {
            ready.dequeue(&entry);
            if let Some(slots) = entry.run.and_then(|run| ready.slots.get_mut(&run)) {
                slots.parked.retain(|parked| *parked != job);
            }
        }
    }

    /// A job of a bounded run started.
    pub(super) fn started(&mut self, tenant: &TenantName, run: Option<RunId>) {
        if let Some(slots) = run.and_then(|run| self.tenant(tenant).slots.get_mut(&run)) {
            slots.running += 1;
        }
    }

    /// A running job of a bounded run ended: those that waited for a slot come back.
    pub(super) fn ended(&mut self, tenant: &TenantName, run: Option<RunId>) {
        let ready = self.tenant(tenant);
        let Some(slots) = run.and_then(|run| ready.slots.get_mut(&run)) else {
            return;
        };
        slots.running = slots.running.saturating_sub(1);
        for job in std::mem::take(&mut slots.parked) {
            if let Some(entry) = ready.entries.get(&job).cloned() {
                ready.enqueue(&entry);
            }
        }
    }

    /// The job that such a worker gets next. Stays in the order until it is removed.
    pub(super) fn next(&mut self, tenant: &TenantName, wanted: &Wanted) -> Option<JobId> {
        let ready = self.tenants.get_mut(tenant)?;
        loop {
            let place = ready.first(wanted)?;
            let entry = ready.entries.get(&place.2)?.clone();
            let full = entry
                .run
                .and_then(|run| ready.slots.get_mut(&run))
                .filter(|s| s.running >= s.most);
            match full {
                None => return Some(place.2),
                Some(slots) => slots.parked.push(place.2),
            }
            ready.dequeue(&entry);
        }
    }

    /// Tenants that have eligible jobs, those behind `last` first, so that each has its turn.
    pub(super) fn tenants_after(&self, last: Option<&TenantName>) -> Vec<TenantName> {
        let busy = |entry: &(&TenantName, &TenantReady)| !entry.1.queues.is_empty();
        let (behind, before): (Vec<_>, Vec<_>) = self
            .tenants
            .iter()
            .filter(busy)
            .partition(|(tenant, _)| last.is_none_or(|last| *tenant > last));
        behind
            .into_iter()
            .chain(before)
            .map(|(tenant, _)| tenant.clone())
            .collect()
    }

    /// Eligible jobs per tenant and queue, for metrics.
    pub(super) fn depth(&self) -> usize {
        self.tenants.values().map(|ready| ready.entries.len()).sum()
    }

    fn tenant(&mut self, tenant: &TenantName) -> &mut TenantReady {
        self.tenants.entry(tenant.clone()).or_default()
    }
}

impl TenantReady {
    fn first(&self, wanted: &Wanted) -> Option<Place> {
        let queues = wanted.queues.iter().filter_map(|queue| self.queues.get(queue));
        queues
            .flat_map(|types| types.iter())
            .filter(|(name, _)| {
                wanted.types.is_empty() || wanted.types.iter().any(|glob| matches(glob, name))
            })
            .filter_map(|(_, places)| places.first().copied())
            .min()
    }

    fn enqueue(&mut self, entry: &Entry) {
        let types = self.queues.entry(entry.queue.clone()).or_default();
        types
            .entry(entry.job_type.clone())
            .or_default()
            .insert(entry.place);
    }

    fn dequeue(&mut self, entry: &Entry) {
        let Some(types) = self.queues.get_mut(&entry.queue) else {
            return;
        };
        if let Some(places) = types.get_mut(&entry.job_type) {
            places.remove(&entry.place);
            if places.is_empty() {
                types.remove(&entry.job_type);
            }
        }
        if types.is_empty() {
            self.queues.remove(&entry.queue);
        }
    }
}

/// Glob match: `*` stands for any characters, dots included. Linear in the text for each star.
pub fn matches(glob: &str, text: &str) -> bool {
    let mut parts = glob.split('*');
    let Some(rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut rest = rest;
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            match rest.find(middle) {
                Some(at) => rest = &rest[at + middle.len()..],
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (glob, text, expected) in [
            ("*", "", true),
            ("scan.*", "scan.image.deep", true),
            ("scan.*", "scan", false),
            ("*.image", "scan.image", true),
            ("s*n*e", "scan.image", true),
            ("a*a", "a", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*b*b", "ab", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
