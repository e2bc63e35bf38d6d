use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::builder::Builder;
use crate::errors::Error;

/// A lane of the server. Requests of the bulk lane wait for those of the query lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// For requests with a waiting user.
    #[default]
    Query,
    /// For all other requests.
    Bulk,
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Query => "query",
            Self::Bulk => "bulk",
        })
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "query" => Ok(Self::Query),
            "bulk" => Ok(Self::Bulk),
            _ => Err(Error::invalid_input(format!("priority is {text:?}; allowed are query, bulk"))),
        }
    }
}

/// The reaction of a call to another model on the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnModelChange {
    /// Ends the call with [`Error::ContractMismatch`].
    #[default]
    Raise,
    /// Reads the manifest again and restarts the call with that model, at most three times.
    Reload,
}

impl fmt::Display for OnModelChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Raise => "raise",
            Self::Reload => "reload",
        })
    }
}

impl FromStr for OnModelChange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "raise" => Ok(Self::Raise),
            "reload" => Ok(Self::Reload),
            _ => Err(Error::invalid_input(format!("on_model_change is {text:?}; allowed are raise, reload"))),
        }
    }
}

const DEFAULT_URL: &str = "localhost:8001";
const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_MAX_IN_FLIGHT: usize = 16;
const LONGEST_TIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600); // far below the limit of an Instant

/// The checked settings of an encoder. Only this file has the defaults.
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) addresses: Vec<Address>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) stall_timeout: Duration,
    pub(crate) priority: Priority,
    pub(crate) max_in_flight: usize,
    pub(crate) on_model_change: OnModelChange,
    pub(crate) tls: bool,
    #[cfg_attr(not(feature = "tls"), expect(dead_code))]
    pub(crate) root_certificates: Option<PathBuf>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code))]
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) server_name: Option<String>,
    pub(crate) access_key: Option<String>,
}

/// One address of a url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) text: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_dns: bool, // it may stand for many servers
    pub(crate) name_server: Option<String>,
}

impl Settings {
    /// Takes the given settings, then the variables, then the defaults. `environment` has the value of a variable.
    pub(crate) fn resolve(given: &Builder, environment: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variable = |name: &str| environment(&format!("SENTRITON_{name}")).filter(|text| !text.is_empty());
        let home = || environment("HOME").map(PathBuf::from).or_else(std::env::home_dir);
        let file = |given: &Option<PathBuf>, name| {
            let path = given.clone().or_else(|| variable(name).map(PathBuf::from))?;
            // ~ at the beginning is the home folder.
            Some(path.strip_prefix("~").ok().and_then(|rest| Some(home()?.join(rest))).unwrap_or(path))
        };
        let url = given.url.clone().or_else(|| variable("URL")).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let timeout = time("timeout", given.timeout, "TIMEOUT_S", &variable)?;
        let stall_timeout = time("stall_timeout", given.stall_timeout, "STALL_TIMEOUT_S", &variable)?;
        let root_certificates = file(&given.root_certificates, "ROOT_CERTIFICATES");
        let client_certificate =
            match (file(&given.client_certificate, "CLIENT_CERTIFICATE"), file(&given.client_key, "CLIENT_KEY")) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                _ => {
                    return Err(Error::invalid_input(
                        "a client certificate and its key must be set together; one of them is missing",
                    ));
                }
            };
        let tls = given.tls.map_or_else(|| tls_variable(variable("TLS")), Ok)?;
        let access_key = given.access_key.clone().or_else(|| variable("ACCESS_KEY"));
        if access_key.as_deref().is_some_and(|key| !is_sendable(key)) {
            // The message must not show the secret.
            return Err(Error::invalid_input(
                "the access key cannot be sent; allowed are printable ASCII characters, without spaces or line ends around \
                 them",
            ));
        }
        Ok(Self {
            addresses: read_addresses(&url)?,
            url,
            timeout,
            stall_timeout: stall_timeout.unwrap_or(DEFAULT_STALL_TIMEOUT),
            priority: choice(given.priority, "PRIORITY", &variable)?,
            max_in_flight: max_in_flight(given.max_in_flight, variable("MAX_IN_FLIGHT"))?,
            on_model_change: choice(given.on_model_change, "ON_MODEL_CHANGE", &variable)?,
            tls: tls || root_certificates.is_some() || client_certificate.is_some(),
            root_certificates,
            client_certificate,
            server_name: given.server_name.clone().or_else(|| variable("SERVER_NAME")),
            access_key,
        })
    }
}

// Without the access key, even if an encoder is printed.
impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Rejects a time of 0. A time beyond the clock's range is shortened.
pub(crate) fn checked_time(name: &str, value: Duration) -> Result<Duration, Error> {
    if value.is_zero() {
        return Err(Error::invalid_input(format!("{name} is {value:?}; allowed are times above 0")));
    }
    Ok(value.min(LONGEST_TIME))
}

fn time(
    name: &str,
    given: Option<Duration>,
    variable_name: &str,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Duration>, Error> {
    if let Some(value) = given {
        return checked_time(name, value).map(Some);
    }
    let Some(text) = variable(variable_name) else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds.is_finite() => {
            let value = Duration::from_secs_f64(seconds.min(LONGEST_TIME.as_secs_f64()));
            Ok(Some(value.max(Duration::from_nanos(1))))
        }
        _ => Err(refused(variable_name, &text, "finite numbers above 0")),
    }
}

fn choice<T: Default + FromStr<Err = Error>>(
    given: Option<T>,
    name: &str,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<T, Error> {
    match (given, variable(name)) {
        (Some(value), _) => Ok(value),
        (None, Some(text)) => text.parse(),
        (None, None) => Ok(T::default()),
    }
}

fn max_in_flight(given: Option<usize>, text: Option<String>) -> Result<usize, Error> {
    match (given, text) {
        (Some(0), _) => Err(Error::invalid_input("max_in_flight is 0; allowed are whole numbers from 1")),
        (Some(number), _) => Ok(number),
        (None, None) => Ok(DEFAULT_MAX_IN_FLIGHT),
        (None, Some(text)) => match text.parse() {
            Ok(number) if number >= 1 => Ok(number),
            _ => Err(refused("MAX_IN_FLIGHT", &text, "whole numbers from 1")),
        },
    }
}

fn tls_variable(text: Option<String>) -> Result<bool, Error> {
    let text = text.unwrap_or_default();
    match text.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(refused("TLS", &text, "1, true, yes, on, 0, false, no, off")),
    }
}

fn refused(name: &str, text: &str, allowed: &str) -> Error {
    Error::invalid_input(format!("$SENTRITON_{name} is {text:?}; allowed are {allowed}"))
}

/// Whether a text is allowed as the value of a header.
fn is_sendable(text: &str) -> bool {
    text.trim() == text && !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn read_addresses(url: &str) -> Result<Vec<Address>, Error> {
    url.split(',').map(|part| read_address(part.trim())).collect::<Option<_>>().ok_or_else(|| {
        Error::invalid_input(format!(
            "url is {url:?}; give host:port, several separated by commas, or dns:///host:port"
        ))
    })
}

fn read_address(text: &str) -> Option<Address> {
    let (name_server, place) = match text.strip_prefix("dns://") {
        Some(rest) => rest.split_once('/').map(|(server, place)| (Some(server), place))?,
        None => (None, text),
    };
    let (host, port) = place.rsplit_once(':')?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|port| is_number && *port > 0)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|_| inner)?,
        None => host,
    };
    let plain = !host.is_empty() && !host.contains(|each: char| each.is_whitespace() || "/[]".contains(each));
    let is_name = plain && (!host.contains(':') || place.starts_with('['));
    is_name.then(|| Address {
        text: text.to_owned(),
        host: host.to_owned(),
        port,
        is_dns: name_server.is_some(),
        name_server: name_server.filter(|server| !server.is_empty()).map(str::to_owned),
    })
}
