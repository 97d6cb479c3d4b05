//! Decides which console the binary carries: the built one if it is what the sources say, else a placeholder. And makes the
//! OpenAPI document small enough to carry.
//!
//! It promises that a release never ships a console other than that of its own sources. It must never run
//! npm or anything else that reaches for a network: `just build` does that, before cargo.

#[path = "build/compact.rs"]
mod compact;
#[path = "build/stamp.rs"]
mod stamp;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let web = root.join("web");
    println!("cargo::rustc-check-cfg=cfg(console_built)");
    watch(&web);
    if let Err(error) = carry_openapi(&root) {
        println!("cargo::error=docs/openapi.json cannot be carried: {error}");
        return ExitCode::FAILURE;
    }
    match built(&web) {
        Ok(()) => println!("cargo::rustc-cfg=console_built"),
        // Cargo says "release" for every profile that inherits from it: dist and bench too.
        Err(reason) if env::var("PROFILE").is_ok_and(|profile| profile == "release") => {
            println!("cargo::error=the console is not built: {reason}");
            println!("cargo::error=run `just build`, which builds the console first, then the binary");
            return ExitCode::FAILURE;
        }
        // A debug build serves a page that says how to build the console.
        Err(_) => {}
    }
    ExitCode::SUCCESS
}

/// Writes `docs/openapi.json` without white space where the library includes it from.
fn carry_openapi(root: &Path) -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=docs/openapi.json");
    println!("cargo::rerun-if-changed=build/compact.rs");
    let document = fs::read_to_string(root.join("docs/openapi.json"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("openapi.json"), compact::compact(&document))
}

/// Says why `web/dist` is not what the sources in `web` say, if so.
fn built(web: &Path) -> Result<(), String> {
    let stamp_file = web.join("dist/.stamp");
    let written =
        fs::read_to_string(&stamp_file).map_err(|error| format!("{}: {error}", stamp_file.display()))?;
    let wanted = stamp::of(web).map_err(|error| format!("{}: {error}", web.display()))?;
    if !web.join("dist/index.html").is_file() {
        return Err(format!("{} holds no index.html", web.join("dist").display()));
    }
    if written.trim() != wanted {
        return Err(format!(
            "{} is older than the sources in {}",
            web.join("dist").display(),
            web.display()
        ));
    }
    Ok(())
}

/// Has cargo run this again when the sources or what was built from them change, and only then.
fn watch(web: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/stamp.rs");
    // A path that is not there would count as changed at each build, so only what exists is named. The
    // folder itself is watched while nothing is built: the first build then changes it.
    if web.join("dist/.stamp").is_file() {
        println!("cargo::rerun-if-changed=web/dist");
        for source in stamp::sources(web).unwrap_or_default() {
            println!("cargo::rerun-if-changed=web/{source}");
        }
        for folder in ["web/public", "web/src"]
            .iter()
            .filter(|folder| web.join("..").join(folder).is_dir())
        {
            println!("cargo::rerun-if-changed={folder}");
        }
    } else if web.is_dir() {
        println!("cargo::rerun-if-changed=web");
    }
}
