//! A run while it goes on: a board that is redrawn on a terminal, a line for each change without one.
//!
//! It goes to standard error: it is told, it is not the data. Where the telling is the data it goes to standard output.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use super::run_view::{RunView, StepView};
use super::style::{Look, duration, paint, shown, state};
use crate::domain::Timestamp;
use crate::limits;

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Shows a run.
#[derive(Debug)]
pub struct Board {
    is_terminal: bool,
    is_data: bool,
    indent: &'static str,
    /// Lines on the terminal that the next drawing replaces.
    drawn: usize,
    frame: usize,
    /// Without a terminal: what was told of each step.
    told: BTreeMap<String, String>,
}

impl Board {
    /// A board whose lines begin with `indent`.
    pub fn new(indent: &'static str) -> Self {
        Board::with(indent, io::stderr().is_terminal(), false)
    }

    /// The same on standard output.
    pub fn on_stdout(indent: &'static str) -> Self {
        Board::with(indent, io::stdout().is_terminal(), true)
    }

    fn with(indent: &'static str, is_terminal: bool, is_data: bool) -> Self {
        Board {
            is_terminal,
            is_data,
            indent,
            drawn: 0,
            frame: 0,
            told: BTreeMap::new(),
        }
    }

    /// Whether it wants to be drawn again although nothing happened.
    pub fn is_moving(&self) -> bool {
        self.is_terminal
    }

    /// Shows how the run stands.
    pub fn show(&mut self, run: &RunView, now: Timestamp) {
        let text = if self.is_terminal {
            self.redraw(run, now)
        } else {
            self.changes(run, now)
        };
        // Nobody hears what cannot be said.
        let _ = if self.is_data {
            anstream::stdout().lock().write_all(text.as_bytes())
        } else {
            anstream::stderr().lock().write_all(text.as_bytes())
        };
    }

    fn redraw(&mut self, run: &RunView, now: Timestamp) -> String {
        self.frame += 1;
        let mut lines: Vec<String> = chosen(run).map(|step| self.step_line(step, now)).collect();
        let left_out = run.steps.len().saturating_sub(lines.len());
        if left_out > 0 {
            lines.push(format!(
                "{}{}",
                self.indent,
                paint(Look::Dim, format_args!("… and {left_out} more steps"))
            ));
        }
        lines.push(format!("{}{}", self.indent, self.bar(run, now)));
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        // A line longer than the terminal is cut, not wrapped: the drawing keeps its height.
        text.push_str("\x1b[?7l");
        for line in &lines {
            text.push_str(&format!("\r{line}\x1b[K\n"));
        }
        text.push_str("\x1b[?7h\x1b[J");
        self.drawn = lines.len();
        text
    }

    fn step_line(&self, step: &StepView, now: Timestamp) -> String {
        let (glyph, look) = state(&step.status);
        let is_running = step.status == "running" && self.is_terminal;
        let glyph = if is_running {
            SPINNER[self.frame % SPINNER.len()]
        } else {
            glyph
        };
        let took = step.took_ms(now).map_or(String::new(), duration);
        let remark = step.remark();
        format!(
            "{}{} {:28} {took:>8}  {}",
            self.indent,
            paint(look, glyph),
            shown(&step.id),
            paint(
                if step.error.is_some() {
                    Look::Red
                } else {
                    Look::Dim
                },
                shown(&remark.replace('\n', " "))
            ),
        )
    }

    fn bar(&self, run: &RunView, now: Timestamp) -> String {
        let total = run.steps.len();
        let done = run.steps.iter().filter(|step| is_over(step)).count();
        let width = 24;
        let full = (done * width).checked_div(total).unwrap_or(width);
        let (_, look) = state(&run.status);
        format!(
            "{}{} {done}/{total} {} {}",
            paint(look, "━".repeat(full)),
            paint(Look::Dim, "─".repeat(width - full)),
            paint(look, run.status.replace('_', " ")),
            paint(Look::Dim, duration(run.took_ms(now))),
        )
    }

    /// A line for each step that stands elsewhere than when it was last told.
    fn changes(&mut self, run: &RunView, now: Timestamp) -> String {
        let mut text = String::new();
        for step in &run.steps {
            let is_worth_it = is_over(step) || step.status == "running" || step.status == "failed";
            let stands = format!("{} {}", step.status, step.attempt);
            if is_worth_it && self.told.get(&step.id) != Some(&stands) {
                let (glyph, look) = state(&step.status);
                let took = match step.took_ms(now) {
                    Some(took_ms) if step.status != "running" => format!(" in {}", duration(took_ms)),
                    _ => String::new(),
                };
                let remark = step.remark();
                let remark = if remark.is_empty() {
                    remark
                } else {
                    format!(": {}", remark.replace('\n', " "))
                };
                let (glyph, id) = (paint(look, glyph), shown(&step.id));
                text.push_str(&format!(
                    "{}{glyph} {id} {}{took}{}\n",
                    self.indent,
                    step.status,
                    shown(&remark)
                ));
                self.told.insert(step.id.clone(), stands);
            }
        }
        text
    }
}

fn is_over(step: &StepView) -> bool {
    match step.status.as_str() {
        "completed" | "cancelled" | "skipped" => true,
        // One that failed and will be tried again has no end.
        "failed" => step.ended_at.is_some(),
        _ => false,
    }
}

/// The steps worth a line: all when they fit, else what runs or failed, then what ended last.
fn chosen(run: &RunView) -> impl Iterator<Item = &StepView> {
    let weight = |step: &StepView| match step.status.as_str() {
        "running" => 0,
        "failed" => 1,
        "completed" | "cancelled" | "skipped" => 2,
        _ => 3,
    };
    let mut order: Vec<usize> = (0..run.steps.len()).collect();
    if order.len() > limits::BOARD_STEPS_MAX {
        order.sort_by_key(|index| {
            let step = &run.steps[*index];
            (weight(step), std::cmp::Reverse(step.ended_at), *index)
        });
        order.truncate(limits::BOARD_STEPS_MAX);
        order.sort_unstable();
    }
    order.into_iter().map(|index| &run.steps[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(statuses: &[&str]) -> RunView {
        let steps: Vec<_> = statuses
            .iter()
            .enumerate()
            .map(|(index, status)| {
                serde_json::json!({"id": format!("s{index}"), "status": status, "attempt": 1,
                    "startedAt": "2026-01-31T12:00:00.000Z", "endedAt": null, "error": null, "exitCode": null})
            })
            .collect();
        serde_json::from_value(
            serde_json::json!({"id": "r", "status": "running", "createdAt": "2026-01-31T12:00:00.000Z",
            "endedAt": null, "pack": {"name": "p", "version": 1}, "steps": steps}),
        )
        .unwrap()
    }

    fn board(is_terminal: bool) -> Board {
        Board::with("", is_terminal, false)
    }

    #[test]
    fn without_a_terminal_each_change_is_told_once() {
        let (mut board, now) = (board(false), "2026-01-31T12:00:01.500Z".parse().unwrap());
        let first = board.changes(&run(&["running", "pending"]), now);
        assert!(first.contains("s0 running\n") && !first.contains("s1"), "{first}");
        assert_eq!(board.changes(&run(&["running", "scheduled"]), now), "");
        let then = board.changes(&run(&["completed", "running"]), now);
        assert!(
            then.contains("s0 completed in 1.5 s") && then.contains("s1 running"),
            "{then}"
        );
    }

    #[test]
    fn the_board_keeps_its_height_and_shows_what_runs() {
        let (mut board, now) = (board(true), "2026-01-31T12:00:01.500Z".parse().unwrap());
        let mut statuses = vec!["completed"; 40];
        statuses.push("running");
        let first = board.redraw(&run(&statuses), now);
        assert!(
            first.contains("s40") && first.contains("16") || first.contains("17 more steps"),
            "{first}"
        );
        assert_eq!(board.drawn, limits::BOARD_STEPS_MAX + 2);
        let again = board.redraw(&run(&statuses), now);
        assert!(again.starts_with(&format!("\x1b[{}A", limits::BOARD_STEPS_MAX + 2)));
    }
}
