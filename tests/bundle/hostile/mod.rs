//! The hostile corpus: every way to forge a bundle that the format names, made by an insider who holds log key and
//! export key, each refused with the code, the check and the place written down for it.
//!
//! `bundles/hostile/cases.json` says of each what is wrong, what is expected of us and of `docs/verify.py`. The bundles
//! themselves are made by the cases below, always the same, and not kept: they are large beside what makes them. When what
//! is expected changes, `UPDATE_HOSTILE=1` writes the table anew; without it the tests fail where it differs.
//! A new case is one entry in one of the lists, each a section of "must be refused" in the design.

mod container;
mod disclosed;
mod envelope;
pub mod held;
mod json;
mod log;
mod script;
mod trusted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fastness::bundle::{Anchor, Options, Report, Status};
use fastness::trust::{Fingerprint, PublicKey};

use super::fixture::{bundle, export_key, log_key, options, outcome};
use super::legal::ModelReplay;
use held::Holding;

/// The section that a case belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Frame and tar.
    Container,
    /// The manifest and its signature.
    Envelope,
    /// Checkpoints, tree and events.
    Log,
    /// What an event may be written like.
    Json,
    /// What is held, and replayed.
    Held,
    /// What is shown of redacted fields.
    Disclosed,
    /// Policies, roots of trust, and whom they let sign.
    Trusted,
}

impl Section {
    const fn as_str(self) -> &'static str {
        match self {
            Section::Container => "container",
            Section::Envelope => "envelope",
            Section::Log => "log",
            Section::Json => "json",
            Section::Held => "held",
            Section::Disclosed => "disclosed",
            Section::Trusted => "trusted",
        }
    }
}

/// What the verifier has besides the right keys.
#[derive(Debug, Clone)]
pub enum Given {
    /// Nothing.
    Keys,
    /// The fingerprint of a root of trust, instead of keys.
    Fingerprint(Fingerprint),
    /// This SPKI PEM in place of the export key.
    ExportPem(String),
    /// The ledger up to here.
    Held(Holding),
    /// A state machine at the first event.
    Replay,
    /// The wish that the bundle be replayed, and no state to begin from.
    RequireReplay,
}

/// What `docs/verify.py` does with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Refuses it with our code.
    Same,
    /// Refuses it with this code, for this reason.
    Other(i32, &'static str),
    /// Accepts it, because this is left to others.
    Leaves(&'static str),
}

/// One hostile bundle, or one that only looks hostile (code 0).
#[derive(Debug, Clone)]
pub struct Case {
    pub section: Section,
    pub name: &'static str,
    /// What is wrong, in one sentence.
    pub wrong: &'static str,
    /// Our exit code.
    pub code: u8,
    /// The check that fails.
    pub check: u8,
    /// A piece of what the check says.
    pub says: &'static str,
    pub member: Option<String>,
    pub line: Option<u64>,
    pub seq: Option<u64>,
    pub given: Given,
    pub script: Script,
    pub file: Vec<u8>,
}

impl Case {
    pub fn new(section: Section, name: &'static str, wrong: &'static str, file: Vec<u8>) -> Self {
        Case {
            section,
            name,
            wrong,
            code: 0,
            check: 0,
            says: "",
            member: None,
            line: None,
            seq: None,
            given: Given::Keys,
            script: Script::Same,
            file,
        }
    }

    /// Refused by this check with this code, saying this.
    pub fn refused(mut self, code: u8, check: u8, says: &'static str) -> Self {
        (self.code, self.check, self.says) = (code, check, says);
        self
    }

    /// The member named, without `audit/`.
    pub fn member(mut self, name: &str) -> Self {
        self.member = Some(format!("audit/{name}"));
        self
    }

    /// The line of the history named, and with it the event of a bundle that begins at 5.
    pub fn event(mut self, line: u64) -> Self {
        (self.line, self.seq) = (Some(line), Some(line + FIRST - 1));
        self.member("history.jsonl")
    }

    pub fn line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    pub fn given(mut self, given: Given) -> Self {
        self.given = given;
        self
    }

    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    fn file_name(&self) -> String {
        format!("{}.audit.tar.zst", self.name)
    }

    /// Our verdict; `None` when the key that was given is refused before the bundle is opened.
    fn report(&self) -> Option<Report> {
        let mut replay = ModelReplay::default();
        let options = match &self.given {
            Given::Keys => options(),
            Given::Fingerprint(fingerprint) => Options {
                anchor: Some(Anchor::Fingerprint(*fingerprint)),
                ..Options::default()
            },
            Given::ExportPem(pem) => Options {
                export_key: Some(PublicKey::from_pem(pem).ok()?),
                ..options()
            },
            Given::Held(holding) => Options {
                held: Some(holding),
                ..options()
            },
            Given::Replay => Options {
                replay: Some(&mut replay),
                ..options()
            },
            Given::RequireReplay => Options {
                require_replay: true,
                ..options()
            },
        };
        Some(outcome(&self.file, options).report)
    }
}

/// First event of the small bundle that most cases are made of.
pub const FIRST: u64 = 5;
/// One more than its last.
pub const SIZE: u64 = 12;

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut all = container::cases();
    all.extend(envelope::cases());
    all.extend(log::cases());
    all.extend(json::cases());
    all.extend(held::cases());
    all.extend(disclosed::cases());
    all.extend(trusted::cases());
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/hostile")
}

/// Verdict of one case against what is written down for it: the sentence for people when it is refused, else what differs.
fn judge(case: &Case) -> Result<Option<&'static str>, String> {
    let Some(report) = case.report() else {
        let right = case.code == 2;
        return right.then_some(None).ok_or("the key is refused".to_owned());
    };
    let failed = report
        .checks
        .iter()
        .filter(|check| check.status == Status::Failed);
    if let Some(mute) = failed.clone().find(|check| check.meaning.is_none()) {
        return Err(format!("check {} does not say what it means", mute.n));
    }
    let Some(check) = failed.clone().next() else {
        let right = (case.code, report.exit_code, report.ok) == (0, 0, true);
        return right.then_some(None).ok_or("accepted".to_owned());
    };
    let says = check.detail.as_deref().unwrap_or_default();
    let found = (
        report.exit_code,
        check.n,
        check.member.as_deref(),
        check.line,
        check.seq,
    );
    let right = (case.code, case.check, case.member.as_deref(), case.line, case.seq);
    if found != right || report.ok || case.says.is_empty() || !says.contains(case.says) {
        return Err(format!("{found:?} instead of {right:?}: {says}"));
    }
    Ok(check.meaning)
}

#[test]
fn every_hostile_bundle_is_refused_with_its_code_check_place_and_meaning() {
    let (cases, mut wrong) = (cases(), Vec::new());
    let refused = cases.iter().filter(|case| case.code != 0).count();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "names are told apart");
    assert!(refused >= 250, "{refused}");
    for case in &cases {
        let one = case.wrong.ends_with('.') && !case.wrong.trim_end_matches('.').contains(". ");
        assert!(one, "{}: one sentence", case.name);
        match judge(case) {
            Ok(means) if means.is_some() == !matches!(case.code, 0 | 2) => {}
            Ok(_) => wrong.push(format!("{}: a meaning where none belongs, or none\n", case.name)),
            Err(why) => wrong.push(format!("{}: {why}\n", case.name)),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.concat());
    println!("{refused} refused, {} accepted", cases.len() - refused);
}

/// `cases.json`: one line a case.
fn table(cases: &[Case]) -> Vec<u8> {
    let rows: Vec<String> = cases.iter().map(|case| row(case).to_string()).collect();
    format!("[\n{}\n]\n", rows.join(",\n")).into_bytes()
}

fn row(case: &Case) -> serde_json::Value {
    let script = match case.script {
        Script::Same => serde_json::json!({"code": case.code}),
        Script::Other(code, why) => serde_json::json!({"code": code, "why": why}),
        Script::Leaves(why) => serde_json::json!({"code": 0, "why": why}),
    };
    let given = match &case.given {
        Given::Keys => serde_json::json!("log.pem and export.pem"),
        Given::Fingerprint(fingerprint) => serde_json::json!({"fingerprint": fingerprint.to_string()}),
        Given::ExportPem(pem) => serde_json::json!({"logKey": "log.pem", "exportKey": pem}),
        Given::Held(holding) => serde_json::json!({"held": holding.describe()}),
        Given::Replay => serde_json::json!("log.pem, export.pem, and the empty state to replay from"),
        Given::RequireReplay => serde_json::json!("log.pem, export.pem, and --require-replay"),
    };
    serde_json::json!({
        "name": case.name,
        "section": case.section.as_str(),
        "file": case.file_name(),
        "wrong": case.wrong,
        "given": given,
        "expected": {"code": case.code, "check": case.check, "member": case.member, "line": case.line, "event": case.seq},
        "means": judge(case).unwrap_or_else(|why| panic!("{}: {why}", case.name)),
        "verify.py": script,
    })
}

#[test]
fn the_table_of_hostile_bundles_is_what_the_cases_make() {
    let cases = cases();
    let made = [
        ("cases.json", table(&cases)),
        ("README.md", README.as_bytes().to_vec()),
    ];
    for (name, bytes) in made {
        let path = folder().join(name);
        if std::env::var_os("UPDATE_HOSTILE").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(
            found == bytes,
            "{name} is not what the cases make: run this test with UPDATE_HOSTILE=1"
        );
    }
}

/// `just hostile` runs it: the files for other verifiers, with the keys and a bundle that has nothing wrong.
#[test]
#[ignore = "writes the bundles to where `HOSTILE_DIR` says"]
fn the_files_of_the_hostile_bundles_are_written() {
    let folder = PathBuf::from(std::env::var_os("HOSTILE_DIR").expect("HOSTILE_DIR names a folder"));
    std::fs::create_dir_all(&folder).unwrap();
    let cases = cases();
    let mut files = vec![
        ("cases.json".to_owned(), table(&cases)),
        ("good.audit.tar.zst".to_owned(), bundle(FIRST, SIZE)),
        (
            "log.pem".to_owned(),
            log_key().public().to_pem().unwrap().into_bytes(),
        ),
        (
            "export.pem".to_owned(),
            export_key().public().to_pem().unwrap().into_bytes(),
        ),
    ];
    files.extend(cases.iter().map(|case| (case.file_name(), case.file.clone())));
    for (name, bytes) in &files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    println!("{} files in {}", files.len(), folder.display());
}

/// Told to whoever opens the folder.
const README: &str = include_str!("readme.md");
