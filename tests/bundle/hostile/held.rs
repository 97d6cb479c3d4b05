//! Bundles that contradict what is held, or their own history.

use fastness::bundle::{Held, HeldTip};
use fastness::domain::Digest;

use super::super::fixture::{ORIGIN, Parts, bundle, frontier_at};
use super::super::legal;
use super::{Case, FIRST, Given, SIZE, Script, Section};

/// A ledger held up to a size: the fixture's, or a fork of it.
#[derive(Debug, Clone)]
pub struct Holding {
    pub tip: Option<HeldTip>,
}

impl Holding {
    /// The fixture's ledger, or with `fork` one that shares nothing with it.
    pub fn new(size: u64, fork: Fork, trust_version: u64) -> Self {
        let root = match fork {
            Fork::No => frontier_at(size).root(),
            Fork::Yes => Digest::of(b"fork"),
        };
        Holding {
            tip: Some(HeldTip {
                size,
                root,
                trust_version,
            }),
        }
    }

    pub fn describe(&self) -> String {
        match self.tip {
            None => "nothing of this ledger".to_owned(),
            Some(tip) => format!(
                "this ledger up to {}, {}, trust version {}",
                tip.size,
                if tip.root == frontier_at(tip.size).root() {
                    "the same"
                } else {
                    "a fork of it"
                },
                tip.trust_version
            ),
        }
    }
}

/// Whether what is held is another ledger under the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    Yes,
    No,
}

impl Held for Holding {
    fn tip(&self, origin: &str) -> Result<Option<HeldTip>, String> {
        assert_eq!(origin, ORIGIN);
        Ok(self.tip)
    }

    fn root_at(&self, _: &str, size: u64) -> Result<Option<Digest>, String> {
        let forked = self
            .tip
            .is_some_and(|tip| tip.root != frontier_at(tip.size).root());
        let root = if forked {
            Digest::of(b"fork")
        } else {
            frontier_at(size).root()
        };
        Ok(Some(root))
    }
}

pub fn cases() -> Vec<Case> {
    let mut all = continuity();
    all.extend(replays());
    all
}

fn continuity() -> Vec<Case> {
    let case = |name, wrong, holding: Holding| {
        Case::new(Section::Held, name, wrong, bundle(FIRST, SIZE))
            .given(Given::Held(holding))
            .script(Script::Leaves(
                "the script holds nothing; what a bundle must continue is left to the importer",
            ))
    };
    let at = |size, fork| Holding::new(size, fork, 0);
    vec![
        case(
            "held-nothing",
            "Nothing is held of the ledger, and the bundle does not begin at its first event.",
            Holding { tip: None },
        )
        .refused(11, 8, "nothing is held"),
        case(
            "held-gap",
            "An event between what is held and the bundle is in neither.",
            at(4, Fork::No),
        )
        .refused(11, 8, "held up to 4"),
        case(
            "held-fork-where-it-begins",
            "The checkpoint at the bundle's beginning is not the one held.",
            at(FIRST, Fork::Yes),
        )
        .refused(13, 8, "another root at 5"),
        case(
            "held-fork-within",
            "Other events are held in the middle of the bundle's range.",
            at(8, Fork::Yes),
        )
        .refused(13, 8, "another root at 8"),
        case(
            "held-fork-at-the-same-size",
            "Another root is held at the same size.",
            at(SIZE, Fork::Yes),
        )
        .refused(13, 8, "another root at 12"),
        case(
            "held-fork-behind",
            "More is held, and it is another ledger.",
            at(20, Fork::Yes),
        )
        .refused(13, 8, "another root at 12"),
        case(
            "held-newer-root-of-trust",
            "A newer root of trust is held than the bundle knows: a roll-back.",
            Holding::new(FIRST, Fork::No, 1),
        )
        .refused(13, 9, "root of trust 0 after 1"),
        case(
            "held-already",
            "The whole range is held already: the bundle is good, and importing it changes nothing.",
            at(SIZE, Fork::No),
        ),
        case(
            "held-more-than-it-brings",
            "More is held than the bundle brings: the bundle is good, and importing it changes nothing.",
            at(20, Fork::No),
        ),
    ]
}

/// The third field of an event, made that of another place.
fn moved(line: &[u8], seq: usize) -> Vec<u8> {
    let text = std::str::from_utf8(line).unwrap();
    let start = text.find("\"seq\":").unwrap() + 6;
    let end = start + text[start..].find(',').unwrap();
    [&text[..start], &seq.to_string(), &text[end..], "\n"]
        .concat()
        .into_bytes()
}

fn replays() -> Vec<Case> {
    const REPLAY: Script = Script::Leaves("replay is left to `fastness verify`");
    let events = legal::events();
    let of_type = |name: &str| {
        let needle = format!("\"type\":\"{name}\"");
        events
            .iter()
            .find(|event| String::from_utf8_lossy(event).contains(&needle))
            .unwrap()
    };
    let history = |name, wrong, says, more: &[u8]| {
        let mut parts = Parts::of(&legal::bundle());
        parts.edit_lines(|lines| lines.push(moved(more, events.len())));
        parts.sign_all(|_| {});
        let (line, seq) = (Some(events.len() as u64 + 1), Some(events.len() as u64));
        let case = Case::new(Section::Held, name, wrong, parts.file())
            .refused(10, 10, says)
            .member("history.jsonl");
        Case { line, seq, ..case }
    };
    let state = |name, wrong, line: u64, says, change: fn(&mut Vec<u8>)| {
        let mut parts = Parts::of(&legal::bundle());
        let before = parts.member("jobs.jsonl").clone();
        change(parts.member("jobs.jsonl"));
        assert_ne!(before, *parts.member("jobs.jsonl"), "{name}");
        parts.sign_again(|_| {});
        Case::new(Section::Held, name, wrong, parts.file())
            .refused(10, 10, says)
            .member("jobs.jsonl")
            .line(line)
    };
    let jobs = String::from_utf8(Parts::of(&legal::bundle()).member("jobs.jsonl").clone()).unwrap();
    let cancelled = jobs
        .lines()
        .position(|job| job.contains("\"cancelled\""))
        .unwrap();
    let all = vec![
        history(
            "replay-job-created-twice",
            "A job is created that is there already, in a ledger that was signed so.",
            "job",
            of_type("job.created"),
        ),
        history(
            "replay-job-ends-twice",
            "A job ends that had ended before, in a ledger that was signed so.",
            "job",
            of_type("job.cancelled"),
        ),
        state(
            "replay-record-changed",
            "The exporter shows a cancelled job as a completed one.",
            cancelled as u64 + 1,
            "another record than the replay gives",
            |jobs| {
                let text = String::from_utf8(jobs.clone()).unwrap();
                *jobs = text.replacen("\"cancelled\"", "\"completed\"", 1).into_bytes();
            },
        ),
        state(
            "replay-record-left-out",
            "The exporter left a job out.",
            1,
            "another record than the replay gives",
            |jobs| {
                let first = jobs.iter().position(|byte| *byte == b'\n').unwrap();
                jobs.drain(..=first);
            },
        ),
        state(
            "replay-last-record-left-out",
            "The exporter left the last job out.",
            2,
            "a record that the replay gives is missing",
            |jobs| {
                let last = jobs[..jobs.len() - 1]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .unwrap();
                jobs.truncate(last + 1);
            },
        ),
        state(
            "replay-record-invented",
            "The exporter shows a job that no event tells of.",
            4,
            "a record that the replay does not give",
            |jobs| {
                jobs.extend_from_slice(b"{\"id\":\"ffffffff-ffff-7fff-bfff-ffffffffffff\"}\n");
            },
        ),
        Case::new(
            Section::Held,
            "replay-good",
            "The bundle's own history gives its state: this is a good bundle.",
            legal::bundle(),
        ),
    ];
    let mut all: Vec<Case> = all
        .into_iter()
        .map(|case| case.given(Given::Replay).script(REPLAY))
        .collect();
    all.push(
        Case::new(
            Section::Held,
            "replay-wanted-and-not-possible",
            "A replay is asked for, and the state before the bundle is not there.",
            bundle(FIRST, SIZE),
        )
        .refused(11, 10, "needs the state at 5")
        .given(Given::RequireReplay)
        .script(REPLAY),
    );
    all
}
