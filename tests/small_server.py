"""A small gRPC server that speaks the protocol and computes nothing: it answers right, wrongly, late or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

from tests.example_manifest import make_manifest

DIMENSION = 4
WORDS = [f"w{number}" for number in range(6000)]
Change = Callable[[ModelInferResponse], None]


def make_tokenizer() -> str:
    """tokenizer.json: the word w17 is the token 17."""
    tokenizer = Tokenizer(WordLevel({**{word: place for place, word in enumerate(WORDS)}, "?": 6000}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    return str(tokenizer.to_str())


def vectors(sentences: list[str]) -> Any:
    """The server's answer for words: float32 [n, 4], the word's number in every dimension."""
    return np.repeat(np.array([int(word[1:]) for word in sentences], np.float32)[:, None], DIMENSION, axis=1)


class SmallServer(GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Serves at `url` within `with`.

    `manifest` (JSON or bytes), `tokenizer` and `most_bytes` of a message (-1: any) may be set before; `change` alters
    each embedding's response and `change_asset` each asset's. A request takes `delay_s`, and none is answered while
    `silent` is set. `refuse` may raise for a request, by its number, and `refuse_asset` for an asset. `received` counts
    `requests` for embeddings, `at_once` the most at a time. `cancelled` counts the cancelled
    requests, `answered` all others.
    """

    def __init__(self) -> None:
        self.tokenizer: bytes = make_tokenizer().encode()
        self.manifest: Any = json.loads(make_manifest(dimension=DIMENSION, prompts={}).to_json())
        self.announce_tokenizer = True
        self.most_bytes = -1
        self.golden: Any = {}
        self.change: Change = lambda response: None
        self.change_asset: Change = lambda response: None
        self.refuse: Callable[[int, Any], None] = lambda number, context: None
        self.refuse_asset: Callable[[Any], None] = lambda context: None
        self.delay_s: float | Callable[[], float] = 0.0
        self.silent = threading.Event()
        self.received = self.under_way = self.at_once = self.asked = self.answered = self.cancelled = 0
        self.timeouts_us: list[int] = []
        self.requests: list[ModelInferRequest] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> SmallServer:
        options = [("grpc.max_receive_message_length", self.most_bytes)]
        self._server = grpc.server(ThreadPoolExecutor(200), options=options)
        add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self.url = f"127.0.0.1:{self.port}"
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._server.stop(None).wait()

    def ModelInfer(self, request: ModelInferRequest, context: Any) -> ModelInferResponse:  # noqa: N802
        try:
            return self._answer(request, context)
        finally:
            with self._lock:
                if context.is_active():
                    self.answered += 1
                else:
                    self.cancelled += 1

    def _answer(self, request: ModelInferRequest, context: Any) -> ModelInferResponse:
        if request.model_name == "assets":
            self.asked += 1
            self._wait(context, 0.0)
            self.refuse_asset(context)
            return self._asset(request.raw_input_contents[0][4:].decode())
        with self._lock:
            number = self.received
            self.received += 1
            self.under_way += 1
            self.at_once = max(self.at_once, self.under_way)
            self.timeouts_us.append(request.parameters["timeout"].int64_param)
            self.requests.append(request)
        try:
            self.refuse(number, context)
            self._wait(context, self.delay_s if isinstance(self.delay_s, float) else self.delay_s())
            response = embeddings_response(first_tokens(request), request.model_name)
            self.change(response)
            return response
        finally:
            with self._lock:
                self.under_way -= 1

    def _wait(self, context: Any, delay_s: float) -> None:
        end = time.monotonic() + delay_s
        while (time.monotonic() < end or self.silent.is_set()) and context.is_active() and not self._over.is_set():
            time.sleep(0.005)

    def _asset(self, name: str) -> ModelInferResponse:
        manifest = self.manifest
        if isinstance(manifest, dict) and self.announce_tokenizer:
            manifest = {**manifest, "files": {"tokenizer.json": hashlib.sha256(self.tokenizer).hexdigest()}}
        content = {"manifest.json": manifest, "tokenizer.json": self.tokenizer, "golden.json": self.golden}[name]
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        raw = len(content).to_bytes(4, "little") + content
        response = ModelInferResponse(model_name="assets", raw_output_contents=[raw])
        response.outputs.add(name="content", datatype="BYTES", shape=[1])
        self.change_asset(response)
        return response


def silent_from(first: int, server: SmallServer) -> Callable[[int, Any], None]:
    """A `refuse` of the server that makes it silent with its request number `first`; -1: with none."""

    def refuse(number: int, context: Any) -> None:
        if number == first:
            server.silent.set()

    return refuse


def first_tokens(request: ModelInferRequest) -> Any:
    """The first token of each row of a request: int64 [rows]. Of texts, the number in each."""
    if request.model_name == "embed_text":
        return np.array([int(word) for word in re.findall(rb"w(\d+)", request.raw_input_contents[0])])
    ids, row = (np.frombuffer(raw, "<i4") for raw in request.raw_input_contents[:2])
    return ids[np.searchsorted(row, np.arange(row[-1] + 1))]


def embeddings_response(tokens: Any, model_name: str = "embed_tokens") -> ModelInferResponse:
    """The right answer to rows of these first tokens."""
    rows = np.repeat(tokens.astype("<f4")[:, None], DIMENSION, axis=1)
    response = ModelInferResponse(model_name=model_name, raw_output_contents=[rows.tobytes()])
    response.outputs.add(name="sentence_embedding", datatype="FP32", shape=rows.shape)
    return response
