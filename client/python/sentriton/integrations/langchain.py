"""LangChain's `Embeddings` on a Sentriton server. Needs the extra `langchain`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentriton.integrations.encoders import Closes, Encoders
from sentriton.requirements import imports_of

with imports_of("langchain"):
    from langchain_core.embeddings import Embeddings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from sentriton.keywords import Common, Settings


class SentritonEmbeddings(Closes, Embeddings):
    """Embeds LangChain's documents and queries through a Sentriton server, with the model's prompt for each.

    `normalize_embeddings` and `truncate_dim` are those of `SentenceEncoder.encode`. The `settings` are those of
    `SentenceEncoder`, such as `timeout_s` and `access_key`. Threads and event loops may share an object. Raises
    `SentritonError`s.

    >>> from langchain_core.vectorstores import InMemoryVectorStore
    >>> store = InMemoryVectorStore(SentritonEmbeddings("localhost:8001"))
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self._encoders = Encoders(url, **settings)
        self._options: Common = {"normalize_embeddings": normalize_embeddings, "truncate_dim": truncate_dim}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return self._encoders.blocking.encode_document(list(texts), **self._options).tolist()

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return self._encoders.blocking.encode_query(text, **self._options).tolist()

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return (await self._encoders.of_running_loop().encode_document(list(texts), **self._options)).tolist()

    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a query."""
        return (await self._encoders.of_running_loop().encode_query(text, **self._options)).tolist()
