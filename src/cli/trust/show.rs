//! `fastness trust show`: what the server trusts, or what a file says, with fingerprints to compare aloud.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::client::{Client, Server, online};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{self, Format};
use crate::cli::read;
use crate::disk::{self, Disk, OsDisk};
use crate::domain::Digest;
use crate::domain::token::Pin;
use crate::domain::trust::{PinnedBy, Trust};
use crate::trust::{Fingerprint, SignedRoot};

/// What to show.
#[derive(Debug, Args)]
pub struct Show {
    /// Show this root of trust, without a server
    #[arg(long, value_name = "FILE", conflicts_with = "save")]
    file: Option<PathBuf>,
    /// Write the server's own roots into this folder, as VERSION.root.dsse.json
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// A root of trust in a file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InFile {
    enclave: String,
    file: PathBuf,
    fingerprint: Digest,
    root_threshold: u32,
    signed_by: Vec<Digest>,
    version: u64,
}

#[derive(Debug, Deserialize)]
struct Told {
    foreign: Vec<OfEnclave>,
    own: OfEnclave,
    pins: Vec<Pin>,
}

#[derive(Debug, Deserialize)]
struct OfEnclave {
    documents: Vec<String>,
    fingerprint: Option<String>,
    held: Trust,
    version: u64,
}

/// Shows.
///
/// # Errors
/// What stood in the way.
pub fn run(show: Show, format: Format) -> Result<Exit> {
    if let Some(file) = &show.file {
        tell(&read::root(file)?, file, format)?;
        return Ok(Exit::Good);
    }
    online(&show.server, async |mut client: Client| {
        let answer = client.ask(crate::cli::client::Ask::get("/api/v1/trust")).await?;
        let told: Told = answer.json()?;
        if let Some(dir) = &show.save {
            save(&told.own.documents, dir)?;
        }
        if format.is_json() {
            print::raw_line(&answer.0)?;
        } else {
            tell_all(&told)?;
        }
        Ok(Exit::Good)
    })
}

/// Tells what a file says.
///
/// # Errors
/// Standard output is gone.
pub fn tell(root: &SignedRoot, file: &Path, format: Format) -> Result<()> {
    let content = root.root();
    let role = content.roles.get(&crate::trust::Role::Root);
    let said = InFile {
        enclave: content.enclave.to_string(),
        file: file.to_owned(),
        fingerprint: root.fingerprint().digest(),
        root_threshold: role.map_or(0, |of| of.threshold),
        signed_by: root.signers().map(|id| id.digest()).collect(),
        version: content.version,
    };
    if format.is_json() {
        return print::json(&said);
    }
    let keys = role.map_or(0, |of| of.keys.len());
    print::facts(&[
        ("file", file.display().to_string()),
        ("enclave", said.enclave),
        ("version", said.version.to_string()),
        ("fingerprint", root.fingerprint().to_string()),
        (
            "must sign",
            format!("{} of {keys} root keys", said.root_threshold),
        ),
        ("signatures", said.signed_by.len().to_string()),
        ("revoked", content.revocations.len().to_string()),
    ])
}

fn save(documents: &[String], dir: &Path) -> Result<()> {
    if documents.is_empty() {
        return Err(Failure::new(Exit::NotFound, "the server has no root of trust yet").into());
    }
    OsDisk
        .create_dir_all(dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    for (version, document) in (1..).zip(documents) {
        let path = dir.join(format!("{version}.root.dsse.json"));
        disk::replace_file(&OsDisk, &path, document.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn tell_all(told: &Told) -> Result<()> {
    tell_enclave("own", &told.own)?;
    for (place, of) in told.own.held.retired.iter().enumerate() {
        let revoked = if of.revoked.is_some() { ", revoked" } else { "" };
        let name = if place == 0 { "replaced" } else { "" };
        print::facts(&[(name, format!("{} {} {}{revoked}", of.role, of.number, of.id))])?;
    }
    for foreign in &told.foreign {
        tell_enclave("foreign", foreign)?;
    }
    for pin in &told.pins {
        print::facts(&[("pinned keys", pin.origin.clone())])?;
    }
    Ok(())
}

fn tell_enclave(whose: &str, of: &OfEnclave) -> Result<()> {
    let mut facts = vec![("enclave", format!("{} ({whose})", of.held.enclave))];
    match &of.fingerprint {
        Some(fingerprint) => {
            facts.push(("version", of.version.to_string()));
            facts.push(("fingerprint", fingerprint.clone()));
        }
        None => facts.push(("version", "no root of trust yet".to_owned())),
    }
    if let Some(pin) = &of.held.pin {
        let word = match pin.pinned_by {
            PinnedBy::Fingerprint => "compared by people",
            PinnedBy::FirstUse => "trusted on first use: nobody compared it",
        };
        let pinned = Fingerprint::from_digest(pin.fingerprint);
        facts.push(("pinned", format!("{pinned} ({word})")));
    }
    print::facts(&facts)
}
