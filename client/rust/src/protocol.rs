use std::collections::HashMap;
use std::time::Duration;

use prost::bytes::Bytes;

use crate::errors::Error;
use crate::inference::infer_parameter::ParameterChoice;
use crate::inference::model_infer_request::InferInputTensor;
use crate::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use crate::settings::Priority;

/// A request to `embed_text`: text BYTES [rows, 1], which `texts` has as the elements of that tensor. `left` is the
/// longest wait in the server's queue.
pub(crate) fn text_request(
    texts: Bytes,
    rows: usize,
    fingerprint: &str,
    priority: Priority,
    left: Duration,
) -> ModelInferRequest {
    let mut request = bytes_request("embed_text", "text", vec![to_i64(rows), 1], texts);
    let microseconds = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
    request.parameters = HashMap::from([
        ("fingerprint".to_owned(), parameter(ParameterChoice::StringParam(fingerprint.to_owned()))),
        ("lane".to_owned(), parameter(ParameterChoice::StringParam(priority.to_string()))),
        ("timeout".to_owned(), parameter(ParameterChoice::Int64Param(microseconds))),
    ]);
    request
}

/// A request to `assets`: name BYTES [1].
pub(crate) fn asset_request(name: &str) -> ModelInferRequest {
    let mut content = Vec::new();
    push_element(&mut content, "", name);
    bytes_request("assets", "name", vec![1], content.into())
}

/// Appends an element of a BYTES tensor: its length as 4 bytes, little-endian, then its UTF-8.
pub(crate) fn push_element(tensor: &mut Vec<u8>, prompt: &str, text: &str) {
    let size = u32::try_from(prompt.len() + text.len()).unwrap_or(u32::MAX); // the server rejects far smaller ones
    tensor.extend_from_slice(&size.to_le_bytes());
    tensor.extend_from_slice(prompt.as_bytes());
    tensor.extend_from_slice(text.as_bytes());
}

fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

fn bytes_request(model: &str, name: &str, shape: Vec<i64>, content: Bytes) -> ModelInferRequest {
    let input = InferInputTensor { name: name.into(), datatype: "BYTES".into(), shape, ..Default::default() };
    ModelInferRequest {
        model_name: model.into(),
        inputs: vec![input],
        raw_input_contents: vec![content],
        ..Default::default()
    }
}

/// The bytes of the `sentence_embedding` of a response of `embed_text`: FP32 [rows, dimension]. Numbers are checked row
/// by row: see [`decode_row`].
pub(crate) fn read_embeddings(response: &ModelInferResponse, rows: usize, dimension: usize) -> Result<&Bytes, Error> {
    let (shape, raw) = output(response, "sentence_embedding", "FP32", "embed_text")?;
    if shape != [to_i64(rows), to_i64(dimension)] {
        return Err(Error::server_error(format!(
            "the server sent a sentence_embedding of shape {shape:?}; expected [{rows}, {dimension}]"
        )));
    }
    let (size, expected) = (raw.len(), rows * dimension * 4);
    if size != expected {
        return Err(Error::server_error(format!(
            "the server sent {size} bytes for a sentence_embedding; expected {expected}"
        )));
    }
    Ok(raw)
}

/// Fills the row with the first of these floats of 4 bytes, little-endian; false if any of them is NaN or infinity.
pub(crate) fn decode_row(row: &mut [f32], raw: &[u8]) -> bool {
    let (numbers, _) = raw.as_chunks::<4>();
    let mut finite = true;
    for (place, bytes) in numbers.iter().enumerate() {
        let value = f32::from_le_bytes(*bytes);
        finite &= value.is_finite();
        if let Some(cell) = row.get_mut(place) {
            *cell = value;
        }
    }
    finite
}

pub(crate) fn not_finite(row: usize) -> Error {
    Error::server_error(format!(
        "the server sent a sentence_embedding with NaN or infinity in row {row}; expected numbers"
    ))
}

/// The content of a response of `assets`: BYTES [1].
pub(crate) fn read_asset(response: &ModelInferResponse) -> Result<&[u8], Error> {
    let (shape, raw) = output(response, "content", "BYTES", "assets")?;
    let content = raw
        .split_first_chunk::<4>()
        .filter(|(size, content)| usize::try_from(u32::from_le_bytes(**size)).is_ok_and(|size| size == content.len()));
    match content {
        Some((_, content)) if shape == [1] => Ok(content),
        _ => {
            let first = raw.iter().take(4).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
            Err(Error::server_error(format!(
                "the server sent an asset of shape {shape:?} in {} bytes that begin with 0x{first}; expected shape [1], \
                 the first 4 bytes being the length of the rest",
                raw.len()
            )))
        }
    }
}

/// Shape and bytes of the output of this name, which must have this datatype and come from this model.
fn output<'a>(
    response: &'a ModelInferResponse,
    name: &str,
    datatype: &str,
    model: &str,
) -> Result<(&'a [i64], &'a Bytes), Error> {
    if response.model_name != model {
        let given = &response.model_name;
        return Err(Error::server_error(format!("the server sent an answer of the model {given:?}; expected {model}")));
    }
    let outputs = &response.outputs;
    let contents = response.raw_output_contents.len();
    let mut matching = outputs.iter().zip(&response.raw_output_contents).filter(|(output, _)| output.name == name);
    let (Some((found, raw)), None, true) = (matching.next(), matching.next(), outputs.len() == contents) else {
        let mut names: Vec<String> = outputs.iter().map(|output| format!("{:?}", output.name)).collect();
        if names.is_empty() {
            names.push("none".to_owned());
        }
        return Err(Error::server_error(format!(
            "the server sent the outputs {} with {contents} contents; expected {name} once, and a content for each output",
            names.join(", ")
        )));
    };
    if found.datatype != datatype {
        let given = &found.datatype;
        return Err(Error::server_error(format!("the server sent {name} as {given:?}; expected {datatype}")));
    }
    Ok((&found.shape, raw))
}

fn to_i64(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
