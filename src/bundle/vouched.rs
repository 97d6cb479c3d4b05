//! What a bundle is judged by: a pinned root of trust, keys pinned by hand, keys that came with it.
//!
//! Promises: a root counts before all keys; keys that only came with a bundle are believed for the enclave that is named after
//! its log key, and with the export key that is known of that enclave. What is pinned is both keys of one origin.

use super::anchor::Anchor;
use super::import::{ImportError, Keys, rows};
use super::members::Member;
use super::report::{CheckName, Finding, Report, Verdict};
use super::roots::{self, RootsError};
use crate::domain::TenantName;
use crate::domain::command::Command;
use crate::domain::event::Actor;
use crate::domain::payload::TrustPinned;
use crate::domain::state::{Kind, View};
use crate::domain::trust::Trust;
use crate::engine::Handle;
use crate::ledger::Origin;
use crate::store::StoreError;
use crate::trust::{EnclaveId, Fingerprint, PublicKey};

/// What a bundle of an origin is judged by.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Keys that must have signed it.
    pub keys: Option<Keys>,
    /// The root of trust that must lead to them, with what is held of the enclave.
    pub anchor: Option<(Anchor, Trust)>,
    /// Why the keys given cannot be believed.
    stranger: Option<Finding>,
    /// Whether somebody vouched for the keys that it is judged by, and not for others that were given.
    pinned: bool,
}

impl Resolved {
    /// Keys that were given for what names no origin.
    pub fn given(keys: Option<Keys>) -> Self {
        Resolved {
            keys,
            ..Resolved::default()
        }
    }

    /// Whether what these keys signed, or those that a root of trust leads to, says something about the ledger.
    pub fn may_be_believed(&self) -> bool {
        self.anchor.is_some() || self.pinned || (self.keys.is_some() && self.stranger.is_none())
    }

    /// Adds to the report of a bundle that is sound otherwise why the keys given cannot be believed.
    pub fn note_stranger(self, report: &mut Report) {
        if let Some(finding) = self.stranger.filter(|_| report.ok) {
            report.add(CheckName::Trust, finding);
        }
    }
}

/// What a bundle of an origin is judged by: a pinned root of trust before all else, and keys given only as far as it leads
/// to them; without a root the keys pinned by hand, beside which other keys given are not believed; without these the keys
/// given.
///
/// # Errors
/// When it cannot be read back.
pub fn resolve(engine: &Handle, origin: &str, given: Option<&Keys>) -> Result<Resolved, ImportError> {
    let anchor = anchor_of(engine, origin)?;
    if anchor.is_some() {
        return Ok(Resolved {
            keys: given.cloned(),
            anchor,
            ..Resolved::default()
        });
    }
    let pinned = pinned(engine, origin)?;
    let stranger = match (&pinned, given) {
        (_, None) => None,
        (Some(pinned), Some(given)) => (pinned != given).then(others_are_pinned),
        (None, Some(given)) => stranger(engine, origin, given)?,
    };
    Ok(Resolved {
        pinned: pinned.is_some(),
        keys: pinned.or_else(|| given.cloned()),
        anchor: None,
        stranger,
    })
}

fn others_are_pinned() -> Finding {
    let why = "other_keys_are_pinned: the keys given are not those pinned for this ledger; an administrator has to replace \
               these (`trust pin --replace`), or to pin a root of trust";
    Finding::new(Verdict::Untrusted, why).of(Member::Manifest)
}

/// Why keys that only came with a bundle cannot be believed: an origin is named after the log key, and an export key that is
/// pinned for one ledger of an enclave counts for all of them.
fn stranger(engine: &Handle, origin: &str, given: &Keys) -> Result<Option<Finding>, ImportError> {
    let Ok(origin) = origin.parse::<Origin>() else {
        return Ok(Some(of_another_enclave()));
    };
    if *origin.enclave() != EnclaveId::of(&given.log) {
        return Ok(Some(of_another_enclave()));
    }
    let known = export_keys(engine, origin.enclave())?;
    if known.is_empty() || known.contains(&given.export) {
        return Ok(None);
    }
    let why = "export_key_of_enclave_differs: another export key is pinned for a ledger of this enclave; an administrator has to \
               pin this one, or a root of trust";
    Ok(Some(Finding::new(Verdict::Untrusted, why).of(Member::Manifest)))
}

fn of_another_enclave() -> Finding {
    let why = "key_of_another_enclave: the ledger is not named after the log key given; an administrator has to pin its \
               keys or a root of trust";
    Finding::new(Verdict::Untrusted, why).of(Member::Checkpoint)
}

/// The export keys that are pinned for ledgers of an enclave.
fn export_keys(engine: &Handle, enclave: &EnclaveId) -> Result<Vec<PublicKey>, ImportError> {
    let mut keys = Vec::new();
    for row in rows(engine, Kind::Pin)? {
        let Some(pin) = row.as_pin() else { continue };
        let of = pin.origin.parse::<Origin>();
        if of.is_ok_and(|origin| origin.enclave() == enclave) {
            keys.push(PublicKey::from_pem(&pin.export_key)?);
        }
    }
    Ok(keys)
}

/// What is pinned of the enclave of an origin: the newest root that was accepted, or the fingerprint alone.
///
/// # Errors
/// When it cannot be read back.
pub fn anchor_of(engine: &Handle, origin: &str) -> Result<Option<(Anchor, Trust)>, RootsError> {
    let Ok(origin) = origin.parse::<Origin>() else {
        return Ok(None);
    };
    let trust = roots::held(engine, origin.enclave().as_str())?;
    let Some(pin) = &trust.pin else {
        return Ok(None);
    };
    let anchor = match roots::chain(engine, &trust)? {
        Some(chain) => Anchor::Root(Box::new(chain.newest().clone())),
        None => Anchor::Fingerprint(Fingerprint::from_digest(pin.fingerprint)),
    };
    Ok(Some((anchor, trust)))
}

/// Pins keys for an origin.
pub(super) async fn pin(
    engine: &Handle,
    actor: &Actor,
    origin: &str,
    keys: &Keys,
) -> Result<(), ImportError> {
    let pinned = TrustPinned {
        export_key: keys.export.to_pem()?,
        log_key: keys.log.to_pem()?,
        origin: origin.to_owned(),
        replace: false,
    };
    let command = Command::PinTrust(Box::new(pinned));
    match engine.submit(&TenantName::system(), actor, command).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = RootsError::Command(error);
            let noted = roots::note_refusal(engine, actor, "pin", None, error).await;
            Err(ImportError::Roots(noted))
        }
    }
}

/// The keys pinned for an origin.
///
/// # Errors
/// When the projection or the key cannot be read.
pub fn pinned(engine: &Handle, origin: &str) -> Result<Option<Keys>, ImportError> {
    let store = engine
        .store()
        .map_err(|error| StoreError::Failed(error.to_string()))?;
    let (snapshot, system) = (store.read()?, TenantName::system());
    let view = snapshot.view(&system);
    let view: &dyn View = &view;
    let pin = view.pin(origin).map_err(|error| StoreError::Damaged(error.0))?;
    let Some(pin) = pin else { return Ok(None) };
    Ok(Some(Keys {
        log: PublicKey::from_pem(&pin.log_key)?,
        export: PublicKey::from_pem(&pin.export_key)?,
    }))
}
