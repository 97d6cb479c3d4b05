//! The ready order: jobs that may be leased now, by tenant, queue, type and requirements, then priority, then arrival.
//!
//! Derived from events and rebuilt at start. A job under a bound (its run's, or a concurrency key's) stands in a *lane*
//! with all others under the same bounds; only the first of an open lane stands in the order. So the cost of a claim
//! depends neither on finished jobs, nor on waiting ones that do not match, nor on those that a bound holds back. Jobs of
//! a paused run stand aside, in no lane.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::lanes::{Class, Group, Lanes, Moved, Place, Turn};
use super::packed::Packed;
use crate::domain::glob::matches;
use crate::domain::job::Job;
use crate::domain::run::Run;
use crate::domain::{JobId, RunId, TenantName};

/// The ready order of all tenants.
#[derive(Debug, Default)]
pub(super) struct Ready {
    tenants: BTreeMap<TenantName, TenantReady>,
    /// Tenants with classes that are fresh.
    stirred: BTreeSet<TenantName>,
}

#[derive(Debug, Default)]
struct TenantReady {
    order: Order,
    lanes: Lanes,
    /// Every eligible job. Not a hash table: there may be millions, and one of those would stop the writer when it grows.
    entries: Packed<JobId, Entry>,
    /// Paused runs, and their jobs that were eligible at some time of the pause.
    paused: HashMap<RunId, HashSet<JobId>>,
    /// Jobs of paused runs: they stand in no lane.
    aside: HashSet<JobId>,
    /// The bounds of runs that have one.
    runs: HashMap<RunId, u32>,
    /// The bounds that running jobs are counted under; only of jobs that have any.
    running: HashMap<JobId, Arc<[Group]>>,
}

#[derive(Debug)]
struct Entry {
    kind: Arc<Stand>,
    turn: Turn,
}

/// What jobs have in common: shared by all of a class that have no bounds.
#[derive(Debug)]
struct Stand {
    class: Arc<Class>,
    groups: Arc<[Group]>,
}

/// What stands in the order: by queue, type and requirements.
#[derive(Debug, Default)]
struct Order {
    queues: BTreeMap<String, Types>,
    /// Classes of which a job came into the order since they were last asked for.
    fresh: BTreeSet<Arc<Class>>,
}

/// The types of a queue, each with its shelves by what they require.
type Types = BTreeMap<String, Shelves>;
type Shelves = BTreeMap<BTreeMap<String, String>, Shelf>;

#[derive(Debug)]
struct Shelf {
    class: Arc<Class>,
    /// Of its jobs without bounds.
    unbound: Arc<Stand>,
    places: Packed<Place, ()>,
}

/// What a worker takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wanted {
    /// What it offers: all that a job requires must be among it.
    pub labels: BTreeMap<String, String>,
    /// From these queues.
    pub queues: Vec<String>,
    /// Types by glob, `*` standing for any characters; none means all.
    pub types: Vec<String>,
}

impl Wanted {
    /// Whether jobs of a class are what is wanted, whatever their queue.
    pub(super) fn takes(&self, class: &Class) -> bool {
        let is_named = self.types.is_empty() || self.types.iter().any(|glob| matches(glob, &class.job_type));
        is_named && self.offers(&class.requires)
    }

    fn offers(&self, requires: &BTreeMap<String, String>) -> bool {
        let offered = |(name, value)| self.labels.get(name) == Some(value);
        requires.iter().all(offered)
    }
}

impl Ready {
    /// Takes up a run, when it has a bound.
    pub(super) fn open_run(&mut self, tenant: &TenantName, run: &Run) {
        if let Some(most) = run.max_parallel {
            self.tenant(tenant).runs.insert(run.id, most);
        }
    }

    /// Drops what was known of a run.
    pub(super) fn close_run(&mut self, tenant: &TenantName, run: RunId) {
        let ready = self.tenant(tenant);
        ready.runs.remove(&run);
        ready.paused.remove(&run);
    }

    /// Puts the jobs of a run aside; `jobs` are those that it has.
    pub(super) fn pause_run(&mut self, tenant: &TenantName, run: RunId, jobs: &[JobId]) {
        let ready = self.tenant(tenant);
        let mut aside = ready.paused.remove(&run).unwrap_or_default();
        let mut moved = Vec::new();
        for job in jobs {
            let Some(entry) = ready.entries.get(job) else {
                continue;
            };
            aside.insert(*job);
            if ready.aside.insert(*job) {
                moved.extend(
                    ready
                        .lanes
                        .remove(&entry.kind.groups, &entry.kind.class, entry.place(*job)),
                );
            }
        }
        ready.paused.insert(run, aside);
        self.change(tenant, moved);
    }

    /// Puts the jobs of a run back where they stood.
    pub(super) fn resume_run(&mut self, tenant: &TenantName, run: RunId) {
        let ready = self.tenant(tenant);
        let mut moved = Vec::new();
        for job in ready.paused.remove(&run).into_iter().flatten() {
            let Some(entry) = ready.entries.get(&job) else {
                continue;
            };
            if ready.aside.remove(&job) {
                moved.extend(
                    ready
                        .lanes
                        .insert(&entry.kind.groups, &entry.kind.class, entry.place(job)),
                );
            }
        }
        self.change(tenant, moved);
    }

    /// A job became eligible.
    pub(super) fn insert(&mut self, tenant: &TenantName, job: &Job) {
        self.remove(tenant, job.id);
        let ready = self.tenant(tenant);
        let entry = Entry {
            kind: ready.order.standing(job, ready.groups_of(job)),
            turn: Turn::new(job.spec.priority, job.ready_seq.unwrap_or(job.seq)),
        };
        let moved = match job.run.and_then(|run| ready.paused.get_mut(&run)) {
            Some(aside) => {
                aside.insert(job.id);
                ready.aside.insert(job.id);
                Vec::new()
            }
            None => ready
                .lanes
                .insert(&entry.kind.groups, &entry.kind.class, entry.place(job.id)),
        };
        ready.entries.insert(job.id, entry);
        self.change(tenant, moved);
    }

    /// A job is no longer eligible.
    pub(super) fn remove(&mut self, tenant: &TenantName, job: JobId) {
        let Some(ready) = self.tenants.get_mut(tenant) else {
            return;
        };
        if let Some(entry) = ready.entries.remove(&job)
            && !ready.aside.remove(&job)
        {
            let moved = ready
                .lanes
                .remove(&entry.kind.groups, &entry.kind.class, entry.place(job));
            self.change(tenant, moved);
        }
    }

    /// A job started: it is counted under its bounds.
    pub(super) fn started(&mut self, tenant: &TenantName, job: &Job) {
        self.remove(tenant, job.id);
        let ready = self.tenant(tenant);
        let groups = ready.groups_of(job);
        if !groups.is_empty() && !ready.running.contains_key(&job.id) {
            let moved = ready.lanes.enter(&groups);
            ready.running.insert(job.id, groups);
            self.change(tenant, moved);
        }
    }

    /// A running job ended: those that its bounds held back may come into the order.
    pub(super) fn ended(&mut self, tenant: &TenantName, job: JobId) {
        let ready = self.tenant(tenant);
        if let Some(groups) = ready.running.remove(&job) {
            let moved = ready.lanes.leave(&groups);
            self.change(tenant, moved);
        }
    }

    fn change(&mut self, tenant: &TenantName, moved: Vec<Moved>) {
        let ready = self.tenant(tenant);
        ready.order.change(moved);
        if !ready.order.fresh.is_empty() && !self.stirred.contains(tenant) {
            self.stirred.insert(tenant.clone());
        }
    }

    /// Classes of which a job came into the order since they were last taken: whoever found nothing of them before may
    /// find something now.
    pub(super) fn take_fresh(&mut self) -> Vec<(TenantName, Arc<Class>)> {
        let mut fresh = Vec::new();
        for tenant in std::mem::take(&mut self.stirred) {
            let classes = std::mem::take(&mut self.tenant(&tenant).order.fresh);
            fresh.extend(classes.into_iter().map(|class| (tenant.clone(), class)));
        }
        fresh
    }

    /// Classes that were taken and not looked at.
    pub(super) fn put_back_fresh(&mut self, fresh: Vec<(TenantName, Arc<Class>)>) {
        for (tenant, class) in fresh {
            self.tenant(&tenant).order.fresh.insert(class);
            self.stirred.insert(tenant);
        }
    }

    /// Whether there are fresh classes.
    pub(super) fn has_fresh(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// Whether a job of this class stands in the order.
    pub(super) fn has(&self, tenant: &TenantName, class: &Class) -> bool {
        let queues = self.tenants.get(tenant).map(|ready| &ready.order.queues);
        let types = queues.and_then(|queues| queues.get(&class.queue));
        let shelves = types.and_then(|types| types.get(&class.job_type));
        shelves.is_some_and(|shelves| shelves.contains_key(&class.requires))
    }

    /// The tenant behind `last`, in a ring, that has something such a worker may get, and that something.
    pub(super) fn next_in_turn(
        &self,
        last: Option<&TenantName>,
        wanted: &Wanted,
        allowed: impl Fn(&TenantName) -> bool,
    ) -> Option<(TenantName, JobId)> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.tenants.range::<TenantName, _>((start, Bound::Unbounded));
        let before = last
            .map(|last| self.tenants.range::<TenantName, _>(..=last))
            .into_iter()
            .flatten();
        behind
            .chain(before)
            .filter(|(tenant, ready)| !ready.order.queues.is_empty() && allowed(tenant))
            .find_map(|(tenant, ready)| Some((tenant.clone(), ready.order.first(wanted)?.job)))
    }

    /// Eligible jobs, for metrics.
    pub(super) fn depth(&self) -> usize {
        self.tenants.values().map(|ready| ready.entries.len()).sum()
    }

    fn tenant(&mut self, tenant: &TenantName) -> &mut TenantReady {
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), TenantReady::default());
        }
        self.tenants.entry(tenant.clone()).or_default()
    }
}

impl Entry {
    fn place(&self, job: JobId) -> Place {
        Place { turn: self.turn, job }
    }
}

impl TenantReady {
    fn groups_of(&self, job: &Job) -> Arc<[Group]> {
        let run = job.run.and_then(|run| {
            let most = *self.runs.get(&run)?;
            Some(Group::Run { run, most })
        });
        let key = job.spec.concurrency.as_ref().map(|bound| Group::Key {
            key: bound.key.clone(),
            limit: bound.limit,
        });
        match (run, key) {
            // Shared by all: nothing is allocated.
            (None, None) => Arc::default(),
            (run, key) => run.into_iter().chain(key).collect(),
        }
    }
}

impl Order {
    /// How a job under these bounds stands; its class is shared with those that are there.
    fn standing(&self, job: &Job, groups: Arc<[Group]>) -> Arc<Stand> {
        let (queue, job_type, requires) = (&job.spec.queue, &job.spec.job_type, &job.spec.requires);
        let shelf = self
            .queues
            .get(queue)
            .and_then(|types| types.get(job_type)?.get(requires));
        let class = match shelf {
            Some(shelf) if groups.is_empty() => return shelf.unbound.clone(),
            Some(shelf) => shelf.class.clone(),
            None => Arc::new(Class {
                queue: queue.clone(),
                job_type: job_type.clone(),
                requires: requires.clone(),
            }),
        };
        Arc::new(Stand { class, groups })
    }

    fn change(&mut self, moved: Vec<Moved>) {
        for moved in moved {
            if let Some(place) = moved.out {
                self.take_out(&moved.class, place);
            }
            if let Some(place) = moved.into {
                self.put_in(&moved.class, place);
            }
        }
    }

    fn put_in(&mut self, class: &Arc<Class>, place: Place) {
        if !self.fresh.contains(class) {
            self.fresh.insert(class.clone());
        }
        let types = self.queues.entry(class.queue.clone()).or_default();
        let requires = types.entry(class.job_type.clone()).or_default();
        let shelf = requires.entry(class.requires.clone()).or_insert_with(|| Shelf {
            class: class.clone(),
            unbound: Arc::new(Stand {
                class: class.clone(),
                groups: Arc::default(),
            }),
            places: Packed::default(),
        });
        shelf.places.insert(place, ());
    }

    fn take_out(&mut self, class: &Class, place: Place) {
        let Some(types) = self.queues.get_mut(&class.queue) else {
            return;
        };
        let Some(requires) = types.get_mut(&class.job_type) else {
            return;
        };
        if let Some(shelf) = requires.get_mut(&class.requires) {
            shelf.places.remove(&place);
            if shelf.places.is_empty() {
                requires.remove(&class.requires);
            }
        }
        if requires.is_empty() {
            types.remove(&class.job_type);
        }
        if types.is_empty() {
            self.queues.remove(&class.queue);
        }
    }

    fn first(&self, wanted: &Wanted) -> Option<Place> {
        let queues = wanted.queues.iter().filter_map(|queue| self.queues.get(queue));
        queues.filter_map(|types| first_of(types, wanted)).min()
    }
}

/// The first place of a queue: types are looked up by name where the worker names them, and walked only for globs.
fn first_of(types: &Types, wanted: &Wanted) -> Option<Place> {
    let of_type = |shelves: &Shelves| {
        shelves
            .iter()
            .filter(|(requires, _)| wanted.offers(requires))
            .filter_map(|(_, shelf)| shelf.places.first().copied())
            .min()
    };
    if wanted.types.is_empty() {
        return types.values().filter_map(of_type).min();
    }
    let by_glob = |glob: &String| {
        let Some((stem, _)) = glob.split_once('*') else {
            return types.get(glob).and_then(of_type);
        };
        types
            .range::<str, _>((Bound::Included(stem), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(stem))
            .filter(|(name, _)| matches(glob, name))
            .filter_map(|(_, shelves)| of_type(shelves))
            .min()
    };
    wanted.types.iter().filter_map(by_glob).min()
}
