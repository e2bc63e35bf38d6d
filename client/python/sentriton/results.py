"""Collects the answers of `encode` in the order of the sentences, then normalizes, quantizes and converts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from sentriton import protocol
from sentriton.errors import InvalidInput
from sentriton.keywords import Encoded
from sentriton.kserve import ModelInferResponse
from sentriton.options import EncodeOptions
from sentriton.quantization import check_count, quantize, quantize_tokens
from sentriton.requests import RequestRows
from sentriton.similarity import normalize

if TYPE_CHECKING:
    from torch import Tensor

    Array: TypeAlias = NDArray[Any]


class Results:
    """A call's answers: rows of an array, or a list of token embeddings.

    Raises `InvalidInput`, before the first request, for int8 or uint8 of one sentence and for tensors without torch.
    """

    def __init__(self, total: int, options: EncodeOptions) -> None:
        self._options = options
        self._of_tokens = options.output_value == "token_embeddings"
        if not self._of_tokens:
            check_count(total, options.precision)
            if options.convert_to_tensor:
                _tensor(np.empty(0), required=True)
        self.embeddings = np.empty((0 if self._of_tokens else total, options.dimension), dtype=np.float32)
        self.token_embeddings = [self.embeddings] * (total if self._of_tokens else 0)

    def collect(self, rows: RequestRows, response: ModelInferResponse) -> None:
        """Store an answer at the places of its sentences. Raises `ServerError` for another shape, NaN or infinity."""
        if not self._of_tokens:
            embeddings = protocol.read_sentence_embedding(response, len(rows.indices), self._options.model_dimension)
            self.embeddings[rows.indices] = embeddings[:, : self._options.dimension]
            return
        token_embeddings = protocol.read_token_embeddings(response, len(rows.tokens.row))
        ends = np.bincount(rows.tokens.row).cumsum()[:-1]
        for index, own in zip(rows.indices, np.split(token_embeddings, ends), strict=True):
            self.token_embeddings[index] = own.copy()

    def put(self, embeddings: NDArray[np.float32]) -> None:
        """Store all vectors, float32 [n, dimension], in order."""
        self.embeddings[:] = embeddings[:, : self._options.dimension]

    def finish(self) -> Encoded:
        """The result for several sentences, normalized, quantized and converted in sentence-transformers' order."""
        return cast("Encoded", self._finish_tokens() if self._of_tokens else self._finish_sentences())

    def _finish_sentences(self) -> Array | Tensor | list[Array | Tensor]:
        options = self._options
        embeddings: Array = self.embeddings
        if options.normalize_embeddings:
            embeddings = normalize(embeddings).astype(np.float32, copy=False)
        embeddings = quantize(embeddings, options.precision)
        if options.convert_to_tensor:
            return _tensor(embeddings, required=True)
        return embeddings if options.convert_to_numpy else [_tensor(row) for row in embeddings]

    def _finish_tokens(self) -> list[Array] | list[Array | Tensor]:
        # As in sentence-transformers: convert_to_tensor has priority, and quantized results are arrays.
        if self._options.precision != "float32":
            return list(quantize_tokens(self.token_embeddings, self._options.precision))
        return [_tensor(embedding) for embedding in self.token_embeddings]


def _tensor(array: Array, *, required: bool = False) -> Array | Tensor:
    try:
        import torch
    except ModuleNotFoundError as error:
        if required:
            raise InvalidInput(
                "convert_to_tensor is True and torch is not installed; run: pip install torch"
            ) from error
        return array
    return torch.from_numpy(np.ascontiguousarray(array))
