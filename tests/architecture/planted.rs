//! Breaches planted on purpose: each rule must find its own, and must leave sound code alone.

use super::rules::{judge, judge_file, private_names};

/// A file that breaks one rule, and what the finding has to say.
struct Planted {
    file: &'static str,
    source: &'static str,
    says: &'static str,
}

const fn planted(file: &'static str, source: &'static str, says: &'static str) -> Planted {
    Planted { file, source, says }
}

fn check(table: &[Planted]) {
    for Planted { file, source, says } in table {
        let findings = judge_file(file, &format!("//! Planted.\n{source}\n"), false);
        assert!(
            findings.iter().any(|finding| finding.says.contains(says)),
            "planted in {file}: {source}\nexpected: {says}\nfound: {findings:#?}"
        );
    }
}

#[test]
#[rustfmt::skip] // A table: one row a line.
fn imports_that_break_the_floors_are_found() {
    check(&[
        planted("src/journal/file.rs", "use crate::store::Store;", "share floor 2"),
        planted("src/journal/file.rs", "use super::super::engine::Handle;", "may not look up to `engine`"),
        planted("src/journal/mod.rs", "use super::ledger::Tree;", "may not look up to `ledger`"),
        planted("src/journal/mod.rs", "use crate::{clock::Clock, store};", "imports `crate::store`"),
        planted("src/journal/mod.rs", "use crate::{self as house, ledger as book};", "imports `crate::ledger`"),
        planted("src/journal/mod.rs", "fn f() { crate::engine::start(); }", "imports `crate::engine::start`"),
        planted("src/journal/mod.rs", "fn f(x: &crate::engine::Handle) {}", "floor 4"),
        planted("src/journal/mod.rs", "mod inner { use super::super::store::X; }", "imports `crate::store::X`"),
        planted("src/journal/mod.rs", "use crate as house; use house::engine::Handle;", "may not look up"),
        planted("src/journal/mod.rs", "fn f() { assert!(crate::api::ready()); }", "may not look up to `api`"),
        planted("src/journal/mod.rs", "macro_rules! m { () => { use crate::{limits, api}; } }", "`crate::api`"),
        planted("src/journal/mod.rs", "macro_rules! m { () => { $crate::api::f() } }", "`crate::api::f`"),
        planted("src/journal/mod.rs", "#[serde(with = \"crate::api::text\")] struct S;", "`crate::api::text`"),
        planted("src/journal/mod.rs", "#[cfg(test)] mod tests { use crate::app::App; }", "may not look up"),
        planted("src/journal/mod.rs", "use crate::api::*;", "may not look up to `api`"),
        planted("src/domain/job.rs", "use crate::clock::Clock;", "may never import `clock`"),
        planted("src/domain/job.rs", "use crate::disk;", "may never import `disk`"),
        planted("src/limits.rs", "use crate::clock::Clock;", "share floor 0"),
        planted("src/stream.rs", "use crate::bundle::Bundle;", "share floor 5"),
        planted("src/config.rs", "use crate::app::App;", "share floor 7"),
        planted("src/api/mod.rs", "use crate::console::find;", "share floor 6"),
        planted("src/api/mod.rs", "use crate::Digest;", "import from where it lives"),
        planted("src/attic.rs", "use crate::limits::NAME_BYTES_MAX;", "stands in no room"),
        planted("src/cli/run.rs", "fn f() { fastness::main::go() }", "may not look up to `main`"),
    ]);
}

#[test]
#[rustfmt::skip] // A table: one row a line.
fn what_is_banned_is_found() {
    check(&[
        planted("src/ledger/mod.rs", "use redb::Database;", "redb is banned"),
        planted("src/ledger/mod.rs", "fn f(t: redb::Table) {}", "redb is banned"),
        planted("src/engine/mod.rs", "use std::time::SystemTime;", "the wall clock is banned"),
        planted("src/engine/mod.rs", "use std::time; fn f() { time::SystemTime::now(); }", "the wall clock"),
        planted("src/engine/mod.rs", "use std::time::Instant as I; fn f() { I::now(); }", "the wall clock"),
        planted("src/engine/mod.rs", "fn f() { tokio::time::Instant::now(); }", "the wall clock"),
        planted("src/engine/mod.rs", "fn f() { jiff::Timestamp::now(); }", "the wall clock"),
        planted("src/engine/mod.rs", "fn f() { jiff::Zoned::now(); }", "the wall clock"),
        planted("src/engine/mod.rs", "fn f() { g(std::time::SystemTime::now) }", "the wall clock"),
        planted("src/engine/mod.rs", "fn f() { vec![std::time::Instant::now()]; }", "the wall clock"),
        planted("src/engine/mod.rs", "fn f() { getrandom::fill(b); }", "randomness"),
        planted("src/engine/mod.rs", "use rand::Rng;", "randomness"),
        planted("src/engine/mod.rs", "fn f() { uuid::Uuid::now_v7(); }", "randomness"),
        planted("src/engine/mod.rs", "use uuid::Uuid; fn f() { Uuid::new_v4(); }", "randomness"),
        planted("src/engine/mod.rs", "use axum::http::StatusCode;", "an HTTP status code"),
        planted("src/console.rs", "fn f() { g(http::StatusCode::NOT_FOUND) }", "an HTTP status code"),
        planted("src/cli/run.rs", "fn f() { if answer.status == 404 {} }", "compares a status with 404"),
        planted("src/cli/run.rs", "fn f() { if 503 == r.status().as_u16() {} }", "compares a status with 503"),
        planted("src/cli/run.rs", "fn f() { match status { 409 => {} _ => {} } }", "compares a status with 409"),
        planted("src/app.rs", "fn f() { Response::builder().status(404); }", "compares a status with 404"),
        planted("src/engine/mod.rs", "fn f() { g().unwrap(); }", "`.unwrap()`"),
        planted("src/engine/mod.rs", "fn f() { trace!(\"{}\", g().unwrap()); }", "`.unwrap()`"),
        planted("src/engine/mod.rs", "fn f() { x.map(Option::unwrap); }", "unwrap is banned"),
        planted("src/engine/mod.rs", "#[cfg(not(test))] mod m { fn f() { g().unwrap(); } }", "unwrap"),
        planted("src/engine/mod.rs", "use tokio::sync::mpsc; fn f() { mpsc::unbounded_channel(); }", "unbounded"),
        planted("src/engine/mod.rs", "use std::sync::mpsc; fn f() { mpsc::channel(); }", "unbounded"),
        planted("src/engine/mod.rs", "use std::sync::mpsc::channel;", "unbounded"),
        planted("src/engine/mod.rs", "use futures_util::mpsc::unbounded;", "unbounded"),
        planted("src/runner/mod.rs", "fn f() { std::net::TcpStream::connect(a); }", "an outbound client"),
        planted("src/runner/mod.rs", "use tokio::net::TcpStream; fn f() { TcpStream::connect(a); }", "outbound"),
        planted("src/runner/mod.rs", "use std::net::UdpSocket;", "an outbound client"),
        planted("src/runner/mod.rs", "use hyper::client::conn;", "an outbound client"),
        planted("src/journal/file.rs", "fn f() { std::fs::write(p, b); }", "the file system itself"),
        planted("src/store/mod.rs", "use std::fs; fn f() { fs::rename(a, b); }", "the file system itself"),
        planted("src/ledger/tiles.rs", "use std::fs::File;", "the file system itself"),
        planted("src/engine/mod.rs", "fn f() { println!(\"x\"); }", "printing is banned"),
        planted("src/api/mod.rs", "fn f() { if x { eprintln!(\"x\") } }", "printing is banned"),
        planted("src/engine/mod.rs", "fn f() { dbg!(x); }", "a left-over"),
        planted("src/engine/mod.rs", "fn f() { unimplemented!(); }", "a left-over"),
        planted("src/cli/mod.rs", "fn f() { std::process::exit(1); }", "ending the process"),
        planted("src/cli/mod.rs", "use std::process; fn f() { process::exit(1); }", "ending the process"),
        planted("src/engine/mod.rs", "use anyhow::Result;", "anyhow is banned"),
        planted("src/engine/mod.rs", "include!(\"x.rs\");", "the rules cannot see"),
    ]);
}

#[test]
#[rustfmt::skip] // A table: one row a line.
fn impurity_of_the_domain_is_found() {
    check(&[
        planted("src/domain/job.rs", "async fn f() {}", "is async"),
        planted("src/domain/job.rs", "fn f() { g(async {}) }", "is async"),
        planted("src/domain/job.rs", "trait T { async fn f(); }", "is async"),
        planted("src/domain/job.rs", "use tokio::time::sleep;", "a pure core"),
        planted("src/domain/job.rs", "use std::fs;", "a pure core"),
        planted("src/domain/decide/mod.rs", "use std::collections::HashMap;", "a pure core"),
        planted("src/domain/job.rs", "fn f() { std::collections::HashSet::new(); }", "a pure core"),
        planted("src/domain/job.rs", "use std::collections as c; fn f(x: c::HashMap<u8, u8>) {}", "a pure core"),
    ]);
}

#[test]
#[rustfmt::skip] // A table: one row a line.
fn what_hides_from_the_reader_is_found() {
    check(&[
        planted("src/engine/mod.rs", "use crate::domain::*;", "imports everything of"),
        planted("src/engine/mod.rs", "use super::*;", "imports everything of"),
        planted("src/engine/mod.rs", "#[cfg(test)] mod tests { use crate::domain::*; }", "imports everything"),
        planted("src/engine/mod.rs", "fn f() { unsafe { g() } }", "`unsafe`"),
        planted("src/engine/mod.rs", "unsafe fn f() {}", "`unsafe`"),
        planted("src/engine/mod.rs", "unsafe impl Send for X {}", "`unsafe`"),
        planted("src/engine/mod.rs", "fn f() { assert!(unsafe { g() }); }", "`unsafe`"),
        planted("src/engine/mod.rs", "#[unsafe(no_mangle)] fn f() {}", "`unsafe`"),
        planted("src/engine/mod.rs", "#[allow(unsafe_code, reason = \"x\")] fn f() {}", "`unsafe`"),
        planted("src/engine/mod.rs", "#[allow(dead_code)] fn f() {}", "without `reason"),
        planted("src/engine/mod.rs", "#[path = \"../api/x.rs\"] mod x;", "another place"),
        planted("src/engine/mod.rs", "fn f( {}", "cannot be read"),
    ]);
}

#[test]
fn things_that_grew_too_large_are_found() {
    let statements = |count: usize| "    g();\n".repeat(count);
    for (lines, found) in [(70, false), (71, true)] {
        let source = format!(
            "//! Planted.\nimpl X {{\n/// Doc.\nfn long() {{\n{}}}\n}}",
            statements(lines - 2)
        );
        assert_eq!(
            says(&source, "`long` has 71 lines"),
            found,
            "a function of {lines} lines"
        );
    }
    for (lines, found) in [(500, false), (501, true)] {
        let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
        let source = format!("//! Planted.\n{}{tests}", "// line\n".repeat(lines - 1));
        assert_eq!(
            says(&source, "has 501 lines"),
            found,
            "a file of {lines} lines and tests"
        );
    }
}

#[test]
fn neglect_is_found() {
    assert!(!says("//! Opens well.\n", "does not open"));
    for source in ["", "\n//! Late.\n", "// Plain.\n", "use std::fmt;\n"] {
        assert!(says(source, "does not open with `//!`"), "{source:?}");
    }
    assert!(says(
        concat!("//! x\n// TO", "DO: later\n"),
        "do it, or file an issue"
    ));
    assert!(says(
        concat!("//! x\nfn f() {} // FIX", "ME\n"),
        "do it, or file an issue"
    ));
    let found = judge_file("src/engine/utils.rs", "//! x\n", false);
    assert!(
        found
            .iter()
            .any(|finding| finding.says.contains("is called `utils`")),
        "{found:?}"
    );
}

#[test]
fn private_names_are_found_and_relative_paths_are_not() {
    let place = concat!("/wo", "rk/");
    for (text, found) in [
        (format!("see {place}main"), 1),
        (format!("`{place}x` and (/tmp/{}/y)", "wt"), 2),
        (format!("data{place}job"), 0),
        (format!("{{dir}}{place}job ..{place}x"), 0),
        ("/api/v1/work-orders".to_owned(), 0),
    ] {
        assert_eq!(private_names("docs/x.md", &text).len(), found, "{text}");
    }
}

#[test]
#[rustfmt::skip] // A table: one row a line.
fn sound_code_is_left_alone() {
    for (file, source) in [
        ("src/engine/mod.rs", "use crate::{clock::Clock, domain, ledger::Tree, limits};"),
        ("src/engine/writer.rs", "use super::Handle; use super::super::engine::Reply; use crate::engine::Batch;"),
        ("src/app.rs", "use crate::config::Config; use crate::console::find;"),
        ("src/main.rs", "fn main() { fastness::cli::run(); std::process::exit(1); eprintln!(\"x\"); }"),
        ("src/store/mod.rs", "use redb::Database;"),
        ("src/clock.rs", "use std::time::{Instant, SystemTime}; fn f() { getrandom::fill(b); }"),
        ("src/disk.rs", "use std::fs; use crate::limits::NAME_BYTES_MAX;"),
        ("src/api/mod.rs", "use axum::http::StatusCode; fn f() { if x.status() == 404 {} }"),
        ("src/runner/mod.rs", "use tokio::time::{sleep, timeout}; use std::fs;"),
        ("src/runner/mod.rs", "fn f(exit: i32) { if exit == 404 {} match code { 200 => {} _ => {} } }"),
        ("src/engine/mod.rs", "fn f() { tokio::sync::mpsc::channel(9); std::sync::mpsc::sync_channel(9); }"),
        ("src/engine/mod.rs", "/// [`crate::api`] calls redb and unwrap().\nfn f() { g(\"SystemTime redb .unwrap()\") }"),
        ("src/engine/mod.rs", "fn f() { g().unwrap_or_default(); g().unwrap_or(1); }"),
        ("src/engine/mod.rs", "#[cfg(test)] mod tests { use super::*; #[test] fn f() { g().unwrap(); println!(); } }"),
        ("src/engine/mod.rs", "#[cfg(all(test, unix))] mod tests { fn f() { g().unwrap(); } }"),
        ("src/engine/mod.rs", "#[expect(dead_code, reason = \"read by a later module\")] fn f() {}"),
        ("src/engine/mod.rs", "pub(crate) fn f() {} pub(super) fn g() {} async fn h() { x.await }"),
        ("src/domain/job.rs", "use std::collections::BTreeMap; use crate::limits; struct Redb; fn rand() {}"),
        ("src/seal/mod.rs", "fn f() { unsafe { g() } }"),
        ("src/egress.rs", "use tokio::net::TcpStream; fn f() { TcpStream::connect(a); }"),
    ] {
        let findings = judge_file(file, &format!("//! Sound.\n{source}\n"), false);
        assert!(findings.is_empty(), "{file}: {source}\n{findings:#?}");
    }
}

#[test]
fn a_test_module_in_a_file_of_its_own_counts_as_test() {
    let tree = |declaration: &str| {
        vec![
            ("src/engine/mod.rs".to_owned(), format!("//! x\n{declaration}\n")),
            (
                "src/engine/tests.rs".to_owned(),
                "//! x\nuse super::*;\nfn f() { g().unwrap(); }\n".to_owned(),
            ),
        ]
    };
    assert_eq!(judge(&tree("#[cfg(test)]\nmod tests;")), []);
    assert_eq!(judge(&tree("mod tests;")).len(), 2);
}

#[test]
fn a_finding_names_file_and_line() {
    let source = "//! x\n\nuse std::fmt;\nuse crate::{\n    limits,\n    engine::Handle,\n};\n";
    let findings = judge_file("src/store/mod.rs", source, false);
    assert_eq!(
        findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "  src/store/mod.rs:6: imports `crate::engine::Handle`: `store` is on floor 2 and may not look up to \
             `engine` on floor 4"
        ]
    );
}

fn says(source: &str, wanted: &str) -> bool {
    judge_file("src/engine/mod.rs", source, false)
        .iter()
        .any(|finding| finding.says.contains(wanted))
}
