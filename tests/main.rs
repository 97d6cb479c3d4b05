//! The one integration binary: each module below proves promises of one part of the house.

#![allow(
    clippy::unwrap_used,
    reason = "a test that finds nothing to unwrap has failed, and says so"
)]

mod api;
mod architecture;
mod bundle;
mod cli;
mod console_stamp;
mod crash;
mod engine;
mod engine_flush;
mod fuzz;
mod journal;
mod kill;
mod ledger;
mod licences;
mod network;
mod output;
mod output_crash;
mod output_faults;
mod pack_expressions;
mod pack_schema;
mod packs;
mod rot;
mod runner;
mod runner_ends;
mod runner_support;
mod simulation;
mod story;
mod support;
mod trust;
mod vectors;
mod workers;
