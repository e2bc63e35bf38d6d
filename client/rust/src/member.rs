use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{Call, Shape};
use crate::deadline::Deadline;
use crate::errors::Error;
use crate::matrix::Matrix;
use crate::protocol::{not_finite, push_element};
use crate::requests::{SPECIAL_TOKENS, TOKENS_PER_REQUEST};

const MOST_JOINED: usize = 8; // sentences of a call that shares requests
/// Of UTF-8: the server treats more text as bulk work, which would delay queries.
const BYTES_PER_JOINED_REQUEST: usize = 1 << 14;

/// A small call that shares a request with others.
pub(crate) struct Member {
    pub(crate) shape: Shape,
    pub(crate) deadline: Arc<Deadline>,
    pub(crate) rows: usize,
    pub(crate) texts: Vec<u8>, // the elements of a BYTES tensor, with the call's prompt
    pub(crate) characters: usize,
    tokens: usize,
    bytes: usize,
}

impl Member {
    /// None if the call needs separate requests, because its sentences are many or long, fill a batch or exceed a
    /// request's limits.
    pub(crate) fn new(call: &Call<'_>) -> Option<Self> {
        let rows = call.sentences.len();
        if rows == 0 || rows > MOST_JOINED || rows >= call.shape.max_rows {
            return None;
        }
        let mut one = Self {
            shape: call.shape.clone(),
            deadline: Arc::clone(&call.deadline),
            rows,
            texts: Vec::new(),
            characters: 0,
            tokens: 0,
            bytes: 0,
        };
        let of_prompt = call.prompt.chars().count();
        for sentence in call.sentences {
            let characters = of_prompt + sentence.chars().count();
            push_element(&mut one.texts, &call.prompt, sentence);
            one.characters += characters;
            one.tokens += (characters + SPECIAL_TOKENS).min(one.shape.manifest.max_seq_length);
            one.bytes += call.prompt.len() + sentence.len();
        }
        let too_large = one.bytes > BYTES_PER_JOINED_REQUEST || (rows > 1 && one.tokens > TOKENS_PER_REQUEST);
        (!too_large).then_some(one)
    }

    /// The member's vectors, from the beginning of `raw`.
    pub(crate) fn vectors(&self, raw: &[u8]) -> Result<Matrix, Error> {
        let size = 4 * self.shape.manifest.dimension;
        let mut result = Matrix::zeros(self.rows, self.shape.dimension);
        for row in 0..self.rows {
            if !self.shape.fill(result.row_mut(row), &raw[row * size..]) {
                return Err(not_finite(row));
            }
        }
        Ok(result)
    }
}

/// The members of one request, and their sums.
#[derive(Default)]
pub(crate) struct Crowd {
    pub(crate) members: Vec<(u64, Arc<Member>)>,
    alone: bool,
    rows: usize,
    tokens: usize,
    bytes: usize,
    shortest: Duration, // of their remaining times
    longest: Duration,
}

impl Crowd {
    /// Adds a member if it fits: the same model and batch size, within the limits of a request. Remaining times may
    /// differ by a factor of two. A member that needs a separate request does not fit.
    pub(crate) fn add(&mut self, name: u64, one: &Arc<Member>, alone: bool, now: Instant) -> bool {
        one.deadline.looked(now); // after a suspension, this may come before the member's own look
        let left = one.deadline.time().saturating_duration_since(now);
        let Some((_, first)) = self.members.first() else {
            *self = Self {
                members: vec![(name, Arc::clone(one))],
                alone,
                rows: one.rows,
                tokens: one.tokens,
                bytes: one.bytes,
                shortest: left,
                longest: left,
            };
            return true;
        };
        let (shortest, longest) = (self.shortest.min(left), self.longest.max(left));
        let fits = !alone
            && !self.alone
            && one.shape.manifest.fingerprint == first.shape.manifest.fingerprint
            && one.shape.max_rows == first.shape.max_rows
            && longest <= 2 * shortest
            && self.rows + one.rows <= first.shape.max_rows
            && self.tokens + one.tokens <= TOKENS_PER_REQUEST
            && self.bytes + one.bytes <= BYTES_PER_JOINED_REQUEST;
        if fits {
            self.members.push((name, Arc::clone(one)));
            self.rows += one.rows;
            self.tokens += one.tokens;
            self.bytes += one.bytes;
            (self.shortest, self.longest) = (shortest, longest);
        }
        fits
    }
}
