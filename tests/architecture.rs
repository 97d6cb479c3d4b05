//! The house keeps its order: who may import whom, what may be used where, how large things may grow.
//!
//! The tables below are the decision; changing one is a design decision with a commit of its own.
//! `reading` reads syntax, `rules` judges it, `planted` shows that each rule can fail.

mod planted;
mod reading;
mod rules;
mod syntax;

use std::path::{Path, PathBuf};

/// A top-level module of `src/` and the floor it stands on.
pub struct Room {
    pub name: &'static str,
    pub floor: u8,
    /// Rooms of its own floor that it may import all the same.
    pub also: &'static [&'static str],
    /// Rooms of lower floors that it may not import.
    pub never: &'static [&'static str],
}

const fn room(name: &'static str, floor: u8) -> Room {
    Room {
        name,
        floor,
        also: &[],
        never: &[],
    }
}

/// A room may import only what lies on lower floors; rooms of one floor never see each other.
pub const ROOMS: &[Room] = &[
    room("main", 9),
    room("cli", 8),
    Room {
        also: &["config"],
        ..room("app", 7)
    },
    room("config", 7),
    Room {
        also: &["webhooks"],
        ..room("api", 6)
    },
    room("webhooks", 6),
    room("console", 6),
    room("stream", 5),
    room("bundle", 5),
    room("runner", 5),
    room("egress", 5),
    room("engine", 4),
    room("ledger", 3),
    room("journal", 2),
    room("store", 2),
    room("output", 2),
    room("secrets", 2),
    room("disclosures", 2),
    room("trust", 2),
    room("seal", 2),
    // Pure: it is told the time and the entropy, and neither reads nor writes.
    Room {
        never: &["clock", "disk"],
        ..room("domain", 1)
    },
    Room {
        also: &["limits"],
        ..room("clock", 0)
    },
    Room {
        also: &["limits"],
        ..room("disk", 0)
    },
    room("limits", 0),
];

/// Something that only some files may use.
pub struct Ban {
    /// What is banned, as the message says it.
    pub what: &'static str,
    /// `a::b` anywhere in a path, `^a::b` at its beginning, `.b` a method, `b!` a macro; `b*` by prefix.
    pub patterns: &'static [&'static str],
    /// Files and folders (ending in `/`) in which alone the ban holds; none means everywhere.
    pub only_in: &'static [&'static str],
    /// Files and folders (ending in `/`) that may.
    pub except: &'static [&'static str],
    /// Whether code under `#[cfg(test)]` may.
    pub tests_may: bool,
    pub instead: &'static str,
}

const EVERYWHERE: Ban = Ban {
    what: "",
    patterns: &[],
    only_in: &[],
    except: &[],
    tests_may: false,
    instead: "",
};

pub const BANS: &[Ban] = &[
    Ban {
        what: "redb",
        patterns: &["^redb"],
        except: &["src/store/"],
        instead: "the projection is reached through `store`",
        ..EVERYWHERE
    },
    Ban {
        what: "the wall clock",
        patterns: &[
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "clock_gettime",
            "clock_gettime_dynamic",
            "^chrono",
        ],
        except: &["src/clock.rs"],
        instead: "take a `Clock`",
        ..EVERYWHERE
    },
    Ban {
        what: "randomness and ids drawn from it",
        patterns: &[
            "^getrandom",
            "^rand",
            "^rand_core",
            "^fastrand",
            "^rustix::rand",
            "OsRng",
            "ThreadRng",
            "SysRng",
            "thread_rng",
            "Uuid::now_*",
            "Uuid::new_*",
            "SigningKey::generate",
        ],
        except: &["src/clock.rs"],
        instead: "take a `Clock`, or the entropy that the writer stamped",
        ..EVERYWHERE
    },
    Ban {
        what: "an HTTP status code",
        patterns: &["StatusCode"],
        except: &["src/api/"],
        instead: "return an error; `api` alone turns errors into status codes",
        ..EVERYWHERE
    },
    Ban {
        what: "unwrap",
        patterns: &[
            ".unwrap",
            ".unwrap_err",
            ".unwrap_unchecked",
            "Option::unwrap",
            "Result::unwrap",
        ],
        tests_may: true,
        instead: "return an error, or state the invariant with `expect`",
        ..EVERYWHERE
    },
    Ban {
        what: "an unbounded channel",
        patterns: &[
            "unbounded",
            "unbounded_channel",
            "UnboundedSender",
            "UnboundedReceiver",
            "^std::sync::mpsc::channel",
        ],
        instead: "a bounded channel, with its bound in `limits`",
        ..EVERYWHERE
    },
    Ban {
        what: "an outbound client",
        patterns: &[
            "TcpStream::connect*",
            "TcpSocket",
            "UdpSocket",
            "^hyper::client",
            "^hyper_util::client",
            "^reqwest",
            "^ureq",
            "^rustix::net::connect*",
            "^rustix::net::sendto*",
        ],
        except: &["src/egress.rs", "src/egress/"],
        tests_may: true,
        instead: "`egress` is the one function through which anything leaves",
        ..EVERYWHERE
    },
    Ban {
        what: "the file system itself",
        patterns: &["^std::fs", "^tokio::fs", "^rustix::fs"],
        only_in: &[
            "src/disclosures.rs",
            "src/disclosures/",
            "src/journal/",
            "src/journal.rs",
            "src/ledger/",
            "src/ledger.rs",
            "src/store/",
            "src/store.rs",
        ],
        tests_may: true,
        instead: "go through `Disk`, so that tests can fail, lose and tear each write",
        ..EVERYWHERE
    },
    Ban {
        what: "what a pure core has no use for",
        patterns: &[
            "^tokio",
            "^futures_util",
            "^std::fs",
            "^std::net",
            "^std::env",
            "^std::process",
            "^std::thread",
            "HashMap",
            "HashSet",
        ],
        only_in: &["src/domain/"],
        tests_may: true,
        instead: "no I/O, no threads; BTreeMap and BTreeSet, whose order is the same everywhere",
        ..EVERYWHERE
    },
    Ban {
        what: "printing",
        patterns: &["println!", "print!", "eprintln!", "eprint!"],
        // The supervisor is a small process of its own: its standard error is all it can say.
        except: &["src/cli/", "src/main.rs", "src/runner/supervisor.rs"],
        tests_may: true,
        instead: "`tracing`, or an answer that `cli` prints",
        ..EVERYWHERE
    },
    Ban {
        what: "a left-over",
        patterns: &["dbg!", "todo!", "unimplemented!"],
        instead: "finish it, or return an error",
        ..EVERYWHERE
    },
    Ban {
        what: "ending the process",
        patterns: &["^std::process::exit"],
        except: &["src/main.rs"],
        instead: "return an error; `main` turns it into an exit code",
        ..EVERYWHERE
    },
    Ban {
        what: "anyhow",
        patterns: &["^anyhow"],
        except: &["src/cli/", "src/main.rs"],
        tests_may: true,
        instead: "the error enum of the module that owns the failure",
        ..EVERYWHERE
    },
    Ban {
        what: "source that the rules cannot see",
        patterns: &["include!"],
        instead: "a module",
        ..EVERYWHERE
    },
];

/// Folders that may hold `unsafe`.
pub const UNSAFE_IN: &[&str] = &["src/seal/"];

/// Most lines of a file, its tests left out.
pub const FILE_LINES_MAX: usize = 500;
/// Most lines of a function.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing about what they hold.
pub const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];

/// What nobody wrote by hand.
const NOT_OURS: &[&str] = &[".git", "target", "node_modules", "dist", "scratch"];

#[test]
fn the_source_keeps_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = texts(&root.join("src"), root, |name| name.ends_with(".rs"));
    assert!(sources.len() > 5, "the source was not found");
    report(&rules::judge(&sources));
}

#[test]
fn nothing_names_the_place_where_it_was_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = texts(root, root, |_| true);
    assert!(
        all.iter().any(|(path, _)| path == "Cargo.toml"),
        "the tree was not found"
    );
    report(
        &all.iter()
            .flat_map(|(path, text)| rules::private_names(path, text))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn each_module_of_the_crate_has_a_floor() {
    let text = read("src/lib.rs");
    let declared: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod "))
        .filter_map(|rest| rest.strip_suffix(';'))
        .collect();
    assert!(declared.contains(&"limits"), "no modules found in src/lib.rs");
    for name in declared {
        assert!(
            ROOMS.iter().any(|room| room.name == name),
            "`{name}` has no floor in tests/architecture.rs"
        );
    }
}

/// A file that no module declares is not compiled: its tests would pass by never being run.
#[test]
fn each_source_file_is_declared_as_a_module() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_rust: fn(&str) -> bool = |name| name.ends_with(".rs");
    for (folder, roots) in [
        ("src", &["src/lib.rs", "src/main.rs"][..]),
        ("tests", &["tests/main.rs"]),
    ] {
        let files = texts(&root.join(folder), root, is_rust);
        let text_of = |path: &str| {
            files
                .iter()
                .find(|(at, _)| at == path)
                .map(|(_, text)| text.as_str())
        };
        assert!(
            roots.iter().all(|path| text_of(path).is_some()),
            "{folder}: no root"
        );
        for (path, _) in files.iter().filter(|(path, _)| !roots.contains(&path.as_str())) {
            let module = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs"));
            let (parent, name) = module
                .and_then(|module| module.rsplit_once('/'))
                .expect("in a folder");
            let parents: Vec<String> = match parent == folder {
                true => roots.iter().map(ToString::to_string).collect(),
                false => vec![format!("{parent}.rs"), format!("{parent}/mod.rs")],
            };
            let declaration = format!("mod {name};");
            let is_declared = |text: &str| text.lines().any(|line| line.trim().ends_with(&declaration));
            assert!(
                parents
                    .iter()
                    .filter_map(|parent| text_of(parent))
                    .any(is_declared),
                "{path} is in no module: {parents:?}"
            );
        }
    }
}

#[test]
fn the_floors_are_written_down_as_they_are_held() {
    let text = read("CONTRIBUTING.md");
    for Room { name, floor, .. } in ROOMS {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| {floor} | `")));
        let row = row.unwrap_or_else(|| panic!("CONTRIBUTING.md has no row for floor {floor}"));
        assert!(
            row.contains(&format!("`{name}`")),
            "CONTRIBUTING.md does not have `{name}` on floor {floor}"
        );
    }
}

#[test]
fn ci_runs_the_test_command_of_the_readme() {
    let (readme, ci, recipes) = (read("README.md"), read(".ci/run"), read("justfile"));
    for recipe in ["demo", "test"] {
        let command = format!("cargo install --locked just && just {recipe}");
        assert!(
            readme.lines().any(|line| line == command),
            "README.md does not say: {command}"
        );
        assert!(
            recipes.lines().any(|line| line.starts_with(recipe)),
            "justfile has no recipe {recipe}"
        );
    }
    assert_eq!(
        ci.lines().last(),
        Some("cargo install --locked just && just test")
    );
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn report(findings: &[rules::Finding]) {
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        text.is_empty(),
        "{} breaches of the house rules\n{}",
        text.len(),
        text.join("\n")
    );
}

/// Path (from `root`, with `/`) and text of each file under `folder` whose name is `wanted`, sorted.
fn texts(folder: &Path, root: &Path, wanted: fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let entry = entry.expect("a readable folder");
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if NOT_OURS.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().expect("a file type").is_dir() {
                waiting.push(path);
            } else if wanted(&name)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let inside = path.strip_prefix(root).expect("found under the root");
                found.push((inside.to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    found
}
