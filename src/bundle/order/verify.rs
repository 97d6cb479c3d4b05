//! Verification of an order or a cancellation: one pass, six checks, the exit codes of bundles.
//!
//! Promises: memory bounded by the bounds of an order; nothing is written anywhere; outside input never panics; a manifest
//! that the given key did not sign is not read further. Must never use a key that the file itself brings.

use std::collections::BTreeMap;
use std::io;

use super::checks::{CheckName, Checks};
use super::content::content_of;
use super::manifest::{Statement, StatementError};
use super::members::{FOLDER, OrderMember};
use crate::bundle::dsse::Envelope;
use crate::bundle::reading::{Archive, Opener, container_fault};
use crate::bundle::report::{Finding, Report, Verdict};
use crate::bundle::tar::{Entry, TarError};
use crate::domain::command::OrderContent;
use crate::domain::order::ReceivedOrder;
use crate::domain::{Digest, EnclaveName, OrderId, Timestamp};
use crate::limits;
use crate::trust::PublicKey;

/// What a verification may rely on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The hub's key for orders.
    pub orders_key: Option<PublicKey>,
    /// Why there is none, where that is known.
    pub no_key: Option<&'a str>,
    /// Keys of the hub that are for something else, with what: named when one of them signed.
    pub other_keys: &'a [(Digest, &'static str)],
    /// Which enclave this is, and what time; none: whether it is for us is not judged.
    pub here: Option<(&'a EnclaveName, Timestamp)>,
    /// What is held under the order's id; none: not judged.
    pub held: Option<Held<'a>>,
}

/// What is held under an order's id.
#[derive(Debug, Clone, Copy)]
pub enum Held<'a> {
    /// Nothing.
    Nothing,
    /// An order, or the cancellation of one, in this tenant.
    Here(&'a ReceivedOrder),
    /// An order, in another tenant.
    Elsewhere,
}

/// Result of a verification.
#[derive(Debug)]
pub struct Outcome {
    /// The checklist.
    pub report: Report,
    /// What the file says of itself, once it could be read; worth as much as the report says.
    pub statement: Option<Statement>,
    /// What it holds, of an order whose members are good.
    pub content: Option<OrderContent>,
    /// SHA-256 of the archive, when all of it was read.
    pub tar_sha256: Option<Digest>,
    /// SHA-256 of the SPKI of the key that signed.
    pub key_id: Option<Digest>,
    /// Hub and key as the file claims them, whatever else is wrong with it.
    pub claims: Claims,
}

/// What a file says of where it comes from: to find the key that it must be signed by, and for nothing else.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// The hub.
    pub hub: Option<EnclaveName>,
    /// SHA-256 of the SPKI of the key.
    pub key_id: Option<Digest>,
}

impl Claims {
    fn of(envelope: &Envelope) -> Self {
        let statement: Option<serde_json::Value> = serde_json::from_slice(&envelope.payload).ok();
        let hub = statement
            .as_ref()
            .and_then(|value| value.pointer("/predicate/hub"));
        Claims {
            hub: hub.and_then(|hub| hub.as_str()?.parse().ok()),
            key_id: Some(envelope.key_id),
        }
    }
}

/// Whether the file that `open` opens is meant to be an order, or a cancellation of one: by its first member's name.
///
/// # Errors
/// The file cannot be read.
pub fn is_order(open: Opener<'_>) -> io::Result<bool> {
    let mut archive = Archive::open(open)?;
    match archive.next_entry() {
        Ok(Some(entry)) => Ok(entry.name.starts_with(FOLDER)),
        Ok(None) => Ok(false),
        Err(error) => container_fault(error).map(|_| false),
    }
}

/// Verifies the file that `open` opens.
///
/// # Errors
/// Only when there is no verdict; every fault of the file is in the report.
pub fn verify(open: Opener<'_>, options: &Options<'_>) -> io::Result<Outcome> {
    let mut archive = Archive::open(open)?;
    let mut pass = Pass {
        options,
        checks: Checks::default(),
        current: OrderMember::Manifest.to_string(),
        statement: None,
        key_id: None,
        claims: Claims::default(),
        members: BTreeMap::new(),
    };
    let mut tar_sha256 = None;
    match pass.run(&mut archive) {
        Ok(()) => tar_sha256 = Some(archive.digest()),
        // Damage on the way is told from tampering by the frame's checksum, which stands at the end.
        Err(Stop::Found) => {
            if let Err(error) = archive.drain(limits::ORDER_TAR_BYTES_MAX) {
                pass.fault(TarError::Read(error))?;
            }
        }
        Err(Stop::Archive(error)) => pass.fault(error)?,
    }
    let content = tar_sha256.and_then(|tar_sha256| pass.conclude(tar_sha256));
    Ok(Outcome {
        report: pass.checks.report(),
        statement: pass.statement,
        content,
        tar_sha256,
        key_id: pass.key_id,
        claims: pass.claims,
    })
}

/// Why a pass ends before the end of the archive.
enum Stop {
    /// The archive broke a rule, or could not be read.
    Archive(TarError),
    /// A finding after which reading on is pointless; it is in the checklist.
    Found,
}

impl From<TarError> for Stop {
    fn from(error: TarError) -> Self {
        Stop::Archive(error)
    }
}

struct Pass<'a> {
    options: &'a Options<'a>,
    checks: Checks,
    /// The name in the last header read, for faults of the container.
    current: String,
    statement: Option<Statement>,
    key_id: Option<Digest>,
    claims: Claims,
    /// What was read.
    members: BTreeMap<OrderMember, Vec<u8>>,
}

impl Pass<'_> {
    fn run(&mut self, archive: &mut Archive) -> Result<(), Stop> {
        let statement = self.manifest(archive)?;
        let mut expected: BTreeMap<OrderMember, (Digest, u64)> = statement
            .members()
            .map(|(member, digest, size)| (member, (digest, size)))
            .collect();
        self.statement = Some(statement);
        let mut previous = OrderMember::Manifest;
        while let Some(entry) = archive.next_entry()? {
            self.current.clone_from(&entry.name);
            let member = self.place(&entry, previous, &expected)?;
            let Some((digest, size)) = expected.remove(&member) else {
                return self.stop(
                    CheckName::Container,
                    Verdict::Malformed,
                    "a second member of this name",
                );
            };
            let Some(bytes) = archive.content().whole(size)? else {
                return self.stop(
                    CheckName::Members,
                    Verdict::Tampered,
                    "longer than the manifest says",
                );
            };
            let found = Digest::of(&bytes);
            if found != digest {
                let detail = format!("its SHA-256 is {found}, the manifest says {digest}");
                let finding = Finding::new(Verdict::Tampered, detail).named(&self.current);
                self.checks.fail(CheckName::Members, finding);
            }
            self.members.insert(member, bytes);
            previous = member;
        }
        if let Some(missing) = expected.keys().next() {
            let finding = Finding::new(Verdict::Incomplete, "it is missing").named(&missing.to_string());
            self.checks.fail(CheckName::Members, finding);
        }
        Ok(())
    }

    /// Reads the first member. A manifest that the given key did not sign ends the pass.
    fn manifest(&mut self, archive: &mut Archive) -> Result<Statement, Stop> {
        let entry = archive.next_entry()?;
        let name = entry.as_ref().map_or("", |entry| entry.name.as_str());
        if name != OrderMember::Manifest.to_string() {
            let known = entry.is_none() || OrderMember::from_name(name).is_some();
            let verdict = if known {
                Verdict::Incomplete
            } else {
                Verdict::Malformed
            };
            return self.stop(
                CheckName::Manifest,
                verdict,
                "the first member is not the manifest",
            );
        }
        let Some(bytes) = archive.content().whole(limits::ORDER_MANIFEST_BYTES_MAX)? else {
            let detail = format!("a manifest over {} bytes", limits::ORDER_MANIFEST_BYTES_MAX);
            return self.stop(CheckName::Manifest, Verdict::Malformed, &detail);
        };
        let envelope = match Envelope::parse(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => return self.stop(CheckName::Manifest, Verdict::Malformed, &error.to_string()),
        };
        self.claims = Claims::of(&envelope);
        self.signature(&envelope)?;
        match Statement::parse(&envelope.payload) {
            Ok(statement) => {
                let signed = format!("signed by {}", envelope.key_id);
                self.checks.pass(CheckName::Manifest, Some(signed));
                Ok(statement)
            }
            Err(error) => {
                let verdict = match error {
                    StatementError::Missing(_) => Verdict::Incomplete,
                    StatementError::OtherHub(..) => Verdict::Untrusted,
                    StatementError::Json(_)
                    | StatementError::NotCanonical
                    | StatementError::Kind(_)
                    | StatementError::Senseless(_) => Verdict::Malformed,
                };
                self.stop(CheckName::Manifest, verdict, &error.to_string())
            }
        }
    }

    fn signature(&mut self, envelope: &Envelope) -> Result<(), Stop> {
        let Some(key) = self.options.orders_key else {
            let unknown = "no orders key was given, and none is pinned for this hub";
            let detail = self.options.no_key.unwrap_or(unknown);
            let finding = Finding::new(Verdict::Untrusted, detail).named(&self.current);
            self.checks.fail(CheckName::Manifest, finding);
            return Ok(());
        };
        let right = key.id().digest();
        if envelope.is_signed_by(&key) {
            self.key_id = Some(right);
            if envelope.key_id != right {
                let detail = "keyid is not that of the key that signed";
                return self.stop(CheckName::Manifest, Verdict::Tampered, detail);
            }
            return Ok(());
        }
        if envelope.key_id == right {
            return self.stop(
                CheckName::Manifest,
                Verdict::Tampered,
                "the signature does not hold",
            );
        }
        let other = self.options.other_keys.iter();
        let detail = match other.clone().find(|(id, _)| *id == envelope.key_id) {
            Some((_, role)) => format!("signed by the hub's {role} key, which does not sign orders"),
            None => format!("signed by {}, not by the orders key {right}", envelope.key_id),
        };
        self.stop(CheckName::Manifest, Verdict::Untrusted, &detail)
    }

    /// Holds a header against order and manifest.
    fn place(
        &mut self,
        entry: &Entry,
        previous: OrderMember,
        expected: &BTreeMap<OrderMember, (Digest, u64)>,
    ) -> Result<OrderMember, Stop> {
        let Some(member) = OrderMember::from_name(&entry.name) else {
            return self.stop(CheckName::Members, Verdict::Tampered, "no member of a work order");
        };
        if member <= previous {
            let detail = format!("stands behind {previous}: wrong order or a second member of this name");
            return self.stop(CheckName::Container, Verdict::Malformed, &detail);
        }
        let Some((_, size)) = expected.get(&member) else {
            let detail = "not among the subjects of the manifest";
            return self.stop(CheckName::Members, Verdict::Tampered, detail);
        };
        if entry.size != *size {
            let detail = format!("{} bytes where the manifest says {size}", entry.size);
            return self.stop(CheckName::Members, Verdict::Tampered, &detail);
        }
        Ok(member)
    }

    /// Judges what needs the whole archive, and closes the checks.
    fn conclude(&mut self, tar_sha256: Digest) -> Option<OrderContent> {
        self.checks.pass(CheckName::Container, None);
        self.checks.pass(CheckName::Members, None);
        let statement = self.statement.clone()?;
        let content = self.content(&statement);
        self.addressee(&statement);
        self.continuity(&statement, tar_sha256);
        content
    }

    fn content(&mut self, statement: &Statement) -> Option<OrderContent> {
        let Statement::Order(order, _) = statement else {
            self.checks
                .pass(CheckName::Content, Some("a cancellation".to_owned()));
            return None;
        };
        if self.checks.has_failed(CheckName::Members) {
            self.checks
                .skip(CheckName::Content, "members are missing or changed");
            return None;
        }
        match content_of(order, &self.members) {
            Ok(content) => {
                let (packs, runs) = (content.packs.len(), content.runs.len());
                let detail = format!("{packs} packs, {runs} runs");
                self.checks.pass(CheckName::Content, Some(detail));
                Some(content)
            }
            Err(error) => {
                let finding = Finding::new(Verdict::Malformed, error.detail).named(&error.member.to_string());
                self.checks.fail(CheckName::Content, finding);
                None
            }
        }
    }

    fn addressee(&mut self, statement: &Statement) {
        let Some((here, now)) = self.options.here else {
            self.checks
                .skip(CheckName::Addressee, "only an enclave can judge this");
            return;
        };
        if !statement.enclaves().contains(here) {
            let detail = format!("it is not for this enclave, {here}");
            self.checks
                .fail(CheckName::Addressee, Finding::new(Verdict::Untrusted, detail));
        }
        if statement.hub() == here {
            let detail = "it was issued by this enclave itself";
            self.checks
                .fail(CheckName::Addressee, Finding::new(Verdict::Untrusted, detail));
        }
        // What is here already may come again, however late.
        let is_new = !matches!(self.options.held, Some(Held::Here(held)) if held.imported.is_some());
        if let Statement::Order(order, _) = statement
            && let Some(end) = order.expires_at.filter(|end| *end <= now && is_new)
        {
            let detail = format!("its time was over at {end}");
            self.checks
                .fail(CheckName::Addressee, Finding::new(Verdict::Fork, detail));
        }
        self.checks
            .pass(CheckName::Addressee, Some(format!("for {here}")));
    }

    fn continuity(&mut self, statement: &Statement, tar_sha256: Digest) {
        let check = CheckName::Continuity;
        let Some(held) = self.options.held else {
            self.checks.skip(check, "nothing is known of what is held");
            return;
        };
        let held = match held {
            Held::Nothing => {
                return self.checks.pass(check, Some("the first of this id".to_owned()));
            }
            Held::Elsewhere => {
                let detail = "an order of this id was taken in here before, by another tenant";
                return self.checks.fail(check, Finding::new(Verdict::Fork, detail));
            }
            Held::Here(held) => held,
        };
        let order_sha256 = match statement {
            Statement::Order(..) => tar_sha256,
            Statement::Cancellation(cancel, _) => cancel.order_sha256,
        };
        if held.tar_sha256 != order_sha256 || held.hub != *statement.hub() {
            let detail = format!(
                "another order of this id is held, with the archive {}",
                held.tar_sha256
            );
            self.checks.fail(check, Finding::new(Verdict::Fork, detail));
        } else if held.imported.is_none() && matches!(statement, Statement::Order(..)) {
            let detail = "the hub's cancellation of this order came first";
            self.checks.fail(check, Finding::new(Verdict::Fork, detail));
        }
        self.checks.pass(check, Some("the order that is held".to_owned()));
    }

    /// Books a fault of the container.
    fn fault(&mut self, error: TarError) -> io::Result<()> {
        let fault = container_fault(error)?;
        let finding = Finding::new(Verdict::Malformed, fault).named(&self.current);
        self.checks.fail(CheckName::Container, finding);
        Ok(())
    }

    fn stop<T>(&mut self, check: CheckName, verdict: Verdict, detail: &str) -> Result<T, Stop> {
        let finding = Finding::new(verdict, detail).named(&self.current);
        self.checks.fail(check, finding);
        Err(Stop::Found)
    }
}

/// The order that an outcome is about, as far as it could be read.
impl Outcome {
    /// Its id, as the file claims.
    pub fn order_id(&self) -> Option<OrderId> {
        self.statement.as_ref().map(Statement::order_id)
    }
}
