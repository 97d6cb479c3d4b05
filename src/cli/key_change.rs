//! `fastness key rotate` and `key revoke`: what becomes of the enclave's own keys.

use anyhow::Result;
use clap::Args;
use serde::Deserialize;

use super::client::{Ask, Client, Server, online};
use super::exit::Exit;
use super::key::Role;
use super::print::{self, Format};

/// Which key to replace.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The role of the key
    role: Role,
    #[command(flatten)]
    server: Server,
}

/// Which key to revoke.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The role of the key
    role: Role,
    /// Its id, as `key show` and `trust show` tell it
    key_id: String,
    /// Recorded with it
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Deserialize)]
struct Rotated {
    from: String,
    to: String,
}

#[derive(Debug, Deserialize)]
struct Revoked {
    below: Vec<crate::domain::trust::LedgerSize>,
}

/// Replaces a key.
///
/// # Errors
/// What stood in the way.
pub fn rotate(one: Rotate, format: Format) -> Result<Exit> {
    let path = format!("/api/v1/keys/{}/rotate", one.role.as_str());
    online(&one.server, async |mut client: Client| {
        let answer = client
            .ask(Ask::post(path.as_str(), &serde_json::json!({}))?)
            .await?;
        if format.is_json() {
            print::raw_line(&answer.0)?;
            return Ok(Exit::Good);
        }
        let rotated: Rotated = answer.json()?;
        print::facts(&[
            ("role", one.role.as_str().to_owned()),
            ("replaced", rotated.from),
            ("signs now", rotated.to),
        ])?;
        print::say(
            "keep the keys folder in your backup; if the enclave has a root of trust, draft, sign and accept the next one \
             (fastness trust new): until then exports are refused",
        );
        Ok(Exit::Good)
    })
}

/// Revokes a key that was replaced.
///
/// # Errors
/// What stood in the way; the key that signs now is a conflict.
pub fn revoke(one: Revoke, format: Format) -> Result<Exit> {
    let path = format!("/api/v1/keys/{}/revoke", one.role.as_str());
    let body = serde_json::json!({"keyId": one.key_id, "reason": one.reason});
    online(&one.server, async |mut client: Client| {
        let answer = client.ask(Ask::post(path.as_str(), &body)?).await?;
        if format.is_json() {
            print::raw_line(&answer.0)?;
            return Ok(Exit::Good);
        }
        let revoked: Revoked = answer.json()?;
        for ledger in &revoked.below {
            print::facts(&[(&ledger.origin, format!("counts below size {}", ledger.size))])?;
        }
        print::say(
            "nobody else knows yet: draft, sign and accept the next root of trust (fastness trust new)",
        );
        Ok(Exit::Good)
    })
}
