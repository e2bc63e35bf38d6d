use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{OwnRequests, Shape};
use crate::closing::Tasks;
use crate::dispatch::Work;
use crate::encoder::{SentenceEncoder, Shared};
use crate::errors::Error;
use crate::golden::Golden;
use crate::manifest::Manifest;
use crate::matrix::Matrix;
use crate::pacing::Window;
use crate::requests::{Limits, plan_requests};
use crate::settings::checked_time;
use crate::similarity::cosine;

const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

/// A passed canary.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthReport {
    /// The served model.
    pub manifest: Arc<Manifest>,
    /// The smallest cosine to its golden vectors.
    pub min_cosine: f64,
}

impl SentenceEncoder {
    /// Embeds the golden sentences of the first server and compares the vectors with those of sentence-transformers.
    /// The check ends after 10 s and is not retried.
    ///
    /// # Errors
    ///
    /// [`Error::ServerError`] if they differ by more than the precision allows, and the other errors of the client.
    pub async fn health(&self) -> Result<HealthReport, Error> {
        self.health_within(HEALTH_TIMEOUT).await
    }

    /// [`SentenceEncoder::health`] with another time.
    ///
    /// # Errors
    ///
    /// Those of [`SentenceEncoder::health`], and [`Error::InvalidInput`] if the time is 0.
    pub async fn health_within(&self, timeout: Duration) -> Result<HealthReport, Error> {
        let end = Instant::now() + checked_time("timeout", timeout)?;
        self.unless_closed(async {
            let mut tasks = Tasks::new(self.shared().closed.clone());
            tasks.spawn(canary(Arc::clone(self.shared()), self.next_window(), end));
            tasks.next().await.unwrap_or_else(|| Err(Error::closed()))
        })
        .await
    }
}

async fn canary(shared: Arc<Shared>, window: Window, end: Instant) -> Result<HealthReport, Error> {
    let (server, address) = (&shared.connections[0], shared.servers.endpoints.address(0));
    let manifest = server.asset("manifest.json", end, Manifest::read).await?;
    let golden = server.asset("golden.json", end, |content| Golden::read(content, manifest.dimension)).await?;
    let sentences: Vec<&str> = golden.sentences.iter().map(String::as_str).collect();
    let manifest = Arc::new(manifest);
    let dimension = manifest.dimension;
    let shape = Shape { manifest: Arc::clone(&manifest), max_rows: sentences.len(), dimension, normalize: false };
    let limits = Limits { max_rows: sentences.len(), max_seq_length: 0, prompt: "" };
    let mut own = OwnRequests {
        shape: &shape,
        priority: shared.settings.priority,
        window,
        result: Matrix::zeros(sentences.len(), dimension),
    };
    for rows in plan_requests(&sentences, limits) {
        let request = own.request(&rows, end.saturating_duration_since(Instant::now()));
        let response = server.infer(request, end).await?;
        own.collect(&rows, address, &response)?;
    }
    let cosines = own.result.iter().zip(&golden.embeddings).map(|(found, expected)| cosine(found, expected));
    let min_cosine = cosines.fold(1.0, f64::min);
    // 1e-6 is the noise of float32.
    if min_cosine < manifest.min_cosine - 1e-6 {
        return Err(Error::server_error(format!(
            "the canary failed at {address}: the smallest cosine to the golden vectors is {min_cosine:.6}, {} must reach {}",
            manifest.precision, manifest.min_cosine
        )));
    }
    Ok(HealthReport { manifest, min_cosine })
}
