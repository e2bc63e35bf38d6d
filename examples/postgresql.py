"""PostgreSQL with pgvector: sentences and their vectors in a table, and a search by cosine.

    pip install ./client/python --requirement examples/requirements-postgresql.txt   # in the root of a checkout
    python examples/postgresql.py postgresql://postgres:secret@localhost/postgres

It creates the extension `vector` and a temporary table.
"""

from __future__ import annotations

import sys

import psycopg
from pgvector.psycopg import register_vector

from sentriton import SentenceEncoder

DOCUMENTS = [
    "숙소가 지하철역에서 아주 가까워요.",
    "내일은 전국에 비가 내리겠습니다.",
    "이 식당은 김치찌개가 맛있습니다.",
]
QUESTION = "역 근처 숙소입니다."

with SentenceEncoder() as encoder, psycopg.connect(sys.argv[1]) as connection:
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    register_vector(connection)
    dimension = encoder.get_embedding_dimension()
    connection.execute(f"CREATE TEMPORARY TABLE documents (text text, embedding vector({dimension}))")
    with connection.cursor() as cursor:
        rows = list(zip(DOCUMENTS, encoder.encode_document(DOCUMENTS), strict=True))
        cursor.executemany("INSERT INTO documents VALUES (%s, %s)", rows)
    connection.execute("CREATE INDEX ON documents USING hnsw (embedding vector_cosine_ops)")
    question = encoder.encode_query(QUESTION)
    found = connection.execute(
        "SELECT text, 1 - (embedding <=> %s) FROM documents ORDER BY embedding <=> %s LIMIT 1", (question, question)
    )
    for text, cosine in found:
        print(f"{QUESTION} -> {text} ({cosine:.3f})")
