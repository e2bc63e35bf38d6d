"""The Python clients, and the `embed_text` that other languages use, on the cases that every client passes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferResponse

import sentriton
from sentriton import InvalidInput, Manifest, SentenceEncoder, ServerError, protocol
from sentriton.connection import Connection
from sentriton.errors import error_class
from sentriton_server.resources import load_model_code
from tests.event_loop import InEventLoop
from tests.example_manifest import make_manifest
from tests.polyglot import generate
from tests.polyglot.conformance import CONFORMANCE, Conformance, decode_vectors
from tests.server.conftest import RunningServer

CASES = Conformance().cases
by_name = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def texts_of(case: dict[str, Any], conformance: Conformance) -> Any:
    if "utf16" in case:
        return [np.array(case["utf16"], dtype="<u2").tobytes().decode("utf-16-le", "surrogatepass")]
    chosen = [conformance.texts[place] for place in case["sentences"]]
    return chosen[0] if case.get("single") else chosen


def send_bytes(server: RunningServer, text: bytes) -> None:
    """A request made by hand: Python's strings hold no bytes."""
    request = protocol.text_request(["x"])
    request.raw_input_contents[0] = len(text).to_bytes(4, "little") + text
    connection = Connection(server.url)
    try:
        connection.infer(request, timeout_s=20)
    finally:
        connection.close()


@by_name
@pytest.mark.parametrize("client", [SentenceEncoder, InEventLoop], ids=["sync", "asyncio"])
def test_case(client: Any, case: dict[str, Any], server: RunningServer, conformance: Conformance) -> None:
    def embed() -> Any:
        if "utf8" in case:
            return send_bytes(server, base64.b64decode(case["utf8"]))
        encoder = client(**{"url": server.url, **case.get("settings", {})})
        try:
            return encoder.encode(texts_of(case, conformance), **case.get("options", {}))
        finally:
            encoder.close()

    if "error" not in case:
        found = embed()
        expected = conformance.expected(case) if case["sentences"] else np.empty((0, 256), np.float32)
        conformance.assert_equal(found[None] if case.get("single") else found, expected)
        return
    with pytest.raises(getattr(sentriton, case["error"])) as raised:
        embed()
    missing = [words for words in case["says"] if words not in str(raised.value)]
    assert not missing, f"{missing} not in: {raised.value}"


@pytest.mark.parametrize(("status", "message", "error"), Conformance().statuses)
def test_status(status: str, message: str, error: str) -> None:
    assert error_class(grpc.StatusCode[status], message) is getattr(sentriton, error)


def test_every_status_is_in_the_file() -> None:
    listed = {status for status, _, _ in Conformance().statuses}
    assert listed == {status.name for status in grpc.StatusCode} - {"OK"}


@pytest.mark.parametrize("answer", Conformance().answers, ids=lambda answer: answer["case"])
def test_answer(answer: dict[str, Any]) -> None:
    content = base64.b64decode(answer["content"])
    response = ModelInferResponse(model_name=answer["model_name"], raw_output_contents=[content])
    response.outputs.add(name=answer["name"], datatype=answer["datatype"], shape=answer["shape"])
    if answer["case"] == "right":
        assert protocol.read_sentence_embedding(response, 3, 2).tolist() == [[1, 2], [3, 4], [5, 6]]
        return
    with pytest.raises(ServerError, match=r"^the server sent .*; expected "):
        protocol.read_sentence_embedding(response, 3, 2)


@pytest.mark.parametrize(("name", "value"), Conformance().wrong_fields, ids=str)
def test_wrong_field(name: str, value: Any) -> None:
    manifest = json.loads(make_manifest().to_json())
    assert Manifest.from_json(json.dumps(manifest)) == make_manifest()
    with pytest.raises(ValueError, match=f"the manifest's {name} is .*; expected "):
        Manifest.from_json(json.dumps({**manifest, name: value}))


def test_similarity(server: RunningServer, conformance: Conformance) -> None:
    given = conformance.similarity
    with SentenceEncoder(server.url) as encoder:
        scores = encoder.similarity(conformance.vectors[given["first"]], conformance.vectors[given["second"]])
    np.testing.assert_allclose(scores, given["scores"], atol=1e-5)


def test_embed_text_gives_the_golden_vectors(server: RunningServer, conformance: Conformance) -> None:
    connection = Connection(server.url)
    try:
        for start in range(0, len(conformance.texts), 50):
            request = protocol.text_request(conformance.texts[start : start + 50])
            found = protocol.read_sentence_embedding(connection.infer(request, timeout_s=30))
            conformance.assert_equal(found, conformance.vectors[start : start + 50])
    finally:
        connection.close()


def test_tokens_are_identical_in_client_and_server(
    server: RunningServer, conformance: Conformance, tmp_path: Path
) -> None:
    with SentenceEncoder(server.url) as encoder:
        by_client = encoder.token_ids(conformance.texts)
        longest = encoder.max_seq_length
    assert max(map(len, by_client)) == longest, "no text is long enough to be cut"
    connection = Connection(server.url)
    asset = protocol.read_asset(connection.infer(protocol.asset_request("tokenizer.json"), 30))
    (tmp_path / "tokenizer.json").write_bytes(asset)
    connection.close()
    code = load_model_code("embed_text", "tokenization")
    input_ids, row = code.tokenize(code.load_tokenizer(tmp_path / "tokenizer.json"), conformance.texts)
    assert [ids.tolist() for ids in np.split(input_ids, np.bincount(row).cumsum()[:-1])] == by_client


def test_text_that_no_string_holds_is_refused_before_it_is_sent(server: RunningServer) -> None:
    with SentenceEncoder(server.url) as encoder, pytest.raises(InvalidInput, match="surrogate"):
        encoder.encode(b"not \xff fine".decode("utf-8", "surrogateescape"))


def test_the_file_is_what_the_generator_writes() -> None:
    """All but the last bits of the vectors, which differ between processors."""
    committed, made = json.loads(CONFORMANCE.read_text(encoding="ascii")), generate.conformance()
    assert generate.write(committed) == CONFORMANCE.read_text(encoding="ascii")
    for content in (committed, made):
        scores = content["similarity"].pop("scores")
        rows = [sentence.pop("vector") for sentence in content["sentences"]]
        rows += [row for case in content["cases"] for row in case.pop("vectors", [])]
        content["numbers"] = np.array(scores), decode_vectors(rows)
    for found, expected in zip(committed.pop("numbers"), made.pop("numbers"), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert committed == made
