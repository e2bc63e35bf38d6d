use std::env;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::encoder::SentenceEncoder;
use crate::errors::Error;
use crate::settings::{OnModelChange, Priority, Settings};

/// The settings of an encoder. A setting that is not given comes from its environment variable, such as
/// `$SENTRITON_TIMEOUT_S`, then from its default.
#[derive(Clone, Default)]
#[must_use]
pub struct Builder {
    pub(crate) url: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) priority: Option<Priority>,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) on_model_change: Option<OnModelChange>,
    pub(crate) tls: Option<bool>,
    pub(crate) root_certificates: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) access_key: Option<String>,
}

impl Builder {
    /// The server: host:port, several addresses separated by commas, or `dns:///host:port`. The default is
    /// `localhost:8001`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// Bounds a whole call, retries included. The default is no bound but [`Builder::stall_timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Ends a call if none of its requests is answered for this long. The default is 60 s.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = Some(timeout);
        self
    }

    /// The server's lane. The default is [`Priority::Query`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Bounds the requests of one call that are in flight. The default is 16.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = Some(requests);
        self
    }

    /// The reaction to another model on the server. The default is [`OnModelChange::Raise`].
    pub fn on_model_change(mut self, reaction: OnModelChange) -> Self {
        self.on_model_change = Some(reaction);
        self
    }

    /// Turns TLS on or off. A certificate turns it on as well. It needs the feature `tls`, which is a default one.
    pub fn tls(mut self, on: bool) -> Self {
        self.tls = Some(on);
        self
    }

    /// The PEM file of the authorities that the client trusts; turns TLS on. The default is the system's.
    pub fn root_certificates(mut self, file: impl Into<PathBuf>) -> Self {
        self.root_certificates = Some(file.into());
        self
    }

    /// The PEM files of the client's certificate and its key, for mutual TLS; turns TLS on.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        (self.client_certificate, self.client_key) = (Some(certificate.into()), Some(key.into()));
        self
    }

    /// The name in the server's certificate, if it differs from the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The access key of the server, sent with every request and never shown.
    pub fn access_key(mut self, key: impl Into<String>) -> Self {
        self.access_key = Some(key.into());
        self
    }

    /// An encoder with these settings. It connects with the first call.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] if a setting is wrong.
    pub fn build(self) -> Result<SentenceEncoder, Error> {
        self.build_in(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// [`Builder::build`] with the variables of `environment`.
    pub(crate) fn build_in(self, environment: impl Fn(&str) -> Option<String>) -> Result<SentenceEncoder, Error> {
        SentenceEncoder::with(Settings::resolve(&self, environment)?)
    }
}

// Without the access key.
impl fmt::Debug for Builder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Builder").field("url", &self.url).finish_non_exhaustive()
    }
}
