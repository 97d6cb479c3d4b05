//! The integration tests, one binary.

mod journal;
mod support;
//! The one integration binary: each module below proves promises of one part of the house.

mod ledger;
