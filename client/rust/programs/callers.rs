//! Embeds single sentences in 64 tasks: callers URL CONFORMANCE CALLS [SECONDS]
//!
//! Every caller makes CALLS calls, and more until SECONDS have passed. "answered" is written to standard output
//! with the first 64 answers. The last line is JSON: the number of calls, the failures, and the smallest cosine to the
//! golden vectors.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sentriton::SentenceEncoder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CALLERS: usize = 64;

struct Found {
    calls: usize,
    failures: Vec<String>,
    min_cosine: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).chain(["0".to_owned()]).collect();
    let file: Value = serde_json::from_slice(&fs::read(&arguments[1])?)?;
    let calls: usize = arguments[2].parse()?;
    let end = Duration::from_secs_f64(arguments[3].parse()?);
    let encoder = SentenceEncoder::builder().url(&arguments[0]).timeout(Duration::from_secs(60)).build()?;
    encoder.info().await?;
    let end = Instant::now() + end;
    let found = Arc::new(Mutex::new(Found { calls: 0, failures: Vec::new(), min_cosine: 1.0 }));
    let mut tasks = JoinSet::new();
    for sentence in file["sentences"].as_array().into_iter().flatten().take(CALLERS) {
        let text = sentence["text"].as_str().unwrap_or_default().to_owned();
        let expected = decode(&sentence["vector"])?;
        let (encoder, found) = (encoder.clone(), Arc::clone(&found));
        tasks.spawn(async move {
            let mut made = 0;
            while made < calls || Instant::now() < end {
                let answer = encoder.encode_one(&text).await;
                found.lock().expect("no task panics").note(answer, &expected);
                made += 1;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    let found = found.lock().expect("no task panics");
    println!("{}", json!({"calls": found.calls, "failures": found.failures, "minCosine": found.min_cosine}));
    Ok(())
}

impl Found {
    fn note(&mut self, answer: sentriton::Result<Vec<f32>>, expected: &[f32]) {
        self.calls += 1;
        if self.calls == CALLERS {
            println!("answered");
        }
        match answer {
            Ok(vector) => {
                let lengths = dot(&vector, &vector) * dot(expected, expected);
                self.min_cosine = self.min_cosine.min(dot(&vector, expected) / lengths.sqrt());
            }
            Err(failure) => self.failures.push(failure.to_string()),
        }
    }
}

fn decode(text: &Value) -> Result<Vec<f32>, base64::DecodeError> {
    let raw = BASE64_STANDARD.decode(text.as_str().unwrap_or_default())?;
    Ok(raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
