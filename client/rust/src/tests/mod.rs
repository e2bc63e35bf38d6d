mod answers;
mod calls;
mod checks;
mod conformance;
mod connections;
mod course;
mod deadline;
mod joined;
mod joined_errors;
mod parts;
mod places;
#[cfg(feature = "tls")]
mod security;
mod servers;
mod small_server;
