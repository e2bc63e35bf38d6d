mod answers;
mod calls;
mod checks;
mod conformance;
mod course;
mod joined;
mod joined_errors;
mod parts;
mod places;
mod servers;
mod small_server;
mod connections;
#[cfg(feature = "tls")]
mod security;
