use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::course::{Course, Servers};
use crate::deadline::{Deadline, LEAST_TIME};
use crate::endpoints::Endpoints;
use crate::errors::Error;
use crate::pacing::{RetryBudget, Window};
use crate::requests::RequestRows;
use crate::tests::checks::{assert_error, open};
use crate::tests::course::fail_next;
use crate::tests::small_server::{SmallServer, words};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const SOON_OVER: Duration = Duration::from_nanos(1_999_999); // no request may be sent
const BOUNDS: [(Option<Duration>, Duration); 2] = [(Some(SECOND), MINUTE), (None, SECOND)]; // timeout or stall, of a second

#[test]
fn no_time_is_left_soon_before_the_end() {
    let begin = Instant::now();
    for (timeout, stall_timeout) in BOUNDS {
        let deadline = Deadline::new(timeout, stall_timeout, begin);
        for left in [Duration::ZERO, Duration::from_nanos(1), SOON_OVER] {
            let now = begin + SECOND.saturating_sub(left);
            assert_eq!((deadline.left(now), deadline.over(now)), (Duration::ZERO, true), "{left:?} before {timeout:?}");
        }
        let now = begin + SECOND.saturating_sub(LEAST_TIME);
        assert_eq!((deadline.left(now), deadline.over(now)), (LEAST_TIME, false), "{timeout:?}");
    }
}

#[test]
fn no_retry_is_sent_soon_before_the_end() {
    let begin = Instant::now();
    for (timeout, stall_timeout) in BOUNDS {
        let servers =
            Servers { endpoints: Arc::new(Endpoints::new(vec!["a:1".into()])), budget: Arc::new(RetryBudget::new()) };
        let deadline = Arc::new(Deadline::new(timeout, stall_timeout, begin));
        let mut course = Course::new(1, Window::new(1), servers, deadline, std::iter::once(RequestRows::default()));
        fail_next(&mut course, Error::ServerUnavailable, begin).unwrap();
        let retry = course.next(begin + SECOND.saturating_sub(SOON_OVER)).map(|sending| sending.is_some());
        assert_error(retry, Error::ServerUnavailable, &["no"]);
    }
}

#[tokio::test]
async fn a_call_without_time_is_not_sent() {
    let server = SmallServer::start().await;
    let (unconnected, connected) = (open(&server.address), open(&server.address));
    connected.info().await.unwrap();
    for encoder in [&unconnected, &connected] {
        for _ in 0..20 {
            for sentences in [words(1), words(50)] {
                let call = encoder.encode(&sentences).timeout(SOON_OVER).await;
                assert_error(call, Error::DeadlineExceeded, &["longer than its timeout of 1.999999ms; set a longer"]);
            }
            let health = encoder.health_within(SOON_OVER).await;
            assert_error(health, Error::DeadlineExceeded, &["did not answer in time: the request timed out"]);
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await; // for requests on their way
    let knobs = server.knobs();
    assert_eq!((knobs.asked, knobs.received), (1, 0), "questions and requests arrived");
}

#[tokio::test]
async fn a_call_that_is_dropped_as_it_begins_is_not_sent() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    for count in [1, 50] {
        let sentences = words(count);
        for _ in 0..20 {
            let mut call = Box::pin(encoder.encode(&sentences).into_future());
            poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await; // for requests on their way
    assert_eq!(server.received(), 0);
}
