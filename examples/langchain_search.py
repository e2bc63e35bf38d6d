"""LangChain: a vector store with the embeddings of a Sentriton server.

pip install './client/python[langchain]'        # in the root of a checkout
python examples/langchain_search.py
"""

from __future__ import annotations

from contextlib import closing

from langchain_core.vectorstores import InMemoryVectorStore

from sentriton.integrations.langchain import SentritonEmbeddings

DOCUMENTS = [
    "숙소가 지하철역에서 아주 가까워요.",
    "내일은 전국에 비가 내리겠습니다.",
    "이 식당은 김치찌개가 맛있습니다.",
]
QUESTIONS = ["역 근처 숙소입니다.", "내일 비가 온다고 합니다."]

with closing(SentritonEmbeddings()) as embeddings:
    store = InMemoryVectorStore.from_texts(DOCUMENTS, embeddings)
    for question in QUESTIONS:
        ((document, score),) = store.similarity_search_with_score(question, k=1)
        print(f"{question} -> {document.page_content} ({score:.3f})")
