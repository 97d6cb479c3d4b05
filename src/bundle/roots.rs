//! The roots of trust held here, our own and those of other enclaves: read back, taken in, pinned; and what goes into a bundle.
//!
//! The documents stand in the events that brought them, so they are flushed, never change, and survive any rebuild. A root is
//! taken in only when the whole chain up to it was verified; a refusal is an event too. A bundle carries the whole chain,
//! whatever its range: its checkpoints are signed by the present log key, which only the newest root may know, and a range
//! of long ago must not hide what was revoked since.

use super::export::ExportError;
use super::import::ImportError;
use super::members::Member;
use super::write::BundleWriter;
use crate::domain::command::{ChangeTrust, Command};
use crate::domain::event::{Actor, Event, EventBody};
use crate::domain::payload::trust::{KeyRevoked, KeyRotated, RootAccepted, RootPinned, TrustRefused};
use crate::domain::state::View;
use crate::domain::trust::{LedgerSize, PinnedBy, Trust};
use crate::domain::{Digest, Seq, TenantName};
use crate::engine::{CommandError, Handle};
use crate::ledger::{LedgerError, Origin};
use crate::store::StoreError;
use crate::trust::{Chain, Fingerprint, KeyId, OwnRole, PrivateKey, Role, RootError, SignedRoot, judge};

/// Why roots of trust were not taken in, or cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// They break a rule.
    #[error("{0}")]
    Root(#[from] RootError),
    /// Nobody vouched for any of them.
    #[error(
        "no root of trust of enclave {0} is pinned; compare the fingerprint with its people and give it, or say that the first use is to be trusted"
    )]
    NotPinned(String),
    /// Another root is pinned.
    #[error("another root of trust is pinned for enclave {0}")]
    PinConflict(String),
    /// Our own enclave is not a foreign one.
    #[error("{0} is this enclave; its own root of trust is accepted without an origin")]
    Own(String),
    /// The key that signs now cannot be revoked.
    #[error("this {0} key signs now; replace it first, then revoke it")]
    KeyInUse(&'static str),
    /// The newest root does not let the keys sign that do now.
    #[error(
        "the newest root of trust, version {version}, does not let the {role} key sign that does now ({why}); draft, sign and accept the next one"
    )]
    Outdated {
        /// Its version.
        version: u64,
        /// Of which key.
        role: &'static str,
        /// Why not.
        why: String,
    },
    /// The event with a document is not what the state says.
    #[error("the event {0} of the ledger system does not hold the root of trust that it brought")]
    Event(Seq),
    /// The writer did not accept it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The projection cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RootsError {
    /// The stable code of a refusal; none when the system could not.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            RootsError::Root(error) => Some(error.code()),
            RootsError::NotPinned(_) => Some("root_not_pinned"),
            RootsError::PinConflict(_) => Some("pin_conflict"),
            RootsError::Own(_) => Some("root_of_own_enclave"),
            RootsError::KeyInUse(_) => Some("key_in_use"),
            RootsError::Outdated { .. } => Some("root_outdated"),
            RootsError::Event(_) | RootsError::Command(_) | RootsError::Ledger(_) | RootsError::Store(_) => {
                None
            }
        }
    }
}

/// What came to be accepted.
#[derive(Debug, Clone, Default)]
pub struct Offer {
    /// Envelopes, in order; roots that are held already are passed over.
    pub documents: Vec<Vec<u8>>,
    /// A ledger of another enclave; none for our own.
    pub origin: Option<Origin>,
    /// What people compared.
    pub fingerprint: Option<Fingerprint>,
    /// Trust the first root that comes, without anybody's word.
    pub first_use: bool,
}

/// What is held of an enclave.
///
/// # Errors
/// When the projection cannot be read.
pub fn held(engine: &Handle, enclave: &str) -> Result<Trust, RootsError> {
    let snapshot = engine.read().map_err(CommandError::from)?;
    let system = TenantName::system();
    let view = snapshot.view(&system);
    let view: &dyn View = &view;
    let held = view
        .trust(enclave)
        .map_err(|error| StoreError::Damaged(error.0))?;
    Ok(held.unwrap_or_else(|| Trust::none(enclave)))
}

/// The documents of the roots held, in order.
///
/// # Errors
/// When they cannot be read back.
pub fn documents(engine: &Handle, trust: &Trust) -> Result<Vec<Vec<u8>>, RootsError> {
    let mut documents = Vec::with_capacity(trust.roots.len());
    for root in &trust.roots {
        match event(engine, root.seq)? {
            EventBody::RootAccepted(accepted) if accepted.fingerprint == root.fingerprint => {
                documents.push(accepted.document.into_bytes());
            }
            _ => return Err(RootsError::Event(root.seq)),
        }
    }
    Ok(documents)
}

/// The chain of the roots held, verified anew; none without any.
///
/// # Errors
/// When it cannot be read back.
pub fn chain(engine: &Handle, trust: &Trust) -> Result<Option<Chain>, RootsError> {
    let documents = documents(engine, trust)?;
    Chain::of(documents.iter().map(Vec::as_slice)).map_err(|(_, error)| error.into())
}

/// What a key that was replaced had signed at most.
///
/// # Errors
/// When the event cannot be read back.
pub fn rotation(engine: &Handle, seq: Seq) -> Result<KeyRotated, RootsError> {
    match event(engine, seq)? {
        EventBody::KeyRotated(rotated) => Ok(*rotated),
        _ => Err(RootsError::Event(seq)),
    }
}

/// Up to where a revoked key counts.
///
/// # Errors
/// When the event cannot be read back.
pub fn revocation(engine: &Handle, seq: Seq) -> Result<KeyRevoked, RootsError> {
    match event(engine, seq)? {
        EventBody::KeyRevoked(revoked) => Ok(*revoked),
        _ => Err(RootsError::Event(seq)),
    }
}

fn event(engine: &Handle, seq: Seq) -> Result<EventBody, RootsError> {
    let bytes = engine.ledger(&TenantName::system())?.event(seq)?;
    let event = Event::from_bytes(&bytes).map_err(|_| RootsError::Event(seq))?;
    Ok(event.body)
}

/// Takes roots in: the next ones of our own enclave, or those of another one when a pinned root leads to them.
///
/// # Errors
/// [`RootsError`]; a refusal is recorded, and nothing else changed.
pub async fn accept(engine: &Handle, actor: &Actor, offer: Offer) -> Result<Trust, RootsError> {
    let sha256 = offer.documents.last().map(|last| Digest::of(last));
    match try_accept(engine, actor, offer).await {
        Err(error) => Err(note_refusal(engine, actor, "accept", sha256, error).await),
        accepted => accepted,
    }
}

/// Pins a root of another enclave by its fingerprint.
///
/// # Errors
/// [`RootsError`]; a refusal is recorded.
pub async fn pin(
    engine: &Handle,
    actor: &Actor,
    origin: &Origin,
    fingerprint: Fingerprint,
) -> Result<(), RootsError> {
    match try_pin(engine, actor, origin, fingerprint).await {
        Err(error) => Err(note_refusal(engine, actor, "pin", None, error).await),
        pinned => pinned,
    }
}

/// Records a refusal, and gives the error back. What was no refusal, or cannot be recorded, is left as it is.
pub async fn note_refusal(
    engine: &Handle,
    actor: &Actor,
    operation: &str,
    sha256: Option<Digest>,
    error: RootsError,
) -> RootsError {
    let code = match &error {
        RootsError::Command(CommandError::Rejected(rejection)) => Some(rejection.code.as_str()),
        error => error.code(),
    };
    let Some(code) = code else { return error };
    let refused = ChangeTrust::Refuse(TrustRefused {
        code: code.to_owned(),
        detail: error.to_string(),
        operation: operation.to_owned(),
        sha256,
    });
    match change(engine, actor, refused).await {
        Ok(()) => error,
        // That nobody will find the refusal is worse than the refusal.
        Err(unrecorded) => unrecorded,
    }
}

async fn change(engine: &Handle, actor: &Actor, change: ChangeTrust) -> Result<(), RootsError> {
    let command = Command::ChangeTrust(Box::new(change));
    engine.submit(&TenantName::system(), actor, command).await?;
    Ok(())
}

async fn try_pin(
    engine: &Handle,
    actor: &Actor,
    origin: &Origin,
    fingerprint: Fingerprint,
) -> Result<(), RootsError> {
    let enclave = foreign(engine, origin)?;
    let pin = held(engine, &enclave)?.pin;
    if pin.is_some_and(|pin| pin.fingerprint != fingerprint.digest()) {
        return Err(RootsError::PinConflict(enclave));
    }
    let pinned = RootPinned {
        enclave,
        fingerprint: fingerprint.digest(),
        pinned_by: PinnedBy::Fingerprint,
    };
    change(engine, actor, ChangeTrust::PinRoot(pinned)).await
}

fn foreign(engine: &Handle, origin: &Origin) -> Result<String, RootsError> {
    let enclave = origin.enclave().to_string();
    if engine.keys().enclave() == *origin.enclave() {
        return Err(RootsError::Own(enclave));
    }
    Ok(enclave)
}

async fn try_accept(engine: &Handle, actor: &Actor, offer: Offer) -> Result<Trust, RootsError> {
    let enclave = match &offer.origin {
        None => engine.keys().enclave().to_string(),
        Some(origin) => foreign(engine, origin)?,
    };
    let trust = held(engine, &enclave)?;
    let (chain, added) = extend(chain(engine, &trust)?, &offer.documents)?;
    if chain.newest().root().enclave.to_string() != enclave {
        return Err(RootError::OtherEnclave {
            expected: enclave,
            found: chain.newest().root().enclave.to_string(),
        }
        .into());
    }
    match offer.origin {
        None => check_own(engine, &trust, &chain)?,
        Some(_) => {
            if let Some(pin) = anchored(&offer, &trust, &chain)? {
                change(engine, actor, ChangeTrust::PinRoot(pin)).await?;
            }
        }
    }
    for root in added {
        change(engine, actor, ChangeTrust::AcceptRoot(acceptance(&root)?)).await?;
    }
    held(engine, &enclave)
}

/// The chain with the documents behind it, and those that are new in it.
fn extend(held: Option<Chain>, documents: &[Vec<u8>]) -> Result<(Chain, Vec<SignedRoot>), RootError> {
    let (mut chain, mut added) = (held, Vec::new());
    let last = documents.len().saturating_sub(1);
    for (place, document) in documents.iter().enumerate() {
        let root = SignedRoot::parse(document)?;
        match &mut chain {
            None => chain = Some(Chain::begin(root.clone())?),
            Some(chain) => match chain.push(root.clone()) {
                Ok(()) => {}
                // What leads up to a new one is held already. The last one is what was meant.
                Err(RootError::RollBack { held, found }) if place < last || found == held => continue,
                Err(error) => return Err(error),
            },
        }
        added.push(root);
    }
    match chain {
        Some(chain) if !documents.is_empty() => Ok((chain, added)),
        Some(_) | None => Err(RootError::Malformed("no document was given".to_owned())),
    }
}

fn acceptance(root: &SignedRoot) -> Result<RootAccepted, RootError> {
    let document = String::from_utf8(root.to_bytes());
    Ok(RootAccepted {
        document: document.map_err(|error| RootError::Malformed(error.to_string()))?,
        enclave: root.root().enclave.to_string(),
        fingerprint: root.fingerprint().digest(),
        version: root.root().version,
    })
}

/// What a root of our own must say: the keys that sign now may, and what was revoked here is revoked there.
fn check_own(engine: &Handle, trust: &Trust, chain: &Chain) -> Result<(), RootsError> {
    let root = chain.newest().root();
    for (own, role) in [(OwnRole::Log, Role::Log), (OwnRole::Export, Role::Export)] {
        let key = engine.keys().current(own).public();
        // At the present size of each ledger.
        for LedgerSize { origin, size } in engine.own_sizes()? {
            judge(root, role, &key, &origin, size).map_err(|why| RootError::LacksKey {
                role: own.as_str(),
                key: key.id(),
                why: why.to_string(),
            })?;
        }
    }
    for retired in &trust.retired {
        let Some(seq) = retired.revoked else { continue };
        let id = KeyId::from_digest(retired.id);
        let mut listed = root.roles.values().flat_map(|of| &of.keys);
        if !listed.any(|key| key.id() == id) {
            continue;
        }
        let entries: Vec<_> = root.revocations.iter().filter(|one| one.key == id).collect();
        let below = revocation(engine, seq)?.below;
        let within = |one: &&&crate::trust::Revocation| {
            below
                .iter()
                .any(|held| held.origin == one.origin && one.below <= held.size)
        };
        if entries.is_empty() || entries.iter().filter(within).count() < entries.len() {
            let place = entries
                .iter()
                .find(|one| !within(one))
                .map(|one| one.origin.clone());
            return Err(
                RootError::RevocationDropped(id, place.unwrap_or_else(|| "this enclave".to_owned())).into(),
            );
        }
    }
    Ok(())
}

/// The pin on which a foreign chain rests: the one held, or one to be made now.
fn anchored(offer: &Offer, trust: &Trust, chain: &Chain) -> Result<Option<RootPinned>, RootsError> {
    let enclave = trust.enclave.clone();
    let given = offer.fingerprint;
    if let Some(pin) = &trust.pin {
        let pinned = Fingerprint::from_digest(pin.fingerprint);
        if given.is_some_and(|given| given != pinned) {
            return Err(RootsError::PinConflict(enclave));
        }
        return match chain.with_fingerprint(pinned) {
            Some(_) => Ok(None),
            None => Err(RootError::NotAnchored(pinned).into()),
        };
    }
    let (fingerprint, pinned_by) = match given {
        Some(given) if chain.with_fingerprint(given).is_none() => {
            return Err(RootError::NotAnchored(given).into());
        }
        Some(given) => (given, PinnedBy::Fingerprint),
        None if offer.first_use => (chain.newest().fingerprint(), PinnedBy::FirstUse),
        None => return Err(RootsError::NotPinned(enclave)),
    };
    Ok(Some(RootPinned {
        enclave,
        fingerprint: fingerprint.digest(),
        pinned_by,
    }))
}

/// Takes in what an imported bundle brought, which verification found to be led to by what is pinned.
pub(super) async fn take_in(
    engine: &Handle,
    actor: &Actor,
    trust: &Trust,
    documents: &[Vec<u8>],
) -> Result<(), ImportError> {
    for document in documents {
        let failed = |error: RootError| ImportError::Roots(error.into());
        let root = SignedRoot::parse(document).map_err(failed)?;
        if root.root().version > trust.version() {
            let accepted = ChangeTrust::AcceptRoot(acceptance(&root).map_err(failed)?);
            change(engine, actor, accepted)
                .await
                .map_err(ImportError::Roots)?;
        }
    }
    Ok(())
}

/// Puts our own chain into a bundle, signed by these log and export keys, of a range that ends at `size`.
///
/// # Errors
/// [`RootsError::Outdated`]: nobody who goes by the roots could trust the bundle.
pub(super) fn add(
    writer: &mut BundleWriter<'_>,
    engine: &Handle,
    keys: (&PrivateKey, &PrivateKey),
    (origin, size): (&str, u64),
) -> Result<(), ExportError> {
    let trust = held(engine, engine.keys().enclave().as_str())?;
    let documents = documents(engine, &trust)?;
    let Some(newest) = documents.last() else {
        return Ok(());
    };
    let newest = SignedRoot::parse(newest).map_err(RootsError::from)?;
    let version = newest.root().version;
    for (key, role) in [(keys.0, Role::Log), (keys.1, Role::Export)] {
        judge(newest.root(), role, &key.public(), origin, size).map_err(|why| RootsError::Outdated {
            version,
            role: role.as_str(),
            why: why.to_string(),
        })?;
    }
    writer.set_trust_version(version);
    for (version, document) in (1..).zip(documents) {
        writer.add_bytes(Member::Root(version), document);
    }
    Ok(())
}
