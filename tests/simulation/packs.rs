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

fn random_gate(random: &mut Random) -> Option<&'static str> {
    match random.below(30) {
        0 => Some("gate: approval"),
        1 => Some("gate: approval, approvers: 2"),
        2 | 3 => Some("gate: policy, expr: 'inputs.flavour == \"plain\"'"),
        _ => None,
    }
}

/// A graph of 1 to 12 steps in any order, some marked `always`, some mapped, conditional, or filled in.
pub fn random(random: &mut Random) -> String {
    let name = NAMES[random.below(3) as usize];
    let steps = 1 + random.below(12);
    let mut source = format!(
        "apiVersion: fastness/v1\nkind: Pack\nmetadata: {{name: {name}}}\nspec:\n  \
         inputs: {{flavour: {{type: string, default: plain}}, hosts: {{type: list, default: [a, b, c]}}}}\n"
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
        let gate = random_gate(random);
        write!(source, "    - {{id: s{rank}, {}", gate.unwrap_or("run: [work]")).unwrap();
        if !needs.is_empty() {
            write!(source, ", needs: [{}]", needs.join(", ")).unwrap();
        }
        if random.once_in(4) {
            source.push_str(", always: true");
        }
        if gate.is_some() {
            source.push_str("}\n");
            continue;
        }
        let look = |need: &String| format!("steps.{need}.status == \"completed\"");
        match (random.below(8), needs.first()) {
            (0, _) => source.push_str(", map: {over: inputs.hosts, as: host, maxParallel: 2}"),
            (1, _) => source.push_str(", map: {over: 'inputs.hosts.filter(h, h == \"b\")', as: host}"),
            (2, _) => source.push_str(", map: {over: 'inputs.hosts.filter(h, h == \"z\")', as: host}"),
            (3, Some(need)) => write!(source, ", when: '{}'", look(need)).unwrap(),
            (4, Some(need)) => write!(source, ", when: '!({})'", look(need)).unwrap(),
            (5, Some(need)) => write!(source, ", env: {{X: \"${{{{ steps.{need}.status }}}}\"}}").unwrap(),
            // What is not there has no value: the step fails without a job.
            (6, Some(need)) if random.once_in(3) => {
                write!(
                    source,
                    ", env: {{X: \"${{{{ steps.{need}.outputs.nothing }}}}\"}}"
                )
                .unwrap();
            }
            _ => {}
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
