use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;

use crate::tests::checks::{assert_words, built, eventually, open};
use crate::tests::joined::{queued, together};
use crate::tests::small_server::{SmallServer, small_manifest, vector_of, words};
use crate::{Error, SentenceEncoder};

#[test]
fn each_address_has_four_places_for_joined_requests() {
    for (url, places) in [("a:1", 4), ("a:1,b:2", 8), ("a:1,b:2,c:3,d:4,e:5", 16), ("dns:///a:1", 16)] {
        assert_eq!(open(url).joiner().state().window.limit(), places, "{url}");
    }
    let few = built(SentenceEncoder::builder().url("a:1").max_in_flight(2)).unwrap();
    assert_eq!(few.joiner().state().window.limit(), 2);
}

#[tokio::test]
async fn calls_with_a_full_batch_never_share() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    server.knobs().silent = true;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let encoder = encoder.clone();
        calls.spawn(async move { encoder.encode_one("w1").batch_size(1).await });
    }
    eventually(|| server.received() == 10).await;
    server.knobs().silent = false;
    calls.join_all().await.into_iter().for_each(|found| assert_eq!(found.unwrap(), [1.0; 4]));
}

#[tokio::test]
async fn a_call_that_exceeds_the_limits_sends_its_own_requests() {
    let server = SmallServer::start().await;
    let mut manifest = small_manifest();
    manifest["max_seq_length"] = 8192.into();
    server.knobs().assets.insert("manifest.json".into(), manifest.to_string());
    let long = ["a".repeat(3000), "b".repeat(3000), "c".into()];
    assert_words(open(&server.address).encode(&long).await, &long);
    assert_eq!(server.knobs().rows.len(), 2);
}

#[tokio::test]
async fn no_task_is_left_when_the_last_clone_is_dropped_or_the_encoder_is_closed() {
    let server = SmallServer::start().await;
    server.knobs().delay = Duration::from_millis(50);
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for closes in [true, false] {
        let encoder = open(&format!("{},127.0.0.1:1", server.address));
        assert_words(encoder.encode(&words(400)).await, &words(400));
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let encoder = encoder.clone();
            calls.spawn(async move { encoder.encode_one("w1").await.map(|_| ()) });
        }
        let large = encoder.clone();
        calls.spawn(async move { large.encode(&words(4000)).batch_size(1).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(20)).await;
        if closes {
            encoder.close();
            for outcome in calls.join_all().await {
                assert!(matches!(outcome, Err(Error::Closed(_))), "{outcome:?}");
            }
        } else {
            calls.shutdown().await;
        }
        drop(encoder);
        eventually(|| tasks() <= before).await; // the server's tasks of these connections end too
    }
}

#[tokio::test]
async fn calls_of_a_runtime_that_ended_leave_their_places() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    let (address, short) = (server.address.clone(), encoder.clone());
    server.knobs().delay = Duration::from_millis(100);
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(short.url(), address);
            for _ in 0..20 {
                let encoder = short.clone();
                tokio::spawn(async move { encoder.encode_one("w1").await });
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        });
        runtime.shutdown_background();
    })
    .join()
    .unwrap();
    let found = tokio::time::timeout(Duration::from_secs(30), encoder.encode_one("w7").into_future()).await;
    assert_eq!(found.unwrap().unwrap(), [7.0; 4]);
    eventually(|| encoder.joiner().state().in_flight == 0 && queued(&encoder) == 0).await;
    for (found, word) in together(&server, &encoder, &words(20)).await.into_iter().zip(words(20)) {
        assert_eq!(found.unwrap(), vector_of(&word));
    }
}
