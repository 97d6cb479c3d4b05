//! A projection that is not what was written: it is an error or built anew, never an answer.

use std::path::Path;

use fastness::disk::{Access, Disk};
use fastness::engine::Trusted;

use super::rows;
use super::turns::Tally;
use super::world::World;
use crate::support::random::Random;

const FILES: [&str; 2] = ["/data/state.redb", "/data/state.redb.crc"];
const FLIPS: u64 = 120;
/// Where the pages of a small projection lie.
const FRONT_BYTES: u64 = 256 << 10;

#[test]
fn a_projection_with_a_flipped_bit_gives_the_truth_or_an_error() {
    let mut world = World::new(77);
    let mut tally = Tally::default();
    for _ in 0..60 {
        world.turn(&mut tally);
    }
    world.reopen(Trusted::Yes, |_| {});
    let truth = world.dump();
    let mut random = Random::new(78);
    let (mut at_start, mut later) = (0, 0);
    for flip in 0..FLIPS {
        let path = Path::new(FILES[(flip % 5 == 4) as usize]);
        world.engine().flush().unwrap();
        let len = world.disk.open(path, Access::Read).unwrap().len().unwrap();
        let offset = random.below(len.min(FRONT_BYTES));
        let mask = 1 << random.below(8);
        let report = world.reopen(Trusted::Yes, |world| world.disk.flip_byte(path, offset, mask));
        at_start += u64::from(report.rebuilt.is_some());
        let store = world.store();
        let mut found = Vec::new();
        let dumped = store.dump(|key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        });
        drop(store);
        match dumped {
            Ok(()) => assert!(
                found == truth,
                "flip {flip}: {} at {offset} told a lie",
                path.display()
            ),
            Err(_) => {
                later += 1;
                world.reopen(Trusted::No, |_| {});
            }
        }
    }
    println!("of {FLIPS} flips {at_start} were found at the start, {later} by a reader");
    assert!(at_start > 5 && at_start + later > 10);
    rows::check(&world);
}
