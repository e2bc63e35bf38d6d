"""Questions about a server's model and health, as generators without I/O for `ask` and `ask_async`."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeAlias

from sentriton import protocol
from sentriton.assets import GOLDEN, MANIFEST, kept_tokenizer, parse_golden, parse_manifest, parse_tokenizer
from sentriton.connection import Question, Result
from sentriton.deadline import Deadline
from sentriton.endpoints import AnyConnection, Endpoint, Endpoints, Inquiry
from sentriton.errors import SentritonError
from sentriton.golden import Golden, HealthReport, smallest_cosine
from sentriton.kserve import ModelInferResponse
from sentriton.manifest import TOKENIZER, Manifest
from sentriton.served_model import ServedModel

Questions: TypeAlias = Generator[Question[AnyConnection], ModelInferResponse, Result]


def model_questions(
    endpoints: Endpoints[AnyConnection], deadline: Deadline, known: ServedModel | None = None
) -> Questions[AnyConnection, ServedModel]:
    """Manifest and tokenizer of the first server that answers, or the `known` model if its manifest is the same. Raises
    the last error if no server answers.
    """
    inquiry = Inquiry(endpoints, deadline)
    while turn := inquiry.turn(time.monotonic()):
        endpoint, time_s = turn
        try:
            manifest = parse_manifest(endpoint.address, (yield from _asset(endpoint, MANIFEST, time_s)))
            if known is not None and manifest == known.manifest:
                return known
            deadline.moved(time.monotonic())
            tokenizer = kept_tokenizer(endpoint.address, manifest)
            if tokenizer is None:
                content = yield from _asset(endpoint, TOKENIZER, _left_s(deadline))
                tokenizer = parse_tokenizer(endpoint.address, manifest, content)
            deadline.moved(time.monotonic())
            return ServedModel(manifest, tokenizer)
        except SentritonError as error:
            inquiry.failed(error, time.monotonic())
    raise inquiry.failure


def health_questions(endpoint: Endpoint[AnyConnection], deadline: Deadline) -> Questions[AnyConnection, HealthReport]:
    """The canary of one server. Raises `ServerError` if a vector is too far from its golden one."""
    manifest, golden = yield from golden_questions(endpoint, deadline)
    return HealthReport(manifest, (yield from canary_questions(endpoint, manifest, golden, _left_s(deadline))))


def golden_questions(
    endpoint: Endpoint[AnyConnection], deadline: Deadline
) -> Questions[AnyConnection, tuple[Manifest, Golden]]:
    manifest = parse_manifest(endpoint.address, (yield from _asset(endpoint, MANIFEST, _left_s(deadline))))
    deadline.moved(time.monotonic())
    golden = parse_golden(endpoint.address, manifest, (yield from _asset(endpoint, GOLDEN, _left_s(deadline))))
    deadline.moved(time.monotonic())
    return manifest, golden


def canary_questions(
    endpoint: Endpoint[AnyConnection],
    manifest: Manifest,
    golden: Golden,
    timeout_s: float,
    canary_key: str | None = None,
) -> Questions[AnyConnection, float]:
    """The smallest cosine of the server's vectors to the golden ones. Raises `ServerError` below the manifest's bound.
    The lane is query, or the canary's with the `canary_key`.
    """
    parameters = protocol.parameters(fingerprint=manifest.fingerprint, timeout_s=timeout_s, canary_key=canary_key)
    request = protocol.text_request(golden.sentences, parameters)
    response = yield Question(endpoint.connection, request, timeout_s)
    embeddings = protocol.read_sentence_embedding(response, len(golden.sentences), manifest.dimension)
    return smallest_cosine(endpoint.address, manifest, embeddings, golden.embeddings)


def _left_s(deadline: Deadline) -> float:
    now = time.monotonic()
    if deadline.over(now):
        raise deadline.exceeded("the server")
    return deadline.left_s(now)


def _asset(endpoint: Endpoint[AnyConnection], name: str, timeout_s: float) -> Questions[AnyConnection, bytes]:
    response = yield Question(endpoint.connection, protocol.asset_request(name), timeout_s)
    return protocol.read_asset(response)
