//! The interface over a real socket, against a whole server in this process.

mod cloud_events;
mod connections;
mod errors;
mod event_ranges;
mod foreign;
mod gates;
pub mod imports;
pub mod jobs;
mod known;
mod large_runs;
mod ledger;
mod letters;
mod lifecycle;
mod orders;
pub mod packs;
mod parameters;
mod pauses;
mod redaction;
mod runs;
mod scopes;
mod secrets;
mod sessions;
mod stream_readers;
mod streams;
mod transfers;
mod vouched;
mod webhook_delivery;
mod webhook_faults;
mod webhooks;
mod websocket;
mod websocket_frames;
mod withheld;
mod worker_output;
mod workers;

pub use scopes::path_of as scopes_path;
