use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::errors::Error;

pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time of one request, since gRPC and Triton use integers.
const LONGEST_REQUEST: Duration = Duration::from_secs(24 * 3600);
/// The server's timer and this clock differ by some milliseconds. A call this close to its end is over.
pub(crate) const MARGIN: Duration = Duration::from_millis(100);
/// With less time, no request is sent: a cancellation at its answer can crash Triton 24.10 (issue 7368).
pub(crate) const LEAST_TIME: Duration = Duration::from_millis(2);

/// The end of a call: `timeout` after its start, or `stall_timeout` after its last answer.
pub(crate) struct Deadline {
    timeout: Duration,
    end: Option<Instant>,
    stall_timeout: Duration,
    // A call and its joined request use it from different tasks.
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

    /// The end of the call if no answer comes.
    pub(crate) fn time(&self) -> Instant {
        let stalls = self.moving().stalls;
        self.end.map_or(stalls, |end| end.min(stalls))
    }

    /// The end of the call's timeout.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.end
    }

    /// The time for a request sent at `now`, or 0 if it is too little to send one.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let left = self.time().saturating_duration_since(now);
        if left < LEAST_TIME { Duration::ZERO } else { left.min(LONGEST_REQUEST) }
    }

    /// Records an answer to a request of the call.
    pub(crate) fn moved(&self, now: Instant) {
        *self.moving() = Moving { stalls: now + self.stall_timeout, last_look: now };
    }

    /// Records that the call runs. Time in which it did not run (a suspended process) does not count as a stall.
    pub(crate) fn looked(&self, now: Instant) {
        let mut moving = self.moving();
        let away = now.saturating_duration_since(moving.last_look).saturating_sub(LOOK_EVERY);
        moving.stalls += away;
        moving.last_look = now;
    }

    /// Sets the end of the call if no answer comes.
    pub(crate) fn stall_at(&self, then: Instant) {
        self.moving().stalls = then;
    }

    /// Whether the call has timed out.
    pub(crate) fn over(&self, now: Instant) -> bool {
        self.left(now).is_zero()
    }

    /// Whether the call's timeout ends at or before `then`.
    pub(crate) fn ends_before(&self, then: Instant) -> bool {
        self.end.is_some_and(|end| then >= end)
    }

    /// The error of a call that timed out, with its bound and the remedy.
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
