mod answers;
mod calls;
mod checks;
mod conformance;
mod connections;
mod course;
mod joined;
mod joined_errors;
mod parts;
mod places;
#[cfg(feature = "tls")]
mod security;
mod servers;
mod small_server;
