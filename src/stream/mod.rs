//! Subscriptions: what was committed, in order, from any point of the past to the live edge and on.
//!
//! Promises: each event of the ledger after the cursor exactly once, in order, also for one who falls behind; a
//! subscriber holds no more than its small buffer. It must never make the writer wait, and knows nothing of HTTP: the
//! form in which events are sent is given by whoever sends them, and made once for all subscribers.
//!
//! Reading order: `cursor`, `filter`, `window`, `hub`, `channels`, `events`, `rooms`, `lines`.

mod channels;
mod cursor;
mod events;
mod filter;
mod hub;
mod lines;
mod rooms;
mod window;

pub use cursor::{Cursor, CursorError};
pub use events::{Chunk, Delivered, Form, StreamError, Subscription};
pub use filter::{EventHead, Filter, SeveralWatched, Watched};
pub use hub::{Data, Encode, EncodeCloudEvent, EncodeFrames, EncodePart, Encoder, Forms, Hub, Published};
pub use lines::{LineBatch, LineItem, Lines};
pub use rooms::{Piece, RoomChunk, RoomEvent, RoomGap, RoomKey, Rooms};
