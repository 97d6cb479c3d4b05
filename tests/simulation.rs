//! One truth: what the projection says, what the ledgers say and what a plain model says is the same, whatever came.
//!
//! Random sequences of commands, lapses of time, restarts and crashes are played against the engine on a simulated disk.
//! After each of them the oracles of `simulation/` look at everything. A failing sequence prints its seed.

mod crowds;
mod damage;
pub mod deeds;
mod grants;
mod history;
pub mod packs;
mod rows;
mod tampered;
mod texts;
mod trust;
pub mod turns;
mod volume;
pub mod world;

use world::World;

/// Sequences of each of the four tests, which share the work so that they run beside each other.
const SEQUENCES: u64 = 2_500;
/// Turns of one sequence: this many and up to as many again.
const TURNS: u64 = 18;

/// Tells which seed to play again.
struct OnPanic(u64);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the sequence with seed {} broke a promise", self.0);
        }
    }
}

fn play(first_seed: u64) {
    println!("seeds {first_seed} to {}", first_seed + SEQUENCES - 1);
    let mut tally = turns::Tally::default();
    for seed in first_seed..first_seed + SEQUENCES {
        let _told = OnPanic(seed);
        play_one(seed, &mut tally);
    }
    tally.check();
}

fn play_one(seed: u64, tally: &mut turns::Tally) {
    let mut world = World::new(seed);
    let turns = TURNS + world.random.below(TURNS);
    for turn in 0..turns {
        if turn == turns / 2 && world.random.once_in(2) {
            world.engine().snapshot().unwrap();
        }
        world.turn(tally);
    }
    world.settle();
    rows::check(&world);
    world.rebuild_in_each_way();
    world.heal();
    rows::check(&world);
    history::check(&world, tally);
}

#[test]
fn random_sequences_leave_one_truth_first_part() {
    play(1_000);
}

#[test]
fn random_sequences_leave_one_truth_second_part() {
    play(2_000);
}

#[test]
fn random_sequences_leave_one_truth_third_part() {
    play(3_000);
}

#[test]
fn random_sequences_leave_one_truth_fourth_part() {
    play(4_000);
}
