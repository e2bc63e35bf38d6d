"""LangChain and LlamaIndex on a real server, through their own vector stores in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery
from sentence_transformers import SentenceTransformer

from sentriton import InvalidInput, ServerUnavailable
from sentriton.integrations.langchain import SentritonEmbeddings
from sentriton.integrations.llama_index import SentritonEmbedding
from tests.server.conftest import RunningServer

DOCUMENTS = [
    "숙소가 지하철역에서 아주 가까워요.",
    "내일은 전국에 비가 내리겠습니다.",
    "이 식당은 김치찌개가 맛있습니다.",
    "정부는 새로운 경제 정책을 발표했습니다.",
]
QUERIES = ["역 근처 숙소입니다.", "내일 비가 온다고 합니다.", "김치찌개가 맛있는 식당"]


@pytest.fixture
def langchain(server: RunningServer) -> Iterator[SentritonEmbeddings]:
    with closing(SentritonEmbeddings(server.url, timeout_s=30)) as embeddings:
        yield embeddings


@pytest.fixture
def llama_index(server: RunningServer) -> Iterator[SentritonEmbedding]:
    with closing(SentritonEmbedding(server.url, settings={"timeout_s": 30})) as embedding:
        yield embedding


def test_langchain_vectors(langchain: SentritonEmbeddings, reference: SentenceTransformer) -> None:
    assert isinstance(langchain, Embeddings)
    documents = langchain.embed_documents(DOCUMENTS)
    assert type(documents) is type(documents[0]) is list
    assert type(documents[0][0]) is float
    np.testing.assert_allclose(documents, reference.encode_document(DOCUMENTS), atol=2e-5)
    np.testing.assert_allclose(langchain.embed_query(QUERIES[0]), reference.encode_query(QUERIES[0]), atol=2e-5)
    assert langchain.embed_documents([]) == []


def test_langchain_in_event_loops(langchain: SentritonEmbeddings) -> None:
    async def embed() -> tuple[list[list[float]], list[float]]:
        documents, query, _ = await asyncio.gather(
            langchain.aembed_documents(DOCUMENTS), langchain.aembed_query(QUERIES[0]), langchain.aembed_query("")
        )
        return documents, query

    for _ in range(3):  # each has an event loop of its own
        documents, query = asyncio.run(embed())
        np.testing.assert_allclose(documents, langchain.embed_documents(DOCUMENTS), atol=2e-5)
        np.testing.assert_allclose(query, langchain.embed_query(QUERIES[0]), atol=2e-5)
    assert len(langchain._encoders._by_loop) == 1


def test_langchain_retrieval(langchain: SentritonEmbeddings) -> None:
    store = InMemoryVectorStore.from_texts(DOCUMENTS, langchain)
    found = [store.similarity_search(query, k=1)[0].page_content for query in QUERIES]
    assert found == DOCUMENTS[:3]

    async def search() -> list[str]:
        store = await InMemoryVectorStore.afrom_texts(DOCUMENTS, langchain)
        found = [(await store.asimilarity_search(query, k=1))[0].page_content for query in QUERIES]
        await langchain.aclose()
        return found

    assert asyncio.run(search()) == DOCUMENTS[:3]


def test_llama_index_vectors(llama_index: SentritonEmbedding, reference: SentenceTransformer) -> None:
    assert isinstance(llama_index, BaseEmbedding)
    documents = reference.encode_document(DOCUMENTS)
    query = reference.encode_query(QUERIES[0])
    np.testing.assert_allclose(llama_index.get_text_embedding_batch(DOCUMENTS), documents, atol=2e-5)
    np.testing.assert_allclose(llama_index.get_text_embedding(DOCUMENTS[0]), documents[0], atol=2e-5)
    np.testing.assert_allclose(llama_index.get_query_embedding(QUERIES[0]), query, atol=2e-5)

    async def embed() -> None:
        np.testing.assert_allclose(await llama_index.aget_text_embedding_batch(DOCUMENTS), documents, atol=2e-5)
        np.testing.assert_allclose(await llama_index.aget_text_embedding(DOCUMENTS[0]), documents[0], atol=2e-5)
        np.testing.assert_allclose(await llama_index.aget_query_embedding(QUERIES[0]), query, atol=2e-5)
        await llama_index.aclose()

    asyncio.run(embed())


def test_llama_index_retrieval(llama_index: SentritonEmbedding) -> None:
    nodes = llama_index([TextNode(text=document, id_=document) for document in DOCUMENTS])
    store = SimpleVectorStore()
    store.add(nodes)
    for query, document in zip(QUERIES, DOCUMENTS, strict=False):
        question = VectorStoreQuery(query_embedding=llama_index.get_query_embedding(query), similarity_top_k=1)
        assert store.query(question).ids == [document]


def test_llama_index_saves_no_secret(server: RunningServer) -> None:
    with closing(SentritonEmbedding(server.url, truncate_dim=16, settings={"access_key": "secret"})) as embedding:
        saved = json.loads(embedding.to_json())
        assert "secret" not in str(saved) + repr(embedding) + str(embedding.to_payload())
        assert saved["model_name"] == embedding._encoders.blocking.manifest.name
    with closing(SentritonEmbedding.from_dict(saved)) as embedding:
        assert len(embedding.get_query_embedding(QUERIES[0])) == 16


def test_errors_are_sentriton_s(langchain: SentritonEmbeddings, llama_index: SentritonEmbedding) -> None:
    with pytest.raises(InvalidInput, match=r"sentences\[1\] is None"):
        langchain.embed_documents(["fine", None])  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match="truncate_dim is 0"):
        llama_index.model_copy(update={"truncate_dim": 0}).get_query_embedding("x")
    for make in (SentritonEmbeddings, lambda url: SentritonEmbedding(url, settings={"timeout_s": 2})):
        with pytest.raises(ServerUnavailable):
            make("127.0.0.1:9")
