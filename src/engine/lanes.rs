//! Lanes: jobs held back by the same bounds, and which of them may stand in the ready order.
//!
//! A lane is open while each of its bounds, as this lane gives it, admits one more. Of an open lane the first job of each
//! class comes to the front; opening and closing moves only those. Lanes under one concurrency key meet in its *hub*: of
//! all that are open the first of each class stands in the order, and none while the smallest limit among those that run
//! is used up. So a start or an end costs a look at the lanes whose own limit it touches, however many limits a key has.
//! Jobs without bounds always stand in the order. Must never look at the state.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::domain::concurrency::KeyUse;
use crate::domain::{JobId, RunId, Seq};
use crate::limits;

/// What workers choose by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    pub(super) queue: String,
    pub(super) job_type: String,
    pub(super) requires: BTreeMap<String, String>,
}

/// When it is a job's turn: the most urgent first, then by arrival. One number, for there may be millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

impl Turn {
    /// Arrivals have 56 bits: a ledger of a million events a second would fill them in two thousand years.
    const ARRIVAL_BITS: u32 = 56;

    pub(super) fn new(priority: u8, arrival: Seq) -> Self {
        let urgency = u64::from(limits::PRIORITY_MAX.saturating_sub(priority));
        Turn(urgency << Self::ARRIVAL_BITS | arrival.0)
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) turn: Turn,
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
    total: u32,
    /// By the limit that each of them gives.
    lanes: BTreeMap<u32, HashSet<Arc<[Group]>>>,
    /// Of a concurrency key: the first of each class of each open lane.
    fronts: BTreeMap<Arc<Class>, BTreeSet<Place>>,
    /// As many run as the smallest limit among them allows.
    is_shut: bool,
}

impl Count {
    /// What stands in the order.
    fn front(&self, class: &Arc<Class>) -> Option<Place> {
        let open = self.fronts.get(class).filter(|_| !self.is_shut);
        open.and_then(|front| front.first().copied())
    }

    /// A change at the front of a lane, as the order sees it.
    fn take_in(&mut self, change: &Moved) -> Option<Moved> {
        let before = self.front(&change.class);
        let front = self.fronts.entry(change.class.clone()).or_default();
        if let Some(place) = &change.out {
            front.remove(place);
        }
        front.extend(change.into);
        if front.is_empty() {
            self.fronts.remove(&change.class);
        }
        let after = self.front(&change.class);
        (before != after).then(|| moved(&change.class, before, after))
    }

    /// Opens or shuts the hub as the jobs that run now ask for.
    fn turn(&mut self) -> Vec<Moved> {
        let smallest = self.running.running.first().map_or(u32::MAX, |(limit, _)| *limit);
        let is_shut = self.total >= smallest;
        if std::mem::replace(&mut self.is_shut, is_shut) == is_shut {
            return Vec::new();
        }
        let fronts = self.fronts.iter().map(|(class, front)| match is_shut {
            true => moved(class, front.first().copied(), None),
            false => moved(class, None, front.first().copied()),
        });
        fronts.collect()
    }
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
            return self.forward(groups, vec![moved(class, before, after)]);
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
        }
        let is_empty = lane.waiting.is_empty();
        let changes = if is_open && before != after {
            self.forward(groups, vec![moved(class, before, after)])
        } else {
            Vec::new()
        };
        if is_empty {
            self.drop_lane(groups);
        }
        changes
    }

    /// A job started under these bounds.
    pub(super) fn enter(&mut self, groups: &[Group]) -> Vec<Moved> {
        let mut changes = Vec::new();
        for group in groups {
            let count = self.counts.entry(counted(group)).or_default();
            count.running.enter(limit(group));
            count.total += 1;
            let touched = count.total;
            changes.extend(self.look_again(group, touched));
        }
        changes
    }

    /// A job that ran under these bounds ended.
    pub(super) fn leave(&mut self, groups: &[Group]) -> Vec<Moved> {
        let mut changes = Vec::new();
        for group in groups {
            let Some(count) = self.counts.get_mut(&counted(group)) else {
                continue;
            };
            if count.running.leave(limit(group)) {
                let touched = count.total;
                count.total -= 1;
                changes.extend(self.look_again(group, touched));
            }
            self.forget_idle(&counted(group));
        }
        changes
    }

    /// One more or one less runs: of the lanes, only those with the limit that was passed can have opened or closed.
    fn look_again(&mut self, group: &Group, touched: u32) -> Vec<Moved> {
        let mut changes = Vec::new();
        let Some(count) = self.counts.get(&counted(group)) else {
            return changes;
        };
        let keys: Vec<_> = count.lanes.get(&touched).into_iter().flatten().cloned().collect();
        for key in keys {
            let is_open = self.admits(&key);
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            if std::mem::replace(&mut lane.is_open, is_open) == is_open {
                continue;
            }
            let fronts = lane.waiting.iter().map(|(class, waiting)| {
                let first = waiting.first().copied();
                match is_open {
                    true => moved(class, None, first),
                    false => moved(class, first, None),
                }
            });
            let fronts = fronts.collect();
            changes.extend(self.forward(&key, fronts));
        }
        if let (Group::Key { .. }, Some(count)) = (group, self.counts.get_mut(&counted(group))) {
            changes.extend(count.turn());
        }
        changes
    }

    /// Changes at the front of a lane, as the order sees them: through the hub of its key, where it has one.
    fn forward(&mut self, groups: &[Group], changes: Vec<Moved>) -> Vec<Moved> {
        let key = groups.iter().find(|group| matches!(group, Group::Key { .. }));
        match key.and_then(|key| self.counts.get_mut(&counted(key))) {
            Some(hub) => changes.iter().filter_map(|change| hub.take_in(change)).collect(),
            None => changes,
        }
    }

    fn admits(&self, groups: &[Group]) -> bool {
        groups.iter().all(|group| {
            let count = self.counts.get(&counted(group));
            count.is_none_or(|count| count.total < limit(group))
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
            count
                .lanes
                .entry(limit(group))
                .or_default()
                .insert(groups.clone());
        }
    }

    fn drop_lane(&mut self, groups: &Arc<[Group]>) {
        self.lanes.remove(groups);
        for group in groups.iter() {
            if let Some(count) = self.counts.get_mut(&counted(group)) {
                let lanes = count.lanes.entry(limit(group)).or_default();
                lanes.remove(groups);
                if lanes.is_empty() {
                    count.lanes.remove(&limit(group));
                }
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
            turn: Turn::new(limits::PRIORITY_DEFAULT, Seq(arrival)),
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
        let arrival = |place: &Option<Place>| place.map(|place| place.turn.0 & 0xffff_ffff);
        changes
            .iter()
            .map(|moved| (arrival(&moved.out), arrival(&moved.into)))
            .collect()
    }

    /// What becomes of one place in the order.
    fn net(changes: &[Moved]) -> Vec<(Option<u64>, Option<u64>)> {
        let told = told(changes);
        let ends = told.first().zip(told.last());
        ends.map(|(first, last)| (first.0, last.1)).into_iter().collect()
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
        assert_eq!(
            told(&lanes.insert(&three, &a, place(2))),
            [],
            "behind it in the same hub"
        );
        assert_eq!(
            told(&lanes.enter(&three)),
            [(Some(1), Some(2))],
            "one may not join, three may"
        );
        assert_eq!(told(&lanes.leave(&three)), [(Some(2), Some(1))]);
        assert_eq!(net(&lanes.enter(&one)), [(Some(1), None)], "nobody may");
        assert_eq!(told(&lanes.insert(&three, &a, place(0))), []);
        assert_eq!(net(&lanes.leave(&one)), [(None, Some(0))]);
    }

    #[test]
    fn ten_thousand_limits_of_one_key_cost_no_more_than_one() {
        const LIMITS: u32 = 10_000;
        let mut lanes = Lanes::default();
        let a = class("a");
        let keys: Vec<_> = (1..=LIMITS).map(|limit| key("host", limit)).collect();
        let mut moves = 0;
        for (arrival, key) in (1..).zip(&keys) {
            moves += lanes.insert(key, &a, place(arrival)).len();
        }
        assert_eq!(moves, 1, "only the first of all stands in the order");
        // One after the other: each shuts the others out or not, as its limit says.
        for (arrival, key) in (1..).zip(&keys) {
            let changes = [
                lanes.remove(key, &a, place(arrival)),
                lanes.enter(key),
                lanes.leave(key),
            ];
            moves += changes.iter().map(Vec::len).sum::<usize>();
        }
        assert!(moves < 6 * LIMITS as usize, "{moves} moves");
        assert!(lanes.lanes.is_empty() && lanes.counts.is_empty());
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
