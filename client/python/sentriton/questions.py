"""Questions to servers besides embeddings: their model and their health. Generators without I/O; `ask` and `ask_async`
of connection.py drive them.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeAlias, TypeVar

from sentriton import protocol
from sentriton.assets import GOLDEN, MANIFEST, kept_tokenizer, read_golden, read_manifest, read_tokenizer
from sentriton.connection import Question
from sentriton.deadline import Deadline
from sentriton.endpoints import AnyConnection, Endpoint, Endpoints, Inquiry
from sentriton.errors import SentritonError
from sentriton.golden import HealthReport, smallest_cosine
from sentriton.kserve import ModelInferResponse
from sentriton.manifest import TOKENIZER
from sentriton.served_model import ServedModel

Result = TypeVar("Result")
Questions: TypeAlias = Generator[Question[AnyConnection], ModelInferResponse, Result]


def model_questions(endpoints: Endpoints[AnyConnection], deadline: Deadline) -> Questions[AnyConnection, ServedModel]:
    """Manifest and tokenizer of the first server that answers. Raises the error of the last one if none does."""
    inquiry = Inquiry(endpoints.all, deadline)
    while turn := inquiry.turn(time.monotonic()):
        endpoint, time_s = turn
        try:
            manifest = read_manifest(endpoint.address, (yield from _asset(endpoint, MANIFEST, time_s)))
            deadline.moved(time.monotonic())
            tokenizer = kept_tokenizer(endpoint.address, manifest)
            if tokenizer is None:
                content = yield from _asset(endpoint, TOKENIZER, deadline.left_s(time.monotonic()))
                tokenizer = read_tokenizer(endpoint.address, manifest, content)
            deadline.moved(time.monotonic())
            return ServedModel(manifest, tokenizer)
        except SentritonError as error:
            inquiry.failed(error, time.monotonic())
    raise inquiry.failure


def health_questions(endpoint: Endpoint[AnyConnection], deadline: Deadline) -> Questions[AnyConnection, HealthReport]:
    """The canary of one server. Raises `ServerError` if a vector is too far from its golden one."""

    def left_s() -> float:
        return deadline.left_s(time.monotonic())

    manifest = read_manifest(endpoint.address, (yield from _asset(endpoint, MANIFEST, left_s())))
    golden = read_golden(endpoint.address, manifest, (yield from _asset(endpoint, GOLDEN, left_s())))
    parameters = protocol.parameters(fingerprint=manifest.fingerprint, timeout_s=left_s())
    request = protocol.text_request(golden.sentences, parameters)
    response = yield Question(endpoint.connection, request, left_s())
    embeddings = protocol.read_sentence_embedding(response, len(golden.sentences), manifest.dimension)
    return HealthReport(manifest, smallest_cosine(endpoint.address, manifest, embeddings, golden.embeddings))


def _asset(endpoint: Endpoint[AnyConnection], name: str, timeout_s: float) -> Questions[AnyConnection, bytes]:
    response = yield Question(endpoint.connection, protocol.asset_request(name), timeout_s)
    return protocol.read_asset(response)
