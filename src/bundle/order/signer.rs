//! Whose key signs the orders of a hub, by what is known here: its root of trust before all else, then the key that people
//! pinned, then one that an administrator gives. Must never take a key from a file that is still to be judged.

use super::intake::{IntakeError, pinned};
use crate::bundle::import::ImportError;
use crate::bundle::roots;
use crate::domain::{Digest, EnclaveName};
use crate::engine::Handle;
use crate::trust::{PublicKey, Role, Root};

/// A key that came with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// An administrator gives it: where nothing is known of the hub it is pinned.
    Pin(PublicKey),
    /// It must be the one that counts anyhow.
    Expect(PublicKey),
}

impl Given {
    fn key(self) -> PublicKey {
        match self {
            Given::Pin(key) | Given::Expect(key) => key,
        }
    }
}

/// Who may have signed.
#[derive(Debug, Default)]
pub(super) struct Signer {
    /// The key that must have.
    pub(super) key: Option<PublicKey>,
    /// Why there is none.
    pub(super) why: Option<String>,
    /// To be pinned once the file is found good.
    pub(super) to_pin: Option<PublicKey>,
}

impl Signer {
    fn one(key: PublicKey) -> Self {
        Signer {
            key: Some(key),
            ..Signer::default()
        }
    }

    fn none(why: String) -> Self {
        Signer {
            why: Some(why),
            ..Signer::default()
        }
    }
}

/// Whose signature counts on an order of `hub` that says to be signed by `signed_by`.
///
/// # Errors
/// When what is held cannot be read back.
pub(super) fn signer(
    engine: &Handle,
    hub: &EnclaveName,
    signed_by: Option<Digest>,
    given: Option<Given>,
) -> Result<Signer, IntakeError> {
    let trust = roots::held(engine, hub.as_str()).map_err(ImportError::from)?;
    if let Some(chain) = roots::chain(engine, &trust).map_err(ImportError::from)? {
        return Ok(by_root(chain.newest().root(), signed_by, given));
    }
    let pinned = pinned(engine, hub)?;
    Ok(match (pinned, given) {
        (None, _) if trust.pin.is_some() => Signer::none(format!(
            "a root of trust of enclave {hub} is pinned, and none is held yet; accept it first"
        )),
        (Some(key), Some(Given::Expect(given))) if key != given => {
            Signer::none("another orders key is pinned for this hub than the one given".to_owned())
        }
        // Another key than the one pinned is refused when it is to be pinned.
        (_, Some(Given::Pin(key))) => Signer {
            to_pin: Some(key),
            ..Signer::one(key)
        },
        (Some(key), _) => Signer::one(key),
        (None, Some(Given::Expect(_))) => Signer::none(
            "no orders key is pinned for this hub, and pinning the one given needs orch:admin".to_owned(),
        ),
        (None, None) => Signer::default(),
    })
}

/// By a root of trust. An order carries no size of a ledger, so one by a revoked key never counts.
fn by_root(root: &Root, signed_by: Option<Digest>, given: Option<Given>) -> Signer {
    let version = root.version;
    let listed = root.keys(Role::Orders).iter();
    let Some(key) = listed.copied().find(|key| Some(key.id().digest()) == signed_by) else {
        let by = signed_by.map_or_else(|| "nobody".to_owned(), |id| id.to_string());
        return Signer::none(format!(
            "signed by {by}, which is not among the keys of the role orders in root of trust {version}"
        ));
    };
    if root.revocations.iter().any(|one| one.key == key.id()) {
        return Signer::none(format!(
            "signed by {}, which is revoked in root of trust {version}",
            key.id()
        ));
    }
    match given.map(Given::key) {
        Some(given) if given != key => Signer::none(format!("signed by {}, not by the key given", key.id())),
        _ => Signer::one(key),
    }
}
