use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use crate::encoder::SentenceEncoder;
use crate::errors::Error;
use crate::matrix::Matrix;
use crate::settings::checked_time;

/// One call of an encoder, whose options these methods set. `.await` makes it and gives a [`Matrix`], or `Vec<f32>` for
/// one sentence. Dropping the future cancels the call, on the server too.
///
/// ```no_run
/// # async fn example(encoder: sentriton::SentenceEncoder) -> sentriton::Result<()> {
/// let embeddings = encoder.encode(&["A sentence.", "Another one."]).truncate_dim(64).normalize_embeddings(true).await?;
/// assert_eq!((embeddings.rows(), embeddings.columns()), (2, 64));
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing unless it is awaited"]
pub struct Encode<'a, T> {
    encoder: &'a SentenceEncoder,
    sentences: Vec<&'a str>,
    options: CallOptions,
    kind: PhantomData<fn() -> T>,
}

/// The options of one call.
#[derive(Default)]
pub(crate) struct CallOptions {
    pub(crate) preferred_prompts: &'static [&'static str], // of a query or a document
    pub(crate) timeout: Option<Duration>,                  // none: the encoder's
    pub(crate) prompt_name: Option<String>,
    pub(crate) prompt: Option<String>,
    pub(crate) batch_size: Option<usize>, // none: the manifest's
    pub(crate) truncate_dim: Option<usize>,
    pub(crate) normalize: bool,
}

impl CallOptions {
    /// Rejects arguments that no model allows.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        self.timeout = self.timeout.map(|timeout| checked_time("timeout", timeout)).transpose()?;
        match self.batch_size {
            Some(0) => Err(Error::invalid_input("batch_size is 0; allowed are whole numbers from 1")),
            _ => Ok(()),
        }
    }
}

impl<'a, T> Encode<'a, T> {
    pub(crate) fn new(
        encoder: &'a SentenceEncoder,
        sentences: Vec<&'a str>,
        preferred_prompts: &'static [&'static str],
    ) -> Self {
        let options = CallOptions { preferred_prompts, ..CallOptions::default() };
        Self { encoder, sentences, options, kind: PhantomData }
    }

    /// Puts a named prompt of the model before every sentence.
    pub fn prompt_name(mut self, name: impl Into<String>) -> Self {
        self.options.prompt_name = Some(name.into());
        self
    }

    /// Puts this text before every sentence. It overrides [`Encode::prompt_name`].
    pub fn prompt(mut self, text: impl Into<String>) -> Self {
        self.options.prompt = Some(text.into());
        self
    }

    /// Bounds the rows of one request. The default, and the bound, is the manifest's `max_batch_size`. With 1, the call
    /// shares no request with others.
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.options.batch_size = Some(rows);
        self
    }

    /// Keeps the first dimensions of every vector.
    pub fn truncate_dim(mut self, dimensions: usize) -> Self {
        self.options.truncate_dim = Some(dimensions);
        self
    }

    /// Scales every vector to length 1, after [`Encode::truncate_dim`].
    pub fn normalize_embeddings(mut self, on: bool) -> Self {
        self.options.normalize = on;
        self
    }

    /// Bounds the call, retries included, instead of [`Builder::timeout`](crate::Builder::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }
}

type Outcome<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

impl<'a> IntoFuture for Encode<'a, Matrix> {
    type Output = Result<Matrix, Error>;
    type IntoFuture = Outcome<'a, Matrix>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.encoder.run(self.sentences, self.options))
    }
}

impl<'a> IntoFuture for Encode<'a, Vec<f32>> {
    type Output = Result<Vec<f32>, Error>;
    type IntoFuture = Outcome<'a, Vec<f32>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.encoder.run(self.sentences, self.options).await.map(Matrix::into_vec) })
    }
}

impl<T> fmt::Debug for Encode<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encode").field("sentences", &self.sentences.len()).finish_non_exhaustive()
    }
}
