use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::closing::Tasks;
use crate::course::{Course, Gate, Sending};
use crate::encoder::Shared;
use crate::endpoints::Endpoints;
use crate::errors::Error;
use crate::inference::{ModelInferRequest, ModelInferResponse};
use crate::requests::RequestRows;

/// The requests of a course and their answers.
pub(crate) trait Work: Gate {
    /// A request for rows that may take this long.
    fn request(&self, rows: &RequestRows, left: Duration) -> ModelInferRequest;
    /// Takes or rejects the answer to a request.
    fn collect(&mut self, rows: &RequestRows, address: &str, response: &ModelInferResponse) -> Result<(), Error>;
}

type Outcome = Result<ModelInferResponse, Error>;

/// Sends the requests of one course within the limit of its gate, until every sentence is embedded. At the first
/// failure, and when the future is dropped, it cancels the requests in flight, as [`Tasks`] does.
pub(crate) async fn dispatch<W: Work, P: Iterator<Item = RequestRows>>(
    course: &mut Course<W, P>,
    shared: &Shared,
) -> Result<(), Error> {
    let mut tasks: Tasks<(Sending, Outcome)> = Tasks::new(shared.closed.clone());
    let mut aborts: HashMap<u64, AbortHandle> = HashMap::new();
    while course.finished < course.total {
        if let Some(sending) = course.next(Instant::now())? {
            let left = sending.until.saturating_duration_since(sending.sent);
            let message = course.gate.request(&sending.rows, left);
            let connection = shared.connections[sending.endpoint].clone();
            let ending = Ending { endpoints: Arc::clone(&course.servers.endpoints), sending: sending.clone() };
            let number = sending.number;
            let abort = tasks.spawn(async move {
                let _ending = ending;
                let outcome = connection.infer(message, sending.until).await;
                (sending, outcome)
            });
            aborts.insert(number, abort);
            continue;
        }
        let opened = course.gate.opened();
        let wait = course.wait(Instant::now());
        tokio::select! {
            biased;
            done = tasks.next(), if !tasks.is_empty() => if let Some((sending, outcome)) = done {
                aborts.remove(&sending.number);
                if let Some(other) = settle(course, &sending, outcome)?.and_then(|other| aborts.remove(&other)) {
                    other.abort();
                }
            },
            () = async { if let Some(opened) = &opened { opened.notified().await } }, if opened.is_some() => {}
            () = sleep(wait) => {}
        }
    }
    Ok(())
}

/// The result is a request to cancel.
fn settle<W: Work, P: Iterator<Item = RequestRows>>(
    course: &mut Course<W, P>,
    sending: &Sending,
    outcome: Outcome,
) -> Result<Option<u64>, Error> {
    if !course.awaits(sending) {
        return Ok(None);
    }
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => {
            let failure = failure.of_rows(&sending.rows.indices);
            return course.failed(sending, failure, Instant::now()).map(|()| None);
        }
    };
    let address = course.servers.endpoints.address(sending.endpoint).to_owned();
    course.gate.collect(&sending.rows, &address, &response)?;
    Ok(course.answered(sending, Instant::now()))
}

/// Records the end of a request, even if its task is cancelled.
struct Ending {
    endpoints: Arc<Endpoints>,
    sending: Sending,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.endpoints.end(self.sending.endpoint, self.sending.number);
    }
}
