//! The interface over a real socket, against a whole server in this process.

mod cloud_events;
mod connections;
mod errors;
mod event_ranges;
mod gates;
mod jobs;
mod large_runs;
mod ledger;
mod letters;
mod lifecycle;
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
mod webhook_delivery;
mod webhooks;
mod websocket;
mod websocket_frames;
mod worker_output;
mod workers;
