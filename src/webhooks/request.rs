//! One event on its way: the request, its signatures, and what the answer means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};

use super::address::Address;
use super::key::SigningKey;
use crate::domain::Timestamp;
use crate::egress::{Body, Channel, EgressError, Mode, Outlet};
use crate::limits;

/// Says what the status of an answer means.
pub type Judge = fn(status: u16) -> Verdict;

/// What the status of an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The event was taken.
    Taken,
    /// There is no receiver any more.
    Gone,
    /// It was not taken.
    Failed,
    /// It was not taken now; the answer may say when it will be.
    Busy,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same for every attempt.
    pub id: String,
    /// Structured CloudEvents.
    pub body: Bytes,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The event was taken.
    Taken {
        /// The status.
        status: u16,
    },
    /// There is no receiver any more.
    Gone {
        /// The status.
        status: u16,
    },
    /// It was not taken, or nobody can say.
    Failed {
        /// The status, if there was an answer.
        status: Option<u16>,
        /// For people.
        cause: String,
        /// How long the receiver asks to be left alone.
        retry_after_ms: Option<u64>,
    },
    /// Nothing may leave.
    Sealed,
}

/// The way to one receiver: a connection that is kept while it can be.
#[derive(Debug)]
pub struct Line {
    outlet: Arc<Outlet>,
    address: Address,
    answer_ms: u64,
    judge: Judge,
    channel: Option<Channel>,
}

impl Line {
    /// Connects to nothing yet.
    pub fn new(outlet: Arc<Outlet>, address: Address, answer_ms: u64, judge: Judge) -> Self {
        Line {
            outlet,
            address,
            answer_ms,
            judge,
            channel: None,
        }
    }

    /// Ends the connection that is kept for the next message.
    pub fn hang_up(&mut self) {
        self.channel = None;
    }

    /// Sends a message, signed by each of these keys at the time it is sent. Dropping the future cuts it off.
    pub async fn send(
        &mut self,
        message: &Message,
        keys: &[&SigningKey],
        now: &(dyn Fn() -> Timestamp + Sync),
    ) -> Outcome {
        let outlet = self.outlet.clone();
        if outlet.mode() == Mode::Sealed {
            return Outcome::Sealed;
        }
        let sent = tokio::select! {
            sent = self.attempt(message, keys, now) => sent,
            // What is on its way is cut off with its connection.
            () = outlet.wait_for(Mode::Sealed) => Err(Failure::Egress(EgressError::Sealed)),
        };
        match sent {
            Ok((status, retry_after_ms)) => {
                let failed = |retry_after_ms| Outcome::Failed {
                    status: Some(status),
                    cause: format!("answered {status}"),
                    retry_after_ms,
                };
                match (self.judge)(status) {
                    Verdict::Taken => Outcome::Taken { status },
                    Verdict::Gone => Outcome::Gone { status },
                    Verdict::Failed => failed(None),
                    Verdict::Busy => failed(retry_after_ms),
                }
            }
            Err(Failure::Egress(EgressError::Sealed)) => {
                self.channel = None;
                Outcome::Sealed
            }
            Err(failure) => Outcome::Failed {
                status: None,
                cause: failure.to_string(),
                retry_after_ms: None,
            },
        }
    }

    /// The status of the answer, which must come in time, and how long it asks to be left alone.
    async fn attempt(
        &mut self,
        message: &Message,
        keys: &[&SigningKey],
        now: &(dyn Fn() -> Timestamp + Sync),
    ) -> Result<(u16, Option<u64>), Failure> {
        let limit = Duration::from_millis(self.answer_ms);
        let answered = tokio::time::timeout(limit, self.ask(message, keys, now)).await;
        let (answer, channel) = answered.map_err(|_| Failure::TimedOut)??;
        let (head, body) = answer.into_parts();
        let told = (head.status.as_u16(), retry_after_ms(&head.headers, now()));
        // The status stands, however the rest of the answer ends: waiting for it only keeps the connection.
        let rest = Duration::from_millis(limits::WEBHOOK_BODY_MS_MAX.min(self.answer_ms));
        if matches!(tokio::time::timeout(rest, body.collect()).await, Ok(Ok(_))) {
            self.channel = Some(channel);
        }
        Ok(told)
    }

    async fn ask(
        &mut self,
        message: &Message,
        keys: &[&SigningKey],
        now: &(dyn Fn() -> Timestamp + Sync),
    ) -> Result<(Response<Incoming>, Channel), Failure> {
        if let Some(mut channel) = self.channel.take().filter(Channel::is_open) {
            match channel.send(self.request(message, keys, now())?).await {
                Ok(answer) => return Ok((answer, channel)),
                // The receiver may have ended a connection that was idle; a new one tells whether it is there.
                Err(EgressError::Broken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut channel = self.outlet.open(self.address.destination()).await?;
        let answer = channel.send(self.request(message, keys, now())?).await?;
        Ok((answer, channel))
    }

    fn request(
        &self,
        message: &Message,
        keys: &[&SigningKey],
        at: Timestamp,
    ) -> Result<Request<Body>, Failure> {
        let seconds = at.as_ms().div_euclid(1_000);
        let signatures: Vec<String> = keys
            .iter()
            .map(|key| key.sign(&message.id, seconds, &message.body))
            .collect();
        let body = Full::new(message.body.clone()).map_err(|never| match never {});
        let mut request = Request::post(self.address.path())
            .body(body.boxed_unsync())
            .map_err(|_| Failure::Unfit)?;
        let texts = [
            ("webhook-id", message.id.as_str()),
            ("webhook-timestamp", &seconds.to_string()),
            ("webhook-signature", &signatures.join(" ")),
            (HOST.as_str(), &self.address.destination().to_string()),
            (
                USER_AGENT.as_str(),
                concat!("fastness/", env!("CARGO_PKG_VERSION")),
            ),
            (CONTENT_TYPE.as_str(), "application/cloudevents+json"),
        ];
        for (name, text) in texts {
            let name = hyper::header::HeaderName::try_from(name).map_err(|_| Failure::Unfit)?;
            let value = HeaderValue::from_str(text).map_err(|_| Failure::Unfit)?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("no answer in time")]
    TimedOut,
    #[error("the request cannot be written")]
    Unfit,
}

/// How long an answer asks for: seconds, or a date (RFC 9110, 10.2.3). What is neither says nothing.
fn retry_after_ms(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds: u64 = text.parse().unwrap_or(u64::MAX);
        return Some(seconds.saturating_mul(1_000));
    }
    let date = Timestamp::from_http_date(text).ok()?;
    Some(date.since_ms(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_seconds_or_as_a_date_and_else_not_at_all() {
        let now = Timestamp::from_ms(784_111_700_000);
        for (text, expected) in [
            ("0", Some(0)),
            ("120", Some(120_000)),
            (" 7 ", Some(7_000)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(77_000)),
            ("Tue, 06 Nov 1984 08:49:37 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("1994-11-06T08:49:37Z", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after_ms(&headers, now), expected, "{text:?}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new(), now), None);
    }
}
