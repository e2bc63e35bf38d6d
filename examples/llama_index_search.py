"""LlamaIndex: a vector store with the embeddings of a Sentriton server.

pip install './client/python[llama-index]'      # in the root of a checkout
python examples/llama_index_search.py
"""

from __future__ import annotations

from contextlib import closing

from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery

from sentriton.integrations.llama_index import SentritonEmbedding

DOCUMENTS = [
    "숙소가 지하철역에서 아주 가까워요.",
    "내일은 전국에 비가 내리겠습니다.",
    "이 식당은 김치찌개가 맛있습니다.",
]
QUESTIONS = ["역 근처 숙소입니다.", "내일 비가 온다고 합니다."]

with closing(SentritonEmbedding()) as embedding:
    store = SimpleVectorStore()
    store.add(embedding([TextNode(text=document, id_=document) for document in DOCUMENTS]))
    for question in QUESTIONS:
        query = VectorStoreQuery(query_embedding=embedding.get_query_embedding(question), similarity_top_k=1)
        found = store.query(query)
        print(f"{question} -> {found.ids[0]} ({found.similarities[0]:.3f})")
