//! The log lines of one run as a follower reads them.

use std::sync::Arc;

use tokio::sync::watch;

use super::events::StreamError;
use crate::limits;
use crate::output::{Line, LineFilter, Output, OutputError, RunScope};

/// A reader's place in the lines of a run.
#[derive(Debug)]
pub struct Lines {
    output: Arc<Output>,
    scope: RunScope,
    filter: LineFilter,
    /// The last position read.
    pos: u64,
    highest: watch::Receiver<u64>,
}

/// Some lines, in order, and positions before, between or behind them that no file holds any more: (first, last).
#[derive(Debug, Clone, Default)]
pub struct LineBatch {
    /// The lines.
    pub lines: Vec<Line>,
    /// Lost positions.
    pub gaps: Vec<(u64, u64)>,
    /// More can be read at once.
    pub is_more: bool,
}

impl Lines {
    /// Follows from after `pos`; none is from now on. Blocks on the disk.
    ///
    /// # Errors
    /// [`StreamError::BeyondLines`]; what the disk said.
    pub fn open(
        output: &Arc<Output>,
        scope: RunScope,
        filter: LineFilter,
        pos: Option<u64>,
    ) -> Result<Self, StreamError> {
        let highest = output.follow(&scope)?;
        let last = *highest.borrow();
        let pos = pos.unwrap_or(last);
        // Positions never fall back, not even after a crash: nobody was given one that is not there.
        if pos > last {
            return Err(StreamError::BeyondLines { last });
        }
        Ok(Lines {
            output: output.clone(),
            scope,
            filter,
            pos,
            highest,
        })
    }

    /// The last position read.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// The last position that there is now.
    pub fn highest(&self) -> u64 {
        *self.highest.borrow()
    }

    /// Waits until there may be more to read. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        let pos = self.pos;
        if self.highest.wait_for(|highest| *highest > pos).await.is_err() {
            // The catalogue was dropped: nobody writes it any more.
            std::future::pending::<()>().await;
        }
    }

    /// The next lines that are there now. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What the disk said; none when the process is ending.
    pub async fn read(&mut self) -> Result<LineBatch, OutputError> {
        let (output, scope, filter, after) = (
            self.output.clone(),
            self.scope.clone(),
            self.filter.clone(),
            self.pos,
        );
        let read = tokio::task::spawn_blocking(move || {
            output.read_lines(&scope, after, limits::LOG_PAGE_LINES_MAX, &filter)
        });
        let Ok(page) = read.await else {
            return Ok(LineBatch::default());
        };
        let page = page?;
        let mut batch = LineBatch {
            is_more: page.lines.len() >= limits::LOG_PAGE_LINES_MAX || page.read_to < *self.highest.borrow(),
            ..LineBatch::default()
        };
        // A filter leaves positions out by itself: only the whole run shows what was lost.
        if self.filter == LineFilter::default() {
            let mut expected = after + 1;
            for line in &page.lines {
                if line.pos > expected {
                    batch.gaps.push((expected, line.pos - 1));
                }
                expected = line.pos + 1;
            }
            // What was read to has no line behind the last one: a crash took them.
            if expected <= page.read_to {
                batch.gaps.push((expected, page.read_to));
            }
        }
        batch.lines = page.lines;
        self.pos = page.read_to.max(after);
        Ok(batch)
    }
}
