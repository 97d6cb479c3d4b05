//! Calls `cli`, which turns whatever happens into an exit code.

use std::process::ExitCode;

/// Every request makes many small objects on one thread and drops them on another, which the C library's allocator is slow
/// at: a quarter of the server's processor time was spent in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fastness::cli::main(std::env::args_os())
}
