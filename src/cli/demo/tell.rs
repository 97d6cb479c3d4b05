//! The telling: chapters, facts and claims, in calm lines on standard output; and whether every claim held.

use super::enclave::Enclave;
use crate::cli::exit::Exit;
use crate::cli::print;
use crate::cli::style::{Look, duration, paint, shown};
use crate::clock::{Clock, SystemClock};

/// Tells, and remembers.
#[derive(Debug)]
pub struct Tell {
    chapter: u32,
    claims: u32,
    broken: u32,
    clock: SystemClock,
}

impl Tell {
    /// Opens the story.
    pub fn begin() -> Self {
        let tell = Tell {
            chapter: 0,
            claims: 0,
            broken: 0,
            clock: SystemClock::default(),
        };
        tell.line("");
        tell.line(&format!(
            "  {}  two enclaves, one gap between them",
            paint(Look::Bold, "fastness demo")
        ));
        tell
    }

    /// A line as it is. Whoever stops reading misses the rest, and the checks go on.
    pub fn line(&self, text: &str) {
        let _ = print::line(text);
    }

    /// Opens a chapter.
    pub fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        self.line("");
        self.line(&format!(
            "  {}  {}",
            paint(Look::Cyan, self.chapter),
            paint(Look::Bold, title)
        ));
    }

    /// Something that is so.
    pub fn fact(&self, name: &str, value: &str) {
        self.line(&format!(
            "     {} {}",
            paint(Look::Dim, format_args!("{name:18}")),
            shown(value)
        ));
    }

    /// A command that anybody could give.
    pub fn command(&self, text: &str) {
        self.line(&format!("     {}", paint(Look::Dim, format_args!("$ {text}"))));
    }

    /// Something bad that was found, as it should be.
    pub fn bad(&self, text: &str) {
        self.line(&format!("     {} {}", paint(Look::Red, "✗"), shown(text)));
    }

    /// Something that must hold.
    pub fn claim(&mut self, holds: bool, text: &str) {
        self.claims += 1;
        if holds {
            self.line(&format!("     {} {text}", paint(Look::Green, "✓")));
        } else {
            self.broken += 1;
            self.line(&format!(
                "     {} {}",
                paint(Look::Red, "✗"),
                paint(Look::Red, format_args!("DOES NOT HOLD: {text}"))
            ));
        }
    }

    /// Closes the story: good only if every claim held.
    pub fn verdict(&self) -> Exit {
        let (claims, broken) = (self.claims, self.broken);
        let took = duration(self.clock.monotonic_ms());
        self.line("");
        if broken == 0 {
            let all = format!("all {claims} claims hold, after {took}");
            self.line(&format!("  {}", paint(Look::Green, all)));
            Exit::Good
        } else {
            self.line(&format!(
                "  {}",
                paint(Look::Red, format_args!("{broken} of {claims} claims do not hold"))
            ));
            Exit::Failed
        }
    }

    /// How to look around while the servers stay.
    pub fn stay(&self, plant: &Enclave, auditor: &Enclave) {
        self.line("");
        self.line(&format!(
            "  {}",
            paint(Look::Bold, "Both enclaves stay up. Look around in the console:")
        ));
        for enclave in [plant, auditor] {
            let token = enclave.token_file();
            self.fact(
                enclave.name,
                &format!("{}  sign in with the token in {}", enclave.url, token.display()),
            );
        }
        self.line("");
        self.line("  or from another shell:");
        self.command(&format!(
            "export FASTNESS_SERVER={} FASTNESS_TOKEN_FILE={}",
            plant.url,
            plant.token_file().display()
        ));
        self.command("fastness events");
        self.line("");
        self.line(&format!(
            "  {}",
            paint(Look::Dim, "Ctrl-C ends both and removes their folders.")
        ));
    }
}
