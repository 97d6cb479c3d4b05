//! A projection that rots under a living writer: it goes on, and nothing that it acknowledged is missing.

use fastness::domain::TenantName;
use fastness::domain::command::{Command, StartRun};
use fastness::domain::event::{Actor, Event, EventBody};
use fastness::engine::{CommandError, SubmitError, Trusted};

use super::folder::{End, Folder, Kind};
use super::play::open;
use super::truth::Truth;
use crate::crash::check::guarded;
use crate::simulation::deeds::plain_job;
use crate::simulation::packs::NAMES;
use crate::support::random::Random;

const LIVES: u64 = 100;
/// Changed bytes in each of them.
const FLIPS: u64 = 12;
const COMMANDS: u64 = 10;

/// What the writer met.
#[derive(Debug, Default)]
struct Met {
    /// Commands that were told to come again.
    rebuilding: u64,
    /// Projections that readers could not read at the end.
    unread: u64,
}

#[test]
fn a_writer_goes_on_over_a_projection_that_rots_beneath_it() {
    let folder = Folder::new(920, End::Closed);
    let mut random = Random::new(921);
    let mut met = Met::default();
    for life in 0..LIVES {
        guarded(|| live(&folder, &mut random, &mut met)).unwrap_or_else(|what| panic!("life {life}: {what}"));
    }
    println!("in {LIVES} lives: {met:?}");
    assert!(met.rebuilding >= 5 && met.unread >= 5);
}

fn live(folder: &Folder, random: &mut Random, met: &mut Met) -> Result<(), String> {
    let disk = folder.disk.fork();
    let (mut engine, _) = open(&disk, Trusted::Yes).map_err(|error| error.to_string())?;
    for _ in 0..FLIPS {
        let place = folder.draw(Kind::Projection, random).unwrap();
        disk.flip_byte(&place.path, place.offset, place.mask);
    }
    let mut acknowledged = 0;
    for turn in 0..COMMANDS {
        // Half of it is written beside what is there; half begins with rows that nobody has read yet.
        let tenant: TenantName = ["acme", "zeta"][random.below(2) as usize].parse().unwrap();
        let command = match turn % 2 {
            0 => Command::SubmitJob(Box::new(plain_job())),
            _ => Command::StartRun(Box::new(StartRun {
                pack: NAMES[random.below(3) as usize].parse().unwrap(),
                version: Some(1 + random.below(12) as u32),
                inputs: Default::default(),
                correlation_id: None,
                idempotency: None,
            })),
        };
        match engine.submit(&tenant, &Actor::system("test"), command) {
            Ok(Ok(_)) => acknowledged += 1,
            Ok(Err(CommandError::Rejected(_))) if turn % 2 == 1 => {}
            Ok(Err(CommandError::Failed(SubmitError::Rebuilding))) => met.rebuilding += 1,
            other => return Err(format!("the writer answered {other:?}")),
        }
    }
    engine.flush().map_err(|fatal| fatal.to_string())?;
    let (rebuilt, _) = open(&disk.fork(), Trusted::No).map_err(|error| error.to_string())?;
    let truth = Truth::of(&rebuilt);
    let found = created(&truth) - created(&folder.truth);
    if found != acknowledged {
        return Err(format!(
            "{acknowledged} jobs and runs were acknowledged, {found} are there"
        ));
    }
    let refused = truth.check_ledgers(&engine)?;
    if !refused.is_empty() {
        return Err(format!("the ledgers do not read: {refused:?}"));
    }
    met.unread += u64::from(truth.check_projection(&engine)?.is_some());
    Ok(())
}

/// Jobs ever submitted by themselves, and runs ever started.
fn created(truth: &Truth) -> usize {
    let events = truth.events.values().flatten();
    events
        .map(|bytes| Event::from_bytes(bytes).unwrap())
        .filter(|event| match &event.body {
            EventBody::JobCreated(_) => event.subject.run.is_none(),
            body => matches!(body, EventBody::RunCreated(_)),
        })
        .count()
}
