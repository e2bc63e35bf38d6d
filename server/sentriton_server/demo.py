"""`make demo`: starts Triton, embeds three sentences over gRPC, prints their similarities and stops Triton."""

from __future__ import annotations

import sys

import numpy as np

from sentriton import SentenceEncoder, SentritonError
from sentriton_server.serving import ServerSettings, TritonServer, prepare_repository

# From the model card of snunlp/KLUE-SRoBERTa-Large-SNUExtended-klueNLI-klueSTS (KLUE-STS, CC BY-SA 4.0). The first two
# both say that the meeting follows the first one of the foreign ministers. The third praises a lodging.
SENTENCES = [
    "이는 지난 15일 개최된 제1차 주요국 외교장관간 협의에 뒤이은 것이다.",
    "이것은 7월 15일에 열린 주요 국가의 외무 장관들 간의 첫 번째 회담에 이은 것입니다.",
    "100일간의 유럽 여행 중 단연 최고의 숙소였습니다!",
]


def main() -> None:
    """Serve the bundled checkpoint on free ports, embed three sentences, print their similarities and stop."""
    repository = prepare_repository(None, precision=None, device="auto", say=_say)
    _say("starting Triton")
    server = TritonServer(repository, ServerSettings(grpc_port=0, metrics_port=0))
    with server, SentenceEncoder(server.url) as encoder:
        embeddings = encoder.encode(SENTENCES)
        print(f"{server.manifest.name} on Triton at {server.url}\n")
        for number, sentence in enumerate(SENTENCES, start=1):
            print(f"  {number}. {sentence}")
        print(f"\n{embeddings.shape}")
        print(np.round(encoder.similarity(embeddings, embeddings), 3))


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except SentritonError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
