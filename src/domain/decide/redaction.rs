//! Decisions about redacted fields: what is taken out of payloads and inputs, who looked at values, what was erased, and the
//! rules that name fields.
//!
//! Promises: a field that is taken out is in no event of the decision, and its disclosure is kept with the event that has its
//! digest first. A value is in no text of a rejection.

use std::collections::{BTreeMap, BTreeSet};

use super::bounds::clip;
use super::run::STEP_JOB_TYPE;
use super::{Draft, bounds};
use crate::domain::canonical::{CanonicalText, Payload, Value, parse};
use crate::domain::command::{Redacted, RedactionCommand, RedactionReply, Reply, SubmitJob};
use crate::domain::event::EventBody;
use crate::domain::job::{Failure, FailureClass};
use crate::domain::pack::{PackSpec, StepTask, input_text, input_variable};
use crate::domain::payload::redaction::{
    DisclosureErased, DisclosureRead, RedactionPolicyDeleted, RedactionPolicySet,
};
use crate::domain::redaction::{
    DIGESTS, Disclosure, FULL, FieldsError, INTAKE, Kept, OPERATIONAL, Pointer, Rule, Sensitive, look,
    put_digests, read_digest, redact, reserved_name, write_digest,
};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::run::Run;
use crate::domain::state::PayloadRow;
use crate::domain::{Digest, JobId, PolicyName, Seq};
use crate::limits;

/// The inputs of a run, those that are sensitive taken out.
pub(super) struct RedactedInputs {
    /// Those that anybody may see.
    pub(super) plain: BTreeMap<String, Value>,
    /// The same with the digests of the others, as they are recorded.
    pub(super) recorded: BTreeMap<String, Value>,
    /// Digests of the variables in which steps get the others.
    pub(super) env_sd: Vec<String>,
    /// The event with which the disclosures are kept; none when nothing was taken out.
    pub(super) kept_with: Option<Seq>,
}

impl Draft<'_> {
    pub(super) fn redaction(&mut self, request: &RedactionCommand) -> Result<Reply, Refusal> {
        let reply = match request {
            RedactionCommand::SetPolicy { name, reason, rules } => self.set_policy(name, reason, rules)?,
            RedactionCommand::DeletePolicy { name, reason } => self.delete_policy(name, reason)?,
            RedactionCommand::Read { of, reason } => {
                let reason = clip(reason);
                self.record_about(*of, |disclosures| {
                    EventBody::DisclosureRead(DisclosureRead { disclosures, reason })
                })?
            }
            RedactionCommand::Erase { of, reason } => {
                let reason = clip(reason);
                self.record_about(*of, |disclosures| {
                    EventBody::DisclosureErased(DisclosureErased { disclosures, reason })
                })?
            }
            RedactionCommand::RecordExport(exported) => {
                return self.record(EventBody::DisclosureExported(Box::new(exported.clone())));
            }
        };
        Ok(Reply::Redaction(Box::new(reply)))
    }

    /// The payload of a new job as it is recorded, and the event with which its disclosures are kept.
    pub(super) fn redacted(&mut self, request: &SubmitJob) -> Result<(Payload, Option<Seq>), Refusal> {
        let named = match &request.sensitive {
            Sensitive::Kept(with) => return Ok((request.payload.clone(), Some(*with))),
            Sensitive::Fields(named) => named,
        };
        if request.spec.job_type == STEP_JOB_TYPE {
            return Ok((request.payload.clone(), None));
        }
        check_names(&request.payload, named)?;
        let by_policy = self.intake_pointers(&request.spec.job_type)?;
        if named.is_empty() && by_policy.is_empty() {
            return Ok((request.payload.clone(), None));
        }
        let text = match &request.payload {
            Payload::Json(text) => text,
            Payload::Text(_) => return Err(no_fields(named.is_empty()).into()),
        };
        let mut value = parse(text.as_str().as_bytes()).map_err(|_| no_fields(named.is_empty()))?;
        let mut pointers: BTreeSet<Pointer> = named.clone();
        for pointer in by_policy {
            match look(&value, &pointer) {
                // What a policy names need not be in each payload; what is there must not be let through.
                Err(FieldsError::Nothing(_)) => {}
                Ok(()) | Err(_) => {
                    pointers.insert(pointer);
                }
            }
        }
        if pointers.is_empty() {
            return Ok((request.payload.clone(), None));
        }
        let made = redact(&mut value, &pointers, &mut self.salts)
            .map_err(|error| Rejection::field(Code::SensitiveField, "/sensitive", error.to_string()))?;
        let with = self.keep(made)?;
        Ok((Payload::of(&value), Some(with)))
    }

    /// What the tenant's policy takes out of payloads of a type.
    fn intake_pointers(&self, job_type: &str) -> Result<BTreeSet<Pointer>, Refusal> {
        let Ok(name) = INTAKE.parse::<PolicyName>() else {
            return Ok(BTreeSet::new());
        };
        let policy = self.read(|view| view.policy(&name))?;
        let pointers = policy.map(|policy| policy.pointers(job_type).cloned().collect());
        Ok(pointers.unwrap_or_default())
    }

    /// Takes sensitive inputs out: for the run under their own names, for its steps under those of the variables.
    pub(super) fn redact_inputs(
        &mut self,
        spec: &PackSpec,
        inputs: BTreeMap<String, Value>,
    ) -> Result<RedactedInputs, Refusal> {
        let is_sensitive = |name: &String| spec.inputs.get(name).is_some_and(|input| input.sensitive);
        let (taken, plain): (BTreeMap<_, _>, BTreeMap<_, _>) =
            inputs.into_iter().partition(|(name, _)| is_sensitive(name));
        let (mut made, mut own, mut of_steps) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (name, value) in &taken {
            let input = Disclosure::new(&self.salts.draw(), name, value);
            let text = Value::String(input_text(value));
            let variable = Disclosure::new(&self.salts.draw(), &input_variable(name), &text);
            own.push(input.digest());
            of_steps.insert(write_digest(&variable.digest()));
            made.extend([input, variable]);
        }
        let mut recorded = plain.clone();
        put_digests(&mut recorded, own);
        let kept_with = if made.is_empty() {
            None
        } else {
            Some(self.keep(made)?)
        };
        Ok(RedactedInputs {
            plain,
            recorded,
            env_sd: of_steps.into_iter().collect(),
            kept_with,
        })
    }

    /// Keeps disclosures with the event that is emitted next.
    fn keep(&mut self, made: Vec<Disclosure>) -> Result<Seq, Rejection> {
        let with = self.next_seq();
        for disclosure in made {
            if disclosure.as_str().len() > limits::DISCLOSURE_BYTES_MAX {
                let detail = format!(
                    "a sensitive field takes more than {} bytes as a disclosure",
                    limits::DISCLOSURE_BYTES_MAX
                );
                return Err(Rejection::field(Code::TooLarge, "/sensitive", detail));
            }
            // They count like events: memory and disk take both.
            self.bytes += disclosure.as_str().len();
            self.kept.push(Kept { disclosure, with });
        }
        Ok(with)
    }

    pub(super) fn payload_row(&self, job: JobId) -> Result<PayloadRow, Refusal> {
        let row = self.read(|view| view.payload(job))?;
        Ok(row.ok_or_else(|| Rejection::not_found("payload"))?)
    }

    /// The payload of a job that is done again.
    pub(super) fn check_payload_kept(&self, job: JobId) -> Result<PayloadRow, Refusal> {
        let row = self.payload_row(job)?;
        self.check_kept(row.disclosures)?;
        Ok(row)
    }

    /// What is done again needs its values.
    pub(super) fn check_kept(&self, disclosures: Option<Seq>) -> Result<(), Refusal> {
        match self.nothing_to_disclose(disclosures)? {
            None => Ok(()),
            Some(failure) => Err(Rejection::new(Code::DisclosureErased, failure.message).into()),
        }
    }

    /// Why a job cannot be handed to a worker: its values were erased.
    pub(super) fn nothing_to_disclose(&self, disclosures: Option<Seq>) -> Result<Option<Failure>, Refusal> {
        let Some(with) = disclosures else { return Ok(None) };
        let erased = self.read(|view| view.erasure(with))?;
        Ok(erased.map(|erasure| Failure {
            class: FailureClass::Other,
            code: Some(Code::DisclosureErased.as_str().to_owned()),
            message: format!(
                "the values of its redacted fields were erased by event {}",
                erasure.seq
            ),
            retryable: false,
        }))
    }

    fn record_about(
        &mut self,
        of: Redacted,
        body: impl FnOnce(Seq) -> EventBody,
    ) -> Result<RedactionReply, Refusal> {
        let (redacted, with) = match of {
            Redacted::Job(id) => {
                self.job_row(id)?;
                let row = self.payload_row(id)?;
                (row.payload, row.disclosures)
            }
            Redacted::Run(id) => {
                let run = self.run_row(id)?;
                let inputs = CanonicalText::of(&Value::Object(run.inputs));
                (Some(inputs), run.disclosures)
            }
        };
        let (Some(redacted), Some(with)) = (redacted, with) else {
            let detail = "it has no redacted fields";
            return Err(Rejection::new(Code::NothingRedacted, detail).into());
        };
        self.check_kept(Some(with))?;
        match of {
            Redacted::Job(id) => {
                let job = self.job_row(id)?;
                self.emit_job(&job, body(with))?;
            }
            Redacted::Run(id) => {
                let run = self.run_row(id)?;
                self.emit_run(&run, body(with))?;
            }
        }
        Ok(RedactionReply::Kept { redacted, with })
    }

    fn set_policy(
        &mut self,
        name: &PolicyName,
        reason: &str,
        rules: &[Rule],
    ) -> Result<RedactionReply, Refusal> {
        if [OPERATIONAL, FULL, "none"].contains(&name.as_str()) {
            let detail = format!("{name} is built in and cannot be changed");
            return Err(Rejection::field(Code::ReservedName, "/name", detail).into());
        }
        check_rules(rules)?;
        let was_there = self.read(|view| view.policy(name))?.is_some();
        self.record(EventBody::RedactionPolicySet(Box::new(RedactionPolicySet {
            name: name.clone(),
            reason: clip(reason),
            rules: rules.to_vec(),
        })))?;
        let now = self.read(|view| view.policy(name))?;
        Ok(RedactionReply::Policy { now, was_there })
    }

    fn delete_policy(&mut self, name: &PolicyName, reason: &str) -> Result<RedactionReply, Refusal> {
        if self.read(|view| view.policy(name))?.is_none() {
            return Err(Rejection::not_found("redaction policy").into());
        }
        self.record(EventBody::RedactionPolicyDeleted(RedactionPolicyDeleted {
            name: name.clone(),
            reason: clip(reason),
        }))?;
        Ok(RedactionReply::Policy {
            now: None,
            was_there: true,
        })
    }
}

fn check_rules(rules: &[Rule]) -> Result<(), Rejection> {
    let too_many = |pointer: String, most: usize| {
        let detail = format!("1 to {most} are needed here");
        Err(Rejection::field(Code::InvalidField, pointer, detail))
    };
    if rules.is_empty() || rules.len() > limits::POLICY_RULES_MAX {
        return too_many("/rules".to_owned(), limits::POLICY_RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let range = 1..=limits::RULE_ITEMS_MAX;
        if !range.contains(&rule.types.len()) {
            return too_many(format!("/rules/{index}/types"), limits::RULE_ITEMS_MAX);
        }
        if !range.contains(&rule.pointers.len()) {
            return too_many(format!("/rules/{index}/pointers"), limits::RULE_ITEMS_MAX);
        }
        for (place, glob) in rule.types.iter().enumerate() {
            let pointer = format!("/rules/{index}/types/{place}");
            let plain = glob.replace('*', "x");
            bounds::check_label(&pointer, &plain)?;
        }
        for (place, pointer) in rule.pointers.iter().enumerate() {
            let at = format!("/rules/{index}/pointers/{place}");
            bounds::check_text(&at, &pointer.to_string(), limits::POINTER_BYTES_MAX)?;
        }
    }
    Ok(())
}

/// Names that redaction uses come from nobody outside.
fn check_names(payload: &Payload, named: &BTreeSet<Pointer>) -> Result<(), Rejection> {
    let text = match payload {
        Payload::Json(text) => text.as_str(),
        Payload::Text(text) => text,
    };
    if let Some(name) = reserved_name(text) {
        let detail =
            format!("the name {name} stands for redacted fields; nobody else may use it in a payload");
        return Err(Rejection::field(Code::ReservedName, "/payload", detail));
    }
    if named.len() > limits::SENSITIVE_MAX {
        let detail = format!("at most {} sensitive fields", limits::SENSITIVE_MAX);
        return Err(Rejection::field(Code::TooLarge, "/sensitive", detail));
    }
    Ok(())
}

fn no_fields(by_policy: bool) -> Rejection {
    let who = if by_policy {
        "the policy of the tenant names"
    } else {
        "the job names"
    };
    let detail = format!(
        "{who} sensitive fields, and the payload is kept as text: a fraction, an integer beyond 2^53 or a key outside \
         [A-Za-z0-9_.:-] is in it, and nothing can be taken out of such a text"
    );
    Rejection::field(Code::SensitiveText, "/payload", detail)
}

/// The inputs of a run that anybody may see.
pub(super) fn plain_inputs(run: &Run) -> BTreeMap<String, Value> {
    let plain = run.inputs.iter().filter(|(name, _)| *name != DIGESTS);
    plain.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The payload of a step, which has the digests of variables among its environment.
pub(super) fn step_payload(task: &StepTask, env_sd: &[String]) -> Payload {
    let digests: Vec<Digest> = env_sd.iter().filter_map(|text| read_digest(text)).collect();
    let mut value = task.value();
    if let (Value::Object(members), false) = (&mut value, digests.is_empty()) {
        let env = members
            .entry("env".to_owned())
            .or_insert_with(|| Value::Object(BTreeMap::new()));
        if let Value::Object(env) = env {
            put_digests(env, digests);
        }
    }
    Payload::of(&value)
}
