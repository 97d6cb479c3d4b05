//! Mutations by the ten thousand: of the file, of the tar, of its members, and of members that an insider signs again.
//!
//! What verifies must be the archive it was made from, byte for byte. Each round is drawn from the seed and its own number,
//! so a failure names all that is needed to run it again. The rounds run in a process of their own, whose peak of resident
//! memory (`VmHWM`) is read at its end: an allocator that counts would not see what zstd takes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fastness::bundle::Options;
use fastness::domain::Digest;

use super::fixture::{Parts, bundle, decompress, options, outcome};
use super::hostile::held::{Fork, Holding};
use super::legal::{self, ModelReplay};
use crate::support::random::{Random, mix};

const SEED: u64 = 0x5eed_b0d1_e000_0001;
/// Resident memory that verification may take at most, with the program around it.
const PEAK_KIB_MAX: u64 = 100 * 1024;

/// What is mutated, and so what a verifier has to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The compressed file.
    File,
    /// The tar, compressed again.
    Tar,
    /// Members: dropped, swapped, repeated, one with the content of another.
    Members,
    /// A member that the log key's checkpoint binds, the manifest signed again by the exporter.
    Exporter,
    /// A state file, signed again by the exporter; the history is replayed.
    State,
    /// The history, with all checkpoints signed again; the ledger is held.
    Both,
}

const KINDS: [Kind; 6] = [
    Kind::File,
    Kind::Tar,
    Kind::Members,
    Kind::Exporter,
    Kind::State,
    Kind::Both,
];

/// The good bundles that rounds begin with.
struct Good {
    file: Vec<u8>,
    tar: Vec<u8>,
    parts: Parts,
    legal: Parts,
    held: Holding,
}

impl Good {
    fn new() -> Self {
        let file = bundle(5, 12);
        Good {
            tar: decompress(&file),
            parts: Parts::of(&file),
            legal: Parts::of(&legal::bundle()),
            held: Holding::new(12, Fork::No, 0),
            file,
        }
    }
}

/// The usual compressor at its fastest, kept by each thread: setting one up takes longer than verifying.
struct Fast(zstd::bulk::Compressor<'static>);

impl Fast {
    fn new() -> Self {
        let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
        compressor.include_checksum(true).unwrap();
        Fast(compressor)
    }

    fn compress(&mut self, tar: &[u8]) -> Vec<u8> {
        self.0.compress(tar).unwrap()
    }
}

/// Changes some bytes: flips, overwrites, cuts, doubles or takes out.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.below(256) as u8);
        return;
    }
    let at = random.below(bytes.len() as u64) as usize;
    let end = bytes.len().min(at + 1 + random.below(600) as usize);
    match random.below(8) {
        0..=2 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[at] = random.below(256) as u8,
        4 => bytes.truncate(at),
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() as u64) as usize;
            bytes.splice(to..to, piece);
        }
        6 => bytes.rotate_left(at),
        _ => drop(bytes.drain(at..end)),
    }
}

/// Puts another digit for a digit or another letter for a letter: what is JSON mostly stays so, and says something else.
fn reword(bytes: &mut [u8], random: &mut Random) {
    let words: Vec<usize> = (0..bytes.len())
        .filter(|at| bytes[*at].is_ascii_alphanumeric())
        .collect();
    if words.is_empty() {
        return;
    }
    let at = words[random.below(words.len() as u64) as usize];
    bytes[at] = match bytes[at] {
        digit @ b'0'..=b'9' => b'0' + (digit - b'0' + 1 + random.below(9) as u8) % 10,
        letter => letter ^ 1 << random.below(3),
    };
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    if random.once_in(3) {
        mutate(bytes, random);
    } else {
        reword(bytes, random);
    }
}

fn shuffle_members(parts: &mut Parts, random: &mut Random) {
    let mut any = || random.below(parts.0.len() as u64) as usize;
    let (a, b) = (any(), any());
    match random.below(5) {
        0 => parts.0.swap(a, b),
        1 => drop(parts.0.remove(a)),
        2 => {
            let again = parts.0[a].clone();
            parts.0.insert(b, again);
        }
        3 => parts.0[a].1 = parts.0[b].1.clone(),
        _ => parts.0[a].0 = parts.0[b].0.clone(),
    }
}

/// Draws one round, verifies it, and says what is wrong with what was accepted.
fn round(good: &Good, fast: &mut Fast, number: u64) -> Result<Option<u8>, String> {
    let mut random = Random::new(mix(SEED ^ number));
    let kind = KINDS[(number % KINDS.len() as u64) as usize];
    let mut replay = ModelReplay::default();
    let mut parts = good.parts.clone();
    let (mut options, mut right) = (options(), Digest::of(&good.tar));
    let tar = match kind {
        Kind::File => {
            let mut file = good.file.clone();
            mutate(&mut file, &mut random);
            return judge(&file, options, |tar, _| tar == Some(right));
        }
        Kind::Tar => {
            let mut tar = good.tar.clone();
            (0..=random.below(3)).for_each(|_| mutate(&mut tar, &mut random));
            tar
        }
        Kind::Members => {
            shuffle_members(&mut parts, &mut random);
            parts.tar()
        }
        Kind::Exporter => {
            let names = [
                "history.jsonl",
                "frontier",
                "leaves",
                "checkpoint",
                "checkpoint.prev",
            ];
            change(parts.member(names[random.below(5) as usize]), &mut random);
            if random.once_in(2) {
                parts.leaves_again();
            }
            parts.sign_again(|_| {});
            parts.tar()
        }
        Kind::State => {
            parts = good.legal.clone();
            right = Digest::of(&parts.tar());
            change(
                parts.member(["jobs.jsonl", "runs.jsonl", "packs.jsonl"][random.below(3) as usize]),
                &mut random,
            );
            parts.sign_again(|_| {});
            options.replay = Some(&mut replay);
            parts.tar()
        }
        Kind::Both => {
            change(parts.member("history.jsonl"), &mut random);
            parts.sign_all(|_| {});
            options.held = Some(&good.held);
            // Fewer of the same events are an earlier state of the same ledger, and say so.
            let whole = good.parts.clone().member("history.jsonl").clone();
            let earlier = whole.starts_with(parts.member("history.jsonl"));
            let file = fast.compress(&parts.tar());
            return judge(&file, options, |tar, _| tar == Some(right) || earlier);
        }
    };
    judge(&fast.compress(&tar), options, |found, _| found == Some(right))
}

/// The exit code, or what was accepted that must not be.
fn judge(
    file: &[u8],
    options: Options<'_>,
    same: impl FnOnce(Option<Digest>, u8) -> bool,
) -> Result<Option<u8>, String> {
    let found = outcome(file, options);
    let code = found.report.exit_code;
    match (found.report.ok, found.report.first_failure()) {
        (true, None) if same(found.tar_sha256, code) => Ok(None),
        (true, _) => Err("another archive was accepted".to_owned()),
        (false, Some(check)) if (10..=14).contains(&code) && check.meaning.is_some() => Ok(Some(code)),
        (false, _) => Err(format!("refused without a reason: {:?}", found.report)),
    }
}

fn rounds() -> u64 {
    std::env::var("FASTNESS_MUTATIONS").map_or(2_000, |text| text.parse().unwrap())
}

#[test]
#[ignore = "the process that the tests below start"]
fn mutations_in_a_process_of_their_own() {
    let (good, next, rounds) = (Good::new(), AtomicU64::new(0), rounds());
    let codes: [AtomicU64; 16] = Default::default();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut fast = Fast::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= rounds {
                        break;
                    }
                    let told = catch_unwind(AssertUnwindSafe(|| round(&good, &mut fast, number)));
                    let told = told.unwrap_or_else(|_| Err("a panic".to_owned()));
                    let code = told.unwrap_or_else(|why| panic!("seed {SEED:#x}, round {number}: {why}"));
                    codes[usize::from(code.unwrap_or(0))].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let counts: Vec<(usize, u64)> = codes
        .iter()
        .map(|count| count.load(Ordering::Relaxed))
        .enumerate()
        .collect();
    let told: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    let (seconds, peak) = (begin.elapsed().as_secs_f64(), peak_kib());
    println!("mutations: {rounds} rounds in {seconds:.1} s, by code {told:?}, peak {peak} KiB");
    assert!(peak <= PEAK_KIB_MAX, "{peak} KiB");
}

/// Most resident memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn start(rounds: u64) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "bundle::mutations::mutations_in_a_process_of_their_own",
            "--ignored",
            "--nocapture",
        ])
        .env("FASTNESS_MUTATIONS", rounds.to_string())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let told = text.lines().find(|line| line.starts_with("mutations: "));
    let told = told.unwrap_or_else(|| panic!("nothing was told: {text}"));
    assert!(told.starts_with(&format!("mutations: {rounds} rounds")), "{told}");
    println!("{told}");
}

#[test]
fn fifty_thousand_mutations_are_refused_without_panic_in_bounded_memory() {
    start(50_000);
}

#[test]
#[ignore = "takes minutes; `just soak` runs it"]
fn soak_a_million_mutations_are_refused_without_panic_in_bounded_memory() {
    start(1_000_000);
}
