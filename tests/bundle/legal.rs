//! A history that a real engine recorded, small and always the same, and a state machine in memory to replay it with.
//!
//! The events of [`super::fixture`] are fabricated: well-formed, and of no history that could have happened. Where replay
//! is asked for, these are needed.

use std::io::Cursor;
use std::sync::OnceLock;

use std::ops::ControlFlow;

use fastness::bundle::manifest::Redaction;
use fastness::bundle::{BundleWriter, LineVisitor, Member, Range, Replay, ReplayError, StateFile, frontier};
use fastness::domain::apply::fold;
use fastness::domain::command::{Command, Reply, StartRun};
use fastness::domain::event::{Actor, Event};
use fastness::domain::state::{Model, Row};
use fastness::domain::{Digest, TenantName, leaf_hash};
use fastness::ledger::Frontier;

use super::fixture::{ORIGIN, checkpoint, export_key, log_key};
use crate::simulation::deeds::plain_job;
use crate::simulation::packs;
use crate::simulation::world::World;

/// A job that is cancelled, one that waits, a pack of one step and a run of it.
pub fn events() -> &'static [Vec<u8>] {
    static EVENTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let acme: TenantName = "acme".parse().unwrap();
        let mut world = World::new(7);
        let mut told = |command| {
            let reply = world.engine().submit(&acme, &Actor::system("test"), command);
            reply.unwrap().unwrap()
        };
        let Reply::Job(job) = told(Command::SubmitJob(Box::new(plain_job()))) else {
            panic!("a job");
        };
        let reason = "enough".to_owned();
        told(Command::CancelJob { job: job.id, reason });
        told(Command::SubmitJob(Box::new(plain_job())));
        told(packs::register(
            "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: digests}\nspec:\n  steps:\n    - {id: s0, run: [work]}\n",
        ));
        told(Command::StartRun(Box::new(StartRun {
            pack: "digests".parse().unwrap(),
            version: None,
            inputs: Default::default(),
            correlation_id: None,
            idempotency: None,
        })));
        world.events(&acme).into_iter().map(|(_, bytes)| bytes).collect()
    })
}

fn state(file: StateFile) -> Vec<u8> {
    let mut replay = ModelReplay::default();
    for (seq, event) in events().iter().enumerate() {
        replay.event(seq as u64, event).unwrap();
    }
    let mut lines = Vec::new();
    replay
        .finish(file, &mut |line| {
            lines.extend_from_slice(line);
            lines.push(b'\n');
            ControlFlow::Continue(())
        })
        .unwrap();
    lines
}

/// The bundle over all of it.
pub fn bundle() -> Vec<u8> {
    let mut tree = Frontier::default();
    let prev_root = tree.root();
    events().iter().for_each(|event| tree.push(leaf_hash(event)));
    let (size, root) = (tree.size(), tree.root());
    let mut writer = BundleWriter::new(Range {
        contents: None,
        first: 0,
        origin: ORIGIN.to_owned(),
        prev_root,
        redaction: Redaction::none(),
        root,
        schema_sha256: Digest::of(b"schema"),
        size,
        state_version: 1,
        tenant: "acme".parse().unwrap(),
        trust_version: 0,
    });
    writer.add_bytes(Member::Checkpoint, checkpoint(&log_key(), ORIGIN, size, &root));
    writer.add_bytes(
        Member::CheckpointPrev,
        checkpoint(&log_key(), ORIGIN, 0, &prev_root),
    );
    writer.add_bytes(Member::Frontier, frontier::write(&Frontier::default()));
    let history = || {
        let lines = events()
            .iter()
            .flat_map(|event| [event.as_slice(), b"\n"].concat());
        Ok(Box::new(Cursor::new(lines.collect::<Vec<u8>>())) as Box<dyn std::io::Read>)
    };
    writer.add_history(Box::new(history)).unwrap();
    for (member, file) in [
        (Member::Jobs, StateFile::Jobs),
        (Member::Runs, StateFile::Runs),
        (Member::Packs, StateFile::Packs),
    ] {
        let lines = state(file);
        assert!(!lines.is_empty(), "{member}");
        writer.add_bytes(member, lines);
    }
    let mut bytes = Vec::new();
    writer.write(&export_key(), &mut bytes).unwrap();
    bytes
}

/// The plain model of the domain, as a state machine at the first event.
#[derive(Debug, Default)]
pub struct ModelReplay(Model);

impl Replay for ModelReplay {
    fn event(&mut self, _: u64, bytes: &[u8]) -> Result<(), ReplayError> {
        let event = Event::from_bytes(bytes).map_err(|error| ReplayError::Illegal(error.to_string()))?;
        fold(&mut self.0, &event).map_err(|error| ReplayError::Illegal(error.to_string()))
    }

    fn finish(&mut self, file: StateFile, visit: LineVisitor<'_>) -> Result<(), ReplayError> {
        for (_, row) in self.0.rows() {
            let belongs = match row.as_ref() {
                Row::Job(_) => Some(StateFile::Jobs),
                Row::Run(_) => Some(StateFile::Runs),
                Row::Pack(_) => Some(StateFile::Packs),
                _ => None,
            };
            if belongs == Some(file) && visit(&row.to_canonical()).is_break() {
                break;
            }
        }
        Ok(())
    }
}
