//! A change asked of one thing: by whom, of which, and why.

use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, Request};

use super::auth::Caller;
use super::error::ApiError;
use super::jobs::{Reason, reason_of};
use super::request::{Id, OptionalJson};
use crate::domain::{JobId, OrderId, RunId};

/// What can be named in a path.
pub trait Thing: FromStr + Send {
    /// For people.
    const NAME: &str;
}

impl Thing for JobId {
    const NAME: &str = "job";
}

impl Thing for RunId {
    const NAME: &str = "run";
}

impl Thing for OrderId {
    const NAME: &str = "work order";
}

/// A request to change one thing, with a reason in its body or header.
#[derive(Debug)]
pub struct Change<T> {
    pub caller: Caller,
    pub id: T,
    pub reason: String,
}

impl<S: Send + Sync, T: Thing> FromRequest<S> for Change<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, state).await?;
        // What is wrong with the body is told before whether the thing is there.
        let id = Id::<T>::from_request_parts(&mut parts, state).await.ok();
        let headers = parts.headers.clone();
        let request = Request::from_parts(parts, body);
        let OptionalJson(body) = OptionalJson::<Reason>::from_request(request, state).await?;
        let Id(id) = id.ok_or_else(|| ApiError::not_found(T::NAME))?;
        Ok(Change {
            caller,
            id,
            reason: reason_of(body.reason, &headers),
        })
    }
}
