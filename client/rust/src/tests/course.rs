use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::course::{Course, Servers};
use crate::deadline::Deadline;
use crate::endpoints::Endpoints;
use crate::errors::Error;
use crate::pacing::{FIRST_PAUSE, RetryBudget, Window};
use crate::requests::RequestRows;
use crate::tests::checks::Kind;

pub(crate) fn fail_next<P: Iterator<Item = RequestRows>>(
    course: &mut Course<Window, P>,
    kind: Kind,
    now: Instant,
) -> Result<(), Error> {
    let sending = course.next(now).unwrap().expect("no request leaves");
    course.failed(&sending, Error::new(kind, "no"), now)
}

/// A course has no clock of its own: these are times of the test's own.
#[test]
fn a_call_ends_before_a_pause_that_is_too_long() {
    let (begin, second) = (Instant::now(), Duration::from_secs(1));
    let end = begin + second;
    let cases: [(Option<Duration>, Duration, Kind); 2] =
        [(Some(second), 60 * second, Error::ServerUnavailable), (None, second, Error::Overloaded)];
    for (timeout, stall_timeout, kind) in cases {
        for _ in 0..20 {
            // pauses are random
            let servers = Servers {
                endpoints: Arc::new(Endpoints::new(vec!["a:1".into()])),
                budget: Arc::new(RetryBudget::new()),
            };
            let deadline = Arc::new(Deadline::new(timeout, stall_timeout, begin));
            let rows = RequestRows { indices: vec![0], ..RequestRows::default() };
            let mut course = Course::new(1, Window::new(1), servers, deadline, std::iter::once(rows));
            let (mut now, mut longest, mut requests) = (begin, FIRST_PAUSE, 1);
            let mut outcome = fail_next(&mut course, kind, now);
            while outcome.is_ok() {
                let pause = course.wait(now);
                now += pause;
                assert!(pause <= longest && now < end, "the pause is {pause:?}, until {:?}", now - begin);
                longest *= 2;
                requests += 1;
                outcome = fail_next(&mut course, kind, now);
            }
            assert_eq!(outcome.unwrap_err().message(), "no");
            // After 0.1, 0.3 and 0.7 s at the latest.
            assert!(now + longest >= end && requests >= 4, "after {:?} and {requests} requests", now - begin);
        }
    }
}
