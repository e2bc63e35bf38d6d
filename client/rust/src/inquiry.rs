use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deadline::{Deadline, MARGIN};
use crate::endpoints::{Endpoints, LEAST_PATIENCE};
use crate::errors::Error;

/// Asks the servers in turn for the manifest. Each has little time at first, and a silent server has more in its next
/// turn. A server that failed in another way, or reported a timeout before its deadline, has no further turn.
pub(crate) struct Inquiry {
    endpoints: Arc<Endpoints>,
    deadline: Deadline,
    turns: VecDeque<(usize, Duration)>, // servers, and the time that each has
    until: Option<Instant>,             // of the last turn
    failure: Option<Error>,
}

impl Inquiry {
    pub(crate) fn new(endpoints: Arc<Endpoints>, deadline: Deadline) -> Self {
        let turns = (0..endpoints.len()).map(|server| (server, LEAST_PATIENCE)).collect();
        Self { endpoints, deadline, turns, until: None, failure: None }
    }

    /// The next server and the end of its time to answer; an error if all failed or the deadline has passed.
    pub(crate) fn next(&mut self, now: Instant) -> Result<(usize, Instant), Error> {
        let exceeded = || self.deadline.exceeded(&self.endpoints.url());
        let Some(&(server, patience)) = self.turns.front() else {
            return Err(self.failure.take().unwrap_or_else(exceeded));
        };
        let left = self.deadline.left(now);
        if left.is_zero() || (self.until.is_some() && self.deadline.over(now + MARGIN)) {
            return Err(exceeded());
        }
        let allowed = if self.turns.len() > 1 { patience.min(left) } else { left };
        self.until = Some(now + allowed);
        Ok((server, now + allowed))
    }

    /// Records the error of the last turn.
    pub(crate) fn failed(&mut self, failure: Error, now: Instant) {
        let Some((server, patience)) = self.turns.pop_front() else { return };
        let in_time = self.until.is_some_and(|until| now + MARGIN < until);
        match failure {
            Error::ServerUnavailable(_) => self.endpoints.rest(server, now),
            Error::DeadlineExceeded(_) if !in_time => {
                self.endpoints.silent(server, now);
                self.turns.push_back((server, 2 * patience));
            }
            _ => {}
        }
        self.failure = Some(failure);
    }
}
