#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs, clippy::pedantic)]
// The tests use small whole numbers, which every type represents exactly.
#![cfg_attr(
    test,
    allow(
        clippy::float_cmp,
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap
    )
)]

mod builder;
mod call;
mod channel;
mod closing;
mod connection;
mod course;
mod deadline;
mod dispatch;
mod encode;
mod encoder;
mod endpoints;
mod errors;
mod golden;
mod health;
#[allow(clippy::all, clippy::pedantic, missing_docs, dead_code)]
#[rustfmt::skip]
#[path = "generated/inference.rs"]
mod inference;
mod info;
mod inquiry;
mod joined;
mod joiner;
mod manifest;
mod matrix;
mod member;
mod pacing;
mod pool;
mod protocol;
mod requests;
mod resolver;
mod settings;
mod similarity;
#[cfg(test)]
mod tests;
mod tls;

pub use builder::Builder;
pub use encode::Encode;
pub use encoder::SentenceEncoder;
pub use errors::{Details, Error};
pub use health::HealthReport;
pub use manifest::Manifest;
pub use matrix::Matrix;
pub use settings::{OnModelChange, Priority};
pub use similarity::Similarity;
pub use tonic::{Code, Status};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;
