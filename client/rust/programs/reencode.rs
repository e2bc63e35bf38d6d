//! Reads [[message name, base64]] from standard input, decodes each by the generated code, and writes the list with the
//! messages encoded again.

use std::error::Error;
use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use serde_json::Value;

#[allow(clippy::all, clippy::pedantic, dead_code)]
#[rustfmt::skip]
#[path = "../src/generated/inference.rs"]
mod inference;

macro_rules! reencode {
    ($name:expr, $raw:expr, $($message:ident)*) => {
        match $name {
            $(stringify!($message) => Some(inference::$message::decode($raw)?.encode_to_vec()),)*
            _ => None,
        }
    };
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut given: Vec<Vec<Value>> = match serde_json::from_reader(io::stdin())? {
        Value::Array(list) => list.into_iter().filter_map(|each| each.as_array().cloned()).collect(),
        other => return Err(format!("{other} is no list").into()),
    };
    for each in &mut given {
        let name = each[0].as_str().unwrap_or_default();
        let raw = BASE64_STANDARD.decode(each[1].as_str().unwrap_or_default())?;
        let again = again(name, &raw)?.ok_or_else(|| format!("{name} is no message"))?;
        each[1] = BASE64_STANDARD.encode(again).into();
    }
    println!("{}", Value::from(given.into_iter().map(Value::from).collect::<Vec<_>>()));
    Ok(())
}

fn again(name: &str, raw: &[u8]) -> Result<Option<Vec<u8>>, prost::DecodeError> {
    Ok(reencode!(
        name, raw,
        ServerLiveRequest ServerLiveResponse ServerReadyRequest ServerReadyResponse ModelReadyRequest ModelReadyResponse
        ServerMetadataRequest ServerMetadataResponse ModelMetadataRequest ModelMetadataResponse InferParameter
        InferTensorContents ModelInferRequest ModelInferResponse ModelStreamInferResponse
    ))
}
