//! Prints sentences by their similarity to the first: cargo run --example rank QUERY SENTENCE...
//!
//! The server is `$SENTRITON_URL`, or localhost:8001.

use std::env;
use std::process::ExitCode;

use sentriton::{Result, SentenceEncoder};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((query, sentences)) = arguments.split_first().filter(|(_, sentences)| !sentences.is_empty()) else {
        eprintln!("usage: rank QUERY SENTENCE...");
        return ExitCode::FAILURE;
    };
    match rank(query, sentences).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn rank(query: &str, sentences: &[String]) -> Result<()> {
    let encoder = SentenceEncoder::from_env()?;
    let queries = encoder.encode_query(&[query]).await?;
    let documents = encoder.encode_document(sentences).await?;
    let scores = encoder.similarity(&queries, &documents).await?;
    let mut ranked: Vec<(f32, &String)> = scores[0].iter().copied().zip(sentences).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, sentence) in ranked {
        println!("{score:.3} {sentence}");
    }
    Ok(())
}
