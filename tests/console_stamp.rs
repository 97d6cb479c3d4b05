//! The stamp that ties a binary to the console's sources changes with each of them, and with nothing else.

#[path = "../build/stamp.rs"]
mod stamp;

use std::fs;
use std::path::Path;

const SOURCES: [&str; 7] = [
    "index.html",
    "package-lock.json",
    "package.json",
    "public/icon.svg",
    "src/app.ts",
    "src/lib/view.svelte",
    "tsconfig.node.json",
];

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for source in SOURCES {
        write(folder.path(), source, source);
    }
    folder
}

fn write(root: &Path, name: &str, content: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn the_stamp_has_the_documented_form() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "package.json", "{}");
    write(folder.path(), "src/a.ts", "");
    // printf 'package.json\0%s\0{}src/a.ts\0%s\0' 2 0 | sha256sum
    let wanted = "d190edc93edaf9a37f3474f7e7cddc03676b67f5ae1f291e9ebbe0f569bca0af";
    assert_eq!(stamp::of(folder.path()).unwrap(), wanted);
}

#[test]
fn sources_are_read_in_the_order_of_their_paths() {
    assert_eq!(stamp::sources(tree().path()).unwrap(), SOURCES);
}

#[test]
fn each_source_changes_the_stamp() {
    for source in SOURCES {
        let folder = tree();
        let before = stamp::of(folder.path()).unwrap();
        write(folder.path(), source, "changed");
        assert_ne!(stamp::of(folder.path()).unwrap(), before, "{source} was changed");
        fs::remove_file(folder.path().join(source)).unwrap();
        assert_ne!(stamp::of(folder.path()).unwrap(), before, "{source} was removed");
    }
}

#[test]
fn a_new_source_changes_the_stamp_and_what_tools_make_does_not() {
    for (name, changes) in [
        ("src/new.ts", true),
        ("public/new.png", true),
        ("tsconfig.json", true),
        ("vite.config.ts", true),
        ("dist/index.html", false),
        ("node_modules/x/package.json", false),
        ("e2e/run.mjs", false),
        ("notes.txt", false),
    ] {
        let folder = tree();
        let before = stamp::of(folder.path()).unwrap();
        write(folder.path(), name, "new");
        assert_eq!(stamp::of(folder.path()).unwrap() != before, changes, "{name}");
    }
}

#[test]
fn content_that_moves_from_one_file_to_the_next_changes_the_stamp() {
    let stamps = [("ab", "c"), ("a", "bc")].map(|(first, second)| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "src/1", first);
        write(folder.path(), "src/2", second);
        stamp::of(folder.path()).unwrap()
    });
    assert_ne!(stamps[0], stamps[1]);
}
