use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::builder::Builder;
use crate::call::Call;
use crate::closing::Closed;
use crate::connection::Connection;
use crate::course::Servers;
use crate::deadline::Deadline;
use crate::encode::{CallOptions, Encode};
use crate::endpoints::Endpoints;
use crate::errors::Error;
use crate::info::Reading;
use crate::joiner::Joiner;
use crate::matrix::Matrix;
use crate::pacing::{RetryBudget, Window};
use crate::settings::{OnModelChange, Settings};
use crate::similarity::score_matrix;
use crate::tls::Tls;

const MODEL_CHANGES_PER_CALL: usize = 3; // servers that keep different models are no roll-out
const QUERY_PROMPTS: &[&str] = &["query"];
const DOCUMENT_PROMPTS: &[&str] = &["document", "passage", "corpus"];

/// Embeds sentences through a Sentriton server. A clone is the same encoder; use one for all tasks. Its calls need a
/// Tokio runtime with time and I/O.
#[derive(Clone)]
pub struct SentenceEncoder {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    joiner: Arc<Joiner>,
    window: Mutex<Window>, // for the next call
    reading: Mutex<Option<Reading>>,
    closed: watch::Sender<bool>,
}

/// The state that the calls of an encoder and their requests share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) connections: Vec<Connection>,
    pub(crate) servers: Servers,
    pub(crate) closed: Closed,
}

impl SentenceEncoder {
    /// An encoder for the server at `url`: host:port, several addresses separated by commas, or `dns:///host:port`. The
    /// first call connects and reads the model's manifest. Other settings come from the environment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if a setting is wrong.
    pub fn new(url: impl Into<String>) -> Result<Self, Error> {
        Self::builder().url(url).build()
    }

    /// An encoder with all settings from the environment: the server is `$SENTRITON_URL`, or `localhost:8001`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if a setting is wrong.
    pub fn from_env() -> Result<Self, Error> {
        Self::builder().build()
    }

    /// A builder for the settings of an encoder.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn with(settings: Settings) -> Result<Self, Error> {
        let tls = settings.tls.then(|| Tls::new(&settings)).transpose()?;
        let connections = settings
            .addresses
            .iter()
            .map(|address| Connection::new(address, &settings, tls.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let addresses = settings.addresses.iter().map(|address| address.text.clone()).collect();
        let servers = Servers { endpoints: Arc::new(Endpoints::new(addresses)), budget: Arc::new(RetryBudget::new()) };
        let window = Mutex::new(Window::new(settings.max_in_flight));
        let (closed, is_closed) = watch::channel(false);
        let shared = Arc::new(Shared { settings, connections, servers, closed: is_closed });
        let joiner = Arc::new(Joiner::new(Arc::clone(&shared)));
        let reading = Mutex::new(None);
        Ok(Self { inner: Arc::new(Inner { shared, joiner, window, reading, closed }) })
    }

    /// The address or addresses of the server.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.shared.settings.url
    }

    /// Embeds sentences: a row of the model's dimension for each, in order. `.await` makes the call; before, [`Encode`]
    /// takes its options. Calls of up to eight sentences that wait at the same time share requests.
    pub fn encode<'a, S: AsRef<str>>(&'a self, sentences: &'a [S]) -> Encode<'a, Matrix> {
        Encode::new(self, sentences.iter().map(AsRef::as_ref).collect(), &[])
    }

    /// [`SentenceEncoder::encode`] with the model's prompt "query", if it has one and no other is given.
    pub fn encode_query<'a, S: AsRef<str>>(&'a self, sentences: &'a [S]) -> Encode<'a, Matrix> {
        Encode::new(self, sentences.iter().map(AsRef::as_ref).collect(), QUERY_PROMPTS)
    }

    /// [`SentenceEncoder::encode`] with the first of the prompts "document", "passage" and "corpus" that the model has, if
    /// no other is given.
    pub fn encode_document<'a, S: AsRef<str>>(&'a self, sentences: &'a [S]) -> Encode<'a, Matrix> {
        Encode::new(self, sentences.iter().map(AsRef::as_ref).collect(), DOCUMENT_PROMPTS)
    }

    /// [`SentenceEncoder::encode`] for one sentence.
    pub fn encode_one<'a>(&'a self, sentence: &'a str) -> Encode<'a, Vec<f32>> {
        Encode::new(self, vec![sentence], &[])
    }

    /// [`SentenceEncoder::encode_query`] for one sentence.
    pub fn encode_one_query<'a>(&'a self, sentence: &'a str) -> Encode<'a, Vec<f32>> {
        Encode::new(self, vec![sentence], QUERY_PROMPTS)
    }

    /// [`SentenceEncoder::encode_document`] for one sentence.
    pub fn encode_one_document<'a>(&'a self, sentence: &'a str) -> Encode<'a, Vec<f32>> {
        Encode::new(self, vec![sentence], DOCUMENT_PROMPTS)
    }

    /// Scores every row of `first` against every row of `second` by the model's similarity function: [n, d] and [m, d]
    /// to [n, m]. Higher is more similar.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if d differs, and the errors of [`SentenceEncoder::info`].
    pub async fn similarity(&self, first: &Matrix, second: &Matrix) -> Result<Matrix, Error> {
        score_matrix(self.info().await?.similarity, first, second)
    }

    /// Closes the connections. Calls in progress and later calls fail with [`Error::Closed`]. Requests in flight have
    /// 100 ms to end, if the runtime lasts as long. Then they are cancelled. Without `close`, the connections close when
    /// the last clone is dropped.
    pub fn close(&self) {
        self.inner.closed.send_replace(true);
        *self.reading() = None;
        self.inner.shared.connections.iter().for_each(Connection::close);
    }

    /// Runs the body of a call, which ends when the encoder is closed.
    pub(crate) async fn unless_closed<T>(&self, body: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut closed = self.inner.closed.subscribe();
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => Err(Error::closed()),
            outcome = body => outcome,
        }
    }

    pub(crate) async fn run(&self, sentences: Vec<&str>, mut options: CallOptions) -> Result<Matrix, Error> {
        options.check()?;
        let deadline = Arc::new(self.deadline(options.timeout));
        self.unless_closed(async {
            let mut changes = 0;
            loop {
                let reading = self.manifest(&deadline).await?;
                let call = Call::new(self, reading.manifest.clone(), &sentences, &options, Arc::clone(&deadline))?;
                match call.run().await {
                    Err(Error::ContractMismatch(_))
                        if self.settings().on_model_change == OnModelChange::Reload
                            && changes < MODEL_CHANGES_PER_CALL =>
                    {
                        changes += 1;
                        self.forget(&reading.reading);
                    }
                    outcome => return outcome,
                }
            }
        })
        .await
    }

    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Deadline {
        let settings = self.settings();
        Deadline::new(timeout.or(settings.timeout), settings.stall_timeout, Instant::now())
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.shared.settings
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn joiner(&self) -> &Arc<Joiner> {
        &self.inner.joiner
    }

    /// The manifest's reading that all calls share.
    pub(crate) fn reading(&self) -> std::sync::MutexGuard<'_, Option<Reading>> {
        self.inner.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A window with the final state of the last call's.
    pub(crate) fn next_window(&self) -> Window {
        self.inner.window.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    pub(crate) fn keep_window(&self, last: &Window) {
        *self.inner.window.lock().unwrap_or_else(PoisonError::into_inner) = last.clone();
    }
}

impl fmt::Debug for SentenceEncoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SentenceEncoder").field("url", &self.url()).finish_non_exhaustive()
    }
}
