use prost::bytes::Bytes;

use crate::protocol::push_element;

pub(crate) const TOKENS_PER_REQUEST: usize = 4096;
pub(crate) const SPECIAL_TOKENS: usize = 2; // of a row, with most models
const BYTES_PER_REQUEST: usize = 1 << 20; // of UTF-8: the server's limit

/// The rows of one request: the places of its sentences, and their texts as the request has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestRows {
    pub(crate) indices: Vec<usize>,
    pub(crate) texts: Bytes,
    pub(crate) characters: usize,
}

/// The limits of one request.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) max_rows: usize,
    pub(crate) max_seq_length: usize,
    pub(crate) prompt: &'a str,
}

/// Divides texts into requests of at most `max_rows` rows, 4,096 tokens and 1 MiB of UTF-8, longest first; one row may
/// have more. The server tokenizes, so each character counts as a token, up to `max_seq_length`. At worst, this gives a
/// few more requests.
pub(crate) fn plan_requests<'a>(texts: &'a [&'a str], limits: Limits<'a>) -> impl Iterator<Item = RequestRows> + 'a {
    let lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let of_prompt = limits.prompt.chars().count();
    let mut place = 0;
    std::iter::from_fn(move || {
        let mut rows = RequestRows::default();
        let (mut content, mut tokens, mut bytes) = (Vec::new(), 0, 0);
        while let Some(&index) = order.get(place) {
            let row_tokens = (of_prompt + lengths[index] + SPECIAL_TOKENS).min(limits.max_seq_length);
            let row_bytes = limits.prompt.len() + texts[index].len();
            let full = rows.indices.len() == limits.max_rows
                || tokens + row_tokens > TOKENS_PER_REQUEST
                || bytes + row_bytes > BYTES_PER_REQUEST;
            if full && !rows.indices.is_empty() {
                break;
            }
            rows.indices.push(index);
            rows.characters += of_prompt + lengths[index];
            push_element(&mut content, limits.prompt, texts[index]);
            tokens += row_tokens;
            bytes += row_bytes;
            place += 1;
        }
        rows.texts = content.into();
        (!rows.indices.is_empty()).then_some(rows)
    })
}
