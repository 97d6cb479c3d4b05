//! Writing an order or a cancellation: a pure function of what it says and of the key.

use std::collections::BTreeMap;

use super::content::{ContentError, content_of, inputs_of, read_pack};
use super::manifest::{
    CancelPredicate, FORMAT, OrderFile, OrderPredicate, Statement, StatementError, subject_of,
};
use super::members::OrderMember;
use crate::bundle::dsse::{self, EnvelopeError};
use crate::bundle::manifest::Subject;
use crate::bundle::tar::{TarError, TarWriter};
use crate::bundle::transport::FrameWriter;
use crate::domain::canonical::Value;
use crate::domain::command::OrderContent;
use crate::domain::order::{AskedRun, CarriedPack};
use crate::domain::{Digest, EnclaveName, OrderId, PackName, RunName, TenantName, Timestamp};
use crate::limits;
use crate::trust::PrivateKey;

/// How to check an order by hand; a member of every order.
pub const VERIFY_TEXT: &str = include_str!("verify.txt");

/// Who issues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The hub.
    pub hub: EnclaveName,
    /// The ledger that knows the order.
    pub origin: String,
    /// Whose ledger that is.
    pub tenant: TenantName,
}

/// An order to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Which enclaves may run it; any order.
    pub enclaves: Vec<EnclaveName>,
    /// From then on it may not start any more.
    pub expires_at: Option<Timestamp>,
    /// The packs, byte for byte; any order.
    pub packs: Vec<String>,
    /// Who may start it; any order. None: whoever may start runs.
    pub persons: Vec<String>,
    /// The runs; any order.
    pub runs: Vec<NewRun>,
}

/// A run to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// What the pack asks for.
    pub inputs: BTreeMap<String, Value>,
    /// Unique within the order.
    pub name: RunName,
    /// One of the order's packs.
    pub pack: PackName,
}

/// Why an order cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What it would say is not allowed.
    #[error("{0}")]
    Statement(#[from] StatementError),
    /// A pack, or inputs of a run.
    #[error("{detail}")]
    Content {
        /// Where it stands in what was asked for.
        pointer: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An input that its pack calls sensitive: an order carries inputs as they are, and events name them by digest.
    #[error("the input {name} is sensitive, and a work order cannot keep it out of the record")]
    SensitiveInput {
        /// Where it stands in what was asked for.
        pointer: String,
        /// Its name.
        name: String,
    },
    /// The statement could not be signed.
    #[error("manifest: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The archive could not be written.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// The frame could not be written.
    #[error("compressing: {0}")]
    Frame(#[from] std::io::Error),
}

/// A file to carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The file.
    pub bytes: Vec<u8>,
    /// What it says.
    pub statement: Statement,
    /// SHA-256 of the archive in it.
    pub tar_sha256: Digest,
}

/// Writes an order.
///
/// # Errors
/// What the order's enclaves would refuse about it.
pub fn order(sender: &Sender, id: OrderId, new: &NewOrder, key: &PrivateKey) -> Result<Letter, WriteError> {
    let mut members = BTreeMap::new();
    let mut packs = Vec::with_capacity(new.packs.len());
    for (index, source) in new.packs.iter().enumerate() {
        let member = OrderMember::Pack(Digest::of(source.as_bytes()));
        let read = read_pack(member, source.as_bytes());
        let pack = read.map_err(|error| at(format!("/packs/{index}"), error))?;
        packs.push(CarriedPack {
            name: pack.spec.name,
            plan_hash: pack.plan_hash,
            sha256: Digest::of(source.as_bytes()),
        });
        members.insert(member, source.as_bytes().to_vec());
    }
    packs.sort_by(|a, b| a.name.cmp(&b.name));
    let mut runs = Vec::with_capacity(new.runs.len());
    for run in &new.runs {
        let inputs = inputs_of(&run.inputs).map(|(digest, bytes)| {
            members.insert(OrderMember::Inputs(digest), bytes);
            digest
        });
        let (name, pack) = (run.name.clone(), run.pack.clone());
        runs.push(AskedRun { inputs, name, pack });
    }
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    members.insert(OrderMember::VerifyText, VERIFY_TEXT.as_bytes().to_vec());
    let (subject, files) = told(&members);
    let predicate = OrderPredicate {
        expires_at: new.expires_at,
        files,
        enclaves: sorted(&new.enclaves),
        format: FORMAT,
        hub: sender.hub.clone(),
        order_id: id,
        origin: sender.origin.clone(),
        packs,
        persons: sorted(&new.persons),
        runs,
        tenant: sender.tenant.clone(),
    };
    let statement = Statement::Order(Box::new(predicate.clone()), subject).checked()?;
    let content = content_of(&predicate, &members).map_err(|error| at(place_of(new, error.member), error))?;
    check_inputs(new, &content)?;
    seal(statement, &members, key)
}

fn check_inputs(new: &NewOrder, content: &OrderContent) -> Result<(), WriteError> {
    for (index, run) in new.runs.iter().enumerate() {
        let pack = content.packs.iter().find(|pack| pack.spec.name == run.pack);
        if let Some(name) = pack.and_then(|pack| pack.spec.sensitive_of(&run.inputs)) {
            return Err(WriteError::SensitiveInput {
                pointer: format!("/runs/{index}/inputs/{name}"),
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}

/// Where in what was asked for the trouble lies.
fn place_of(new: &NewOrder, member: OrderMember) -> String {
    let OrderMember::Inputs(digest) = member else {
        return "/runs".to_owned();
    };
    let of = |run: &NewRun| inputs_of(&run.inputs).is_some_and(|(found, _)| found == digest);
    let place = new.runs.iter().position(of);
    place.map_or_else(|| "/runs".to_owned(), |index| format!("/runs/{index}/inputs"))
}

fn at(pointer: String, error: ContentError) -> WriteError {
    WriteError::Content {
        pointer,
        detail: error.detail,
    }
}

/// Writes a cancellation of the order with this archive.
///
/// # Errors
/// A reason that is too long.
pub fn cancellation(
    sender: &Sender,
    (id, order_sha256): (OrderId, Digest),
    enclaves: &[EnclaveName],
    reason: &str,
    key: &PrivateKey,
) -> Result<Letter, WriteError> {
    let text = VERIFY_TEXT.as_bytes().to_vec();
    let members = BTreeMap::from([(OrderMember::VerifyText, text)]);
    let (subject, files) = told(&members);
    let predicate = CancelPredicate {
        files,
        enclaves: sorted(enclaves),
        format: FORMAT,
        hub: sender.hub.clone(),
        order_id: id,
        order_sha256,
        origin: sender.origin.clone(),
        reason: reason.to_owned(),
        tenant: sender.tenant.clone(),
    };
    seal(
        Statement::Cancellation(Box::new(predicate), subject).checked()?,
        &members,
        key,
    )
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

fn told(members: &BTreeMap<OrderMember, Vec<u8>>) -> (Vec<Subject>, Vec<OrderFile>) {
    let mut told: Vec<_> = members
        .iter()
        .map(|(member, bytes)| subject_of(*member, bytes))
        .collect();
    told.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    told.into_iter().unzip()
}

/// Signs a statement and writes archive and frame.
///
/// # Errors
/// None in practice: writing into memory.
pub fn seal(
    statement: Statement,
    members: &BTreeMap<OrderMember, Vec<u8>>,
    key: &PrivateKey,
) -> Result<Letter, WriteError> {
    let manifest = dsse::sign(&statement.to_bytes()?, key)?;
    if manifest.len() as u64 > limits::ORDER_MANIFEST_BYTES_MAX {
        let what = format!("a manifest over {} bytes", limits::ORDER_MANIFEST_BYTES_MAX);
        return Err(StatementError::Senseless(what).into());
    }
    let mut tar = TarWriter::new(Vec::new());
    tar.begin(&OrderMember::Manifest.to_string(), manifest.len() as u64)?;
    tar.content(&manifest)?;
    for (member, bytes) in members {
        tar.begin(&member.to_string(), bytes.len() as u64)?;
        tar.content(bytes)?;
    }
    let tar = tar.finish()?;
    let mut frame = FrameWriter::new(Vec::new())?;
    std::io::Write::write_all(&mut frame, &tar)?;
    Ok(Letter {
        bytes: frame.finish()?,
        statement,
        tar_sha256: Digest::of(&tar),
    })
}
