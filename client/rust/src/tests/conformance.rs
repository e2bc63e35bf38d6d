use std::time::{Duration, Instant};

use serde_json::Value;

use crate::connection::Connection;
use crate::errors::Error;
use crate::manifest::Manifest;
use crate::protocol::text_request;
use crate::settings::{Priority, Settings};
use crate::similarity::{cosine, length};
use crate::tests::checks::{assert_error, decode, decode_vector, kind_named, open, read_conformance};
use crate::{Encode, Matrix, SentenceEncoder};

const WITHOUT_SERVER: &str = "needs a server of the bundled checkpoint: set SENTRITON_URL";

fn real_url() -> String {
    std::env::var("SENTRITON_URL").expect(WITHOUT_SERVER)
}

/// The file's sentences and vectors.
struct Conformance {
    file: Value,
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}

impl Conformance {
    fn read() -> Self {
        let file = read_conformance();
        let sentences = file["sentences"].as_array().unwrap();
        let text = |each: &Value| each["text"].as_str().unwrap().repeat(number(&each["times"]));
        let texts = sentences.iter().map(text).collect();
        let vectors = sentences.iter().map(|each| decode_vector(&each["vector"])).collect();
        Self { file, texts, vectors }
    }

    async fn embed(&self, case: &Value) -> Result<Matrix, Error> {
        if let Some(bytes) = case.get("utf8") {
            return send_bytes(&decode(bytes)).await;
        }
        if let Some(units) = case.get("utf16") {
            return Err(refused_by_strings(units));
        }
        let options = &case["options"];
        if options["batch_size"].is_f64() {
            let given = options["batch_size"].to_string();
            let refused = given.parse::<usize>().unwrap_err(); // the compiler refuses half a row
            return Err(Error::invalid_input(format!(
                "{given} is no row: {refused}; allowed are whole numbers from 1"
            )));
        }
        let encoder = encoder(&case["settings"])?;
        let texts: Vec<&str> = places(&case["sentences"]).map(|place| self.texts[place].as_str()).collect();
        if case["single"] == true {
            let one = with_options(encoder.encode_one(texts[0]), options).await?;
            return Matrix::from_rows(&[one]);
        }
        with_options(encoder.encode(&texts), options).await
    }

    fn check(&self, case: &Value, found: &Matrix) {
        let expected: Vec<Vec<f32>> = match case["vectors"].as_array() {
            Some(vectors) => vectors.iter().map(decode_vector).collect(),
            None => places(&case["sentences"]).map(|place| self.vectors[place].clone()).collect(),
        };
        assert_eq!(found.rows(), expected.len());
        for (row, vector) in found.iter().zip(&expected) {
            let dimension = case["options"].get("truncate_dim").map_or(vector.len(), number);
            let vector = &vector[..dimension];
            assert_eq!(row.len(), dimension);
            assert!(cosine(row, vector) >= self.file["min_cosine"].as_f64().unwrap(), "{}", cosine(row, vector));
            let size = if case["options"]["normalize_embeddings"] == true { 1.0 } else { length(vector) };
            assert!((length(row) - size).abs() < 1e-4, "the length is {}", length(row));
        }
    }
}

fn places(list: &Value) -> impl Iterator<Item = usize> {
    list.as_array().into_iter().flatten().map(number)
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// An encoder with the settings of a case. Their types allow no negative time and no unknown lane, so they come from the
/// variables.
fn encoder(settings: &Value) -> Result<SentenceEncoder, Error> {
    let known = ["url", "timeout_s", "stall_timeout_s", "priority", "max_in_flight"];
    for name in settings.as_object().into_iter().flat_map(|each| each.keys()) {
        assert!(known.contains(&name.as_str()), "unknown setting {name}");
    }
    SentenceEncoder::builder().build_in(|variable| {
        let name = variable.strip_prefix("SENTRITON_").unwrap().to_lowercase();
        let value = settings.get(&name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        value.or_else(|| (name == "url").then(real_url))
    })
}

fn with_options<'a, T>(mut call: Encode<'a, T>, options: &Value) -> Encode<'a, T> {
    for (name, value) in options.as_object().into_iter().flatten() {
        let text = || value.as_str().unwrap().to_owned();
        call = match name.as_str() {
            "timeout_s" => call.timeout(Duration::from_secs_f64(value.as_f64().unwrap())),
            "batch_size" => call.batch_size(number(value)),
            "truncate_dim" => call.truncate_dim(number(value)),
            "normalize_embeddings" => call.normalize_embeddings(value.as_bool().unwrap()),
            "prompt_name" => call.prompt_name(text()),
            "prompt" => call.prompt(text()),
            _ => panic!("unknown option {name}"),
        };
    }
    call
}

/// Strings of this language hold no bytes that are not UTF-8, so these go in a request made by hand.
async fn send_bytes(bytes: &[u8]) -> Result<Matrix, Error> {
    let settings = Settings::resolve(&SentenceEncoder::builder().url(real_url()), |_| None)?;
    let connection = Connection::new(&settings.addresses[0], &settings, None)?;
    let time = Duration::from_secs(10);
    let end = Instant::now() + time;
    let manifest = connection.asset("manifest.json", end, Manifest::read).await?;
    let mut element = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    element.extend_from_slice(bytes);
    let request = text_request(element.into(), 1, &manifest.fingerprint, Priority::Query, time);
    connection.infer(request, end).await?;
    Ok(Matrix::default())
}

/// The type of strings refuses half of a surrogate pair.
fn refused_by_strings(units: &Value) -> Error {
    let units: Vec<u16> = units.as_array().unwrap().iter().map(|unit| u16::try_from(number(unit)).unwrap()).collect();
    let place = char::decode_utf16(units.iter().copied()).position(|each| each.is_err()).unwrap();
    let refused = String::from_utf16(&units).unwrap_err();
    Error::invalid_input(format!("character {place} is a surrogate: {refused}"))
}

/// The cases that every client passes. `tests/polyglot/test_rust.py` looks for their names in the output.
#[tokio::test]
#[ignore = "needs a server of the bundled checkpoint: set SENTRITON_URL"]
async fn every_case_passes() {
    let conformance = Conformance::read();
    for case in conformance.file["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        eprintln!("case: {name}");
        let found = conformance.embed(case).await;
        match case["error"].as_str() {
            None => conformance.check(case, &found.unwrap()),
            Some(error) => {
                let says: Vec<&str> =
                    case["says"].as_array().unwrap().iter().map(|words| words.as_str().unwrap()).collect();
                assert_error(found, kind_named(error), &says);
            }
        }
        println!("passed: {name}");
    }
}

#[tokio::test]
#[ignore = "needs a server of the bundled checkpoint: set SENTRITON_URL"]
async fn similarity_of_the_file() {
    let conformance = Conformance::read();
    let given = &conformance.file["similarity"];
    let rows = |list| Matrix::from_rows(&places(list).map(|place| &conformance.vectors[place]).collect::<Vec<_>>());
    let (first, second) = (rows(&given["first"]).unwrap(), rows(&given["second"]).unwrap());
    let found = open(&real_url()).similarity(&first, &second).await.unwrap();
    assert_eq!((found.rows(), found.columns()), (first.rows(), second.rows()));
    for (row, expected) in found.iter().zip(given["scores"].as_array().unwrap()) {
        for (score, expected) in row.iter().zip(expected.as_array().unwrap()) {
            assert!((f64::from(*score) - expected.as_f64().unwrap()).abs() < 1e-5);
        }
    }
}

#[tokio::test]
#[ignore = "needs a server of the bundled checkpoint: set SENTRITON_URL"]
async fn a_real_server_is_healthy() {
    let report = open(&real_url()).health().await.unwrap();
    assert!(report.min_cosine > 0.99999);
    assert_eq!(report.manifest.dimension, number(&Conformance::read().file["dimension"]));
}
