//! Golden bundles: made once, never again. Every later version must verify them and replay them to the state of then.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::program::run;

/// The bundles of format 1, in the order of their ranges.
const FILES: [&str; 2] = ["first.audit.tar.zst", "second.audit.tar.zst"];

fn path(name: &str) -> String {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles/golden/v1");
    root.join(name).to_str().unwrap().to_owned()
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(path("expected.json")).unwrap()).unwrap()
}

fn with_keys<'a>(line: &[&'a str], keys: &'a [String; 2]) -> Vec<&'a str> {
    [
        line,
        &["--log-key", &keys[0], "--export-key", &keys[1], "-o", "json"],
    ]
    .concat()
}

#[test]
fn golden_bundles_of_format_1_are_good_by_their_keys_and_by_their_root() {
    let (keys, root) = ([path("log.pem"), path("export.pem")], path("1.root"));
    let [first, second] = FILES.map(path);
    for line in [
        vec!["verify", &first, "--require-replay"],
        vec!["verify", &second],
        vec!["verify", &second, "--after", &first],
    ] {
        let by_keys = run(&with_keys(&line, &keys)).json(0);
        let by_root = run(&[&line[..], &["--root", &root, "-o", "json"]].concat()).json(0);
        for report in [by_keys, by_root] {
            assert_eq!(report["ok"], true, "{line:?}: {report}");
        }
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify.py");
    for file in [&first, &second] {
        let output = Command::new("python3")
            .args([script, file, &keys[0], &keys[1]])
            .output();
        let output = output.unwrap();
        assert!(
            output.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn golden_bundles_of_format_1_replay_to_the_state_of_then() {
    let keys = [path("log.pem"), path("export.pem")];
    let [first, second] = FILES.map(path);
    let mut replayed = run(&with_keys(&["replay-bundle", &first, &second], &keys)).json(0);
    for (bundle, name) in replayed["bundles"].as_array_mut().unwrap().iter_mut().zip(FILES) {
        bundle["file"] = name.into();
    }
    assert_eq!(replayed, expected());
}
