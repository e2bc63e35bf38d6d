use serde_json::{Value, json};

use crate::call::{OwnRequests, Shape};
use crate::dispatch::Work;
use crate::errors::Error;
use crate::golden::Golden;
use crate::inference::ModelInferResponse;
use crate::manifest::Manifest;
use crate::pacing::Window;
use crate::requests::{Limits, plan_requests};
use crate::tests::checks::{assert_error, assert_words, decode, open, read_conformance};
use crate::tests::small_server::{SmallServer, response_of, small_manifest, words};
use crate::{Matrix, Priority};

type Change = fn(&mut ModelInferResponse);

/// Other numbers, of another shape.
fn shaped(answer: &mut ModelInferResponse, shape: &[i64]) {
    answer.outputs[0].shape = shape.to_vec();
    answer.raw_output_contents[0] = vec![1; 4 * usize::try_from(shape.iter().product::<i64>()).unwrap()].into();
}

fn numbered(answer: &mut ModelInferResponse, value: f32) {
    let mut raw = answer.raw_output_contents[0].to_vec();
    raw[20..24].copy_from_slice(&value.to_le_bytes());
    answer.raw_output_contents[0] = raw.into();
}

const WRONG_ANSWERS: [(Change, &str); 15] = [
    (|answer| shaped(answer, &[1, 4]), "shape [1, 4]; expected [3, 4]"),
    (|answer| shaped(answer, &[4, 4]), "shape [4, 4]; expected [3, 4]"),
    (|answer| shaped(answer, &[0, 4]), "shape [0, 4]; expected"),
    (|answer| shaped(answer, &[3, 1]), "shape [3, 1]; expected"),
    (|answer| shaped(answer, &[3, 5]), "shape [3, 5]; expected"),
    (|answer| shaped(answer, &[3]), "shape [3]; expected"),
    (|answer| shaped(answer, &[3, 4, 1]), "shape [3, 4, 1]; expected"),
    (|answer| numbered(answer, f32::NAN), "NaN or infinity in row 1; expected numbers"),
    (|answer| numbered(answer, f32::NEG_INFINITY), "NaN or infinity in row 1"),
    (|answer| answer.outputs[0].datatype = "INT32".into(), "as \"INT32\"; expected FP32"),
    (|answer| answer.raw_output_contents[0].truncate(44), "44 bytes for a sentence_embedding; expected 48"),
    (|answer| answer.outputs[0].name = "token_embeddings".into(), "outputs \"token_embeddings\" with"),
    (|answer| answer.raw_output_contents.clear(), "with 0 contents"),
    (|answer| answer.model_name = "rerank".into(), "model \"rerank\"; expected embed_text"),
    (|answer| *answer = ModelInferResponse::default(), "model \"\"; expected embed_text"),
];

#[tokio::test]
async fn a_wrong_embedding_is_refused() {
    let three = words(3);
    for (change, says) in WRONG_ANSWERS {
        let server = SmallServer::start().await;
        let golden = json!({"sentences": three, "sentence_embedding": [[1, 2, 3, 4], [1, 1, 1, 1], [2, 2, 2, 2]]});
        server.knobs().assets.insert("golden.json".into(), golden.to_string());
        let encoder = open(&server.address);
        let names = format!("wrong answer from {}: ", server.address);
        for rows in [3, 64] {
            // Alone, and in a request that calls share.
            server.knobs().change = None;
            assert_words(encoder.encode(&three).batch_size(rows).await, &three);
            server.change(change);
            let says = [says, &names, " (0 of 3 sentences were embedded)"];
            assert_error(encoder.encode(&three).batch_size(rows).await, Error::ServerError, &says);
        }
        assert_error(encoder.health().await, Error::ServerError, &[says, &names]);
        assert_eq!(server.received(), 2 * 2 + 1, "it was retried");
    }
}

#[tokio::test]
async fn a_wrong_manifest_is_the_servers_error() {
    let mut without_rows = small_manifest();
    without_rows["max_batch_size"] = Value::Null;
    for (text, says) in [
        (without_rows.to_string().as_str(), "max_batch_size is null; expected "),
        ("", ""),
        ("{", ""),
        ("[]", "is []; expected an object"),
        ("null", "is null; expected an object"),
        ("3", "is 3; expected an object"),
        ("{}", "lacks name, fingerprint"),
        (&"[".repeat(100_000), ""),
    ] {
        let server = SmallServer::start().await;
        server.knobs().assets.insert("manifest.json".into(), text.into());
        let encoder = open(&server.address);
        let names = format!("{} sent a manifest.json that this client cannot read: ", server.address);
        assert_error(encoder.encode(&words(3)).await, Error::ServerError, &[&names, says]);
        assert_error(encoder.health().await, Error::ServerError, &[&names, says]);
        assert_eq!(server.knobs().asked, 2, "it was retried");
    }
}

#[tokio::test]
async fn a_wrong_asset_is_refused() {
    let wrong: [(Change, &str); 7] = [
        (|answer| answer.raw_output_contents[0] = vec![2, 0, 0, 0, b'{'].into(), "in 5 bytes"),
        (|answer| answer.raw_output_contents[0] = vec![0].into(), "begin with 0x00; expected shape"),
        (|answer| answer.raw_output_contents[0].clear(), "in 0 bytes"),
        (|answer| answer.outputs[0].shape = vec![2], "shape [2] in "),
        (|answer| answer.outputs[0].name = "text".into(), "outputs \"text\" with 1 contents; expected content"),
        (|answer| answer.outputs[0].datatype = "FP32".into(), "as \"FP32\"; expected BYTES"),
        (|answer| *answer = ModelInferResponse::default(), "model \"\"; expected assets"),
    ];
    for (change, says) in wrong {
        let server = SmallServer::start().await;
        server.knobs().change_asset = Some(Box::new(change));
        assert_error(open(&server.address).encode(&words(3)).await, Error::ServerError, &["wrong answer from ", says]);
    }
}

#[tokio::test]
async fn wrong_golden_vectors_are_the_servers_error() {
    let server = SmallServer::start().await;
    let encoder = open(&server.address);
    let golden = |text: &str| {
        server.knobs().assets.insert("golden.json".into(), text.into());
        encoder.health()
    };
    for text in [
        "{}",
        "[]",
        "null",
        "no JSON",
        r#"{"sentences": [], "sentence_embedding": []}"#,
        r#"{"sentences": [1], "sentence_embedding": [[1, 1, 1, 1]]}"#,
        r#"{"sentences": [null], "sentence_embedding": [[1, 1, 1, 1]]}"#,
        r#"{"sentences": ["w1"]}"#,
        r#"{"sentences": ["w1"], "sentence_embedding": []}"#,
        r#"{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1]]}"#,
        r#"{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, "1"]]}"#,
        r#"{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, null]]}"#,
        r#"{"sentences": ["w1"], "sentence_embedding": [[1, 1, 1, 1e99]]}"#,
    ] {
        assert_error(golden(text).await, Error::ServerError, &["sent a golden.json that this client cannot read: "]);
    }
    let report = golden(r#"{"sentences": ["w1"], "sentence_embedding": [[2, 2, 2, 2]]}"#).await.unwrap();
    assert!(report.min_cosine > 0.999_999);
    let failure = golden(r#"{"sentences": ["w1"], "sentence_embedding": [[2, 2, 2, -2]]}"#).await;
    assert_error(failure, Error::ServerError, &["the canary failed at ", " is 0.500000, fp32 must reach 0.99"]);
    assert!(Golden::read(b"{\"sentences\": [\"w1\"], \"sentence_embedding\": [[1]]}", 1).is_ok());
}

/// The entries of the conformance file that need no server.
#[test]
fn answers_and_fields_of_the_conformance_file() {
    let file = read_conformance();
    let manifest = Manifest::read(json_with("dimension", &json!(2)).as_bytes()).unwrap();
    let shape = Shape { manifest: manifest.into(), max_rows: 3, dimension: 2, normalize: false };
    for each in file["answers"].as_array().unwrap() {
        let text = |name: &str| each[name].as_str().unwrap();
        let sizes: Vec<i64> = each["shape"].as_array().unwrap().iter().map(|size| size.as_i64().unwrap()).collect();
        let answer = response_of(text("model_name"), text("name"), text("datatype"), &sizes, decode(&each["content"]));
        let mut own = OwnRequests {
            shape: &shape,
            priority: Priority::Query,
            window: Window::new(1),
            result: Matrix::zeros(3, 2),
        };
        let limits = Limits { max_rows: 3, max_seq_length: 32, prompt: "" };
        let rows = plan_requests(&["a", "b", "c"], limits).next().unwrap();
        let outcome = own.collect(&rows, "host:1", &answer);
        if text("case") == "right" {
            outcome.unwrap();
            assert_eq!(own.result.as_slice(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        } else {
            assert_error(outcome, Error::ServerError, &["wrong answer from host:1: the server sent ", "; expected "]);
        }
    }
    for each in file["wrong_fields"].as_array().unwrap() {
        let name = each[0].as_str().unwrap();
        let wrong = Manifest::read(json_with(name, &each[1]).as_bytes()).expect_err(name);
        assert!(wrong.starts_with(&format!("the manifest's {name} is ")) && wrong.contains("; expected "), "{wrong}");
    }
}

fn json_with(name: &str, value: &Value) -> String {
    let mut manifest = small_manifest();
    manifest[name] = value.clone();
    manifest.to_string()
}
