//! Measures this client for benchmarks.clients: bench URL CALLERS SECONDS, sentences as a JSON list on standard input. It
//! embeds the list in one call, then single sentences in CALLERS tasks for SECONDS, and prints JSON.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use sentriton::SentenceEncoder;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

const WARM_UP: Duration = Duration::from_secs(1);
const TICKS_PER_SECOND: f64 = 100.0; // of /proc, on Linux

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let list: Value = serde_json::from_reader(io::stdin())?;
    let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let sentences: Arc<[String]> = texts.collect();
    let encoder = SentenceEncoder::new(&arguments[1])?;
    encoder.encode(&sentences[..sentences.len().min(1000)]).await?;
    let (begin, used) = (Instant::now(), cpu_s()?);
    encoder.encode(&sentences).await?;
    let count = f64::from(u32::try_from(sentences.len())?);
    let list = (count / begin.elapsed().as_secs_f64(), 1e6 * (cpu_s()? - used) / count);
    let single =
        single(&encoder, &sentences, arguments[2].parse()?, Duration::from_secs_f64(arguments[3].parse()?)).await?;
    println!(
        "{}",
        json!({"list_per_s": list.0, "list_cpu_us": list.1, "single_per_s": single.0, "single_cpu_us": single.1})
    );
    Ok(())
}

/// Sentences per second, and this process's CPU time for each in microseconds.
async fn single(
    encoder: &SentenceEncoder,
    sentences: &Arc<[String]>,
    callers: usize,
    span: Duration,
) -> Result<(f64, f64), Box<dyn Error>> {
    let answers = Arc::new(AtomicU32::new(0));
    let end = Instant::now() + WARM_UP + span;
    let mut tasks: JoinSet<sentriton::Result<()>> = JoinSet::new();
    for caller in 0..callers {
        let (encoder, sentences, answers) = (encoder.clone(), Arc::clone(sentences), Arc::clone(&answers));
        tasks.spawn(async move {
            let mut place = caller * 37;
            while Instant::now() < end {
                encoder.encode_one(&sentences[place % sentences.len()]).await?;
                answers.fetch_add(1, Ordering::Relaxed);
                place += 1;
            }
            Ok(())
        });
    }
    sleep(WARM_UP).await;
    let (before, begin, used) = (answers.load(Ordering::Relaxed), Instant::now(), cpu_s()?);
    sleep(span).await;
    let count = f64::from(answers.load(Ordering::Relaxed) - before);
    let found = (count / begin.elapsed().as_secs_f64(), 1e6 * (cpu_s()? - used) / count);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(found)
}

/// The CPU time of this process.
fn cpu_s() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/stat")?;
    let fields = status.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: Result<Vec<f64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / TICKS_PER_SECOND)
}
