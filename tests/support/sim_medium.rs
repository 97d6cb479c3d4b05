//! A file of the simulated disk: what is shown, what is on the medium, and which part of the changes between
//! the two survives.

use bytes::Bytes;

use super::random::{Random, mix};
use super::sim_content::Content;

const SECTOR_BYTES: usize = 512;

/// A file.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// What readers see.
    pub cache: Content,
    /// What a crash cannot take.
    pub platter: Content,
    /// Changes between the two, in order.
    unflushed: Vec<Change>,
}

/// One change of a file.
#[derive(Debug, Clone)]
pub enum Change {
    Write { offset: usize, bytes: Bytes },
    SetLen(usize),
}

impl Node {
    /// Shows the change, and keeps it for a flush or a crash to decide on.
    pub fn change(&mut self, change: Change) {
        change.apply(&mut self.cache);
        self.unflushed.push(change);
    }

    /// All of it reaches the medium.
    pub fn flush(&mut self) {
        for change in self.unflushed.drain(..) {
            change.apply(&mut self.platter);
        }
    }

    /// A part of the unflushed changes reaches the medium, the rest never will.
    pub fn flush_some(&mut self, seed: u64) {
        let changes = std::mem::take(&mut self.unflushed);
        if changes.is_empty() {
            return;
        }
        let kept = Survival::draw(&mut Random::new(seed), changes.len());
        for (index, change) in changes.iter().enumerate() {
            match change {
                Change::SetLen(_) if kept.keeps(index, u64::MAX) => change.apply(&mut self.platter),
                Change::SetLen(_) => {}
                Change::Write { offset, bytes } => kept.write(index, *offset, bytes, &mut self.platter),
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Change::Write { offset, bytes } => content.write(*offset, bytes),
            Change::SetLen(len) => content.set_len(*len),
        }
    }
}

/// Which of a row of changes survive, place by place.
#[derive(Debug, Clone, Copy)]
pub enum Survival {
    Nothing,
    /// The first so many; of the one after them, every other place by chance.
    Prefix {
        whole: usize,
        salt: u64,
    },
    /// Each place stands after any number of the changes, some hold zeros or noise.
    Wild {
        changes: usize,
        salt: u64,
    },
}

impl Survival {
    pub fn draw(random: &mut Random, changes: usize) -> Survival {
        let salt = random.next();
        match random.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Prefix { whole: changes, salt },
            2 => Survival::Prefix {
                whole: random.below(changes as u64 + 1) as usize,
                salt,
            },
            _ => Survival::Wild { changes, salt },
        }
    }

    /// Whether change `index` reached `place`. Of two changes to a place the later may survive alone, for it
    /// was written over the earlier one.
    pub fn keeps(self, index: usize, place: u64) -> bool {
        match self {
            Survival::Nothing => false,
            Survival::Prefix { whole, salt } => {
                index < whole || (index == whole && mix(salt ^ mix(place)).is_multiple_of(2))
            }
            Survival::Wild { changes, salt } => {
                (index as u64) < mix(salt ^ mix(place)) % (changes as u64 + 1)
            }
        }
    }

    fn write(self, index: usize, offset: usize, bytes: &[u8], platter: &mut Content) {
        let mut at = offset;
        while at < offset + bytes.len() {
            let sector = at / SECTOR_BYTES;
            let end = ((sector + 1) * SECTOR_BYTES).min(offset + bytes.len());
            let part = &bytes[at - offset..end - offset];
            if self.keeps(index, sector as u64) {
                match self.spoil(sector) {
                    None => platter.write(at, part),
                    Some(spoiled) => platter.write(at, &vec![spoiled; part.len()]),
                }
            }
            at = end;
        }
    }

    /// What stands in a sector instead of what was written.
    fn spoil(self, sector: usize) -> Option<u8> {
        match self {
            Survival::Nothing | Survival::Prefix { .. } => None,
            Survival::Wild { salt, .. } => match mix(salt.wrapping_add(1) ^ mix(sector as u64)) % 16 {
                0 => Some(0),
                1 => Some(0xA5),
                _ => None,
            },
        }
    }
}
