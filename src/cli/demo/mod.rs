//! Placeholder.
use clap::Args;
/// x
#[derive(Debug, Args)]
pub struct Arguments {}
/// x
/// # Errors
/// x
pub fn run(_: &Arguments) -> anyhow::Result<super::exit::Exit> {
    Ok(super::exit::Exit::Good)
}
