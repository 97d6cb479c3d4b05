//! Output when the power goes: what was finished is whole for ever, what was not never gets in the way.

use std::path::PathBuf;
use std::sync::Arc;

use fastness::domain::Digest;
use fastness::output::{
    AttemptAsk, AttemptLog, AttemptSummary, Blob, LineFilter, Output, OutputError, Stream,
};

use crate::output::{ask, at, scope};
use crate::support::random::Random;
use crate::support::sim_disk::{Fault, SimDisk};

/// What was promised so far.
#[derive(Default)]
struct Promised {
    logs: Vec<(AttemptAsk, AttemptSummary, Vec<u8>)>,
    blobs: Vec<Blob>,
    highest_pos: u64,
}

/// One life of the process, up to its first refusal.
fn live(output: &Output, random: &mut Random, promised: &mut Promised) -> Result<(), OutputError> {
    let mut open: Vec<(AttemptAsk, AttemptLog, Option<Vec<u8>>)> = Vec::new();
    for _ in 0..random.below(40) {
        match random.below(8) {
            0 if open.len() < 3 => {
                let ask = ask(random.below(6) as u32);
                match output.attempt(&ask, at(1)) {
                    // What a log that is taken up holds is not known here.
                    Ok(log) => {
                        let is_new = log.bytes(Stream::Stdout) == 0;
                        open.push((ask, log, is_new.then(Vec::new)));
                    }
                    Err(OutputError::Disk {
                        attempted,
                        path,
                        cause,
                    }) => {
                        return Err(OutputError::Disk {
                            attempted,
                            path,
                            cause,
                        });
                    }
                    Err(_) => {}
                }
            }
            1 => {
                let mut blob = output.blobs().create(10_000)?;
                let bytes = vec![random.next() as u8; random.below(3_000) as usize];
                blob.write(&bytes)?;
                let blob = blob.finish()?;
                assert_eq!(blob.sha256, Digest::of(&bytes));
                promised.blobs.push(blob);
            }
            2 if !open.is_empty() => {
                let (ask, log, bytes) = open.swap_remove(random.below(open.len() as u64) as usize);
                let summary = log.finish(at(3))?;
                if let Some(bytes) = bytes {
                    assert_eq!(summary.stdout.sha256, Digest::of(&bytes));
                    promised.logs.push((ask, summary, bytes));
                }
            }
            _ if !open.is_empty() => {
                let at_once = random.below(open.len() as u64) as usize;
                let (_, log, bytes) = &mut open[at_once];
                let number = random.next();
                let chunk = format!("{number}\n").repeat(1 + random.below(40) as usize);
                log.append(Stream::Stdout, chunk.as_bytes(), at(2))?;
                if let Some(bytes) = bytes {
                    bytes.extend(chunk.as_bytes());
                }
                let page = output.read_lines(&scope(), 0, usize::MAX, &LineFilter::default())?;
                let last = page.lines.last().map_or(0, |line| line.pos);
                assert!(
                    last > promised.highest_pos,
                    "a position was given out twice: {last} after {}, damaged: {:?}",
                    promised.highest_pos,
                    page.damaged
                );
                promised.highest_pos = last;
            }
            _ => {}
        }
    }
    Ok(())
}

fn assert_kept(output: &Output, promised: &Promised, seed: u64) {
    for (ask, summary, bytes) in &promised.logs {
        let verified = output.verify(&ask.key, summary);
        assert!(verified.is_ok(), "seed {seed}: {verified:?}");
        let raw = output.read_raw(&ask.key, Stream::Stdout, 0..u64::MAX).unwrap();
        assert_eq!(&raw, bytes, "seed {seed}");
        let lines = output.read_attempt_lines(&ask.key, 0, usize::MAX).unwrap();
        assert_eq!(lines.len() as u64, summary.stdout.lines, "seed {seed}");
    }
    for blob in &promised.blobs {
        let verified = output.blobs().verify(&blob.sha256);
        assert!(verified.is_ok(), "seed {seed}: {verified:?}");
    }
    let page = output.read_lines(&scope(), 0, usize::MAX, &LineFilter::default());
    assert!(page.is_ok(), "seed {seed}: {page:?}");
}

#[test]
fn what_was_finished_survives_any_crash() {
    let mut kept = 0;
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut promised = Promised::default();
        for _ in 0..4 {
            let fault = match random.below(3) {
                0 => Fault::Eio,
                1 => Fault::NoSpace,
                _ => Fault::Halt,
            };
            disk.fail_operation(random.below(400), fault);
            let output = Output::open(PathBuf::from("/output"), Arc::new(disk.clone()));
            if let Ok(output) = output {
                let _ = live(&output, &mut random, &mut promised);
            }
            disk.disarm();
            // A process may also end without the machine: then unflushed bytes are still to be seen.
            if fault == Fault::Halt || random.once_in(2) {
                disk.crash(random.next());
            }
            let output = Output::open(PathBuf::from("/output"), Arc::new(disk.clone())).unwrap();
            assert_kept(&output, &promised, seed);
        }
        kept += promised.logs.len() + promised.blobs.len();
    }
    assert!(kept > 1_000, "only {kept} promises were put to the test");
}
