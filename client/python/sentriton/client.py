"""`SentenceEncoder`: sentence-transformers' `encode`, computed by a server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sentriton import protocol
from sentriton.batching import plan_requests
from sentriton.cache import cached
from sentriton.connection import DEFAULT_URL, Connection
from sentriton.errors import DeadlineExceeded, InvalidInput, ServerError, translated
from sentriton.manifest import Manifest
from sentriton.similarity import PAIRWISE, SIMILARITY, normalize
from sentriton.tokenization import TextTokenizer, pad_rows

# Enough that the server always has the next request at hand while one is on its way.
_IN_FLIGHT = 4


class SentenceEncoder:
    """Embeds sentences through a Sentriton server at `url` (host:port).

    Manifest and tokenizer come from the server, so there is nothing to configure. `timeout_s` is the default bound of a
    whole call. Safe for use from many threads.

    >>> with SentenceEncoder("localhost:8001") as encoder:
    ...     embeddings = encoder.encode(["A first sentence.", "And a second one."])
    """

    def __init__(self, url: str = DEFAULT_URL, *, timeout_s: float = 60.0, priority: str = "query") -> None:
        self.url = url
        self.timeout_s = timeout_s
        self._connection = Connection(url)
        try:
            self.manifest = self._read_manifest()
            self._tokenizer = TextTokenizer(self._tokenizer_json())
            self._parameters = protocol.parameters(fingerprint=self.manifest.fingerprint, priority=priority)
        except BaseException:
            self._connection.close()
            raise

    def encode(
        self,
        sentences: str | Iterable[str],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        timeout_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Embed sentences: float32 [n, dimension] in the order given, or [dimension] for a single string.

        `prompt`, or the one that `prompt_name` names, is put before every sentence. `batch_size` is the most rows of
        one request. `truncate_dim` keeps the first dimensions; `normalize_embeddings` scales to length 1 after that.
        Raises `InvalidInput` before anything is sent, and what a server may answer as other `SentritonError`s.
        """
        texts, single = _as_texts(sentences)
        rows_per_request = self._check_batch_size(batch_size)
        dimension = self._check_truncate_dim(truncate_dim)
        prompt = self._resolve_prompt(prompt_name, prompt)
        embeddings = np.empty((len(texts), dimension), dtype=np.float32)
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        self._embed(texts, prompt, rows_per_request, embeddings, deadline)
        if normalize_embeddings:
            embeddings = normalize(embeddings).astype(np.float32, copy=False)
        return embeddings[0] if single else embeddings

    def similarity(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[Any]:
        """Score every row of the first against every row of the second by the model's similarity function: [n, m]."""
        return SIMILARITY[self.manifest.similarity](_as_matrix(embeddings1), _as_matrix(embeddings2))

    def similarity_pairwise(self, embeddings1: ArrayLike, embeddings2: ArrayLike) -> NDArray[Any]:
        """Score the rows of both pair by pair: [n]."""
        first, second = _as_matrix(embeddings1), _as_matrix(embeddings2)
        if first.shape != second.shape:
            raise InvalidInput(
                f"embeddings of shapes {first.shape} and {second.shape} cannot be paired; give equal shapes"
            )
        return PAIRWISE[self.manifest.similarity](first, second)

    @property
    def max_seq_length(self) -> int:
        """Most tokens of a sentence, special ones included; what is longer is cut."""
        return self.manifest.max_seq_length

    def get_sentence_embedding_dimension(self) -> int:
        """Length of a sentence's vector."""
        return self.manifest.dimension

    def close(self) -> None:
        """Close the connection. Calls that are still under way fail."""
        self._connection.close()

    def __enter__(self) -> SentenceEncoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read_manifest(self) -> Manifest:
        try:
            return Manifest.from_json(self._connection.asset("manifest.json", self.timeout_s))
        except ValueError as error:
            raise ServerError(f"{self.url} sent a manifest that this client cannot read: {error}") from error

    def _tokenizer_json(self) -> str:
        name = "tokenizer.json"
        try:
            content = cached(self.manifest.files[name], lambda: self._connection.asset(name, self.timeout_s))
        except ValueError as error:
            raise ServerError(f"{self.url} sent a {name} that is not the one in its manifest: {error}") from error
        return content.decode("utf-8")

    def _embed(
        self, texts: list[str], prompt: str, max_rows: int, embeddings: NDArray[np.float32], deadline: float
    ) -> None:
        """Fill `embeddings` row by row, several requests under way at any time."""
        rows = self._tokenizer.tokenize([prompt + text for text in texts] if prompt else texts)
        not_pooled = self._tokenizer.prompt_length(prompt) if prompt and not self.manifest.include_prompt else 0
        under_way: deque[tuple[list[int], Any]] = deque()
        try:
            for indices in plan_requests([len(row) for row in rows], max_rows):
                if len(under_way) == _IN_FLIGHT:
                    self._collect(*under_way.popleft(), embeddings)
                input_ids, attention_mask = pad_rows(
                    [rows[index] for index in indices],
                    pad_token_id=self.manifest.pad_token_id,
                    not_pooled=not_pooled,
                )
                request = protocol.tokens_request(input_ids, attention_mask, self._parameters)
                under_way.append((indices, self._connection.start_infer(request, self._time_left(deadline))))
            while under_way:
                self._collect(*under_way.popleft(), embeddings)
        finally:
            for _, future in under_way:
                future.cancel()

    def _collect(self, indices: list[int], future: Any, embeddings: NDArray[np.float32]) -> None:
        with translated(self.url):
            response = future.result()
        embeddings[indices] = protocol.read_sentence_embedding(response)[:, : embeddings.shape[1]]

    def _time_left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"the time for the call to {self.url} is over")
        return left

    def _check_batch_size(self, batch_size: int) -> int:
        if batch_size < 1:
            raise InvalidInput(f"batch_size is {batch_size}; it must be at least 1")
        return min(batch_size, self.manifest.max_batch_size)

    def _check_truncate_dim(self, truncate_dim: int | None) -> int:
        if truncate_dim is None:
            return self.manifest.dimension
        if not 1 <= truncate_dim <= self.manifest.dimension:
            raise InvalidInput(f"truncate_dim is {truncate_dim}; allowed are 1 to {self.manifest.dimension}")
        return truncate_dim

    def _resolve_prompt(self, prompt_name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        prompts = self.manifest.prompts
        name = prompt_name if prompt_name is not None else self.manifest.default_prompt_name
        if name is None:
            return ""
        if name not in prompts:
            known = ", ".join(map(repr, prompts)) or "none"
            raise InvalidInput(f"prompt_name is {name!r}; the model's prompts are {known}")
        return prompts[name]


def _as_texts(sentences: str | Iterable[str]) -> tuple[list[str], bool]:
    if isinstance(sentences, str):
        return [sentences], True
    if not isinstance(sentences, Iterable):
        raise InvalidInput(f"sentences is {sentences!r}; give a string or an iterable of strings")
    texts = list(sentences)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(
                f"sentences[{place}] is {text!r} ({type(text).__name__}); every sentence must be a string"
            )
    return texts, False


def _as_matrix(embeddings: ArrayLike | Sequence[Any]) -> NDArray[Any]:
    matrix = np.asarray(embeddings)
    return matrix[None] if matrix.ndim == 1 else matrix
