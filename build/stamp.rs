//! The stamp of the console's sources: one digest that changes with any of them.
//!
//! `web/`'s own build writes it beside what it built (`web/dist/.stamp`); `build.rs` computes it again and
//! compares. Both must hash the same, so the form is fixed:
//!
//! ```text
//! SHA-256 over, for each source file in order of its path (relative to `web/`, with `/`):
//!     path, NUL, length of the content in decimal, NUL, content
//! written as 64 lower-case hex digits
//! ```
//!
//! It must never read what npm or the build itself puts into `web/`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

/// Files at the top of `web/` that the build reads, besides `tsconfig*.json`.
const FILES: [&str; 4] = [
    "index.html",
    "package-lock.json",
    "package.json",
    "vite.config.ts",
];
/// Folders of `web/` that the build reads whole.
const FOLDERS: [&str; 2] = ["public", "src"];

/// Paths of the sources under `web`, relative to it, in the order of their bytes.
///
/// # Errors
/// What the file system said; a source that is simply not there is none.
pub fn sources(web: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(web)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_tsconfig = name.starts_with("tsconfig") && name.ends_with(".json");
        if is_tsconfig || FILES.contains(&name.as_str()) {
            found.push(name);
        }
    }
    let mut waiting: Vec<PathBuf> = FOLDERS
        .iter()
        .map(|name| web.join(name))
        .filter(|f| f.is_dir())
        .collect();
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(inside) = path.strip_prefix(web) {
                found.push(inside.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The stamp of what stands in `web` now.
///
/// # Errors
/// What the file system said.
pub fn of(web: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    for source in sources(web)? {
        let content = fs::read(web.join(&source))?;
        hasher.update(format!("{source}\0{}\0", content.len()));
        hasher.update(content);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
