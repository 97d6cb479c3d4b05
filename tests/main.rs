//! The one integration binary.

mod output;
mod output_faults;
