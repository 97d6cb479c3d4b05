//! The fuzz targets with the stable compiler: the committed corpus, and seeded mutations of it.
//!
//! `fuzz/src/lib.rs` says what each target does; cargo-fuzz runs the same functions with coverage, on a nightly compiler.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fastness::bundle::dsse;
use fastness::ledger::{Checkpoint, Origin, TreeHead};
use fastness::trust::EnclaveId;

use crate::bundle::fixture::{self, Parts};
use crate::support::random::{Random, mix};

#[path = "../fuzz/src/lib.rs"]
mod bodies;

type Body = fn(&[u8]) -> bool;

const TARGETS: [(&str, Body); 6] = [
    ("tar", bodies::tar),
    ("dsse", bodies::dsse),
    ("note", bodies::note),
    ("canonical", bodies::canonical),
    ("pack", bodies::pack),
    ("event", bodies::event),
];

const SEED: u64 = 0x5eed_f022_0000_0001;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// What the corpus of a target begins with; `good-…` is accepted, `bad-…` is not.
fn seeds(target: &str) -> Vec<(&'static str, Vec<u8>)> {
    let small = Parts::of(&fixture::bundle(0, 2));
    let text = |text: &str| text.as_bytes().to_vec();
    match target {
        "tar" => {
            let few = Parts(small.0[1..4].to_vec());
            let mut bad = few.tar();
            bad[156] = b'x';
            vec![
                ("good-empty", vec![0; 1_024]),
                ("good-members", few.tar()),
                ("bad-pax", bad),
                ("bad-cut", few.tar()[..700].to_vec()),
            ]
        }
        "dsse" => {
            let good = dsse::sign(b"{}", &fixture::export_key()).unwrap();
            let mut bad = good.clone();
            bad.pop();
            vec![
                ("good-small", good),
                ("good-manifest", small.0[0].1.clone()),
                ("bad-without-line-feed", bad),
            ]
        }
        "note" => {
            let key = fixture::log_key();
            let origin = Origin::new(EnclaveId::of(&key.public()), "acme".parse().unwrap()).unwrap();
            let head = TreeHead {
                size: 2,
                root: fixture::frontier_at(2).root(),
            };
            let checkpoint = Checkpoint { origin, head }.sign(&key).unwrap();
            let proof = fastness::ledger::EventProof {
                index: 1,
                hashes: vec![fastness::domain::leaf_hash(&fixture::event(0))],
                checkpoint: checkpoint.clone(),
            };
            vec![
                ("good-checkpoint", checkpoint.text().as_bytes().to_vec()),
                ("good-proof", text(&proof.to_text())),
                ("bad-hyphen", text(&checkpoint.text().replace('\u{2014}', "-"))),
            ]
        }
        "canonical" => vec![
            (
                "good-canonical",
                text("{\"a\":[1,-9007199254740991,null],\"b\":\"\u{e9}\\n\"}"),
            ),
            (
                "good-spelled-differently",
                text("{ \"b\" : \"\\u0041\", \"a\":[ ] }"),
            ),
            ("bad-float", text("{\"a\":1.5}")),
            ("bad-surrogate", text("\"\\ud800\"")),
        ],
        "pack" => vec![
            (
                "good-steps",
                text(
                    "apiVersion: fastness/v1\nkind: Pack\nmetadata: {name: digests}\nspec:\n  inputs: {flavour: {type: string, default: plain}}\n  steps:\n    - {id: s0, run: [work]}\n    - {id: s1, needs: [s0], run: [work, '${{ inputs.flavour }}']}\n",
                ),
            ),
            ("bad-alias", text("a: &a [x]\nb: *a\n")),
            ("bad-kind", text("apiVersion: fastness/v1\nkind: Sack\n")),
        ],
        "event" => vec![
            ("good-completed", fixture::event(1)),
            ("good-scheduled", fixture::event(4)),
            (
                "bad-type",
                text(
                    &String::from_utf8(fixture::event(1))
                        .unwrap()
                        .replace("completed", "improved"),
                ),
            ),
        ],
        other => panic!("no target {other}"),
    }
}

/// Seeds of the corpus as they lie in the folder; more than the generated ones may be there, found by a fuzzer.
fn stored(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(corpus(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn the_corpus_is_accepted_or_refused_as_its_names_say() {
    for (target, body) in TARGETS {
        let seeds = seeds(target);
        if std::env::var_os("UPDATE_HOSTILE").is_some() {
            std::fs::create_dir_all(corpus(target)).unwrap();
            for (name, bytes) in &seeds {
                std::fs::write(corpus(target).join(name), bytes).unwrap();
            }
        }
        let stored = stored(target);
        for (name, bytes) in &seeds {
            let there = stored.iter().find(|(found, _)| found == name);
            let same = there.is_some_and(|(_, found)| found == bytes);
            assert!(
                same,
                "{target}/{name} is another one: run this test with UPDATE_HOSTILE=1"
            );
        }
        for (name, bytes) in &stored {
            let accepted = body(bytes);
            match name.split('-').next() {
                Some("good") => assert!(accepted, "{target}/{name}"),
                Some("bad") => assert!(!accepted, "{target}/{name}"),
                _ => {}
            }
        }
    }
}

#[test]
fn every_target_is_a_program_of_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let programs: BTreeSet<String> = std::fs::read_dir(folder.join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let wanted: BTreeSet<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(programs, wanted);
    for (name, _) in TARGETS {
        let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("fastness_fuzz::{name}(data)")),
            "{program}"
        );
        assert!(
            manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
    }
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len() as u64 + 1) as usize;
    let end = bytes.len().min(at + random.below(64) as usize);
    match random.below(7) {
        0..=2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let from = random.below(other.len() as u64 + 1) as usize;
            let to = other.len().min(from + random.below(64) as usize);
            drop(bytes.splice(at..end, other[from..to].iter().copied()));
        }
        _ => bytes.insert(at, random.below(256) as u8),
    }
}

/// So many mutations of the corpus of each target.
fn mutations(rounds: u64) {
    for (target, body) in TARGETS {
        let stored = stored(target);
        let mut accepted = 0;
        for round in 0..rounds {
            let mut random = Random::new(mix(SEED ^ round));
            let mut pick = || stored[random.below(stored.len() as u64) as usize].1.clone();
            let (mut bytes, other) = (pick(), pick());
            for _ in 0..=random.below(4) {
                mutate(&mut bytes, &other, &mut random);
            }
            let told = catch_unwind(AssertUnwindSafe(|| body(&bytes)));
            accepted += u64::from(told.unwrap_or_else(|_| panic!("{target}: seed {SEED:#x}, round {round}")));
        }
        println!("{target}: {rounds} mutations, {accepted} accepted");
        assert!(accepted < rounds, "{target} refuses nothing");
    }
}

#[test]
fn five_thousand_mutations_of_each_corpus_hold_what_the_targets_demand() {
    mutations(5_000);
}

#[test]
#[ignore = "takes minutes; `just fuzz` runs it"]
fn fuzz_two_million_mutations_of_each_corpus() {
    mutations(2_000_000);
}
