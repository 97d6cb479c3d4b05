//! Lanes: jobs held back by the same bounds, and which of them may stand in the ready order.
//!
//! A lane is open while each of its bounds admits one more. Of an open lane the first job of each class stands in the
//! order; opening and closing moves only those. Jobs without bounds always stand there. Must never look at the state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::concurrency::KeyUse;
use crate::domain::{JobId, RunId, Seq};

/// What workers choose by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    pub(super) queue: String,
    pub(super) job_type: String,
    pub(super) requires: BTreeMap<String, String>,
}

/// Where a job stands: the most urgent first, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Priority turned round.
    pub(super) urgency: u8,
    pub(super) arrival: Seq,
    pub(super) job: JobId,
}

/// A bound that a job stands under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Group {
    /// Of its run.
    Run { run: RunId, most: u32 },
    /// Of a concurrency key, with the limit that this job allows.
    Key { key: String, limit: u32 },
}

/// A change of the ready order.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) class: Arc<Class>,
    pub(super) out: Option<Place>,
    pub(super) into: Option<Place>,
}

/// What jobs are counted under: limits of one key share one count.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    Run(RunId),
    Key(String),
}

#[derive(Debug, Default)]
struct Count {
    running: KeyUse,
    lanes: Vec<Arc<[Group]>>,
}

#[derive(Debug, Default)]
struct Lane {
    is_open: bool,
    waiting: BTreeMap<Arc<Class>, BTreeSet<Place>>,
}

/// The lanes of one tenant.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<Arc<[Group]>, Lane>,
    counts: HashMap<Counted, Count>,
}

impl Lanes {
    pub(super) fn insert(&mut self, groups: &Arc<[Group]>, class: &Arc<Class>, place: Place) -> Vec<Moved> {
        if groups.is_empty() {
            return vec![moved(class, None, Some(place))];
        }
        if !self.lanes.contains_key(groups) {
            self.add_lane(groups);
        }
        let Some(lane) = self.lanes.get_mut(groups) else {
            return Vec::new();
        };
        let waiting = lane.waiting.entry(class.clone()).or_default();
        let before = waiting.first().copied();
        waiting.insert(place);
        let after = waiting.first().copied();
        if lane.is_open && before != after {
            return vec![moved(class, before, after)];
        }
        Vec::new()
    }

    pub(super) fn remove(&mut self, groups: &Arc<[Group]>, class: &Arc<Class>, place: Place) -> Vec<Moved> {
        if groups.is_empty() {
            return vec![moved(class, Some(place), None)];
        }
        let Some(lane) = self.lanes.get_mut(groups) else {
            return Vec::new();
        };
        let Some(waiting) = lane.waiting.get_mut(class) else {
            return Vec::new();
        };
        let before = waiting.first().copied();
        waiting.remove(&place);
        let after = waiting.first().copied();
        let is_open = lane.is_open;
        if after.is_none() {
            lane.waiting.remove(class);
            if lane.waiting.is_empty() {
                self.drop_lane(groups);
            }
        }
        if is_open && before != after {
            return vec![moved(class, before, after)];
        }
        Vec::new()
    }

    /// A job started under these bounds.
    pub(super) fn enter(&mut self, groups: &[Group]) -> Vec<Moved> {
        for group in groups {
            let count = self.counts.entry(counted(group)).or_default();
            count.running.enter(limit(group));
        }
        self.look_again(groups)
    }

    /// A job that ran under these bounds ended.
    pub(super) fn leave(&mut self, groups: &[Group]) -> Vec<Moved> {
        for group in groups {
            if let Some(count) = self.counts.get_mut(&counted(group)) {
                count.running.leave(limit(group));
            }
        }
        let changes = self.look_again(groups);
        for group in groups {
            self.forget_idle(&counted(group));
        }
        changes
    }

    fn look_again(&mut self, groups: &[Group]) -> Vec<Moved> {
        let mut changes = Vec::new();
        for group in groups {
            let Some(count) = self.counts.get(&counted(group)) else {
                continue;
            };
            for key in count.lanes.clone() {
                let is_open = self.admits(&key);
                let Some(lane) = self.lanes.get_mut(&key) else {
                    continue;
                };
                if std::mem::replace(&mut lane.is_open, is_open) == is_open {
                    continue;
                }
                for (class, waiting) in &lane.waiting {
                    let first = waiting.first().copied();
                    changes.push(if is_open {
                        moved(class, None, first)
                    } else {
                        moved(class, first, None)
                    });
                }
            }
        }
        changes
    }

    fn admits(&self, groups: &[Group]) -> bool {
        groups.iter().all(|group| {
            let count = self.counts.get(&counted(group));
            count.is_none_or(|count| count.running.admits(limit(group)))
        })
    }

    fn add_lane(&mut self, groups: &Arc<[Group]>) {
        let lane = Lane {
            is_open: self.admits(groups),
            waiting: BTreeMap::new(),
        };
        self.lanes.insert(groups.clone(), lane);
        for group in groups.iter() {
            let count = self.counts.entry(counted(group)).or_default();
            count.lanes.push(groups.clone());
        }
    }

    fn drop_lane(&mut self, groups: &Arc<[Group]>) {
        self.lanes.remove(groups);
        for group in groups.iter() {
            if let Some(count) = self.counts.get_mut(&counted(group)) {
                count.lanes.retain(|lane| lane != groups);
            }
            self.forget_idle(&counted(group));
        }
    }

    fn forget_idle(&mut self, counted: &Counted) {
        let is_idle = |count: &Count| count.lanes.is_empty() && count.running.running.is_empty();
        if self.counts.get(counted).is_some_and(is_idle) {
            self.counts.remove(counted);
        }
    }
}

fn moved(class: &Arc<Class>, out: Option<Place>, into: Option<Place>) -> Moved {
    Moved {
        class: class.clone(),
        out,
        into,
    }
}

fn counted(group: &Group) -> Counted {
    match group {
        Group::Run { run, .. } => Counted::Run(*run),
        Group::Key { key, .. } => Counted::Key(key.clone()),
    }
}

fn limit(group: &Group) -> u32 {
    match group {
        Group::Run { most, .. } => *most,
        Group::Key { limit, .. } => *limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    fn class(job_type: &str) -> Arc<Class> {
        Arc::new(Class {
            queue: "q".to_owned(),
            job_type: job_type.to_owned(),
            requires: BTreeMap::new(),
        })
    }

    fn place(arrival: u64) -> Place {
        Place {
            urgency: 4,
            arrival: Seq(arrival),
            job: JobId::derive(Timestamp::from_ms(0), arrival, 0),
        }
    }

    fn key(key: &str, limit: u32) -> Arc<[Group]> {
        Arc::from([Group::Key {
            key: key.to_owned(),
            limit,
        }])
    }

    /// What went out and what came in, by arrival.
    fn told(changes: &[Moved]) -> Vec<(Option<u64>, Option<u64>)> {
        let arrival = |place: &Option<Place>| place.map(|place| place.arrival.0);
        changes
            .iter()
            .map(|moved| (arrival(&moved.out), arrival(&moved.into)))
            .collect()
    }

    #[test]
    fn only_the_first_of_an_open_lane_stands_in_the_order() {
        let mut lanes = Lanes::default();
        let (host, a) = (key("host", 1), class("a"));
        assert_eq!(told(&lanes.insert(&host, &a, place(5))), [(None, Some(5))]);
        assert_eq!(told(&lanes.insert(&host, &a, place(7))), []);
        assert_eq!(told(&lanes.insert(&host, &a, place(3))), [(Some(5), Some(3))]);
        assert_eq!(told(&lanes.remove(&host, &a, place(3))), [(Some(3), Some(5))]);
        assert_eq!(told(&lanes.enter(&host)), [(Some(5), None)]);
        assert_eq!(told(&lanes.insert(&host, &a, place(1))), [], "the lane is closed");
        assert_eq!(told(&lanes.leave(&host)), [(None, Some(1))]);
    }

    #[test]
    fn the_smallest_limit_among_those_that_run_counts() {
        let mut lanes = Lanes::default();
        let (one, three, a) = (key("host", 1), key("host", 3), class("a"));
        lanes.insert(&one, &a, place(1));
        lanes.insert(&three, &a, place(2));
        assert_eq!(
            told(&lanes.enter(&three)),
            [(Some(1), None)],
            "one may not join, three may"
        );
        assert_eq!(told(&lanes.leave(&three)), [(None, Some(1))]);
        let closed = told(&lanes.enter(&one));
        assert_eq!(closed, [(Some(1), None), (Some(2), None)]);
    }

    #[test]
    fn nothing_is_kept_of_what_is_over() {
        let mut lanes = Lanes::default();
        let (host, a) = (key("host", 1), class("a"));
        lanes.insert(&host, &a, place(1));
        lanes.remove(&host, &a, place(1));
        lanes.enter(&host);
        lanes.leave(&host);
        assert!(lanes.lanes.is_empty() && lanes.counts.is_empty());
    }
}
