use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::deadline::{Deadline, LOOK_EVERY, MARGIN};
use crate::endpoints::Endpoints;
use crate::errors::Error;
use crate::pacing::{RetryBudget, retry_pause};
use crate::requests::RequestRows;

const LOOK_AGAIN: Duration = Duration::from_millis(100); // for a server that could get the request as well

/// The `number`-th try to embed some rows, at one server, or at two if the first one is silent.
struct Attempt {
    name: u64,
    rows: Arc<RequestRows>,
    number: u32,
    sendings: Vec<Sending>,
    awaited_since: Instant,
    due: Instant, // if it waits for a retry
}

/// An attempt's request to one server, with the deadline `until`.
#[derive(Clone)]
pub(crate) struct Sending {
    pub(crate) number: u64, // among all of the endpoints
    pub(crate) endpoint: usize,
    pub(crate) rows: Arc<RequestRows>,
    pub(crate) sent: Instant,
    pub(crate) until: Instant,
    attempt: u64,
}

/// Decides the limit of requests in flight.
pub(crate) trait Gate {
    /// Whether an attempt may leave while `in_flight` others of its course are in flight.
    fn enter(&mut self, in_flight: usize, now: Instant) -> bool;
    fn answered(&mut self, characters: usize, now: Instant);
    fn overloaded(&mut self);
    /// Records that an attempt of the course ended.
    fn leave(&mut self) {}
    /// Records that an attempt waits for a retry after this error.
    fn waits(&mut self, _failure: &Error) {}
    /// The rows of the leaving attempt, if they have changed since its last try.
    fn changed_rows(&mut self) -> Option<RequestRows> {
        None
    }
    /// Tells when a rejected course may try again; none if the end of its own requests is enough.
    fn opened(&self) -> Option<Arc<Notify>> {
        None
    }
}

/// The state that the courses of one encoder share.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) budget: Arc<RetryBudget>,
}

/// Determines the next request, the retries and the end of one call. It uses no network and no clock.
pub(crate) struct Course<G, P> {
    pub(crate) finished: usize,
    pub(crate) total: usize,
    pub(crate) gate: G,
    pub(crate) servers: Servers,
    deadline: Arc<Deadline>,
    plan: P, // of further requests
    prepared: Option<RequestRows>,
    waiting: Vec<Attempt>,       // for a retry, by due
    last_failure: Option<Error>, // of the waiting ones
    in_flight: Vec<Attempt>,     // in the order of sending
    names: u64,
}

impl<G: Gate, P: Iterator<Item = RequestRows>> Course<G, P> {
    pub(crate) fn new(total: usize, gate: G, servers: Servers, deadline: Arc<Deadline>, plan: P) -> Self {
        Self {
            finished: 0,
            total,
            gate,
            servers,
            deadline,
            plan,
            prepared: None,
            waiting: Vec::new(),
            last_failure: None,
            in_flight: Vec::new(),
            names: 0,
        }
    }

    /// The request to send now; none if the gate is closed or no rows are left. At the deadline, the error is the last
    /// one of the rows that wait for a retry, or that of the deadline.
    pub(crate) fn next(&mut self, now: Instant) -> Result<Option<Sending>, Error> {
        self.deadline.looked(now);
        if self.deadline.over(now) {
            return Err(match &self.last_failure {
                Some(failure) if !self.waiting.is_empty() => failure.clone(),
                _ => self.exceeded(),
            });
        }
        let retry = self.waiting.first().is_some_and(|first| first.due <= now);
        if (retry || self.prepare()) && self.gate.enter(self.in_flight.len(), now) {
            let mut leaving = if retry { self.waiting.remove(0) } else { self.first_attempt(now) };
            if let Some(rows) = self.gate.changed_rows() {
                self.total = self.finished + rows.indices.len();
                leaving.rows = Arc::new(rows);
            }
            let server = self.servers.endpoints.choose(now);
            let sending = self.send(&mut leaving, server, now);
            self.in_flight.push(leaving);
            return Ok(Some(sending));
        }
        Ok(self.hedge(now))
    }

    /// Makes the next rows of the plan ready. The result is whether any are.
    fn prepare(&mut self) -> bool {
        if self.prepared.is_none() {
            self.prepared = self.plan.next();
        }
        self.prepared.is_some()
    }

    fn first_attempt(&mut self, now: Instant) -> Attempt {
        self.names += 1;
        let rows = Arc::new(self.prepared.take().unwrap_or_default());
        Attempt { name: self.names, rows, number: 1, sendings: Vec::new(), awaited_since: now, due: now }
    }

    /// Whether the outcome of a request still matters: no other server has answered first.
    pub(crate) fn awaits(&self, request: &Sending) -> bool {
        self.in_flight.iter().any(|attempt| attempt.sendings.iter().any(|each| each.number == request.number))
    }

    /// Records that the rows of a request are embedded. The result is the other request for them, if any, which is no
    /// longer needed.
    pub(crate) fn answered(&mut self, request: &Sending, now: Instant) -> Option<u64> {
        let endpoints = Arc::clone(&self.servers.endpoints);
        let one = self.ended(request.attempt);
        let other = one.sendings.iter().find(|each| each.number != request.number);
        if let Some(other) = other {
            endpoints.late(other.endpoint, other.sent, now);
        }
        self.finished += one.rows.indices.len();
        self.deadline.moved(now);
        self.gate.answered(one.rows.characters, now);
        endpoints.answered(request.endpoint, now.saturating_duration_since(request.sent), now);
        self.servers.budget.answered();
        other.map(|each| each.number)
    }

    /// Schedules a retry of a request's rows, unless another server still has them. The error is that of the call: a
    /// retry cannot help, or no time or no budget is left for it.
    pub(crate) fn failed(&mut self, request: &Sending, failure: Error, now: Instant) -> Result<(), Error> {
        let endpoints = Arc::clone(&self.servers.endpoints);
        let unavailable = matches!(failure, Error::ServerUnavailable(_));
        // It was sent with little time left, and later answers have moved the call's deadline.
        let too_late = matches!(failure, Error::DeadlineExceeded(_)) && now + MARGIN >= request.until;
        let still_sent = self.forget(request, now);
        if unavailable {
            endpoints.rest(request.endpoint, now);
        } else if too_late {
            endpoints.late(request.endpoint, request.sent, now);
        } else if matches!(failure, Error::Overloaded(_)) {
            self.gate.overloaded();
        } else {
            return Err(failure);
        }
        if still_sent {
            return Ok(());
        }
        let mut one = self.ended(request.attempt);
        if too_late && self.deadline.over(now + MARGIN) {
            return Err(self.exceeded());
        }
        let due = now + retry_pause(one.number, fastrand::f64());
        let late = if self.in_flight.is_empty() { self.deadline.over(due) } else { self.deadline.ends_before(due) };
        if late || (!unavailable && !self.servers.budget.take()) {
            return Err(failure);
        }
        self.gate.waits(&failure);
        self.last_failure = Some(failure);
        one.number += 1;
        one.due = due;
        one.sendings.clear();
        let place = self.waiting.partition_point(|each| each.due < due);
        self.waiting.insert(place, one);
        Ok(())
    }

    /// The time to wait for outcomes before another call of `next`.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let mut until = self.deadline.time();
        // A due attempt that was not admitted waits for the gate.
        if let Some(first) = self.waiting.first().filter(|first| first.due > now) {
            until = until.min(first.due);
        }
        if self.servers.endpoints.len() > 1 {
            let patience = self.servers.endpoints.patience();
            for each in self.in_flight.iter().filter(|each| each.sendings.len() == 1) {
                until = until.min((each.awaited_since + patience).max(now + LOOK_AGAIN));
            }
        }
        until.saturating_duration_since(now).min(LOOK_EVERY)
    }

    fn send(&self, leaving: &mut Attempt, endpoint: usize, now: Instant) -> Sending {
        let sending = Sending {
            number: self.servers.endpoints.begin(endpoint, now),
            endpoint,
            rows: Arc::clone(&leaving.rows),
            sent: now,
            until: now + self.deadline.left(now),
            attempt: leaving.name,
        };
        leaving.sendings.push(sending.clone());
        leaving.awaited_since = now;
        sending
    }

    /// A second request for the rows of a silent server, to a server that answers.
    fn hedge(&mut self, now: Instant) -> Option<Sending> {
        let endpoints = Arc::clone(&self.servers.endpoints);
        if endpoints.len() == 1 {
            return None;
        }
        let patience = endpoints.patience();
        for place in 0..self.in_flight.len() {
            let each = &self.in_flight[place];
            let silent = now.saturating_duration_since(each.awaited_since) >= patience;
            if let ([first], true) = (each.sendings.as_slice(), silent)
                && let Some(other) = endpoints.another(first.endpoint, now)
                && self.servers.budget.take()
            {
                let mut attempt = self.in_flight.remove(place);
                let sending = self.send(&mut attempt, other, now);
                self.in_flight.insert(place, attempt);
                return Some(sending);
            }
        }
        None
    }

    /// Records that one of an attempt's requests failed. The result is whether another one is in flight.
    fn forget(&mut self, request: &Sending, now: Instant) -> bool {
        let found = self.in_flight.iter_mut().find(|each| each.name == request.attempt);
        found.is_some_and(|attempt| {
            attempt.sendings.retain(|each| each.number != request.number);
            attempt.awaited_since = now;
            !attempt.sendings.is_empty()
        })
    }

    /// Takes an attempt out of those in flight.
    fn ended(&mut self, name: u64) -> Attempt {
        let place = self.in_flight.iter().position(|each| each.name == name).expect("the request is awaited");
        let one = self.in_flight.remove(place);
        self.gate.leave();
        one
    }

    fn exceeded(&self) -> Error {
        self.deadline.exceeded(&self.servers.endpoints.url())
    }
}
