//! The in-toto statement of an order, and that of a cancellation: what is asked, of whom, with the digest of every member.
//!
//! Fields are declared in the order of canonical JSON. What a statement says is checked for sense here; whether the members
//! agree with it, and whether it is for us, is for [`super::verify`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::members::OrderMember;
use crate::bundle::manifest::{STATEMENT_TYPE, Sha256, Subject};
use crate::domain::canonical::text_fits;
use crate::domain::order::{AskedRun, CarriedPack};
use crate::domain::{Digest, EnclaveName, OrderId, TenantName, Timestamp, canonical};
use crate::ledger::Origin;
use crate::limits;

/// `predicateType` of an order.
pub const ORDER_TYPE: &str = "urn:fastness:attestation:work-order:v1";
/// `predicateType` of a cancellation.
pub const CANCELLATION_TYPE: &str = "urn:fastness:attestation:work-order-cancellation:v1";
/// The format this code writes and reads.
pub const FORMAT: u32 = 1;

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not this JSON object.
    #[error("not the statement of a work order: {0}")]
    Json(String),
    /// The same statement written in another way.
    #[error("the statement is not canonical JSON")]
    NotCanonical,
    /// Another type of statement, predicate or format.
    #[error("{0} is not the one of a work order of format {FORMAT}")]
    Kind(&'static str),
    /// Numbers or names that cannot be.
    #[error("{0}")]
    Senseless(String),
    /// Something is named that the order does not bring.
    #[error("{0}")]
    Missing(String),
    /// Its id carries not the mark of its hub.
    #[error("id_of_another_hub: {0} is no id of an order of {1}")]
    OtherHub(OrderId, EnclaveName),
}

/// A member as the statement counts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderFile {
    /// Path in the archive.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// What an order asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrderPredicate {
    /// From then on it may not start any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Size of every member but the manifest, sorted by name.
    pub files: Vec<OrderFile>,
    /// Which enclaves may run it, sorted.
    #[serde(rename = "for")]
    pub enclaves: Vec<EnclaveName>,
    /// [`FORMAT`].
    pub format: u32,
    /// Who issued it.
    pub hub: EnclaveName,
    /// Identity.
    pub order_id: OrderId,
    /// The ledger at the hub that knows it.
    pub origin: String,
    /// The packs, sorted by name.
    pub packs: Vec<CarriedPack>,
    /// Who may start it, sorted; none: whoever may start runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub persons: Vec<String>,
    /// The runs, sorted by name.
    pub runs: Vec<AskedRun>,
    /// Whose ledger it is at the hub.
    pub tenant: TenantName,
}

/// What a cancellation says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelPredicate {
    /// Size of every member but the manifest.
    pub files: Vec<OrderFile>,
    /// The enclaves that the order is for, sorted.
    #[serde(rename = "for")]
    pub enclaves: Vec<EnclaveName>,
    /// [`FORMAT`].
    pub format: u32,
    /// Who issued order and cancellation.
    pub hub: EnclaveName,
    /// The order.
    pub order_id: OrderId,
    /// SHA-256 of the order's archive.
    pub order_sha256: Digest,
    /// The ledger at the hub that knows it.
    pub origin: String,
    /// Why.
    pub reason: String,
    /// Whose ledger it is at the hub.
    pub tenant: TenantName,
}

/// One of the two, with the digests of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// An order.
    Order(Box<OrderPredicate>, Vec<Subject>),
    /// A cancellation.
    Cancellation(Box<CancelPredicate>, Vec<Subject>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written<P> {
    #[serde(rename = "_type")]
    statement_type: String,
    predicate: P,
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Glance {
    predicate_type: String,
}

impl Statement {
    /// A statement of which everything that can be checked by itself is checked.
    ///
    /// # Errors
    /// What [`Statement::parse`] would refuse about it.
    pub fn checked(self) -> Result<Self, StatementError> {
        let files = match &self {
            Statement::Order(order, _) => {
                order.check()?;
                &order.files
            }
            Statement::Cancellation(cancel, _) => {
                cancel.check()?;
                &cancel.files
            }
        };
        check_members(self.subject(), files)?;
        if let Statement::Order(order, subject) = &self {
            check_carried(order, subject)?;
        }
        Ok(self)
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// None in practice: writing into memory.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StatementError> {
        match self {
            Statement::Order(order, subject) => to_bytes(ORDER_TYPE, order.as_ref(), subject),
            Statement::Cancellation(cancel, subject) => to_bytes(CANCELLATION_TYPE, cancel.as_ref(), subject),
        }
    }

    /// Parses canonical bytes and checks what they say.
    ///
    /// # Errors
    /// The reason for which this is neither an order's statement nor a cancellation's.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        canonical::check(bytes).map_err(|error| StatementError::Json(error.to_string()))?;
        let glance: Glance = read(bytes)?;
        let statement = match glance.predicate_type.as_str() {
            ORDER_TYPE => {
                let written: Written<OrderPredicate> = read(bytes)?;
                check_type(&written.statement_type)?;
                Statement::Order(Box::new(written.predicate), written.subject)
            }
            CANCELLATION_TYPE => {
                let written: Written<CancelPredicate> = read(bytes)?;
                check_type(&written.statement_type)?;
                Statement::Cancellation(Box::new(written.predicate), written.subject)
            }
            _ => return Err(StatementError::Kind("predicateType")),
        };
        if statement.to_bytes()? != bytes {
            return Err(StatementError::NotCanonical);
        }
        statement.checked()
    }

    /// Digests of the members, sorted by name.
    pub fn subject(&self) -> &[Subject] {
        match self {
            Statement::Order(_, subject) | Statement::Cancellation(_, subject) => subject,
        }
    }

    /// Every member with digest and size.
    pub fn members(&self) -> impl Iterator<Item = (OrderMember, Digest, u64)> {
        let files = match self {
            Statement::Order(order, _) => &order.files,
            Statement::Cancellation(cancel, _) => &cancel.files,
        };
        self.subject().iter().zip(files).filter_map(|(subject, file)| {
            OrderMember::from_name(&subject.name).map(|member| (member, subject.digest.sha256, file.size))
        })
    }

    /// The order that it is, or cancels.
    pub fn order_id(&self) -> OrderId {
        match self {
            Statement::Order(order, _) => order.order_id,
            Statement::Cancellation(cancel, _) => cancel.order_id,
        }
    }

    /// Who issued it.
    pub fn hub(&self) -> &EnclaveName {
        match self {
            Statement::Order(order, _) => &order.hub,
            Statement::Cancellation(cancel, _) => &cancel.hub,
        }
    }

    /// The ledger at the hub that knows it.
    pub fn origin(&self) -> &str {
        match self {
            Statement::Order(order, _) => &order.origin,
            Statement::Cancellation(cancel, _) => &cancel.origin,
        }
    }

    /// For whom it is.
    pub fn enclaves(&self) -> &[EnclaveName] {
        match self {
            Statement::Order(order, _) => &order.enclaves,
            Statement::Cancellation(cancel, _) => &cancel.enclaves,
        }
    }
}

/// The subject of a member with this content.
pub fn subject_of(member: OrderMember, bytes: &[u8]) -> (Subject, OrderFile) {
    let name = member.to_string();
    let file = OrderFile {
        name: name.clone(),
        size: bytes.len() as u64,
    };
    let digest = Sha256 {
        sha256: Digest::of(bytes),
    };
    (Subject { digest, name }, file)
}

fn to_bytes<P: Serialize>(
    predicate_type: &str,
    predicate: &P,
    subject: &[Subject],
) -> Result<Vec<u8>, StatementError> {
    let written = Written {
        statement_type: STATEMENT_TYPE.to_owned(),
        predicate,
        predicate_type: predicate_type.to_owned(),
        subject: subject.to_vec(),
    };
    serde_json::to_vec(&written).map_err(|error| StatementError::Json(error.to_string()))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StatementError> {
    serde_json::from_slice(bytes).map_err(|error| StatementError::Json(error.to_string()))
}

fn check_type(statement_type: &str) -> Result<(), StatementError> {
    if statement_type == STATEMENT_TYPE {
        return Ok(());
    }
    Err(StatementError::Kind("_type"))
}

fn senseless<T>(what: impl Into<String>) -> Result<T, StatementError> {
    Err(StatementError::Senseless(what.into()))
}

impl OrderPredicate {
    fn check(&self) -> Result<(), StatementError> {
        check_sender(
            self.format,
            &self.hub,
            (&self.origin, &self.tenant),
            &self.enclaves,
        )?;
        if self.order_id.to_string().as_bytes().get(14) != Some(&b'7') {
            return senseless("orderId is no UUIDv7");
        }
        check_id(self.order_id, &self.hub)?;
        if self.persons.len() > limits::ORDER_PERSONS_MAX {
            return senseless(format!("more than {} persons", limits::ORDER_PERSONS_MAX));
        }
        let is_label = |text: &String| crate::domain::decide::check_label("", text).is_ok();
        if !self.persons.iter().all(is_label) || !self.persons.is_sorted_by(|a, b| a < b) {
            return senseless("persons are not names, sorted, each once");
        }
        if self.packs.is_empty() || self.packs.len() > limits::ORDER_PACKS_MAX {
            return senseless(format!("an order brings 1 to {} packs", limits::ORDER_PACKS_MAX));
        }
        if self.packs.iter().any(|pack| pack.name.is_ordered())
            || !self.packs.is_sorted_by(|a, b| a.name < b.name)
        {
            return senseless("packs are not plain names, sorted, each once");
        }
        if self.runs.is_empty() || self.runs.len() > limits::ORDER_RUNS_MAX {
            return senseless(format!("an order asks for 1 to {} runs", limits::ORDER_RUNS_MAX));
        }
        for pair in self.runs.windows(2) {
            if pair[0].name >= pair[1].name {
                return senseless(format!("the run {} is a duplicate or out of order", pair[1].name));
            }
        }
        for run in &self.runs {
            if !self.packs.iter().any(|pack| pack.name == run.pack) {
                let what = format!(
                    "the run {} asks for the pack {}, which the order does not bring",
                    run.name, run.pack
                );
                return Err(StatementError::Missing(what));
            }
        }
        match self
            .packs
            .iter()
            .find(|pack| self.runs.iter().all(|run| run.pack != pack.name))
        {
            Some(pack) => senseless(format!("no run asks for the pack {}", pack.name)),
            None => Ok(()),
        }
    }
}

impl CancelPredicate {
    fn check(&self) -> Result<(), StatementError> {
        check_sender(
            self.format,
            &self.hub,
            (&self.origin, &self.tenant),
            &self.enclaves,
        )?;
        check_id(self.order_id, &self.hub)?;
        if self.reason.len() > limits::TEXT_BYTES_MAX || !text_fits(&self.reason) {
            return senseless(format!("a reason has at most {} bytes", limits::TEXT_BYTES_MAX));
        }
        Ok(())
    }
}

/// An id is the hub's own: what another hub signs under it is refused, and so takes nobody's place.
fn check_id(id: OrderId, hub: &EnclaveName) -> Result<(), StatementError> {
    if id.is_of(hub) {
        return Ok(());
    }
    Err(StatementError::OtherHub(id, hub.clone()))
}

fn check_sender(
    format: u32,
    hub: &EnclaveName,
    (origin, tenant): (&str, &TenantName),
    enclaves: &[EnclaveName],
) -> Result<(), StatementError> {
    if format != FORMAT {
        return Err(StatementError::Kind("format"));
    }
    let of_hub = origin
        .parse::<Origin>()
        .is_ok_and(|origin| origin.tenant() == tenant && origin.enclave().as_str() == hub.as_str());
    if !of_hub {
        return senseless("origin is not a ledger of this hub and tenant");
    }
    if enclaves.is_empty() || enclaves.len() > limits::ORDER_ENCLAVES_MAX {
        return senseless(format!(
            "an order is for 1 to {} enclaves",
            limits::ORDER_ENCLAVES_MAX
        ));
    }
    if !enclaves.is_sorted_by(|a, b| a < b) {
        return senseless("enclaves are not sorted, each once");
    }
    Ok(())
}

fn check_members(subject: &[Subject], files: &[OrderFile]) -> Result<(), StatementError> {
    let equal = subject
        .iter()
        .map(|subject| &subject.name)
        .eq(files.iter().map(|file| &file.name));
    if !equal {
        return senseless("subjects and files are not the same members");
    }
    if !files.is_sorted_by(|a, b| a.name < b.name) {
        return senseless("subjects are not sorted, each once");
    }
    let mut total: u64 = 0;
    let mut is_told = false;
    for (subject, file) in subject.iter().zip(files) {
        let named = match OrderMember::from_name(&subject.name) {
            None | Some(OrderMember::Manifest) => {
                return senseless(format!("{} is no possible subject", subject.name));
            }
            Some(OrderMember::Inputs(digest) | OrderMember::Pack(digest)) => digest == subject.digest.sha256,
            Some(OrderMember::VerifyText) => {
                is_told = true;
                true
            }
        };
        if !named {
            return senseless(format!("{} has another digest than its name", subject.name));
        }
        if file.size > limits::ORDER_MEMBER_BYTES_MAX {
            let bytes_max = limits::ORDER_MEMBER_BYTES_MAX;
            return senseless(format!("{} is longer than {bytes_max} bytes", subject.name));
        }
        total = total.saturating_add(file.size);
    }
    if total > limits::ORDER_TAR_BYTES_MAX {
        return senseless(format!("more than {} bytes in all", limits::ORDER_TAR_BYTES_MAX));
    }
    if !is_told {
        return Err(StatementError::Missing(format!(
            "{} is not among the subjects",
            OrderMember::VerifyText
        )));
    }
    Ok(())
}

/// Every pack and all inputs that are named are members, and no member is there for nothing.
fn check_carried(order: &OrderPredicate, subject: &[Subject]) -> Result<(), StatementError> {
    let mut wanted: Vec<OrderMember> = order
        .packs
        .iter()
        .map(|pack| OrderMember::Pack(pack.sha256))
        .collect();
    wanted.extend(
        order
            .runs
            .iter()
            .filter_map(|run| run.inputs)
            .map(OrderMember::Inputs),
    );
    wanted.push(OrderMember::VerifyText);
    let there: Vec<OrderMember> = subject
        .iter()
        .filter_map(|subject| OrderMember::from_name(&subject.name))
        .collect();
    if let Some(missing) = wanted.iter().find(|member| !there.contains(member)) {
        return Err(StatementError::Missing(format!(
            "{missing} is not among the subjects"
        )));
    }
    match there.iter().find(|member| !wanted.contains(member)) {
        Some(extra) => senseless(format!("nothing asks for {extra}")),
        None => Ok(()),
    }
}
