use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::errors::{Details, Error};
use crate::tests::small_server::{DIMENSION, vector_of};
use crate::{Builder, Matrix, SentenceEncoder};

/// A busy machine is far below it, and a client that waits for its default of 60 s is above.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// An encoder without the variables of this process.
pub(crate) fn open(url: &str) -> SentenceEncoder {
    built(SentenceEncoder::builder().url(url)).unwrap()
}

pub(crate) fn built(builder: Builder) -> Result<SentenceEncoder, Error> {
    builder.build_in(|_| None)
}

pub(crate) type Kind = fn(Details) -> Error;

/// Checks kind and message of an error, which contains all of these words.
#[track_caller]
pub(crate) fn assert_error<T: std::fmt::Debug>(found: Result<T, Error>, kind: Kind, says: &[&str]) -> Error {
    let failure = found.expect_err("it succeeded");
    let expected = Error::new(kind, "");
    assert_eq!(std::mem::discriminant(&failure), std::mem::discriminant(&expected), "{failure:?}");
    for words in says {
        assert!(failure.message().contains(words), "{words:?} is not in: {failure}");
    }
    failure
}

/// Checks that these are the vectors of a small server.
#[track_caller]
pub(crate) fn assert_words<S: AsRef<str>>(found: Result<Matrix, Error>, sentences: &[S]) {
    let found = found.unwrap();
    assert_eq!((found.rows(), found.columns()), (sentences.len(), DIMENSION));
    for (row, sentence) in found.iter().zip(sentences) {
        assert_eq!(row, vector_of(sentence.as_ref()));
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually(holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < end, "{caller}: it does not hold after {SOON:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn read_conformance() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/polyglot/conformance.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

pub(crate) fn decode(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}

pub(crate) fn decode_vector(text: &Value) -> Vec<f32> {
    decode(text).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The variant of an error that the conformance file names.
pub(crate) fn kind_named(name: &str) -> Kind {
    match name {
        "InvalidInput" => Error::InvalidInput,
        "ContractMismatch" => Error::ContractMismatch,
        "AccessDenied" => Error::AccessDenied,
        "Overloaded" => Error::Overloaded,
        "ServerUnavailable" => Error::ServerUnavailable,
        "DeadlineExceeded" => Error::DeadlineExceeded,
        "ServerError" => Error::ServerError,
        _ => panic!("unknown error {name}"),
    }
}
