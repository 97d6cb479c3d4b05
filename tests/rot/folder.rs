//! The data folders whose bytes rot, and the drawing of places in their files.

use std::fmt;
use std::path::{Path, PathBuf};

use fastness::disk::{Access, Disk};
use fastness::domain::TenantName;
use fastness::domain::command::Command;
use fastness::domain::event::Actor;
use fastness::engine::Trusted;
use fastness::store::Store;

use super::covered::{Covered, covered};
use super::play::open;
use super::truth::Truth;
use crate::simulation::deeds::plain_job;
use crate::simulation::turns::Tally;
use crate::simulation::world::{World, keys_in};
use crate::support::random::Random;
use crate::support::sim_disk::SimDisk;

pub const DATA: &str = "/data";
/// Turns of the life before: enough for several frames, tiles and segments.
const TURNS: u64 = 330;
/// Where the pages of a small projection lie, and their checksums.
const PROJECTION_BYTES: u64 = 1 << 20;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Segment,
    Spare,
    Frames,
    Index,
    Tail,
    Tiles,
    Checkpoint,
    Floor,
    Projection,
    Sums,
    Snapshot,
}

/// How the life of a folder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the process, when the last batches were in the journal alone.
    Young,
    /// With the process, when history had them too, but no checkpoint and no durable projection.
    Archived,
    /// The projection was closed and reaches the end.
    Closed,
}

/// One change of one byte.
#[derive(Debug, Clone)]
pub struct Place {
    pub kind: Kind,
    pub path: PathBuf,
    pub offset: u64,
    pub mask: u8,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path} at {} with {:#04x}", self.offset, self.mask)
    }
}

/// A data folder that no process has open, and what it holds.
pub struct Folder {
    pub disk: SimDisk,
    /// All of it.
    pub truth: Truth,
    /// All but the last batch.
    pub before_last: Truth,
    /// What of each segment counts.
    pub covered: Vec<Covered>,
    /// Events that a start without a projection folds, beside what the newest snapshot holds.
    pub folded_from_snapshot: u64,
    files: Vec<(Kind, PathBuf, u64)>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.files).finish()
    }
}

impl Folder {
    pub fn new(seed: u64, end: End) -> Self {
        let mut world = World::new(seed);
        let mut tally = Tally::default();
        for turn in 0..TURNS {
            world.turn(&mut tally);
            if turn % 100 == 99 {
                world.engine().archive().unwrap();
            }
            if turn % 90 == 89 {
                world.engine().snapshot().unwrap();
            }
        }
        // Leases of the local runner end here, so that a start has nothing left to add.
        world.reopen(Trusted::Yes, |_| {});
        world.engine().sign().unwrap();
        world.engine().flush().unwrap();
        for _ in 0..3 {
            submit(&mut world);
        }
        let before_last = Truth::of(world.view());
        submit(&mut world);
        if end == End::Archived {
            world.engine().archive().unwrap();
        }
        let truth = Truth::of(world.view());
        let disk = match end {
            End::Young | End::Archived => world.disk.fork(),
            End::Closed => {
                let disk = world.disk.clone();
                drop(world);
                disk
            }
        };
        // For `doctor`, which reads them there.
        keys_in(&disk, &Path::new(DATA).join("keys"));
        let mut folder = Folder {
            covered: covered(&disk),
            files: files(&disk),
            disk,
            truth,
            before_last,
            folded_from_snapshot: 0,
        };
        folder.folded_from_snapshot = folder.open_without_projection();
        folder
    }

    fn open_without_projection(&self) -> u64 {
        let disk = self.disk.fork();
        Store::discard(&disk, &Path::new(DATA).join("state.redb")).unwrap();
        let (_, report) = open(&disk, Trusted::Yes).unwrap();
        report.folded
    }

    pub fn len_of(&self, path: &Path) -> u64 {
        self.files
            .iter()
            .find(|file| file.1 == path)
            .map_or(0, |file| file.2)
    }

    /// None when there is no file of this kind.
    pub fn draw(&self, kind: Kind, random: &mut Random) -> Option<Place> {
        let of_kind: Vec<_> = self.files.iter().filter(|file| file.0 == kind).collect();
        if of_kind.is_empty() {
            return None;
        }
        let newest = random.once_in(3) && kind == Kind::Segment;
        let at = if newest {
            of_kind.len() - 1
        } else {
            random.below(of_kind.len() as u64) as usize
        };
        let (_, path, len) = of_kind[at];
        let offset = match kind {
            // Mostly what counts: behind it one place is like another.
            Kind::Segment if !random.once_in(8) => {
                let covered = self.covered.iter().find(|covered| covered.path == *path).unwrap();
                let last = covered.last();
                match newest && random.once_in(4) {
                    true => last.start + random.below(last.end - last.start),
                    false => random.below(last.end),
                }
            }
            Kind::Projection if random.once_in(4) => random.below(400),
            Kind::Projection => random.below(PROJECTION_BYTES.min(*len)),
            Kind::Sums => random.below((8 + PROJECTION_BYTES / 1_024).min(*len)),
            _ => random.below(*len),
        };
        let mask = match random.below(3) {
            0 => 1 + random.below(255) as u8,
            _ => 1 << random.below(8),
        };
        Some(Place {
            kind,
            path: path.clone(),
            offset,
            mask,
        })
    }
}

/// One batch of one job.
fn submit(world: &mut World) {
    let tenant: TenantName = world.tenant();
    let command = Command::SubmitJob(Box::new(plain_job()));
    let done = world.engine().submit(&tenant, &Actor::system("test"), command);
    done.unwrap().unwrap();
}

/// Every file that a start or a reader depends on.
fn files(disk: &SimDisk) -> Vec<(Kind, PathBuf, u64)> {
    let data = Path::new(DATA);
    let mut found = Vec::new();
    let mut take = |dir: PathBuf, kind_of: &dyn Fn(&str) -> Option<Kind>| {
        for name in disk.list(&dir).unwrap_or_default() {
            let path = dir.join(&name);
            let len = disk.open(&path, Access::Read).unwrap().len().unwrap();
            if let Some(kind) = kind_of(&name).filter(|_| len > 0) {
                found.push((kind, path, len));
            }
        }
    };
    take(data.to_owned(), &|name| match name {
        "state.redb" => Some(Kind::Projection),
        "state.redb.crc" => Some(Kind::Sums),
        "floor" => Some(Kind::Floor),
        _ => None,
    });
    take(data.join("journal"), &|name| {
        Some(if name.ends_with(".segment") {
            Kind::Segment
        } else {
            Kind::Spare
        })
    });
    take(data.join("snapshots"), &|_| Some(Kind::Snapshot));
    for tenant in disk.list_dirs(&data.join("ledgers")).unwrap() {
        let dir = data.join("ledgers").join(tenant);
        take(dir.clone(), &|_| Some(Kind::Checkpoint));
        take(dir.join("tiles"), &|_| Some(Kind::Tiles));
        take(dir.join("history"), &|name| {
            Some(match name.rsplit_once('.') {
                Some((_, "frames")) => Kind::Frames,
                Some((_, "index")) => Kind::Index,
                _ => Kind::Tail,
            })
        });
    }
    found
}
