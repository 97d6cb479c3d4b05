//! Reads the lists of `deny.toml` that the test judges by.
//!
//! Not a TOML reader: it knows lists with one entry a line and refuses what it does not know, so that a rule
//! can never be written there and silently not hold.

use std::collections::{BTreeMap, BTreeSet};

/// The rules of `deny.toml` that need no network.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deny {
    /// `[licenses] allow`.
    pub licences: BTreeSet<String>,
    /// `[bans] deny`.
    pub crates: BTreeSet<String>,
    /// `[bans] skip`: crates that may come in several versions.
    pub skipped: BTreeSet<String>,
    /// `[[bans.features]]`: crate to features.
    pub features: BTreeMap<String, BTreeSet<String>>,
}

impl Deny {
    /// Reads the text of a `deny.toml`.
    ///
    /// # Panics
    /// When a list is not written as this reader knows it.
    pub fn read(text: &str) -> Deny {
        let mut deny = Deny::default();
        let mut section = "";
        let mut of_crate = String::new();
        let mut lines = text.lines().map(uncommented).filter(|line| !line.is_empty());
        while let Some(line) = lines.next() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']);
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .unwrap_or_else(|| panic!("deny.toml: `{line}` is not understood"));
            let mut list = || {
                let inner = value
                    .strip_prefix('[')
                    .unwrap_or_else(|| panic!("deny.toml: `{line}` is no list"));
                match inner.strip_suffix(']') {
                    Some(inline) => inline
                        .split(',')
                        .filter(|part| !part.trim().is_empty())
                        .map(entry)
                        .collect(),
                    None => lines
                        .by_ref()
                        .take_while(|line| *line != "]")
                        .map(entry)
                        .collect(),
                }
            };
            match (section, key) {
                ("licenses", "allow") => deny.licences = list(),
                ("bans", "deny") => deny.crates = list(),
                ("bans", "skip") => deny.skipped = list(),
                ("bans.features", "crate") => of_crate = entry(value),
                ("bans.features", "deny") => {
                    deny.features.insert(of_crate.clone(), list());
                }
                ("licenses", "unused-allowed-license" | "confidence-threshold")
                | ("bans", "multiple-versions" | "wildcards")
                | ("graph" | "sources" | "advisories", _) => {}
                _ => panic!("deny.toml: [{section}] {key} is not held by tests/licences.rs"),
            }
        }
        deny
    }
}

fn uncommented(line: &str) -> &str {
    line.split_once('#').map_or(line, |(before, _)| before).trim()
}

/// `"name"` or `{ crate = "name", … }`, with or without a comma.
fn entry(text: &str) -> String {
    let text = text.trim().trim_end_matches(',');
    let quoted = text.strip_prefix("{ crate = ").unwrap_or(text);
    let name = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.split_once('"'))
        .map(|(name, _)| name);
    name.unwrap_or_else(|| panic!("deny.toml: `{text}` is no entry"))
        .to_owned()
}

#[test]
fn lists_are_read_in_both_forms() {
    let text = "# x\n[licenses]\nallow = [\n  \"MIT\", # y\n]\n[bans]\ndeny = [\"a\", \"b\"]\nskip = [\n  { crate = \"c\", \
                reason = \"z\" },\n]\n[[bans.features]]\ncrate = \"d\"\ndeny = [\"e\"]\n";
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let wanted = Deny {
        licences: set(&["MIT"]),
        crates: set(&["a", "b"]),
        skipped: set(&["c"]),
        features: BTreeMap::from([("d".to_owned(), set(&["e"]))]),
    };
    assert_eq!(Deny::read(text), wanted);
}

#[test]
#[should_panic(expected = "is not held by tests/licences.rs")]
fn a_rule_that_would_not_hold_is_refused() {
    Deny::read("[licenses]\nexceptions = [\"x\"]\n");
}
