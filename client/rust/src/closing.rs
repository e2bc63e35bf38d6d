use std::mem;
use std::panic;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// The time in which requests may end by themselves when an encoder closes. A cancellation at an answer can crash
/// Triton 24.10 (issue 7368).
pub(crate) const GRACE: Duration = Duration::from_millis(100);

/// Whether the encoder is closed. It has no sender once the last clone is dropped.
pub(crate) type Closed = watch::Receiver<bool>;

/// Ends `GRACE` after the encoder was closed, or its last clone was dropped.
pub(crate) async fn long_closed(mut closed: Closed) {
    let _ = closed.wait_for(|closed| *closed).await; // an error: it was dropped
    sleep(GRACE).await;
}

/// The tasks of a call, which send its requests. Dropping them cancels the requests, on the server too. If the encoder
/// is closed, they have `GRACE` before.
pub(crate) struct Tasks<T: Send + 'static> {
    running: JoinSet<T>,
    closed: Closed,
}

impl<T: Send + 'static> Tasks<T> {
    pub(crate) fn new(closed: Closed) -> Self {
        Self { running: JoinSet::new(), closed }
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = T> + Send + 'static) -> AbortHandle {
        self.running.spawn(task)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Waits for the end of a task. None if it was cancelled, or no task is left.
    pub(crate) async fn next(&mut self) -> Option<T> {
        match self.running.join_next().await? {
            Ok(outcome) => Some(outcome),
            Err(ended) => {
                if let Ok(panicked) = ended.try_into_panic() {
                    panic::resume_unwind(panicked);
                }
                None
            }
        }
    }
}

impl<T: Send + 'static> Drop for Tasks<T> {
    fn drop(&mut self) {
        let mut running = mem::take(&mut self.running);
        if *self.closed.borrow()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let _ = timeout(GRACE, async { while running.join_next().await.is_some() {} }).await;
            });
        }
    }
}
