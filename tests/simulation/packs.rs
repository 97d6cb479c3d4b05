//! Random packs, as the YAML that a person would write.

use std::fmt::Write;

use fastness::domain::command::{Command, RegisterPack};
use fastness::domain::pack::{PackSpec, plan_hash};

use crate::support::random::Random;

/// Names that packs are registered under: few, so that versions come about.
pub const NAMES: [&str; 3] = ["inventory", "digests", "nightly"];

/// Registers what the YAML says.
pub fn register(source: &str) -> Command {
    let spec = PackSpec::parse(source.as_bytes()).unwrap_or_else(|errors| panic!("{errors:?}\n{source}"));
    Command::RegisterPack(Box::new(RegisterPack {
        plan_hash: plan_hash(&spec),
        source: source.to_owned(),
        spec,
    }))
}

/// A graph of 1 to 12 steps in any order, some marked `always`.
pub fn random(random: &mut Random) -> String {
    let name = NAMES[random.below(3) as usize];
    let steps = 1 + random.below(12);
    let mut source = format!(
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {{name: {name}}}\nspec:\n  \
         inputs: {{flavour: {{type: string, default: plain}}}}\n"
    );
    if random.once_in(3) {
        writeln!(source, "  maxParallel: {}", 1 + random.below(3)).unwrap();
    }
    if random.once_in(4) {
        writeln!(source, "  timeout: {}s", 1 + random.below(90)).unwrap();
    }
    source.push_str("  steps:\n");
    // A step needs only steps of lower rank, so there is no cycle; ranks are not in the order of the source.
    let mut ranks: Vec<u64> = (0..steps).collect();
    for index in (1..ranks.len()).rev() {
        ranks.swap(index, random.below(index as u64 + 1) as usize);
    }
    let often = 1 + random.below(4);
    for rank in &ranks {
        let needs: Vec<String> = (0..*rank)
            .filter(|_| random.once_in(1 + often))
            .map(|need| format!("s{need}"))
            .collect();
        write!(source, "    - {{id: s{rank}, run: [work]").unwrap();
        if !needs.is_empty() {
            write!(source, ", needs: [{}]", needs.join(", ")).unwrap();
        }
        if random.once_in(4) {
            source.push_str(", always: true");
        }
        let jitter = ["none", "full"][random.below(2) as usize];
        let max = random.below(3);
        writeln!(
            source,
            ", retries: {{max: {max}, initial: 1s, cap: 8s, jitter: {jitter}}}}}"
        )
        .unwrap();
    }
    source
}
