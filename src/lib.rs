//! Fastness: a job orchestrator for hosts behind an air gap.
//!
//! One crate, strict floors: a module may import only what lies below it. The table is enforced by
//! `tests/architecture.rs`; `docs/architecture.md` is the map.
//!
//! Reading order, from the ground up: `limits`, `clock`, `disk` · `domain` · `journal`, `store`, `output`, `secrets`, `disclosures`, `trust` ·
//! `ledger` · `engine` · `stream`, `bundle`, `runner`, `egress` · `webhooks` · `api`, `console` · `config`, `app` · `cli`.

pub mod limits;

pub mod clock;
pub mod disk;

pub mod domain;

pub mod disclosures;
pub mod journal;
pub mod output;
pub mod secrets;
pub mod store;
pub mod trust;

pub mod ledger;

pub mod engine;

pub mod bundle;
pub mod egress;
pub mod runner;
pub mod stream;

pub mod webhooks;

pub mod api;
pub mod console;

pub mod app;
pub mod config;

pub mod cli;
