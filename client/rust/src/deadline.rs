use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::errors::Error;

pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time of one request: gRPC and Triton count in integers, which have an end.
const LONGEST_REQUEST: Duration = Duration::from_secs(24 * 3600);
/// The server's timer and this clock differ by some milliseconds: so close to the end, the call is over.
pub(crate) const MARGIN: Duration = Duration::from_millis(100);
/// With less time, no request is sent: one that is cancelled as it arrives can crash Triton 24.10 (issue 7368).
pub(crate) const LEAST_TIME: Duration = Duration::from_millis(2);

/// When a call ends: `timeout` after its begin, or `stall_timeout` after its last answer.
pub(crate) struct Deadline {
    timeout: Duration,
    end: Option<Instant>,
    stall_timeout: Duration,
    // A call and the request that it shares with others look at it from tasks of their own.
    moving: Mutex<Moving>,
}

struct Moving {
    stalls: Instant,
    last_look: Instant,
}

impl Deadline {
    pub(crate) fn new(timeout: Option<Duration>, stall_timeout: Duration, begin: Instant) -> Self {
        Self {
            timeout: timeout.unwrap_or_default(),
            end: timeout.map(|timeout| begin + timeout),
            stall_timeout,
            moving: Mutex::new(Moving { stalls: begin + stall_timeout, last_look: begin }),
        }
    }

    fn moving(&self) -> std::sync::MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the call ends if nothing is answered until then.
    pub(crate) fn time(&self) -> Instant {
        let stalls = self.moving().stalls;
        self.end.map_or(stalls, |end| end.min(stalls))
    }

    /// The end of the call's own time, stalls aside.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// How long a request sent at `now` may take; 0 if that is too little to send one.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let left = self.time().saturating_duration_since(now);
        if left < LEAST_TIME { Duration::ZERO } else { left.min(LONGEST_REQUEST) }
    }

    /// Notes that a request of the call was answered.
    pub(crate) fn moved(&self, now: Instant) {
        *self.moving() = Moving { stalls: now + self.stall_timeout, last_look: now };
    }

    /// Notes that the call runs. If it did not for long (a suspended process), the server was not silent meanwhile.
    pub(crate) fn looked(&self, now: Instant) {
        let mut moving = self.moving();
        let away = now.saturating_duration_since(moving.last_look).saturating_sub(LOOK_EVERY);
        moving.stalls += away;
        moving.last_look = now;
    }

    /// Sets when the call ends if nothing is answered until then.
    pub(crate) fn stall_at(&self, then: Instant) {
        self.moving().stalls = then;
    }

    /// Whether the call has to end.
    pub(crate) fn over(&self, now: Instant) -> bool {
        self.left(now).is_zero()
    }

    /// Whether the call's own time, stalls aside, ends at or before `then`.
    pub(crate) fn ends_before(&self, then: Instant) -> bool {
        self.end.is_some_and(|end| then >= end)
    }

    /// The error of a call that has to end: its bound and the remedy.
    pub(crate) fn exceeded(&self, url: &str) -> Error {
        let stalls = self.moving().stalls;
        let message = if self.end.is_none_or(|end| stalls < end) {
            format!(
                "{url} answered no request for {:?}; check the server (`sentriton health`), or set a longer stall_timeout",
                self.stall_timeout
            )
        } else {
            format!("the call took longer than its timeout of {:?}; set a longer timeout, or none", self.timeout)
        };
        Error::new(Error::DeadlineExceeded, message)
    }
}
