//! A courier while it runs, and how it is brought to its end.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a courier is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To bring events.
    Deliver,
    /// To end; what is on its way may still be taken for a moment.
    Stop,
    /// To end now: nobody wants to know any more what becomes of it.
    CutOff,
}

/// A courier at work.
#[derive(Debug)]
pub struct Running {
    pub told: watch::Sender<Told>,
    pub task: JoinHandle<()>,
}

impl Running {
    /// Stops it, and waits for its end; whoever waits may be told to be quicker himself.
    pub async fn stop(mut self, waiting: &mut watch::Receiver<Told>) {
        self.told.send_replace(Told::Stop);
        tokio::select! {
            _ = &mut self.task => return,
            () = cut_off(waiting) => {}
        }
        self.cut_off().await;
    }

    /// Cuts it off, and waits for its end.
    pub async fn cut_off(self) {
        self.told.send_replace(Told::CutOff);
        let _ = self.task.await;
    }
}

/// Waits until a courier is to end, or nobody is left who could tell it.
pub async fn ending(told: &mut watch::Receiver<Told>) {
    let _ = told.wait_for(|told| *told != Told::Deliver).await;
}

/// Waits until a courier is to be cut off.
pub async fn cut_off(told: &mut watch::Receiver<Told>) {
    if told.wait_for(|told| *told == Told::CutOff).await.is_err() {
        std::future::pending::<()>().await;
    }
}
