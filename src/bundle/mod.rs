//! Audit bundles.
pub mod tar;
pub mod transport;
