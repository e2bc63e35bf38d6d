"""FAISS: an HNSW index of the sentences of KLUE-STS, and its recall against a full search.

    pip install ./client/python --requirement examples/requirements-search.txt     # in the root of a checkout
    sentriton data klue-sts-dev
    python examples/faiss_search.py ~/.cache/sentriton/data/klue-sts-v1.1_dev.json

KLUE (https://github.com/KLUE-benchmark/KLUE) is licensed CC BY-SA 4.0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import faiss
import numpy as np

from sentriton import SentenceEncoder

NEIGHBOURS = 10
LINKS = 32  # per vector of the index
QUESTION = "숙소가 역에서 가까워요."

pairs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
sentences = sorted({pair[side] for pair in pairs for side in ("sentence1", "sentence2")})
with SentenceEncoder() as encoder:
    # Normalized, so that the inner product is the cosine.
    vectors = encoder.encode_document(sentences, normalize_embeddings=True)
    question = encoder.encode_query([QUESTION], normalize_embeddings=True)

index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
index.hnsw.efSearch = 64
index.add(vectors)
scores, places = index.search(question, 3)
for score, place in zip(scores[0], places[0], strict=True):
    print(f"{score:6.3f}  {sentences[place]}")

_, found = index.search(vectors, NEIGHBOURS)
true = np.argsort(-(vectors @ vectors.T), axis=1)[:, :NEIGHBOURS]
recall = np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(found, true, strict=True)])
print(f"recall at {NEIGHBOURS} over {len(sentences)} sentences: {recall:.3f}")
