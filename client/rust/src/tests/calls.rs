use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tonic::{Code, Status};

use crate::closing::GRACE;
use crate::errors::Error;
use crate::tests::checks::{SOON, assert_error, assert_words, built, eventually, open};
use crate::tests::small_server::{SmallServer, small_manifest, vector_of, words};
use crate::{OnModelChange, SentenceEncoder};

pub(crate) fn full() -> Status {
    Status::unavailable("Exceeds maximum queue size")
}

pub(crate) fn away() -> Status {
    Status::unavailable("Server is stopping")
}

fn unwell() -> Status {
    Status::internal("Stub process 'encoder_0_0' is not healthy.")
}

fn changed() -> Status {
    Status::invalid_argument("fingerprint mismatch: the request is for model 'a'")
}

#[tokio::test]
async fn a_call_goes_on_as_long_as_answers_come() {
    let server = SmallServer::start().await;
    server.knobs().delay = Duration::from_millis(200);
    let stall = Duration::from_millis(1500);
    let encoder = built(SentenceEncoder::builder().url(&server.address).stall_timeout(stall).max_in_flight(4)).unwrap();
    let (begin, many) = (Instant::now(), words(300));
    assert_words(encoder.encode(&many).batch_size(8).await, &many);
    assert!(begin.elapsed() >= Duration::from_millis(1600) && begin.elapsed() < SOON);
    assert!(server.knobs().timeouts.iter().all(|time| !time.is_zero() && *time <= stall));
}

#[tokio::test]
async fn a_call_without_an_answer_ends_and_says_how_far_it_got() {
    let server = SmallServer::start().await;
    (server.knobs().delay, server.knobs().silent_from) = (Duration::from_millis(20), Some(20));
    let encoder = built(SentenceEncoder::builder().url(&server.address).stall_timeout(Duration::from_secs(1))).unwrap();
    let begin = Instant::now();
    let failure = assert_error(
        encoder.encode(&words(4000)).batch_size(4).await,
        Error::DeadlineExceeded,
        &["answered no request for 1s; check ", " of 4,000 sentences were embedded)"],
    );
    assert!(!failure.message().contains("(0 of") && failure.status().is_none());
    assert!(begin.elapsed() >= Duration::from_secs(1) && begin.elapsed() < SOON);
    (server.knobs().silent_from, server.knobs().silent) = (None, false);
    assert_words(encoder.encode(&words(400)).await, &words(400));
}

#[tokio::test]
async fn a_call_ends_with_its_own_time() {
    let server = SmallServer::start().await;
    server.knobs().delay = Duration::from_millis(20);
    let encoder = open(&server.address);
    let late = encoder.encode(&words(4000)).batch_size(2).timeout(Duration::from_secs(1)).await;
    let says = ["longer than its timeout of 1s; set a longer timeout, or none (", " of 4,000 sentences were embedded)"];
    assert_error(late, Error::DeadlineExceeded, &says);
    assert_words(encoder.encode(&words(400)).timeout(Duration::MAX).await, &words(400));
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_on_the_server_too() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    for manifest_is_read in [false, true] {
        server.knobs().silent = !manifest_is_read;
        if manifest_is_read {
            encoder.info().await.unwrap();
            server.knobs().silent = true;
        }
        for count in [1, 400] {
            let (sentences, before) = (words(count), server.knobs().cancelled);
            let call = tokio::time::timeout(Duration::from_millis(100), encoder.encode(&sentences).into_future());
            assert!(call.await.is_err());
            if manifest_is_read {
                eventually(|| server.knobs().in_flight == 0 && server.knobs().cancelled > before).await;
            }
        }
    }
    server.knobs().silent = false;
    assert_words(encoder.encode(&words(3)).await, &words(3));
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_again() {
    for refusal in [full(), away(), unwell()] {
        let server = SmallServer::start().await;
        server.refuse_first(4, refusal);
        assert_words(open(&server.address).encode(&words(50)).batch_size(10).await, &words(50));
        assert_eq!(server.received(), 4 + 5);
    }
}

#[tokio::test]
async fn a_server_that_refuses_for_good_is_asked_once() {
    let server = SmallServer::start().await;
    server.refuse_first(99, Status::invalid_argument("no"));
    let failure = assert_error(open(&server.address).encode(&words(50)).await, Error::InvalidInput, &[]);
    assert_eq!(failure.message(), "no (0 of 50 sentences were embedded)");
    assert_eq!((failure.status().map(Status::code), server.received()), (Some(Code::InvalidArgument), 1));
}

#[tokio::test]
async fn the_servers_error_for_a_text_names_the_sentence() {
    let server = SmallServer::start().await;
    server.refuse(|_, texts| {
        let row = texts.iter().position(|text| text == "w10")?;
        Some(Status::invalid_argument(format!("text in row {row} has 9 bytes; allowed are 8")))
    });
    for size in [1, 2, 64] {
        // 64: a joined request
        let outcome = open(&server.address).encode(&["w1", "w100", "w10", "w1000"]).batch_size(size).await;
        assert_error(outcome, Error::InvalidInput, &["sentences[2] has 9 bytes; allowed are 8 ("]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_have_a_budget() {
    let server = SmallServer::start().await;
    server.refuse(|_, _| Some(full()));
    let encoder = built(SentenceEncoder::builder().url(&server.address).max_in_flight(1)).unwrap();
    encoder.info().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..150 {
        let encoder = encoder.clone();
        calls.spawn(async move { encoder.encode(&words(9)).await });
    }
    while let Some(call) = calls.join_next().await {
        assert_error(call.unwrap(), Error::Overloaded, &[]);
    }
    assert_eq!(server.received(), 150 + 100, "150 requests, and 100 retries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_lose_nothing_when_a_server_is_away_or_restarts() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    let end = Instant::now() + Duration::from_secs(2);
    let mut calls = JoinSet::new();
    for word in words(64) {
        let encoder = encoder.clone();
        calls.spawn(async move {
            while Instant::now() < end {
                assert_eq!(encoder.encode_one(&word).await.unwrap(), vector_of(&word));
            }
        });
    }
    let moment = || sleep(Duration::from_millis(200));
    moment().await;
    server.refuse(|_, _| Some(away()));
    moment().await;
    server.knobs().refuse = None;
    moment().await;
    server.stop().await;
    moment().await;
    server.start_again().await;
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

#[tokio::test]
async fn a_changed_model_ends_a_call_or_is_read_again() {
    let server = SmallServer::start().await;
    let reload = SentenceEncoder::builder().url(&server.address).on_model_change(OnModelChange::Reload);
    for count in [3, 50] {
        let sentences = words(count);
        let encoder = open(&server.address);
        server.refuse_first(1, changed());
        let failure =
            assert_error(encoder.encode(&sentences).await, Error::ContractMismatch, &["fingerprint mismatch"]);
        assert!(failure.is_invalid_input());
        let reloading = built(reload.clone()).unwrap();
        server.refuse_first(3, changed());
        assert_words(reloading.encode(&sentences).await, &sentences);
        let before = server.received();
        server.refuse_first(99, changed());
        assert_error(reloading.encode(&sentences).await, Error::ContractMismatch, &["fingerprint mismatch"]);
        assert_eq!(server.received() - before, 1 + 3);
        server.knobs().refuse = None;
    }
}

#[tokio::test]
async fn a_closed_encoder_ends_its_calls() {
    let server = SmallServer::start().await;
    for silent in [true, false] {
        (server.knobs().silent, server.knobs().delay) = (silent, Duration::from_millis(100));
        let encoder = open(&server.address);
        let many = words(4000);
        let (outcome, ()) = tokio::join!(encoder.encode(&many).into_future(), async {
            sleep(Duration::from_millis(50)).await;
            encoder.close();
        });
        assert_error(outcome, Error::Closed, &["this encoder is closed"]);
        let says = &["this encoder is closed; make a new one"];
        assert_error(encoder.encode(&words(1)).await, Error::Closed, says);
        assert_error(encoder.info().await, Error::Closed, says);
        assert_error(encoder.health().await, Error::Closed, says);
    }
    eventually(|| server.knobs().in_flight == 0).await;
}

type Start = fn(SentenceEncoder) -> JoinHandle<Result<(), Error>>;

#[tokio::test]
async fn requests_in_flight_have_time_to_end_when_the_encoder_closes() {
    let question: Start = |encoder| tokio::spawn(async move { encoder.info().await.map(|_| ()) });
    let joined: Start = |encoder| tokio::spawn(async move { encoder.encode_one("w1").await.map(|_| ()) });
    let separate: Start = |encoder| tokio::spawn(async move { encoder.encode(&words(400)).await.map(|_| ()) });
    let health: Start = |encoder| tokio::spawn(async move { encoder.health().await.map(|_| ()) });
    for (start, knows_manifest, in_flight) in
        [(question, false, 1), (joined, true, 1), (separate, true, 4), (health, true, 1)]
    {
        for is_answered in [true, false] {
            let server = SmallServer::start().await;
            let encoder = open(&server.address);
            if knows_manifest {
                encoder.info().await.unwrap();
            }
            server.knobs().silent = true;
            let call = start(encoder.clone());
            eventually(|| server.knobs().in_flight == in_flight).await;
            let begin = Instant::now();
            encoder.close();
            assert_error(call.await.unwrap(), Error::Closed, &["this encoder is closed"]);
            if is_answered {
                sleep(Duration::from_millis(30)).await;
                server.knobs().silent = false;
            }
            eventually(|| server.knobs().in_flight == 0).await;
            assert!(is_answered || begin.elapsed() >= GRACE);
            let knobs = server.knobs();
            assert_eq!(knobs.cancelled, if is_answered { 0 } else { in_flight });
            assert_eq!(knobs.asked + knobs.received, usize::from(knows_manifest) + in_flight);
        }
    }
}

#[tokio::test]
async fn the_question_outlives_its_callers() {
    let server = SmallServer::start().await;
    server.knobs().silent = true;
    let encoder = open(&server.address);
    let short = Duration::from_millis(20);
    assert_error(encoder.encode_one("w1").timeout(short).await, Error::DeadlineExceeded, &["timeout of 20ms"]);
    assert!(tokio::time::timeout(short, encoder.encode_one("w1").into_future()).await.is_err());
    eventually(|| server.knobs().in_flight == 1).await;
    sleep(Duration::from_millis(50)).await;
    server.knobs().silent = false;
    assert_eq!(encoder.encode_one("w1").await.unwrap(), vector_of("w1"));
    let knobs = server.knobs();
    assert_eq!((knobs.asked, knobs.cancelled), (1, 0));
}

#[tokio::test]
async fn the_question_has_time_to_end_when_the_last_clone_is_dropped() {
    for is_answered in [true, false] {
        let server = SmallServer::start().await;
        server.knobs().silent = true;
        let encoder = open(&server.address);
        let late = encoder.encode_one("w1").timeout(Duration::from_millis(20)).await;
        assert_error(late, Error::DeadlineExceeded, &["timeout of 20ms"]);
        eventually(|| server.knobs().in_flight == 1).await;
        let begin = Instant::now();
        drop(encoder);
        if is_answered {
            sleep(Duration::from_millis(30)).await;
            server.knobs().silent = false;
        }
        eventually(|| server.knobs().in_flight == 0).await;
        assert_eq!(server.knobs().cancelled, usize::from(!is_answered));
        assert!(is_answered || begin.elapsed() >= GRACE);
    }
}

#[tokio::test]
async fn nobody_there() {
    let timeout = Duration::from_secs(2);
    let encoder = built(SentenceEncoder::builder().url("127.0.0.1:1").timeout(timeout)).unwrap();
    let says = [
        "no answer from 127.0.0.1:1: cannot connect to 127.0.0.1:1: Connection refused",
        "; is it running? `sentriton serve` on that machine starts it",
    ];
    assert_error(encoder.encode(&words(3)).await, Error::ServerUnavailable, &says);
    assert_error(encoder.health_within(timeout).await, Error::ServerUnavailable, &says);
    let unknown = open("no-such-host.invalid:1");
    assert_error(unknown.info().await, Error::ServerUnavailable, &["cannot look up the name no-such-host.invalid"]);
}

#[tokio::test]
async fn calls_share_the_reading_of_the_manifest() {
    let server = SmallServer::start().await;
    server.knobs().silent = true;
    let stall = Duration::from_millis(300);
    let impatient = built(SentenceEncoder::builder().url(&server.address).stall_timeout(stall)).unwrap();
    assert_error(impatient.info().await, Error::DeadlineExceeded, &["answered no request for 300ms"]);
    let encoder = open(&server.address);
    let patient = encoder.clone();
    let call = tokio::spawn(async move { patient.encode(&words(3)).await });
    let (short, three) = (Duration::from_millis(200), words(3));
    for late in [encoder.encode(&three), encoder.encode_query(&three), encoder.encode_document(&three)] {
        assert_error(late.timeout(short).await, Error::DeadlineExceeded, &["timeout of 200ms"]);
    }
    server.knobs().silent = false;
    assert_words(call.await.unwrap(), &words(3));
    assert_eq!(server.knobs().asked, 2);
}

#[tokio::test]
async fn prompts_are_put_before() {
    let server = SmallServer::start().await;
    let mut manifest = small_manifest();
    manifest["prompts"] = serde_json::json!({"query": "q: ", "passage": "longer: ", "corpus": "no: "});
    server.knobs().assets.insert("manifest.json".into(), manifest.to_string());
    let encoder = open(&server.address);
    for (prompt, call) in [
        ("", encoder.encode_one("text")),
        ("q: ", encoder.encode_one_query("text")),
        ("longer: ", encoder.encode_one_document("text")),
        ("no: ", encoder.encode_one_query("text").prompt_name("corpus")),
        ("given: ", encoder.encode_one("text").prompt_name("query").prompt("given: ")),
    ] {
        assert_eq!(call.await.unwrap(), vector_of(&format!("{prompt}text")));
    }
    let says = ["\"nope\"; the model's prompts are \"corpus\", \"passage\", \"query\""];
    assert_error(encoder.encode_one("text").prompt_name("nope").await, Error::InvalidInput, &says);
    manifest["include_prompt"] = false.into();
    server.knobs().assets.insert("manifest.json".into(), manifest.to_string());
    let says = ["\"q: \"; this model leaves prompts out of pooling"];
    assert_error(open(&server.address).encode_one_query("text").await, Error::InvalidInput, &says);
}
