//! What a bundle must agree with: what is held, and what a replay gives.

use std::cell::RefCell;

use fastness::bundle::{Check, Held, HeldTip, LineVisitor, Options, Replay, ReplayError, StateFile, Status};
use fastness::domain::Digest;

use super::fixture::{Parts, bundle, event, options, outcome, records};
use super::hostile::held::{Fork, Holding};

#[test]
fn a_bundle_that_continues_what_is_held_is_good() {
    let good = |first, holding: Holding| {
        let options = Options {
            held: Some(&holding),
            ..options()
        };
        let report = outcome(&bundle(first, 12), options).report;
        let check = &report.checks[7];
        assert_eq!((check.status, report.exit_code), (Status::Ok, 0), "{check:?}");
    };
    good(0, Holding { tip: None });
    for (first, size) in [(5, 5), (5, 8), (5, 12), (5, 20), (0, 0)] {
        good(first, Holding::new(size, Fork::No, 0));
    }
}

#[test]
fn what_cannot_be_looked_up_is_no_verdict() {
    struct Broken;
    impl Held for Broken {
        fn tip(&self, _: &str) -> Result<Option<HeldTip>, String> {
            Err("disk".to_owned())
        }
        fn root_at(&self, _: &str, _: u64) -> Result<Option<Digest>, String> {
            Ok(None)
        }
    }
    let no_verdict = no_verdict(Options {
        held: Some(&Broken),
        ..options()
    });
    assert!(no_verdict.contains("disk"));
}

/// Why a verification ends without a verdict.
fn no_verdict(options: Options<'_>) -> String {
    let file = bundle(5, 12);
    let open = move || -> std::io::Result<Box<dyn std::io::Read>> {
        Ok(Box::new(std::io::Cursor::new(file.clone())))
    };
    fastness::bundle::verify(&open, options).unwrap_err().to_string()
}

#[derive(Default)]
struct Machine {
    seen: RefCell<Vec<u64>>,
    illegal: Option<u64>,
    /// Its disk is full from this event on.
    full: Option<u64>,
    jobs: Option<Vec<u8>>,
}

impl Replay for Machine {
    fn event(&mut self, seq: u64, bytes: &[u8]) -> Result<(), ReplayError> {
        assert_eq!(bytes, event(seq));
        self.seen.borrow_mut().push(seq);
        if self.full == Some(seq) {
            return Err(ReplayError::Local("no room".to_owned()));
        }
        if self.illegal == Some(seq) {
            Err(ReplayError::Illegal("illegal transition".to_owned()))
        } else {
            Ok(())
        }
    }

    fn finish(&mut self, file: StateFile, visit: LineVisitor<'_>) -> Result<(), ReplayError> {
        if self.full == Some(u64::MAX) {
            return Err(ReplayError::Local("no room".to_owned()));
        }
        let lines = match file {
            StateFile::Jobs => self.jobs.clone().unwrap_or_else(|| records("job")),
            StateFile::Runs => records("run"),
            StateFile::Throttles => records("throttle"),
            StateFile::Packs => b"{\"name\":\"a\",\"version\":9}\n{\"name\":\"a\",\"version\":10}\n".to_vec(),
        };
        let mut lines = lines.split_inclusive(|byte| *byte == b'\n');
        let _ = lines.try_for_each(|line| visit(line.strip_suffix(b"\n").unwrap()));
        Ok(())
    }
}

fn replay(machine: &mut Machine) -> (Check, u8) {
    let report = outcome(
        &bundle(5, 12),
        Options {
            replay: Some(machine),
            ..options()
        },
    )
    .report;
    (report.checks[9].clone(), report.exit_code)
}

#[test]
fn a_replay_that_gives_the_state_files_passes() {
    let mut machine = Machine::default();
    let (check, code) = replay(&mut machine);
    assert_eq!((check.status, code), (Status::Ok, 0), "{check:?}");
    assert_eq!(*machine.seen.borrow(), (5..12).collect::<Vec<_>>());
}

#[test]
fn a_replay_that_differs_names_the_record() {
    let differs = |jobs: &[u8], line: u64, why: &str| {
        let (check, code) = replay(&mut Machine {
            jobs: Some(jobs.to_vec()),
            ..Machine::default()
        });
        assert_eq!(
            (check.status, code, check.line),
            (Status::Failed, 10, Some(line)),
            "{check:?}"
        );
        assert_eq!(check.member.as_deref(), Some("audit/jobs.jsonl"));
        assert!(check.detail.as_ref().unwrap().contains(why), "{check:?}");
    };
    let right = records("job");
    let line = right.len() / 3;
    differs(&right[..2 * line], 3, "does not give");
    differs(
        &[&right[..line], &right[2 * line..]].concat(),
        2,
        "another record",
    );
    differs(&[right.as_slice(), b"{\"id\":\"z\"}\n"].concat(), 3, "is missing");
}

#[test]
fn an_event_that_no_legal_history_contains_is_named() {
    let (check, code) = replay(&mut Machine {
        illegal: Some(9),
        ..Machine::default()
    });
    assert_eq!(
        (check.status, code, check.line, check.seq),
        (Status::Failed, 10, Some(5), Some(9))
    );
    assert_eq!(check.detail.as_deref(), Some("illegal transition"));
}

#[test]
fn a_replay_that_cannot_be_made_is_skipped_or_incomplete() {
    let skipped = outcome(&bundle(5, 12), options()).report;
    assert_eq!(
        (skipped.checks[9].status, skipped.exit_code),
        (Status::Skipped, 0)
    );
    assert_eq!(skipped.checks[9].detail.as_deref(), Some("needs the state at 5"));
    let required = outcome(
        &bundle(5, 12),
        Options {
            require_replay: true,
            ..options()
        },
    )
    .report;
    assert_eq!(
        (required.checks[9].status, required.exit_code),
        (Status::Failed, 11)
    );
}

#[test]
fn after_a_failure_nothing_is_replayed() {
    let mut parts = Parts::small();
    parts.member("frontier")[0] ^= 1;
    let mut machine = Machine::default();
    let report = outcome(
        &parts.file(),
        Options {
            replay: Some(&mut machine),
            ..options()
        },
    )
    .report;
    assert_eq!(report.checks[9].status, Status::Skipped);
    assert!(machine.seen.borrow().is_empty());
}

#[test]
fn a_replay_that_cannot_go_on_is_no_verdict() {
    for full in [8, u64::MAX] {
        let mut machine = Machine {
            full: Some(full),
            ..Machine::default()
        };
        let no_verdict = no_verdict(Options {
            replay: Some(&mut machine),
            ..options()
        });
        assert_eq!(no_verdict, "replaying the events: no room");
    }
}
