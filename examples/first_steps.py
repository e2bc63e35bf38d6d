"""First steps: embed sentences, and find the one that is nearest to a question.

    sentriton serve                     # in another terminal
    python examples/first_steps.py

`$SENTRITON_URL` selects another server than localhost:8001.
"""

from __future__ import annotations

from sentriton import SentenceEncoder

SENTENCES = ["숙소가 역에서 가까워요.", "내일은 전국에 비가 내리겠습니다.", "이 식당은 김치찌개가 맛있습니다."]
QUESTION = "내일 비가 온다고 합니다."

with SentenceEncoder() as encoder:
    embeddings = encoder.encode_document(SENTENCES)
    scores = encoder.similarity(encoder.encode_query([QUESTION]), embeddings)[0]

print(f"{len(embeddings)} vectors of {embeddings.shape[1]} numbers")
for score, sentence in sorted(zip(scores, SENTENCES, strict=True), reverse=True):
    print(f"{score:6.3f}  {sentence}")
