//! The ledgers, on a real disk: what was written is read back, by many threads, after a restart, and after a failure
//! at any step; damage is found and contained; OpenSSL agrees about keys and signatures.

mod bit_rot;
mod failing_disk;
mod failures;
mod flow;
mod openssl;
mod power_loss;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fastness::disk::{Disk, OsDisk};
use fastness::domain::{Digest, Seq, TenantName, leaf_hash};
use fastness::ledger::{Frontier, LedgerError, TenantLedger};

/// Small enough that a few thousand events fill several history files.
const FILE_BYTES: u64 = 12_000;

/// Most events in one ledger of these tests.
const SIZE_MAX: u64 = 12_000;

fn tenant() -> TenantName {
    "acme".parse().unwrap()
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<TenantLedger, LedgerError> {
    TenantLedger::open_with(disk, dir.join("acme"), tenant(), Arc::default(), FILE_BYTES)
}

/// The event at a place. Most are hard to compress, some long, some empty.
fn event(seq: u64) -> Bytes {
    let noise = Digest::of(&seq.to_le_bytes());
    match seq % 101 {
        3 => Bytes::from(format!("{{\"seq\":{seq},\"x\":\"{}\"}}", "long".repeat(3_000))),
        5 => Bytes::new(),
        _ => Bytes::from(format!("{{\"seq\":{seq},\"x\":\"{noise}\"}}")),
    }
}

/// Pushes the events `[from, to)`.
fn push(ledger: &TenantLedger, from: u64, to: u64) {
    for seq in from..to {
        let bytes = event(seq);
        let leaf = leaf_hash(&bytes);
        ledger.push(Seq(seq), bytes, leaf).unwrap();
    }
}

/// Root of the first `size` events, computed without a ledger; once for all sizes that the tests reach.
fn root(size: u64) -> Digest {
    static ROOTS: OnceLock<Vec<Digest>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut frontier = Frontier::default();
        let mut roots = vec![frontier.root()];
        for seq in 0..SIZE_MAX {
            frontier.push(leaf_hash(&event(seq)));
            roots.push(frontier.root());
        }
        roots
    });
    roots[size as usize]
}

/// Demands that the ledger holds exactly the first `size` events, by each way of reading.
fn check_all(ledger: &TenantLedger, size: u64) {
    assert_eq!(ledger.size(), size);
    let mut next = 0;
    ledger
        .scan(Seq(0), Seq(size), &mut |seq, bytes| {
            assert_eq!((seq.0, bytes), (next, &event(next)));
            next += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(next, size);
    for seq in (0..size).step_by(37).chain(size.checked_sub(1)) {
        assert_eq!(ledger.checked_event(Seq(seq)).unwrap(), event(seq));
    }
    assert_eq!(ledger.head().root, root(size));
    for part in [0, size.min(1), size / 3, size / 2] {
        assert_eq!(ledger.root_at(part).unwrap(), root(part), "{part} of {size}");
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): seeded choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
