use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use tokio::sync::Notify;

use crate::course::{Course, Gate};
use crate::deadline::Deadline;
use crate::dispatch::{Work, dispatch};
use crate::errors::Error;
use crate::inference::{ModelInferRequest, ModelInferResponse};
use crate::joiner::{Joiner, Place, Waiter};
use crate::member::Member;
use crate::protocol::{read_embeddings, text_request};
use crate::requests::RequestRows;

/// A request that embeds the rows of several members. It is the gate of its own course, which has one attempt.
struct JoinedRequest {
    joiner: Arc<Joiner>,
    name: u64,
    deadline: Arc<Deadline>,
    sent: Vec<(u64, Arc<Member>)>, // whose rows the attempt has
    is_retry: bool,
}

/// Sends the request until it has an answer or a final error, or no member is left.
pub(crate) async fn run(place: Place) {
    let (joiner, name) = (Arc::clone(&place.joiner), place.name);
    let now = Instant::now();
    let without_member = joiner.change(|state| {
        state.gather(name, now);
        state.requests.get(&name).map(|standing| Arc::clone(&standing.without_member))
    });
    let deadline = Arc::new(Deadline::new(None, Duration::ZERO, now));
    let mut request = JoinedRequest {
        joiner: Arc::clone(&joiner),
        name,
        deadline: Arc::clone(&deadline),
        sent: Vec::new(),
        is_retry: false,
    };
    let rows = request.gather();
    let (Some(without_member), false) = (without_member, rows.indices.is_empty()) else { return };
    let shared = &joiner.shared;
    let mut course = Course::new(rows.indices.len(), request, shared.servers.clone(), deadline, Some(rows).into_iter());
    let outcome = tokio::select! {
        biased;
        () = without_member.notified() => return,
        outcome = dispatch(&mut course, shared) => outcome,
    };
    if let Err(failure) = outcome {
        course.gate.fail(&failure);
    }
}

impl JoinedRequest {
    /// Collects the rows of the present members, and their longest remaining time.
    fn gather(&mut self) -> RequestRows {
        self.sent = self.joiner.state().present(self.name);
        let members = || self.sent.iter().map(|(_, member)| member);
        if let Some(longest) = members().map(|member| member.deadline.time()).max() {
            self.deadline.stall_at(longest);
        }
        RequestRows {
            indices: (0..members().map(|member| member.rows).sum()).collect(),
            texts: Bytes::from(members().map(|member| member.texts.as_slice()).collect::<Vec<_>>().concat()),
            characters: members().map(|member| member.characters).sum(),
        }
    }

    /// Gives each member a separate error. One member may be the cause of an invalid input or of a server's error. Then
    /// each waits for a separate request.
    fn fail(&self, failure: &Error) {
        let of_server = failure.status().is_some(); // a wrong answer has none
        let of_one = of_server && matches!(failure, Error::InvalidInput(_) | Error::ServerError(_));
        let late = !of_server && matches!(failure, Error::DeadlineExceeded(_));
        self.joiner.change(|state| {
            let present = state.present(self.name);
            if of_one && self.sent.len() > 1 {
                state.wait_again(present, true);
                return;
            }
            for (name, member) in present {
                let own =
                    if late { member.deadline.exceeded(&self.joiner.shared.settings.url) } else { failure.clone() };
                state.deliver(name, Err(own));
            }
        });
    }
}

impl Gate for JoinedRequest {
    fn enter(&mut self, in_flight: usize, _now: Instant) -> bool {
        self.joiner.change(|state| {
            let Some(standing) = state.requests.get_mut(&self.name) else { return };
            if !standing.inside && !standing.queued {
                standing.queued = true;
                state.queue.push_back(Waiter::Request(self.name));
            }
        });
        let mut state = self.joiner.state();
        let Some(standing) = state.requests.get_mut(&self.name) else { return false };
        if !standing.inside || in_flight > 0 {
            return false;
        }
        self.is_retry = standing.waits_after.take().is_some();
        !state.present(self.name).is_empty()
    }

    fn changed_rows(&mut self) -> Option<RequestRows> {
        self.is_retry.then(|| self.gather())
    }

    fn leave(&mut self) {
        self.joiner.change(|state| state.release(self.name));
    }

    fn waits(&mut self, failure: &Error) {
        if let Some(standing) = self.joiner.state().requests.get_mut(&self.name) {
            standing.waits_after = Some(failure.clone());
        }
    }

    fn opened(&self) -> Option<Arc<Notify>> {
        self.joiner.state().requests.get(&self.name).map(|standing| Arc::clone(&standing.granted))
    }

    fn answered(&mut self, characters: usize, now: Instant) {
        self.joiner.change(|state| state.window.answered(characters, now));
    }

    fn overloaded(&mut self) {
        self.joiner.change(|state| state.window.overloaded());
    }
}

impl Work for JoinedRequest {
    fn request(&self, rows: &RequestRows, left: Duration) -> ModelInferRequest {
        let fingerprint = self.sent.first().map_or("", |(_, first)| &first.shape.manifest.fingerprint);
        text_request(rows.texts.clone(), rows.indices.len(), fingerprint, self.joiner.shared.settings.priority, left)
    }

    fn collect(&mut self, rows: &RequestRows, address: &str, response: &ModelInferResponse) -> Result<(), Error> {
        let dimension = self.sent.first().map_or(0, |(_, first)| first.shape.manifest.dimension);
        let raw = read_embeddings(response, rows.indices.len(), dimension)
            .map_err(|failure| failure.of_wrong_answer(address))?;
        let mut begin = 0;
        for (name, member) in &self.sent {
            let result = member.vectors(&raw[begin..]).map_err(|failure| failure.of_wrong_answer(address));
            begin += 4 * member.rows * dimension;
            self.joiner.state().deliver(*name, result);
        }
        Ok(())
    }
}
