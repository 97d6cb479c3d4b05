//! What the rounds came to, as tables.

use super::stats::{interval_of_median, median, range};

/// The system that the others are compared with.
pub const MEASURED: &str = "fastness";

/// One system under one workload in one round. NaN is what was not measured.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Units a second: jobs, or lifecycles without their enqueueing.
    pub rate: f64,
    /// Lifecycles a second, enqueueing included.
    pub whole_rate: f64,
    /// Of one request, or from enqueue to start.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Processor time of the server for each unit.
    pub server_us: f64,
    /// Processor time of the load generator for each unit.
    pub generator_us: f64,
    /// Cores that everything else on the machine used meanwhile.
    pub other_cores: f64,
    /// Written to storage for each unit, from before its enqueueing.
    pub written_bytes: f64,
}

impl Sample {
    /// Nothing measured yet.
    pub const NOTHING: Sample = Sample {
        rate: f64::NAN,
        whole_rate: f64::NAN,
        p50_ms: f64::NAN,
        p99_ms: f64::NAN,
        server_us: f64::NAN,
        generator_us: f64::NAN,
        other_cores: f64::NAN,
        written_bytes: f64::NAN,
    };
}

/// One workload and all its rounds.
pub struct Page {
    title: String,
    /// Compared by latency where there is no rate worth the name.
    by_latency: bool,
    systems: Vec<(&'static str, Vec<Sample>)>,
}

impl Page {
    /// A workload that is compared by its rate.
    pub fn by_rate(title: &str) -> Self {
        Page {
            title: title.to_owned(),
            by_latency: false,
            systems: Vec::new(),
        }
    }

    /// A workload that is compared by its median latency.
    pub fn by_latency(title: &str) -> Self {
        Page {
            by_latency: true,
            ..Page::by_rate(title)
        }
    }

    /// One more round of a system.
    pub fn add(&mut self, system: &'static str, sample: Sample) {
        match self.systems.iter_mut().find(|(name, _)| *name == system) {
            Some((_, samples)) => samples.push(sample),
            None => self.systems.push((system, vec![sample])),
        }
    }

    /// The tables, in Markdown.
    pub fn print(&mut self) {
        // Rounds begin with another system each time; the tables do not.
        let place = |name| {
            ["fastness", "http-ceiling", "shape-ceiling", "disk-ceiling"]
                .iter()
                .position(|known| *known == name)
        };
        self.systems.sort_by_key(|(name, _)| place(*name));
        println!("\n### {}\n", self.title);
        println!(
            "| system | per s: median (min – max) | with enqueue | p50 ms | p99 ms | server µs | generator µs | other cores | written B |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for (name, samples) in &self.systems {
            let middle = |field: fn(&Sample) -> f64| median(&samples.iter().map(field).collect::<Vec<_>>());
            let rates: Vec<f64> = samples.iter().map(|sample| sample.rate).collect();
            let (least, most) = range(&rates);
            println!(
                "| {name} | {} ({} – {}) | {} | {} | {} | {} | {} | {} | {} |",
                figure(median(&rates), 0),
                figure(least, 0),
                figure(most, 0),
                figure(middle(|sample| sample.whole_rate), 0),
                figure(middle(|sample| sample.p50_ms), 2),
                figure(middle(|sample| sample.p99_ms), 2),
                figure(middle(|sample| sample.server_us), 1),
                figure(middle(|sample| sample.generator_us), 1),
                figure(middle(|sample| sample.other_cores), 2),
                figure(middle(|sample| sample.written_bytes), 0),
            );
        }
        self.print_ratios();
    }

    fn print_ratios(&self) {
        let Some((_, ours)) = self.systems.iter().find(|(name, _)| *name == MEASURED) else {
            return;
        };
        let what = if self.by_latency {
            "p50, lower is better"
        } else {
            "rate, higher is better"
        };
        println!("\n| {MEASURED} against ({what}) | median ratio | 95% interval | min – max |");
        println!("| --- | --- | --- | --- |");
        for (name, theirs) in self.systems.iter().filter(|(name, _)| *name != MEASURED) {
            let pick = |sample: &Sample| {
                if self.by_latency {
                    sample.p50_ms
                } else {
                    sample.rate
                }
            };
            let pairs = ours.iter().zip(theirs);
            let ratios: Vec<f64> = pairs.map(|(our, their)| pick(our) / pick(their)).collect();
            let interval = match interval_of_median(&ratios) {
                Some((low, high)) => format!("{low:.2} – {high:.2}"),
                None => "too few rounds".to_owned(),
            };
            let (least, most) = range(&ratios);
            println!(
                "| {name} | {:.2} | {interval} | {least:.2} – {most:.2} |",
                median(&ratios)
            );
        }
    }
}

/// Median and range of figures that stand alone.
pub fn line(what: &str, unit: &str, decimals: usize, figures: &[f64]) {
    let (least, most) = range(figures);
    println!(
        "{what}: {} {unit} ({} – {}; {} rounds)",
        figure(median(figures), decimals),
        figure(least, decimals),
        figure(most, decimals),
        figures.len()
    );
}

/// A number with its thousands apart, or a dash.
fn figure(number: f64, decimals: usize) -> String {
    if !number.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{number:.decimals$}");
    let (whole, part) = match text.split_once('.') {
        Some((whole, part)) => (whole, format!(".{part}")),
        None => (text.as_str(), String::new()),
    };
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &part
}
