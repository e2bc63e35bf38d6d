use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tonic::{Code, Status};

/// The kind of a failure. Each message names the given value, the allowed ones and the remedy.
///
/// [`source`](StdError::source) is the cause, such as gRPC's [`Status`]; [`Error::status`] finds that status.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller's argument or request is wrong; a retry cannot help.
    InvalidInput(Details),
    /// The server has another model than the one that the encoder has read. It is an invalid input too:
    /// [`Error::is_invalid_input`].
    ContractMismatch(Details),
    /// Key or certificate: one side does not trust the other.
    AccessDenied(Details),
    /// The server's queue is full, or the request waited too long in it.
    Overloaded(Details),
    /// No server answers at the address, or the server is not healthy.
    ServerUnavailable(Details),
    /// The call timed out.
    DeadlineExceeded(Details),
    /// The server failed, or its answer is wrong.
    ServerError(Details),
    /// The encoder is closed.
    Closed(Details),
}

/// The message of an [`Error`], and its cause.
#[derive(Clone, Debug)]
pub struct Details {
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// A variant of [`Error`].
pub(crate) type Kind = fn(Details) -> Error;

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        kind(Details { message: message.into(), source: None })
    }

    pub(crate) fn invalid_input(message: impl Into<String>) -> Self {
        Self::new(Self::InvalidInput, message)
    }

    pub(crate) fn server_error(message: impl Into<String>) -> Self {
        Self::new(Self::ServerError, message)
    }

    pub(crate) fn closed() -> Self {
        Self::new(Self::Closed, "this encoder is closed; make a new one")
    }

    /// The message, as [`Display`](fmt::Display) shows it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.details().message
    }

    /// The status of gRPC; none if the client itself found the error.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.source()?.downcast_ref()
    }

    /// Whether it is [`Error::InvalidInput`] or [`Error::ContractMismatch`].
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(self, Self::InvalidInput(_) | Self::ContractMismatch(_))
    }

    pub(crate) fn because(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.details_mut().source = Some(Arc::new(cause));
        self
    }

    /// Adds the server of an answer that the client rejected.
    pub(crate) fn of_wrong_answer(mut self, address: &str) -> Self {
        let details = self.details_mut();
        details.message = format!("wrong answer from {address}: {}", details.message);
        self
    }

    /// Names the sentence in an error of the server that names a row of a request for the sentences at `indices`.
    pub(crate) fn of_rows(mut self, indices: &[usize]) -> Self {
        const IN_ROW: &str = "text in row ";
        if let Self::InvalidInput(details) = &mut self
            && let Some((before, rest)) = details.message.split_once(IN_ROW)
            && let Some((row, after)) = rest.split_once(' ')
            && let Some(place) = row.parse().ok().and_then(|row: usize| indices.get(row))
        {
            details.message = format!("{before}sentences[{place}] {after}");
        }
        self
    }

    /// Adds the progress of a call with several sentences.
    pub(crate) fn with_progress(mut self, finished: usize, total: usize) -> Self {
        if total > 1 {
            let progress = format!(" ({} of {} sentences were embedded)", grouped(finished), grouped(total));
            self.details_mut().message += &progress;
        }
        self
    }

    fn details(&self) -> &Details {
        match self {
            Self::InvalidInput(details)
            | Self::ContractMismatch(details)
            | Self::AccessDenied(details)
            | Self::Overloaded(details)
            | Self::ServerUnavailable(details)
            | Self::DeadlineExceeded(details)
            | Self::ServerError(details)
            | Self::Closed(details) => details,
        }
    }

    fn details_mut(&mut self) -> &mut Details {
        match self {
            Self::InvalidInput(details)
            | Self::ContractMismatch(details)
            | Self::AccessDenied(details)
            | Self::Overloaded(details)
            | Self::ServerUnavailable(details)
            | Self::DeadlineExceeded(details)
            | Self::ServerError(details)
            | Self::Closed(details) => details,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.details().source.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

// Triton's words, for status codes that say less.
const OVERLOAD: [&str; 3] = ["lane is full", "exceeds maximum queue size", "request timeout expired"];
const DENIED: [&str; 8] = [
    "this protocol is restricted",
    // rustls' words for an untrusted server certificate, and for a rejected client certificate.
    "invalid peer certificate",
    "fatal alert: certificaterequired",
    "fatal alert: badcertificate",
    "fatal alert: unknownca",
    "fatal alert: certificateunknown",
    "fatal alert: certificateexpired",
    "fatal alert: decrypterror",
];
// A message above a limit: words of the gRPC libraries, of Envoy, and for a proxy's HTTP status.
const TOO_LARGE: [&str; 10] = [
    "message larger than max",
    "decompression larger than max",
    "a size larger than",
    "message exceeds maximum size",
    "message length too large",
    "maximum configured message size",
    "payload too large",
    "status: 413",
    "status code 413",
    "server: 413",
];
const SICK: [&str; 3] = ["is not healthy", "rst_stream", "stream removed"];
// A full /dev/shm: the request was not computed, and answers in flight will free space.
const NO_ROOM: &str = "failed to increase the shared memory pool size";
// The whole message of a call that a stopping Triton aborts. Calls that this client ends have other messages.
const BROKEN_OFF: &str = "CANCELLED";
const MISMATCH: &str = "fingerprint mismatch";
/// The beginning of the message of a failed connection.
pub(crate) const CANNOT_CONNECT: &str = "cannot connect to ";

/// The kind of error for a gRPC status and the server's message.
fn kind_of(code: Code, message: &str) -> Kind {
    let text = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|each| text.contains(each));
    match code {
        Code::InvalidArgument if text.contains(MISMATCH) => Error::ContractMismatch,
        Code::InvalidArgument => Error::InvalidInput,
        Code::DeadlineExceeded => Error::DeadlineExceeded,
        Code::PermissionDenied | Code::Unauthenticated => Error::AccessDenied,
        Code::ResourceExhausted if has(&TOO_LARGE) => Error::InvalidInput,
        Code::ResourceExhausted => Error::Overloaded,
        Code::Unavailable | Code::NotFound if has(&OVERLOAD) => Error::Overloaded,
        Code::Unavailable | Code::NotFound if has(&DENIED) => Error::AccessDenied,
        Code::Unavailable | Code::NotFound => Error::ServerUnavailable,
        _ if has(&TOO_LARGE) => Error::InvalidInput,
        _ if text.contains(NO_ROOM) => Error::Overloaded,
        _ if has(&SICK) => Error::ServerUnavailable,
        Code::Cancelled if message == BROKEN_OFF => Error::ServerUnavailable,
        _ => Error::ServerError,
    }
}

/// The error for a status of gRPC, with the server's message and address.
pub(crate) fn translate(status: Status, address: &str) -> Error {
    let kind = kind_of(status.code(), status.message());
    let words = if status.message().is_empty() { status.code().description() } else { status.message() };
    let mut reason = words.to_owned();
    let message = match kind(Details { message: String::new(), source: None }) {
        Error::ServerUnavailable(_) => {
            if reason.starts_with(CANNOT_CONNECT) {
                reason += "; is it running? `sentriton serve` on that machine starts it";
            }
            format!("no answer from {address}: {reason}")
        }
        Error::AccessDenied(_) => {
            if reason.contains("access-key") {
                reason += "; give the server's key by access_key or $SENTRITON_ACCESS_KEY";
            }
            format!("no access to {address}: {reason}")
        }
        Error::InvalidInput(_) if status.code() != Code::InvalidArgument => format!(
            "a message to or from {address} is too large: {reason}; lower batch_size or shorten the sentences, or raise \
             this limit of the server or proxy"
        ),
        Error::DeadlineExceeded(_) => format!("{address} did not answer in time: {reason}"),
        _ => reason,
    };
    Error::new(kind, message).because(status)
}

/// Writes 20000 as 20,000.
fn grouped(number: usize) -> String {
    let mut digits = number.to_string();
    let mut place = digits.len();
    while place > 3 {
        place -= 3;
        digits.insert(place, ',');
    }
    digits
}
