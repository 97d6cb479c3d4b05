//! Judges what `reading` read, by the tables of `architecture`.

use std::collections::BTreeSet;
use std::fmt;

use super::reading::{self, Facts, Kind, Mention};
use super::{BANS, Ban, EMPTY_NAMES, FILE_LINES_MAX, FUNCTION_LINES_MAX, ROOMS, Room, UNSAFE_IN};

/// A breach: where, and what may not be so.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub says: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "  {}:{}: {}", self.file, self.line, self.says)
    }
}

/// Judges a whole source tree: pairs of path and text.
pub fn judge(sources: &[(String, String)]) -> Vec<Finding> {
    let mut test_modules = BTreeSet::new();
    for (file, source) in sources {
        // A file that is not Rust is found below.
        if let Ok(facts) = reading::read(file, source, false) {
            test_modules.extend(facts.test_modules);
        }
    }
    let is_test = |file: &str| {
        let module = reading::module_of(file);
        (1..=module.len()).any(|parts| test_modules.contains(&module[..parts]))
    };
    sources
        .iter()
        .flat_map(|(file, source)| judge_file(file, source, is_test(file)))
        .collect()
}

/// Judges one file of `src/`. `test_file` says that all of it is under `#[cfg(test)]`.
pub fn judge_file(file: &str, source: &str, test_file: bool) -> Vec<Finding> {
    let mut findings = text_rules(file, source);
    match reading::read(file, source, test_file) {
        Ok(facts) => {
            findings.extend(
                facts
                    .mentions
                    .iter()
                    .flat_map(|mention| judge_mention(file, mention)),
            );
            findings.extend(shape_rules(file, source, &facts, test_file));
        }
        Err(error) => findings.push(Finding {
            file: file.to_owned(),
            line: error.span().start().line,
            says: format!("cannot be read: {error}"),
        }),
    }
    findings.dedup();
    findings
}

/// Finds paths of the machine on which the project is written.
pub fn private_names(file: &str, text: &str) -> Vec<Finding> {
    // Put together here, so that this file does not find itself.
    let names = [concat!("/wo", "rk/"), concat!("/tmp/", "wt")];
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in names {
            // A relative path that goes on the same way is somebody's own; an absolute one is a place on one machine.
            let begins =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-./}".contains(c));
            if line.match_indices(name).any(|(at, _)| begins(at)) {
                findings.push(Finding {
                    file: file.to_owned(),
                    line: index + 1,
                    says: format!("names `{name}`, a place on the machine of whoever wrote it"),
                });
            }
        }
    }
    findings
}

fn judge_mention(file: &str, mention: &Mention) -> Vec<Finding> {
    let name = mention.path.join("::");
    let mut says = Vec::new();
    match mention.kind {
        Kind::Path | Kind::Macro | Kind::Glob | Kind::GlobOfParent => {
            says.extend(floor_breach(file, mention))
        }
        Kind::Method => {}
        Kind::Async if file.starts_with("src/domain/") => {
            says.push("is async: `domain` is pure and answers at once".to_owned());
        }
        Kind::Async => {}
        Kind::Unsafe if !within(file, UNSAFE_IN) => {
            says.push(format!(
                "uses or allows `unsafe`, which only {} may",
                UNSAFE_IN.join(", ")
            ));
        }
        Kind::Unsafe => {}
        Kind::StatusNumber if !within(file, &["src/api/"]) && !mention.test => {
            says.push(format!(
                "compares a status with {name}: only `api` knows HTTP status codes"
            ));
        }
        Kind::StatusNumber => {}
        Kind::UnexplainedAllow => says.push(format!("allows `{name}` without `reason = \"…\"`")),
        Kind::MovedModule => says.push("gives a module another place than its name says".to_owned()),
    }
    if mention.kind == Kind::Glob || (mention.kind == Kind::GlobOfParent && !mention.test) {
        says.push(format!("imports everything of `{name}`: name what is used"));
    }
    for ban in BANS.iter().filter(|ban| applies(ban, file, mention)) {
        let shown = match mention.kind {
            Kind::Method => format!(".{name}()"),
            Kind::Macro => format!("{name}!"),
            _ => name.clone(),
        };
        says.push(format!(
            "uses `{shown}`: {} is banned here; {}",
            ban.what, ban.instead
        ));
    }
    let found = |says| Finding {
        file: file.to_owned(),
        line: mention.line,
        says,
    };
    says.into_iter().map(found).collect()
}

/// Says why the room of `file` may not import what `mention` names, if so.
fn floor_breach(file: &str, mention: &Mention) -> Option<String> {
    let [first, target, ..] = mention.path.as_slice() else {
        return None;
    };
    if first != "crate" || file == "src/lib.rs" {
        return None;
    }
    let name = mention.path.join("::");
    let Some(from) = room_of(file) else {
        return Some("stands in no room of the floor table".to_owned());
    };
    let Some(to) = ROOMS.iter().find(|room| room.name == target) else {
        return Some(format!(
            "imports `{name}`: `{target}` is no room of the floor table; import from where it lives"
        ));
    };
    let breach = may_not(from, to)?;
    Some(format!("imports `{name}`: {breach}"))
}

fn may_not(from: &Room, to: &Room) -> Option<String> {
    let (a, b) = (from.name, to.name);
    if a == b || from.also.contains(&b) {
        None
    } else if from.never.contains(&b) {
        Some(format!("`{a}` is pure and may never import `{b}`"))
    } else if to.floor == from.floor {
        Some(format!(
            "`{a}` and `{b}` share floor {} and may not see each other",
            from.floor
        ))
    } else if to.floor > from.floor {
        Some(format!(
            "`{a}` is on floor {} and may not look up to `{b}` on floor {}",
            from.floor, to.floor
        ))
    } else {
        None
    }
}

fn room_of(file: &str) -> Option<&'static Room> {
    let inner = file.trim_start_matches("src/");
    let name = inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs");
    ROOMS.iter().find(|room| room.name == name)
}

fn applies(ban: &Ban, file: &str, mention: &Mention) -> bool {
    let here = ban.only_in.is_empty() || within(file, ban.only_in);
    let may = within(file, ban.except) || (ban.tests_may && mention.test);
    here && !may && ban.patterns.iter().any(|pattern| matches(pattern, mention))
}

/// Whether `pattern` (see [`Ban::patterns`]) fits.
fn matches(pattern: &str, mention: &Mention) -> bool {
    if let Some(method) = pattern.strip_prefix('.') {
        return mention.kind == Kind::Method && mention.path.last().is_some_and(|name| name == method);
    }
    if let Some(name) = pattern.strip_suffix('!') {
        return mention.kind == Kind::Macro && mention.path.last().is_some_and(|last| last == name);
    }
    if !matches!(
        mention.kind,
        Kind::Path | Kind::Macro | Kind::Glob | Kind::GlobOfParent
    ) {
        return false;
    }
    let (at_start, pattern) = pattern
        .strip_prefix('^')
        .map_or((false, pattern), |rest| (true, rest));
    let parts: Vec<&str> = pattern.split("::").collect();
    let fits = |window: &[String]| {
        window
            .iter()
            .zip(&parts)
            .all(|(part, wanted)| part_fits(wanted, part))
    };
    let mut windows = mention.path.windows(parts.len());
    if at_start {
        windows.next().is_some_and(fits)
    } else {
        windows.any(fits)
    }
}

fn part_fits(wanted: &str, part: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => part.starts_with(prefix),
        None => part == wanted,
    }
}

fn within(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        if place.ends_with('/') {
            file.starts_with(place)
        } else {
            file == *place
        }
    })
}

fn text_rules(file: &str, source: &str) -> Vec<Finding> {
    let finding = |line: usize, says: String| Finding {
        file: file.to_owned(),
        line,
        says,
    };
    let mut findings = Vec::new();
    if !source.starts_with("//!") {
        findings.push(finding(
            1,
            "does not open with `//!`: what it owns, promises, must never do".to_owned(),
        ));
    }
    for (index, line) in source.lines().enumerate() {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            if line
                .split(|c: char| !c.is_alphanumeric())
                .any(|part| part == word)
            {
                findings.push(finding(
                    index + 1,
                    format!("says {word}: do it, or file an issue"),
                ));
            }
        }
    }
    let names: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if let Some(name) = names.iter().find(|name| EMPTY_NAMES.contains(name)) {
        findings.push(finding(1, format!("is called `{name}`: name what it owns")));
    }
    findings
}

fn shape_rules(file: &str, source: &str, facts: &Facts, test_file: bool) -> Vec<Finding> {
    let finding = |line: usize, says: String| Finding {
        file: file.to_owned(),
        line,
        says,
    };
    let mut findings = Vec::new();
    let lines = source.lines().count() - facts.test_lines;
    if !test_file && lines > FILE_LINES_MAX {
        let says = format!("has {lines} lines without its tests; {FILE_LINES_MAX} are the limit");
        findings.push(finding(1, says));
    }
    for function in facts.functions.iter().filter(|function| !function.test) {
        if function.lines > FUNCTION_LINES_MAX {
            let (name, lines) = (&function.name, function.lines);
            let says = format!("`{name}` has {lines} lines; {FUNCTION_LINES_MAX} are the limit");
            findings.push(finding(function.line, says));
        }
    }
    findings
}
