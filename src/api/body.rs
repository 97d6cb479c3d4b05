//! Whether the body of a request was read to its end: what was not stands before the next request of its connection.
//!
//! A refusal may be given before the body has come. A small rest that lies here already is taken in, and the connection goes
//! on; else the answer says that it ends (`Connection: close`, RFC 9112 section 9.6), and the peer may stop sending.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::limits;

/// How often the connection is asked for more of a rest that has not come: only what lies here is waited for.
const ROUNDS_MAX: usize = 4;

/// Where the body of a request is.
#[derive(Debug)]
enum Place {
    /// Somebody may still read it.
    Held,
    /// Read to its end.
    Read,
    /// Given up before its end.
    Left(Incoming),
}

/// Shared by a body and whoever answers; held for a moment, to look or to put something in.
type Shared = Arc<Mutex<Place>>;

fn lock(place: &Shared) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of the body of one request.
#[derive(Debug)]
pub struct Rest {
    /// Written by the body when it ends or is dropped. None when the request had no body.
    place: Option<Shared>,
    /// The peer waits for a word before it sends anything; to ask for the rest would be that word.
    waits: bool,
}

/// Lets a body tell what became of it.
pub fn watch(request: Request<Incoming>) -> (Request<Body>, Rest) {
    let waits = request.headers().contains_key(header::EXPECT);
    if request.body().is_end_stream() {
        return (request.map(Body::new), Rest { place: None, waits });
    }
    let place = Arc::new(Mutex::new(Place::Held));
    let rest = Rest {
        place: Some(place.clone()),
        waits,
    };
    let watched = |body| {
        Body::new(Watched {
            body: Some(body),
            place,
        })
    };
    (request.map(watched), rest)
}

impl Rest {
    /// Whether the connection can go on with another request. Takes a small rest in that is here already; waits for nothing.
    pub async fn lets_go_on(self) -> bool {
        let Some(place) = self.place else {
            return true;
        };
        let place = std::mem::replace(&mut *lock(&place), Place::Held);
        match place {
            Place::Read => true,
            Place::Held => false,
            Place::Left(body) => !self.waits && take_in(body).await,
        }
    }
}

/// Whether the rest of a body lies here, and is small.
async fn take_in(mut body: Incoming) -> bool {
    let (mut bytes, mut rounds) = (0, 0);
    while !body.is_end_stream() {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            // The connection reads on between two looks at this request.
            () = tokio::task::yield_now() => {
                rounds += 1;
                if rounds > ROUNDS_MAX {
                    return false;
                }
                continue;
            }
        };
        match frame {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
        }
        if bytes > limits::CONNECTION_BUFFER_BYTES {
            return false;
        }
    }
    true
}

/// A body that leaves word of its end.
struct Watched {
    /// Always there until it is dropped.
    body: Option<Incoming>,
    place: Shared,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) {
            // Chunked bodies know of their end only when they are asked once more.
            self.body = None;
            *lock(&self.place) = Place::Read;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *lock(&self.place) = if body.is_end_stream() {
                Place::Read
            } else {
                Place::Left(body)
            };
        }
    }
}
