//! Medians, quantiles, and what can be said of a median from few rounds without assuming any distribution.

/// The middle of some figures; the mean of the two middle ones where their number is even. NaN when there are none.
pub fn median(figures: &[f64]) -> f64 {
    let sorted = sorted(figures);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Smallest and largest.
pub fn range(figures: &[f64]) -> (f64, f64) {
    let sorted = sorted(figures);
    (
        sorted.first().copied().unwrap_or(f64::NAN),
        sorted.last().copied().unwrap_or(f64::NAN),
    )
}

/// The quantile `part` of latencies, by nearest rank. Sorts them.
pub fn quantile_ns(latencies: &mut [u64], part: f64) -> f64 {
    if latencies.is_empty() {
        return f64::NAN;
    }
    latencies.sort_unstable();
    let rank = (part * latencies.len() as f64).ceil() as usize;
    latencies[rank.clamp(1, latencies.len()) - 1] as f64
}

/// The interval of order statistics that covers the true median with at least 95%; none below six rounds.
///
/// The number of figures under the true median is binomial with one half, whatever they are distributed like.
pub fn interval_of_median(figures: &[f64]) -> Option<(f64, f64)> {
    let count = figures.len();
    let mut missed = 0.0;
    let mut term = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut cut = 0;
    for below in 0..count / 2 {
        missed += 2.0 * term;
        if missed > 0.05 {
            break;
        }
        cut = below + 1;
        term *= (count - below) as f64 / (below + 1) as f64;
    }
    let sorted = sorted(figures);
    (cut > 0).then(|| (sorted[cut - 1], sorted[count - cut]))
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = figures
        .iter()
        .copied()
        .filter(|figure| figure.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}
