//! The real program on its command line: what scripts and service managers rely on.

mod full_disk;
mod packs;
mod redaction;
mod secrets;
mod serving;
mod steps;
mod verbs;
mod webhooks;
