use std::time::{Duration, Instant};

use tonic::Status;

use crate::SentenceEncoder;
use crate::errors::Error;
use crate::tests::calls::away;
use crate::tests::checks::{SOON, assert_error, assert_words, built, eventually, open};
use crate::tests::small_server::{SmallServer, words};

async fn start_two() -> (SmallServer, SmallServer, String) {
    let (one, other) = (SmallServer::start().await, SmallServer::start().await);
    let url = format!("{},{}", one.address, other.address);
    (one, other, url)
}

#[tokio::test]
async fn several_servers_share_the_work() {
    let (one, other, url) = start_two().await;
    for server in [&one, &other] {
        server.knobs().delay = Duration::from_millis(20);
    }
    assert_words(open(&url).encode(&words(60)).batch_size(1).await, &words(60));
    assert_eq!(one.received() + other.received(), 60);
    assert!(one.received().min(other.received()) >= 15, "{} and {}", one.received(), other.received());
}

#[tokio::test]
async fn others_stand_in_for_one_that_is_away() {
    let (one, _other, url) = start_two().await;
    one.refuse(|_, _| Some(away()));
    assert_words(open(&format!("127.0.0.1:1,{url}")).encode(&words(60)).batch_size(1).await, &words(60));
    assert!(one.received() < 10);
}

#[tokio::test]
async fn a_silent_server_is_left_alone_until_it_answers() {
    let (silent, other, url) = start_two().await;
    for server in [&silent, &other] {
        server.knobs().delay = Duration::from_millis(10);
    }
    silent.knobs().silent_from = Some(20);
    let encoder = open(&url);
    let (begin, many) = (Instant::now(), words(4000));
    assert_words(encoder.encode(&many).batch_size(8).await, &many);
    assert!(begin.elapsed() < SOON);
    eventually(|| silent.knobs().in_flight == 0).await;
    let asked = silent.received();
    (silent.knobs().silent_from, silent.knobs().at_once) = (None, 0);
    let end = Instant::now() + SOON;
    while silent.received() == asked {
        assert!(Instant::now() < end, "it is not asked again");
        assert_words(encoder.encode(&words(400)).batch_size(8).await, &words(400));
    }
    {
        let knobs = silent.knobs();
        assert!(knobs.at_once == 1 && knobs.received - asked <= 6, "{} at once", knobs.at_once);
    }
    silent.knobs().silent = false;
    let before = silent.received();
    while silent.received() < before + 20 {
        assert!(Instant::now() < end, "it gets no share of the work");
        assert_words(encoder.encode(&words(400)).batch_size(8).await, &words(400));
    }
}

#[tokio::test]
async fn a_server_that_is_silent_from_the_beginning() {
    let (silent, _other, url) = start_two().await;
    silent.knobs().silent = true;
    let (begin, encoder) = (Instant::now(), open(&url));
    for count in [400, 1] {
        assert_words(encoder.encode(&words(count)).await, &words(count));
    }
    assert!(begin.elapsed() < SOON);
}

#[tokio::test]
async fn slow_servers_do_not_get_twice_the_load() {
    let (one, other, url) = start_two().await;
    for server in [&one, &other] {
        server.knobs().delay = Duration::from_millis(2400);
    }
    assert_words(open(&url).encode(&words(32)).batch_size(8).await, &words(32));
    let received = one.received() + other.received();
    assert!((4..2 * 4).contains(&received), "{received} requests");
}

#[tokio::test]
async fn none_of_two_answers() {
    let (one, other, url) = start_two().await;
    let encoder = built(SentenceEncoder::builder().url(&url).stall_timeout(Duration::from_secs(3))).unwrap();
    encoder.info().await.unwrap();
    for server in [&one, &other] {
        server.knobs().silent = true;
    }
    let begin = Instant::now();
    let says = ["answered no request for 3s", " (0 of 400 sentences were embedded)"];
    assert_error(encoder.encode(&words(400)).await, Error::DeadlineExceeded, &says);
    assert!(begin.elapsed() >= Duration::from_secs(2) && begin.elapsed() < SOON);
}

#[tokio::test]
async fn a_server_that_says_at_once_that_it_is_late_is_asked_once() {
    let (one, other, url) = start_two().await;
    for server in [&one, &other] {
        server.knobs().refuse_asset = Some(Status::deadline_exceeded("a proxy gave up"));
    }
    for (url, times) in [(&one.address, 1), (&url, 2)] {
        let before = one.knobs().asked + other.knobs().asked;
        assert_error(open(url).info().await, Error::DeadlineExceeded, &["did not answer in time: a proxy gave up"]);
        assert_eq!(one.knobs().asked + other.knobs().asked - before, times);
    }
}
