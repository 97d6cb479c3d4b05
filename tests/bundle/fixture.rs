//! A small ledger and its bundle, made of fabricated events and published test keys that guard nothing.

use std::io::{self, Cursor, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastness::bundle::manifest::{Redaction, Sha256, Statement};
use fastness::bundle::tar::{TarReader, TarWriter};
use fastness::bundle::transport::{FrameReader, FrameWriter};
use fastness::bundle::{
    BundleWriter, Check, Member, Options, Outcome, Range, Report, dsse, frontier, verify,
};
use fastness::domain::{Digest, leaf_hash};
use fastness::ledger::Frontier;
use fastness::trust::{NoteKey, PrivateKey};

pub const ORIGIN: &str = "fastness/00112233445566ff/acme";

/// Signs checkpoints. The seed is 32 bytes of this value; it guards nothing.
pub fn log_key() -> PrivateKey {
    PrivateKey::generate(&mut |bytes| bytes.fill(0x11))
}

/// Signs bundles; see [`log_key`].
pub fn export_key() -> PrivateKey {
    PrivateKey::generate(&mut |bytes| bytes.fill(0x22))
}

/// A canonical event with what makes canonical JSON hard: escapes, letters beyond ASCII, nesting.
pub fn event(seq: u64) -> Vec<u8> {
    let at = fastness::domain::Timestamp::from_ms(1_769_860_800_000 + seq as i64 * 137);
    let text = [
        "plain",
        "tab\\tquote\\\"back\\\\slash",
        "\\u0001\\n\u{e9}\u{20ac}\u{1f512}",
        "%s%d\u{2028}",
        "",
    ][seq as usize % 5];
    let output = format!(
        "{{\"code\":{},\"deep\":[[],{{}},[null,true]],\"text\":\"{text}\"}}",
        (seq as i64 - 40) * 90_071_992_547
    );
    let (name, payload) = match seq % 4 {
        0 => ("job.scheduled", "{\"reason\":\"retry\"}".to_owned()),
        _ => (
            "job.completed",
            format!("{{\"attempt\":1,\"epoch\":{seq},\"output\":{output}}}"),
        ),
    };
    format!(
        "{{\"actor\":{{\"id\":\"w-{}\",\"kind\":\"worker\"}},\"at\":\"{at}\",\"payload\":{payload},\
         \"schema\":\"fastness.event/v1\",\"seq\":{seq},\"subject\":{{\"step\":\"s{seq}\"}},\
         \"tenant\":\"acme\",\"type\":\"{name}\",\"version\":1}}",
        seq % 3,
    )
    .into_bytes()
}

pub fn history(first: u64, size: u64) -> Vec<u8> {
    (first..size)
        .flat_map(|seq| [event(seq), b"\n".to_vec()].concat())
        .collect()
}

pub fn frontier_at(size: u64) -> Frontier {
    let mut tree = Frontier::default();
    (0..size).for_each(|seq| tree.push(leaf_hash(&event(seq))));
    tree
}

/// A signed checkpoint.
pub fn checkpoint(key: &PrivateKey, origin: &str, size: u64, root: &Digest) -> Vec<u8> {
    let text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.as_bytes()));
    let id = NoteKey::new(origin, key.public()).unwrap().id();
    let signature = [id.as_slice(), key.sign(text.as_bytes()).as_bytes()].concat();
    format!("{text}\n\u{2014} {origin} {}\n", STANDARD.encode(signature)).into_bytes()
}

pub fn range(first: u64, size: u64) -> Range {
    Range {
        contents: None,
        first,
        origin: ORIGIN.to_owned(),
        prev_root: frontier_at(first).root(),
        redaction: Redaction::none(),
        root: frontier_at(size).root(),
        schema_sha256: Digest::of(b"schema"),
        size,
        state_version: 1,
        tenant: "acme".parse().unwrap(),
        trust_version: 0,
    }
}

pub const ARTIFACT: &[u8] = b"an artifact\n";
pub const LOG: &[u8] = b"a log\0with bytes";

/// State files of three records each.
pub fn records(name: &str) -> Vec<u8> {
    (0..3)
        .map(|n| format!("{{\"id\":\"{name}-{n}\",\"state\":\"completed\"}}\n"))
        .collect::<String>()
        .into_bytes()
}

pub fn writer(first: u64, size: u64) -> BundleWriter<'static> {
    let range = range(first, size);
    let mut writer = BundleWriter::new(range.clone());
    writer.add_bytes(
        Member::Checkpoint,
        checkpoint(&log_key(), ORIGIN, size, &range.root),
    );
    writer.add_bytes(
        Member::CheckpointPrev,
        checkpoint(&log_key(), ORIGIN, first, &range.prev_root),
    );
    writer.add_bytes(Member::Frontier, frontier::write(&frontier_at(first)));
    writer
        .add_history(Box::new(move || Ok(Box::new(Cursor::new(history(first, size))))))
        .unwrap();
    writer.add_bytes(Member::Jobs, records("job"));
    writer.add_bytes(Member::Runs, records("run"));
    writer.add_bytes(Member::Throttles, records("throttle"));
    writer.add_bytes(
        Member::Packs,
        b"{\"name\":\"a\",\"version\":9}\n{\"name\":\"a\",\"version\":10}\n".to_vec(),
    );
    writer.add_bytes(Member::Artifact(Digest::of(ARTIFACT)), ARTIFACT.to_vec());
    writer.add_bytes(Member::Log(Digest::of(LOG)), LOG.to_vec());
    writer
}

/// The bundle over events `first..size`.
pub fn bundle(first: u64, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    writer(first, size).write(&export_key(), &mut bytes).unwrap();
    bytes
}

pub fn compress(tar: &[u8]) -> Vec<u8> {
    let mut frame = FrameWriter::new(Vec::new()).unwrap();
    frame.write_all(tar).unwrap();
    frame.finish().unwrap()
}

pub fn decompress(bundle: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    FrameReader::new(bundle).unwrap().read_to_end(&mut tar).unwrap();
    tar
}

/// A bundle taken apart, to be changed and put together again.
#[derive(Clone)]
pub struct Parts(pub Vec<(String, Vec<u8>)>);

impl Parts {
    pub fn of(bundle: &[u8]) -> Self {
        let tar = decompress(bundle);
        let mut reader = TarReader::new(tar.as_slice());
        let mut parts = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut content = vec![0; entry.size as usize];
            assert_eq!(reader.content(&mut content).unwrap(), content.len());
            parts.push((entry.name, content));
        }
        Parts(parts)
    }

    pub fn small() -> Self {
        Parts::of(&bundle(5, 12))
    }

    pub fn member(&mut self, name: &str) -> &mut Vec<u8> {
        let name = format!("audit/{name}");
        &mut self.0.iter_mut().find(|part| part.0 == name).unwrap().1
    }

    pub fn index(&self, name: &str) -> usize {
        let name = format!("audit/{name}");
        self.0.iter().position(|part| part.0 == name).unwrap()
    }

    pub fn statement(&self) -> Statement {
        let envelope = dsse::Envelope::parse(&self.0[0].1).unwrap();
        Statement::parse(&envelope.payload).unwrap()
    }

    /// Makes the manifest say what the members now are, and signs it: what only the exporter can do.
    pub fn sign_again(&mut self, change: impl FnOnce(&mut Statement)) {
        let mut statement = self.statement();
        for (subject, file) in statement.subject.iter_mut().zip(&mut statement.predicate.files) {
            let Some((_, content)) = self.0.iter().find(|part| part.0 == subject.name) else {
                continue;
            };
            subject.digest = Sha256 {
                sha256: Digest::of(content),
            };
            file.size = content.len() as u64;
            let feeds = content.iter().filter(|byte| **byte == b'\n').count() as u64;
            file.lines = file.lines.map(|_| feeds);
        }
        change(&mut statement);
        self.0[0].1 = dsse::sign(&statement.to_bytes().unwrap(), &export_key()).unwrap();
    }

    /// The events as lines, each with its LF.
    pub fn lines(&mut self) -> Vec<Vec<u8>> {
        let history = self.member("history.jsonl").clone();
        let lines = history.split_inclusive(|byte| *byte == b'\n');
        lines.map(<[u8]>::to_vec).collect()
    }

    /// Changes the history line by line.
    pub fn edit_lines(&mut self, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let mut lines = self.lines();
        edit(&mut lines);
        *self.member("history.jsonl") = lines.concat();
    }

    /// Makes leaves, roots, checkpoints and manifest those of the history as it now stands, over as many events as it has:
    /// what only one can do who holds the log key and the export key. The frontier is that of the fixture's events.
    pub fn sign_all(&mut self, change: impl FnOnce(&mut Statement)) {
        let predicate = self.statement().predicate;
        let mut tree = frontier_at(predicate.first);
        for line in self.lines() {
            tree.push(leaf_hash(line.strip_suffix(b"\n").unwrap_or(&line)));
        }
        self.leaves_again();
        let (size, root) = (tree.size(), tree.root());
        *self.member("checkpoint") = checkpoint(&log_key(), &predicate.origin, size, &root);
        self.sign_again(|statement| {
            (statement.predicate.size, statement.predicate.root) = (size, root);
            change(statement);
        });
    }

    /// Makes the leaves those of the history.
    pub fn leaves_again(&mut self) {
        let history = self.member("history.jsonl").clone();
        let lines = history.split_inclusive(|byte| *byte == b'\n');
        let leaf = |line: &[u8]| {
            leaf_hash(line.strip_suffix(b"\n").unwrap_or(line)).to_string()[..16].to_owned() + "\n"
        };
        *self.member("leaves") = lines.map(leaf).collect::<String>().into_bytes();
    }

    pub fn tar(&self) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (name, content) in &self.0 {
            tar.begin(name, content.len() as u64).unwrap();
            tar.content(content).unwrap();
        }
        tar.finish().unwrap()
    }

    pub fn file(&self) -> Vec<u8> {
        compress(&self.tar())
    }
}

pub fn options<'a>() -> Options<'a> {
    Options {
        log_key: Some(log_key().public()),
        export_key: Some(export_key().public()),
        ..Options::default()
    }
}

pub fn outcome(bundle: &[u8], options: Options<'_>) -> Outcome {
    let bundle: std::sync::Arc<[u8]> = bundle.into();
    let open =
        move || -> io::Result<Box<dyn Read>> { Ok(Box::new(Cursor::new(std::sync::Arc::clone(&bundle)))) };
    verify(&open, options).unwrap()
}

pub fn report(bundle: &[u8]) -> Report {
    outcome(bundle, options()).report
}

/// The first failed check of a bundle that must be refused with this code.
#[track_caller]
pub fn refused(bundle: &[u8], code: u8) -> Check {
    let report = report(bundle);
    let check = report
        .first_failure()
        .unwrap_or_else(|| panic!("accepted: {report:#?}"))
        .clone();
    assert_eq!(report.exit_code, code, "{check:?}");
    assert!(!report.ok);
    check
}
