use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::course::{Course, Gate};
use crate::deadline::Deadline;
use crate::dispatch::{Work, dispatch};
use crate::encode::CallOptions;
use crate::encoder::SentenceEncoder;
use crate::errors::Error;
use crate::inference::{ModelInferRequest, ModelInferResponse};
use crate::manifest::Manifest;
use crate::matrix::Matrix;
use crate::member::Member;
use crate::pacing::Window;
use crate::protocol::{decode_row, not_finite, read_embeddings, text_request};
use crate::requests::{Limits, RequestRows, plan_requests};
use crate::settings::Priority;
use crate::similarity::{length, to_f32};

/// One encode call with one model.
pub(crate) struct Call<'a> {
    pub(crate) encoder: &'a SentenceEncoder,
    pub(crate) sentences: &'a [&'a str],
    pub(crate) prompt: String,
    pub(crate) shape: Shape,
    pub(crate) deadline: Arc<Deadline>,
}

/// The model of a call, and the form of its vectors.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) max_rows: usize,
    pub(crate) dimension: usize,
    pub(crate) normalize: bool,
}

impl Shape {
    /// The vector at the beginning of `raw`, in the form of the call; false if one of its numbers is not finite.
    pub(crate) fn fill(&self, row: &mut [f32], raw: &[u8]) -> bool {
        if !decode_row(row, &raw[..4 * self.manifest.dimension]) {
            return false;
        }
        if self.normalize {
            let size = length(row).max(1e-12);
            for value in row {
                *value = to_f32(f64::from(*value) / size);
            }
        }
        true
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        encoder: &'a SentenceEncoder,
        manifest: Arc<Manifest>,
        sentences: &'a [&'a str],
        options: &CallOptions,
        deadline: Arc<Deadline>,
    ) -> Result<Self, Error> {
        let prompt = resolve_prompt(&manifest, options)?;
        let dimension = options.truncate_dim.unwrap_or(manifest.dimension);
        if dimension < 1 || dimension > manifest.dimension {
            let most = manifest.dimension;
            return Err(Error::invalid_input(format!("truncate_dim is {dimension}; allowed are 1 to {most}")));
        }
        let max_rows = options.batch_size.map_or(manifest.max_batch_size, |size| size.min(manifest.max_batch_size));
        let shape = Shape { manifest, max_rows, dimension, normalize: options.normalize };
        Ok(Self { encoder, sentences, prompt, shape, deadline })
    }

    /// Embeds the sentences: in a joined request if the call is small, else in separate requests.
    pub(crate) async fn run(&self) -> Result<Matrix, Error> {
        if let Some(member) = Member::new(self) {
            return self.encoder.joiner().run(member).await;
        }
        let shared = self.encoder.shared();
        let limits = Limits {
            max_rows: self.shape.max_rows,
            max_seq_length: self.shape.manifest.max_seq_length,
            prompt: &self.prompt,
        };
        let own = OwnRequests {
            shape: &self.shape,
            priority: shared.settings.priority,
            window: self.encoder.next_window(),
            result: Matrix::zeros(self.sentences.len(), self.shape.dimension),
        };
        let plan = plan_requests(self.sentences, limits);
        let total = self.sentences.len();
        let mut course = Course::new(total, own, shared.servers.clone(), Arc::clone(&self.deadline), plan);
        let outcome = dispatch(&mut course, shared).await;
        self.encoder.keep_window(&course.gate.window);
        outcome.map_err(|failure| failure.with_progress(course.finished, total))?;
        Ok(course.gate.result)
    }
}

/// The separate requests of a call.
pub(crate) struct OwnRequests<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) priority: Priority,
    pub(crate) window: Window,
    pub(crate) result: Matrix,
}

impl Gate for OwnRequests<'_> {
    fn enter(&mut self, in_flight: usize, now: Instant) -> bool {
        self.window.enter(in_flight, now)
    }

    fn answered(&mut self, characters: usize, now: Instant) {
        self.window.answered(characters, now);
    }

    fn overloaded(&mut self) {
        self.window.overloaded();
    }
}

impl Work for OwnRequests<'_> {
    fn request(&self, rows: &RequestRows, left: Duration) -> ModelInferRequest {
        let fingerprint = &self.shape.manifest.fingerprint;
        text_request(rows.texts.clone(), rows.indices.len(), fingerprint, self.priority, left)
    }

    fn collect(&mut self, rows: &RequestRows, address: &str, response: &ModelInferResponse) -> Result<(), Error> {
        let size = 4 * self.shape.manifest.dimension;
        let raw = read_embeddings(response, rows.indices.len(), self.shape.manifest.dimension)
            .map_err(|failure| failure.of_wrong_answer(address))?;
        for (row, &index) in rows.indices.iter().enumerate() {
            if !self.shape.fill(self.result.row_mut(index), &raw[row * size..]) {
                return Err(not_finite(row).of_wrong_answer(address));
            }
        }
        Ok(())
    }
}

/// The text before every sentence.
fn resolve_prompt(manifest: &Manifest, options: &CallOptions) -> Result<String, Error> {
    let prompts = &manifest.prompts;
    let text = if let Some(text) = &options.prompt {
        text.clone()
    } else if let Some(name) = &options.prompt_name {
        prompts.get(name).ok_or_else(|| unknown_prompt(manifest, name))?.clone()
    } else {
        let preferred = options.preferred_prompts.iter().find_map(|name| prompts.get(*name));
        let default = || manifest.default_prompt_name.as_ref().and_then(|name| prompts.get(name));
        preferred.or_else(default).cloned().unwrap_or_default()
    };
    if !text.is_empty() && !manifest.include_prompt {
        return Err(Error::invalid_input(format!(
            "prompt is {text:?}; this model leaves prompts out of pooling, which only the Python client \
             supports; allowed is \"\""
        )));
    }
    Ok(text)
}

fn unknown_prompt(manifest: &Manifest, name: &str) -> Error {
    let quoted: Vec<String> = manifest.prompts.keys().map(|each| format!("{each:?}")).collect();
    let known = if quoted.is_empty() { "none".to_owned() } else { quoted.join(", ") };
    Error::invalid_input(format!("prompt_name is {name:?}; the model's prompts are {known}"))
}
