//! Time, ids and randomness: the only file that reads the wall clock or draws random bytes.
//!
//! [`Clock`] is the system's or, in tests, one that moves only when told. Everything above takes a clock,
//! so that a seed decides what a simulation does.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads wall and monotonic time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Milliseconds since 1970-01-01T00:00:00Z. May step in either direction.
    fn wall_ms(&self) -> i64;
    /// Nanoseconds since an arbitrary start. Never steps back; says nothing across a restart.
    fn monotonic_ns(&self) -> u64;
    /// Fills `bytes` with randomness fit for keys.
    fn fill_random(&self, bytes: &mut [u8]);

    /// 64 random bits.
    fn entropy(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_random(&mut bytes);
        u64::from_le_bytes(bytes)
    }
    /// 256 random bits: what salts are made of.
    fn seed(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_exact_mut(8) {
            part.copy_from_slice(&self.entropy().to_le_bytes());
        }
        bytes
    }

    /// Milliseconds of monotonic time.
    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }
}

/// The machine's clock and the kernel's randomness.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    /// Random bytes drawn together, for [`Clock::entropy`] alone; held for one copy.
    drawn: Mutex<Drawn>,
}

/// Bytes of which those before `used` were given out.
#[derive(Debug)]
struct Drawn {
    bytes: [u8; DRAWN_BYTES],
    used: usize,
}

/// Every decision of the writer takes 8: this many at a time cost one system call.
const DRAWN_BYTES: usize = 1_024;

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock {
            start: Instant::now(),
            drawn: Mutex::new(Drawn {
                bytes: [0; DRAWN_BYTES],
                used: DRAWN_BYTES,
            }),
        }
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        }
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        // Without randomness no key, token or id may be made: there is nothing sane to go on with.
        getrandom::fill(bytes).expect("the kernel gives random bytes");
    }

    fn entropy(&self) -> u64 {
        let mut drawn = self.drawn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if drawn.used == DRAWN_BYTES {
            self.fill_random(&mut drawn.bytes);
            drawn.used = 0;
        }
        let from = drawn.used;
        drawn.used += 8;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&drawn.bytes[from..from + 8]);
        u64::from_le_bytes(bytes)
    }
}

/// A clock for tests: moves only when told; its randomness comes from a seed.
#[derive(Debug)]
pub struct ManualClock {
    /// Guards all three readings; held for a few instructions.
    state: Mutex<Manual>,
}

#[derive(Debug)]
struct Manual {
    wall_ms: i64,
    monotonic_ns: u64,
    seed: u64,
}

impl ManualClock {
    /// A clock standing at `wall_ms`.
    pub fn new(wall_ms: i64, seed: u64) -> Self {
        ManualClock {
            state: Mutex::new(Manual {
                wall_ms,
                monotonic_ns: 0,
                seed,
            }),
        }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.wall_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        state.monotonic_ns += u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Steps the wall clock alone, as an operator or a time service may.
    pub fn step_wall(&self, by_ms: i64) {
        self.lock().wall_ms += by_ms;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Manual> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.lock().wall_ms
    }

    fn monotonic_ns(&self) -> u64 {
        self.lock().monotonic_ns
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut state = self.lock();
        for chunk in bytes.chunks_mut(8) {
            state.seed = split_mix(state.seed);
            chunk.copy_from_slice(&mix(state.seed).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Next state of SplitMix64 (Steele, Lea, Flood 2014).
const fn split_mix(state: u64) -> u64 {
    state.wrapping_add(0x9E37_79B9_7F4A_7C15)
}

const fn mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
