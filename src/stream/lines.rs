//! The log lines of one run as a follower reads them.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::events::StreamError;
use crate::limits;
use crate::output::{Line, LineFilter, LinePage, Output, RunScope};

/// A reader's place in the lines of a run.
#[derive(Debug)]
pub struct Lines {
    output: Arc<Output>,
    scope: RunScope,
    filter: LineFilter,
    /// The last position read.
    pos: u64,
    highest: watch::Receiver<u64>,
    /// The first file met of which lines are missing.
    damaged: Option<PathBuf>,
}

/// What a follower meets next in a run's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineItem {
    /// A line.
    Line(Line),
    /// Positions that no line has: what a crash took had them, or they were skipped behind it. How many lines there were is
    /// not known; there may have been none.
    Lost {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
}

/// Some of a run's lines.
#[derive(Debug, Clone, Default)]
pub struct LineBatch {
    /// Lines and what is lost before, between and behind them, in the order of their positions.
    pub items: Vec<LineItem>,
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
            damaged: None,
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

    /// The first file met so far that is damaged or gone, so that lines are missing; once.
    pub fn take_damaged(&mut self) -> Option<PathBuf> {
        self.damaged.take()
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
    /// What the disk said; [`StreamError::CutShort`] when the read broke off, of itself or with the process.
    pub async fn read(&mut self) -> Result<LineBatch, StreamError> {
        self.read_at_most(limits::LOG_PAGE_LINES_MAX).await
    }

    /// As [`Lines::read`], but looks at no line behind the first `limit`.
    ///
    /// # Errors
    /// As [`Lines::read`].
    pub async fn read_at_most(&mut self, limit: usize) -> Result<LineBatch, StreamError> {
        let limit = limit.min(limits::LOG_PAGE_LINES_MAX);
        let (output, scope, filter, after) = (
            self.output.clone(),
            self.scope.clone(),
            self.filter.clone(),
            self.pos,
        );
        let read = tokio::task::spawn_blocking(move || output.read_lines(&scope, after, limit, &filter));
        // An empty batch would be asked for again, and break off again.
        let page = read.await.map_err(|_| StreamError::CutShort)??;
        let is_more = page.lines.len() >= limit || page.read_to < *self.highest.borrow();
        self.pos = page.read_to.max(after);
        if self.damaged.is_none() {
            self.damaged = page.damaged.first().cloned();
        }
        // A filter leaves positions out by itself: only the whole run shows what was lost.
        let items = match self.filter == LineFilter::default() {
            true => with_lost(page, after),
            false => page.lines.into_iter().map(LineItem::Line).collect(),
        };
        Ok(LineBatch { items, is_more })
    }
}

/// The lines of a page read from after `after`, and where positions have none.
fn with_lost(page: LinePage, after: u64) -> Vec<LineItem> {
    let mut items = Vec::with_capacity(page.lines.len() + 1);
    let mut expected = after + 1;
    let mut up_to = |next: u64, items: &mut Vec<LineItem>| {
        if expected < next {
            items.push(LineItem::Lost {
                from: expected,
                to: next - 1,
            });
        }
        expected = next + 1;
    };
    for line in page.lines {
        up_to(line.pos, &mut items);
        items.push(LineItem::Line(line));
    }
    // What was read to has no line behind the last one: where the numbering goes on after a crash.
    up_to(page.read_to + 1, &mut items);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobId, Timestamp};
    use crate::output::{LineKind, Stream};

    fn page(positions: &[u64], read_to: u64) -> LinePage {
        let line = |pos: &u64| Line {
            pos: *pos,
            at: Timestamp::from_ms(0),
            job: JobId::from_bytes([1; 16]),
            step: None,
            attempt: 1,
            stream: Stream::Stdout,
            kind: LineKind::Line,
            text: String::new(),
            raw: 0..0,
        };
        LinePage {
            lines: positions.iter().map(line).collect(),
            read_to,
            damaged: Vec::new(),
        }
    }

    fn told(positions: &[u64], (after, read_to): (u64, u64)) -> Vec<(u64, u64)> {
        let items = with_lost(page(positions, read_to), after).into_iter();
        let place = |item| match item {
            LineItem::Line(line) => (line.pos, line.pos),
            LineItem::Lost { from, to } => (from, to),
        };
        items.map(place).collect()
    }

    #[test]
    fn each_position_is_told_once_and_in_order() {
        assert_eq!(told(&[], (0, 0)), []);
        assert_eq!(told(&[], (7, 7)), []);
        assert_eq!(told(&[1, 2], (0, 2)), [(1, 1), (2, 2)]);
        assert_eq!(told(&[], (3, 9)), [(4, 9)]);
        assert_eq!(
            told(&[3, 6], (1, 8)),
            [(2, 2), (3, 3), (4, 5), (6, 6), (7, 8)],
            "before, between and behind"
        );
    }
}
