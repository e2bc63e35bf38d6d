use std::time::Duration;

use tonic::Status;

use crate::SentenceEncoder;
use crate::errors::Error;
use crate::pacing::RETRY_TOKENS;
use crate::tests::checks::{assert_error, built, eventually, open};
use crate::tests::joined::{queued, together};
use crate::tests::small_server::{SmallServer, vector_of, words};

#[tokio::test]
async fn the_mistake_of_one_member_is_its_own() {
    let server = SmallServer::start().await;
    server.refuse(|_, texts| {
        let has = |word: &str| texts.iter().any(|text| text == word);
        if has("bad") {
            return Some(Status::invalid_argument("this text is bad"));
        }
        has("worse").then(|| Status::internal("this text is worse"))
    });
    let mut sentences = words(20);
    (sentences[13], sentences[17]) = ("bad".into(), "worse".into());
    let encoder = open(&server.address);
    for (found, sentence) in together(&server, &encoder, &sentences).await.into_iter().zip(&sentences) {
        let failure = match sentence.as_str() {
            "bad" => assert_error(found, Error::InvalidInput, &[]),
            "worse" => assert_error(found, Error::ServerError, &[]),
            word => {
                assert_eq!(found.unwrap(), vector_of(word));
                continue;
            }
        };
        assert_eq!(failure.message(), format!("this text is {sentence}"));
    }
    assert_eq!(encoder.shared().servers.budget.left(), RETRY_TOKENS);
}

#[tokio::test]
async fn members_that_go_alone_keep_the_limit_and_go_before_the_others() {
    let server = SmallServer::start().await;
    let encoder = built(SentenceEncoder::builder().url(&server.address).max_in_flight(1)).unwrap();
    encoder.info().await.unwrap();
    server.refuse(|number, _| (number == 1).then(|| Status::invalid_argument("no")));
    (server.knobs().silent, server.knobs().delay) = (true, Duration::from_millis(50));
    let mut calls = Vec::new();
    for (place, batch) in [64, 64, 64, 64, 63].into_iter().enumerate() {
        // The last one joins none of them.
        let (encoder_of_call, word) = (encoder.clone(), format!("w{place}"));
        calls.push(tokio::spawn(async move { encoder_of_call.encode_one(&word).batch_size(batch).await }));
        eventually(|| server.received() == 1 && queued(&encoder) == place).await;
    }
    server.knobs().silent = false;
    for (call, word) in calls.into_iter().zip(words(5)) {
        assert_eq!(call.await.unwrap().unwrap(), vector_of(&word));
    }
    assert_eq!(server.knobs().texts, ["w0", "w1 w2 w3", "w1", "w2", "w3", "w4"]);
    assert_eq!(server.knobs().at_once, 1);
}

#[tokio::test]
async fn numbers_that_are_not_finite_concern_their_own_member() {
    let server = SmallServer::start().await;
    server.change(|answer| {
        let mut raw = answer.raw_output_contents[0].to_vec();
        for row in raw.as_chunks_mut::<16>().0 {
            if row[..4] == 13_f32.to_le_bytes() {
                row[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
            }
        }
        answer.raw_output_contents[0] = raw.into();
    });
    let found = together(&server, &open(&server.address), &words(20)).await;
    for (place, (found, word)) in found.into_iter().zip(words(20)).enumerate() {
        if place == 13 {
            let names = format!("wrong answer from {}: ", server.address);
            assert_error(found, Error::ServerError, &[&names, " in row 0; expected numbers"]);
        } else {
            assert_eq!(found.unwrap(), vector_of(&word));
        }
    }
}

#[tokio::test]
async fn each_member_has_an_error_with_its_own_progress() {
    let server = SmallServer::start().await;
    server.change(|answer| answer.outputs[0].shape = vec![1, 3]);
    let encoder = open(&server.address);
    encoder.info().await.unwrap();
    let three = words(3);
    let (single, several) = tokio::join!(encoder.encode_one("w1").into_future(), encoder.encode(&three).into_future());
    let single = assert_error(single, Error::ServerError, &["shape [1, 3]; expected [4, 4]"]);
    let several = assert_error(several, Error::ServerError, &["shape [1, 3]; expected [4, 4]"]);
    assert_eq!(several.message(), format!("{single} (0 of 3 sentences were embedded)"));
    assert_eq!(server.received(), 1);
}
