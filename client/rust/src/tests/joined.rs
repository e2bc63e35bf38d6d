use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tonic::Status;

use crate::call::Call;
use crate::deadline::Deadline;
use crate::encode::CallOptions;
use crate::errors::Error;
use crate::pacing::RETRY_TOKENS;
use crate::tests::calls::full;
use crate::tests::checks::{assert_error, assert_words, built, eventually, open};
use crate::tests::small_server::{SmallServer, vector_of, words};
use crate::{Encode, Matrix, SentenceEncoder};

pub(crate) fn queued(encoder: &SentenceEncoder) -> usize {
    encoder.joiner().state().queue.len()
}

type Found = Result<Vec<f32>, Error>;

fn call(encoder: &SentenceEncoder, sentence: &str) -> JoinHandle<Found> {
    let (encoder, sentence) = (encoder.clone(), sentence.to_owned());
    tokio::spawn(async move { encoder.encode_one(&sentence).await })
}

/// Makes calls at the same time that wait for each other: the first ones leave alone, and the server is silent until all
/// have come.
pub(crate) async fn together<S: AsRef<str>>(
    server: &SmallServer,
    encoder: &SentenceEncoder,
    sentences: &[S],
) -> Vec<Found> {
    encoder.info().await.unwrap();
    server.knobs().silent = true;
    let (before, places) = (server.received(), encoder.joiner().state().window.limit());
    let mut calls = Vec::new();
    for (place, sentence) in sentences.iter().enumerate() {
        calls.push(call(encoder, sentence.as_ref()));
        if place < places {
            eventually(|| server.received() == before + place + 1).await;
        }
    }
    eventually(|| queued(encoder) == sentences.len().saturating_sub(places)).await;
    server.knobs().silent = false;
    let mut found = Vec::new();
    for call in calls {
        found.push(call.await.unwrap());
    }
    found
}

fn assert_own<S: AsRef<str>>(found: &[Found], sentences: &[S]) {
    assert_eq!(found.len(), sentences.len());
    for (found, sentence) in found.iter().zip(sentences) {
        assert_eq!(found.as_ref().unwrap(), &vector_of(sentence.as_ref()));
    }
}

#[tokio::test]
async fn calls_that_wait_share_a_request() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    assert_own(&together(&server, &encoder, &words(64)).await, &words(64));
    assert_eq!(server.knobs().rows, [1, 1, 1, 1, 60]);
}

#[tokio::test]
async fn calls_that_are_ready_at_once_leave_together() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    let calls: Vec<_> = words(64).iter().map(|word| call(&encoder, word)).collect();
    for (call, word) in calls.into_iter().zip(words(64)) {
        assert_eq!(call.await.unwrap().unwrap(), vector_of(&word));
    }
    assert_eq!(server.knobs().rows, [64]);
}

#[tokio::test]
async fn small_calls_share_and_large_ones_do_not() {
    let server = SmallServer::start().await;
    let encoder = built(SentenceEncoder::builder().url(&server.address).max_in_flight(1)).unwrap();
    assert_own(&together(&server, &encoder, &["w1"]).await, &["w1"]);
    (server.knobs().silent, server.knobs().rows) = (true, Vec::new());
    let mut calls = JoinSet::new();
    let mut begin = |count: usize, with: fn(Encode<'_, Matrix>) -> Encode<'_, Matrix>| {
        let (encoder, sentences) = (encoder.clone(), words(count));
        calls.spawn(async move { assert_words(with(encoder.encode(&sentences)).await, &sentences) });
    };
    begin(1, |call| call);
    eventually(|| server.received() == 2).await;
    for count in [8, 9, 5, 64, 8] {
        begin(count, |call| call);
    }
    begin(1, |call| call.batch_size(63));
    begin(1, |call| call.timeout(Duration::from_secs(29))); // far less than the others have
    eventually(|| server.received() == 4 && queued(&encoder) == 5).await;
    server.knobs().silent = false;
    calls.join_all().await;
    let mut rows = server.knobs().rows.clone();
    rows.sort_unstable();
    assert_eq!(rows, [1, 1, 1, 9, 8 + 5 + 8, 64]);
}

#[tokio::test]
async fn a_joined_request_has_at_most_16_kib_of_text() {
    let server = SmallServer::start().await;
    let encoder = built(SentenceEncoder::builder().url(&server.address).max_in_flight(1)).unwrap();
    encoder.info().await.unwrap();
    server.knobs().silent = true;
    let half: &str = &("가".repeat(2730) + "ab"); // 8 KiB of UTF-8
    let mut calls = JoinSet::new();
    // The first call leaves, and four wait. The last two have a byte more than 16 KiB, and do not wait.
    for (sentences, prompt, received, waiting) in [
        (vec!["a"], "", 1, 0),
        (vec![half], "", 1, 1),
        (vec![half], "", 1, 2),
        (vec![half, half], "", 1, 3),
        (vec!["a"], "", 1, 4),
        (vec![half, half, "a"], "", 2, 4),
        (vec![&half.repeat(2)], "a", 3, 4),
    ] {
        let (clone, texts) = (encoder.clone(), sentences.into_iter().map(str::to_owned).collect::<Vec<_>>());
        calls.spawn(async move {
            assert_eq!(clone.encode(&texts).prompt(prompt).await.unwrap().rows(), texts.len());
        });
        eventually(|| server.received() == received && queued(&encoder) == waiting).await;
    }
    server.knobs().silent = false;
    calls.join_all().await;
    assert_eq!(server.knobs().rows, [1, 3, 1, 2, 2, 1]);
}

#[tokio::test]
async fn a_member_that_leaves_does_not_disturb_the_others() {
    let server = SmallServer::start().await;
    let encoder = built(SentenceEncoder::builder().url(&server.address).max_in_flight(1)).unwrap();
    encoder.info().await.unwrap();
    (server.knobs().silent, server.knobs().silent_from) = (true, Some(1));
    let mut calls = Vec::new();
    for (place, word) in words(10).iter().enumerate() {
        calls.push(call(&encoder, word));
        eventually(|| server.received() == 1 && queued(&encoder) == place).await;
    }
    server.knobs().silent = false;
    eventually(|| server.received() == 2).await; // with nine calls, and without an answer
    let short = Duration::from_millis(150);
    assert_error(encoder.encode_one("w10").timeout(short).await, Error::DeadlineExceeded, &["timeout of 150ms"]);
    calls.remove(3).abort();
    server.knobs().silent = false;
    for (call, word) in calls.into_iter().zip(words(10).iter().filter(|word| *word != "w3")) {
        assert_eq!(call.await.unwrap().unwrap(), vector_of(word));
    }
    let knobs = server.knobs();
    assert_eq!((&knobs.rows[..], knobs.cancelled), (&[1, 9][..], 0));
}

#[tokio::test]
async fn a_request_is_cancelled_with_its_last_member() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    server.knobs().silent = true;
    let short = Duration::from_millis(100);
    assert_error(encoder.encode_one("w1").timeout(short).await, Error::DeadlineExceeded, &["timeout of 100ms"]);
    eventually(|| server.knobs().in_flight == 0 && encoder.joiner().state().in_flight == 0).await;
    assert_eq!(server.knobs().cancelled, 1);
}

#[tokio::test]
async fn a_joined_request_is_retried_as_one() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    server.refuse_first(8, full());
    assert_own(&together(&server, &encoder, &words(64)).await, &words(64));
    let taken = RETRY_TOKENS + 0.2 * 5.0 - encoder.shared().servers.budget.left();
    assert!((7.9..9.1).contains(&taken), "{taken} tokens were taken for 8 retries");
    // The limit opens again by one per round.
    for _ in 0..100 {
        encoder.encode_one("w1").await.unwrap();
    }
    assert_eq!(encoder.joiner().state().window.limit(), 4);
    eventually(|| encoder.joiner().state().in_flight == 0 && queued(&encoder) == 0).await;
}

#[tokio::test]
async fn a_member_that_times_out_in_the_pause_has_the_last_error() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    server.refuse(|_, _| Some(Status::unavailable("Server is stopping")));
    let long = call(&encoder, "w1"); // the request continues for it, with exponential backoff
    let short = encoder.encode_one("w2").timeout(Duration::from_secs(40));
    let (found, ()) = tokio::join!(short.into_future(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.knobs().refuse = None;
    });
    assert_eq!((found.unwrap(), long.await.unwrap().unwrap()), (vec![2.0; 4], vec![1.0; 4]));
    server.refuse(|_, _| Some(Status::unavailable("Server is stopping")));
    let patient = call(&encoder, "w1");
    let late = encoder.encode_one("w2").timeout(Duration::from_secs(1)).await;
    assert_error(late, Error::ServerUnavailable, &["Server is stopping"]);
    server.knobs().refuse = None;
    assert_eq!(patient.await.unwrap().unwrap(), [1.0; 4]);
}

#[tokio::test]
async fn a_joined_request_has_the_time_of_a_call_that_was_suspended() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    let manifest = encoder.info().await.unwrap();
    let begin = Instant::now().checked_sub(Duration::from_secs(600)).unwrap();
    let deadline = Arc::new(Deadline::new(None, Duration::from_secs(60), begin));
    let call = Call::new(&encoder, manifest, &["w1"], &CallOptions::default(), deadline).unwrap();
    assert_words(call.run().await, &["w1"]);
    let left = server.knobs().timeouts[0];
    assert!(!left.is_zero() && left <= Duration::from_secs(60), "the server had {left:?}");
}

#[tokio::test]
async fn close_ends_waiting_calls_at_once() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    server.knobs().silent = true;
    let mut calls = Vec::new();
    for place in 0..20 {
        calls.push(call(&encoder, "w1"));
        eventually(|| server.received() == (place + 1).min(4)).await;
    }
    eventually(|| queued(&encoder) == 16).await;
    encoder.close();
    for call in calls {
        assert_error(call.await.unwrap(), Error::Closed, &["this encoder is closed; make a new one"]);
    }
}
