//! The real program on its command line: what scripts and service managers rely on.

mod chains;
mod full_disk;
mod orders;
mod packs;
mod redaction;
mod replays;
mod secrets;
mod serving;
mod steps;
mod transfers;
mod trust;
mod verbs;
mod webhooks;
