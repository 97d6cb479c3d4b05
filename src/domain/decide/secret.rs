//! Decisions about secrets. Their values are kept elsewhere and never come here.

use super::Draft;
use super::bounds::clip;
use crate::domain::command::Reply;
use crate::domain::event::EventBody;
use crate::domain::pack::PackSpec;
use crate::domain::payload::{SecretDeleted, SecretSet};
use crate::domain::rejection::{Code, Refusal, Rejection};
use crate::domain::{SecretName, SecretVersion};

impl Draft<'_> {
    pub(super) fn set_secret(&mut self, name: &SecretName, version: SecretVersion) -> Result<Reply, Refusal> {
        let before = self.read(|view| view.secret(name))?.map(Box::new);
        self.record(EventBody::SecretSet(SecretSet {
            name: name.clone(),
            version,
        }))?;
        let now = self.read(|view| view.secret(name))?.map(Box::new);
        Ok(Reply::Secret { now, before })
    }

    pub(super) fn delete_secret(&mut self, name: &SecretName, reason: &str) -> Result<Reply, Refusal> {
        let before = self.read(|view| view.secret(name))?;
        let before = before.ok_or_else(|| Rejection::not_found("secret"))?;
        self.record(EventBody::SecretDeleted(SecretDeleted {
            name: name.clone(),
            reason: clip(reason),
        }))?;
        Ok(Reply::Secret {
            now: None,
            before: Some(Box::new(before)),
        })
    }

    /// A run begins only when every secret that its pack names is there.
    pub(super) fn check_secrets(&self, spec: &PackSpec) -> Result<(), Refusal> {
        let of_steps = spec.steps.iter().flat_map(|step| &step.secrets);
        for name in spec.secrets.iter().chain(of_steps) {
            if self.read(|view| view.secret(name))?.is_none() {
                let detail = format!("the pack needs the secret {name}, which is not set");
                return Err(Rejection::new(Code::UnknownSecret, detail).into());
            }
        }
        Ok(())
    }
}
