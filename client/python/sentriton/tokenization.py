"""Text to token ids on the caller's side, with the tokenizer.json that the server hands out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentriton.errors import ServerError

PADDING, TOKEN, ATTENDED_ONLY = 0, 1, 2  # the values of attention_mask


class TextTokenizer:
    """Tokenizes as `SentenceTransformer.tokenize` does: special tokens added, truncated to max_seq_length. Safe for
    many threads.
    """

    def __init__(self, tokenizer_json: str) -> None:
        """Raises an Exception of the tokenizers library for a text that is no tokenizer."""
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        # Padding depends on which rows share a request, which is decided later.
        self._tokenizer.no_padding()
        self._special_ids = {
            token_id for token_id, token in self._tokenizer.get_added_tokens_decoder().items() if token.special
        }

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, without padding. Raises `ServerError` where the server's tokenizer cannot do it."""
        try:
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        except Exception as error:  # the library has no class of its own for what a tokenizer.json lacks
            raise ServerError(f"the server's tokenizer.json does not tokenize these sentences: {error}") from error

    def prompt_length(self, prompt: str) -> int:
        """How many leading tokens of a row belong to `prompt`: its own tokens without a special one at the end."""
        ids = self._tokenizer.encode(prompt).ids
        return len(ids) - (1 if ids and ids[-1] in self._special_ids else 0)


def pad_rows(
    rows: Sequence[Sequence[int]], *, pad_token_id: int, not_pooled: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`input_ids` and `attention_mask`, int64 [rows, longest], padded on the right. The first `not_pooled` tokens of
    each row are attended to and kept out of pooling."""
    longest = max(len(row) for row in rows)
    input_ids = np.full((len(rows), longest), pad_token_id, dtype=np.int64)
    attention_mask = np.full((len(rows), longest), PADDING, dtype=np.int64)
    for place, row in enumerate(rows):
        input_ids[place, : len(row)] = row
        attention_mask[place, : len(row)] = TOKEN
        attention_mask[place, : min(not_pooled, len(row))] = ATTENDED_ONLY
    return input_ids, attention_mask
