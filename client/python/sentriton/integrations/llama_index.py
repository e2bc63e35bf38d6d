"""LlamaIndex's `BaseEmbedding` on a Sentriton server. Needs the extra `llama-index`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sentriton.integrations.encoders import Closes, Encoders
from sentriton.requirements import imports_of

with imports_of("llama-index"):
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.bridge.pydantic import Field, PrivateAttr

if TYPE_CHECKING:
    from sentriton.keywords import Common, Settings

_BATCH_SENTENCES = 512  # of one call by LlamaIndex, which the encoder splits into requests


class SentritonEmbedding(Closes, BaseEmbedding):
    """Embeds LlamaIndex's nodes and queries through a Sentriton server, with the model's prompt for each.

    `normalize_embeddings` and `truncate_dim` are those of `SentenceEncoder.encode`. The `settings` are those of
    `SentenceEncoder`, such as `timeout_s` and `access_key`. LlamaIndex does not save them. Threads and event loops may
    share an object. Raises `SentritonError`s.

    >>> from llama_index.core import VectorStoreIndex
    >>> index = VectorStoreIndex(nodes, embed_model=SentritonEmbedding("localhost:8001"))
    """

    url: str | None = Field(default=None, description="Address of the server, as `url` of `SentenceEncoder`.")
    normalize_embeddings: bool = Field(default=False, description="Scale the vectors to length 1.")
    truncate_dim: int | None = Field(default=None, description="Dimensions to keep of a Matryoshka model.")
    _encoders: Encoders = PrivateAttr()

    def __init__(
        self,
        url: str | None = None,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        settings: Settings | None = None,
        embed_batch_size: int = _BATCH_SENTENCES,
        **fields: Any,  # of BaseEmbedding
    ) -> None:
        encoders = Encoders(url, **(settings or {}))
        given: dict[str, Any] = {
            **fields,
            "url": url,
            "normalize_embeddings": normalize_embeddings,
            "truncate_dim": truncate_dim,
            "embed_batch_size": embed_batch_size,
            # The served model overrides that of a saved object.
            "model_name": encoders.blocking.manifest.name,
        }
        super().__init__(**given)
        self._encoders = encoders

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex saves it."""
        return "SentritonEmbedding"

    def _options(self) -> Common:
        return {"normalize_embeddings": self.normalize_embeddings, "truncate_dim": self.truncate_dim}

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._encoders.blocking.encode_query(query, **self._options()).tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._encoders.of_running_loop().encode_query(query, **self._options())).tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._aget_text_embeddings([text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._encoders.blocking.encode_document(texts, **self._options()).tolist()

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return (await self._encoders.of_running_loop().encode_document(texts, **self._options())).tolist()
