use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::course::Gate;

const LEAST_IN_FLIGHT: usize = 4; // one computed, one queued, and two in transfer

/// The limit of a call's requests in flight. It grows while this raises the rate, and halves when the server is
/// overloaded. It compares the rate (characters per second) of each round, as many answers as the limit, with the best
/// one. The next call begins with `next`.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    most: usize,
    limit: usize,
    best_rate: f64,
    characters: usize,
    answers: usize,
    since: Option<Instant>, // of the round; none: before the first answer
}

impl Window {
    pub(crate) fn new(most: usize) -> Self {
        Self::beginning_with(most, LEAST_IN_FLIGHT.min(most))
    }

    pub(crate) fn beginning_with(most: usize, limit: usize) -> Self {
        Self { most, limit, best_rate: 0.0, characters: 0, answers: 0, since: None }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A window for the next call: it keeps the limit and the best rate.
    pub(crate) fn next(&self) -> Self {
        Self { best_rate: self.best_rate, ..Self::beginning_with(self.most, self.limit) }
    }

    fn restart(&mut self, since: Option<Instant>) {
        (self.characters, self.answers, self.since) = (0, 0, since);
    }
}

impl Gate for Window {
    fn enter(&mut self, in_flight: usize, _now: Instant) -> bool {
        in_flight < self.limit
    }

    /// Counts an answer for sentences of this many characters.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no exact sum")]
    fn answered(&mut self, characters: usize, now: Instant) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.characters += characters;
        self.answers += 1;
        if self.answers < self.limit || now <= since {
            return;
        }
        let rate = self.characters as f64 / (now - since).as_secs_f64();
        // After an overload it grows by one per round, at any rate.
        if rate > 1.05 * self.best_rate || self.limit < LEAST_IN_FLIGHT {
            self.limit = (self.limit + 1).min(self.most);
        }
        // The best rate fades, in case the server becomes slower.
        self.best_rate = rate.max(0.98 * self.best_rate);
        self.restart(Some(now));
    }

    /// Halves the window.
    fn overloaded(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.restart(None);
    }
}

pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The pause after attempt number `attempt`, counted from 1: exponential, with jitter from `random` in [0, 1).
pub(crate) fn retry_pause(attempt: u32, random: f64) -> Duration {
    let ceiling = (FIRST_PAUSE * (1 << (attempt - 1).min(16))).min(LONGEST_PAUSE);
    ceiling.mul_f64(0.2 + 0.8 * random)
}

pub(crate) const RETRY_TOKENS: f64 = 100.0;
const TOKENS_PER_ANSWER: f64 = 0.2;

/// Bounds the retries at an overloaded server to a share of its answers, so that callers do not double its load.
/// Retries at an unavailable server are not bounded.
pub(crate) struct RetryBudget(Mutex<f64>);

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(RETRY_TOKENS))
    }

    /// Returns a fifth of a token.
    pub(crate) fn answered(&self) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *tokens = (*tokens + TOKENS_PER_ANSWER).min(RETRY_TOKENS);
    }

    /// Takes a token for a retry; false if the budget is empty.
    pub(crate) fn take(&self) -> bool {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = *tokens >= 1.0;
        if enough {
            *tokens -= 1.0;
        }
        enough
    }

    #[cfg(test)]
    pub(crate) fn left(&self) -> f64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
