"""Wrong answers of a server: each client rejects them with an error that names the answer."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentriton import SentenceEncoder, ServerError
from sentriton.cli import check_canary
from sentriton.settings import ClientSettings
from sentriton.tokenization import TextTokenizer
from tests.event_loop import InEventLoop
from tests.polyglot.conformance import Conformance
from tests.small_server import DIMENSION, WORDS, SmallServer, make_tokenizer, vectors

THREE = WORDS[:3]


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path))


@pytest.fixture(params=["check_canary", "health", "async health"])
def check(request: pytest.FixtureRequest) -> Callable[[SmallServer], Any]:
    """Runs the canary on a server."""

    def run(server: SmallServer) -> Any:
        if request.param == "check_canary":
            return check_canary(ClientSettings(url=server.url))
        with closing((SentenceEncoder if request.param == "health" else InEventLoop)(server.url)) as encoder:
            return encoder.health()

    return run


def rows(shape: tuple[int, ...], value: float = 1.0, dtype: str = "<f4") -> Callable[[Any], None]:
    """A change to an answer: other numbers in another shape."""

    def change(response: Any) -> None:
        response.outputs[0].shape[:] = shape
        response.raw_output_contents[0] = np.full(shape, value, dtype).tobytes()

    return change


def one_value(value: float) -> Callable[[Any], None]:
    def change(response: Any) -> None:
        numbers = np.frombuffer(response.raw_output_contents[0], "<f4").copy()
        numbers[5] = value
        response.raw_output_contents[0] = numbers.tobytes()

    return change


def set_name(response: Any) -> None:
    response.outputs[0].name = "token_embeddings"


def set_datatype(response: Any) -> None:
    response.outputs[0].datatype = "INT32"


def set_model(response: Any) -> None:
    response.model_name = "rerank"


def add_output(response: Any) -> None:
    response.outputs.add(name="sentence_embedding", datatype="FP32", shape=[3, DIMENSION])
    response.raw_output_contents.append(response.raw_output_contents[0])


def drop_content(response: Any) -> None:
    del response.raw_output_contents[:]


def cut(response: Any) -> None:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-4]


WRONG_ANSWERS: dict[str, tuple[Callable[[Any], None], str]] = {
    "one row for three": (rows((1, DIMENSION)), r"shape \[1, 4\]; expected \[3, 4\]"),
    "more rows": (rows((4, DIMENSION)), r"shape \[4, 4\]; expected \[3, 4\]"),
    "no rows": (rows((0, DIMENSION)), r"shape \[0, 4\]; expected \[3, 4\]"),
    "one column": (rows((3, 1)), r"shape \[3, 1\]; expected \[3, 4\]"),
    "fewer columns": (rows((3, 3)), r"shape \[3, 3\]; expected \[3, 4\]"),
    "more columns": (rows((3, 5)), r"shape \[3, 5\]; expected \[3, 4\]"),
    "no columns": (rows((3,)), r"shape \[3\]; expected \[3, 4\]"),
    "a third axis": (rows((3, 4, 1)), r"shape \[3, 4, 1\]; expected \[3, 4\]"),
    "negative sizes": (lambda response: response.outputs[0].shape.__setitem__(slice(None), [-3, -4]), r"\[-3, -4\]"),
    "NaN": (one_value(np.nan), "NaN or infinity in row 1"),
    "infinity": (one_value(-np.inf), "NaN or infinity in row 1"),
    "integers": (set_datatype, "sentence_embedding as 'INT32'; expected FP32"),
    "half as many bytes": (rows((3, DIMENSION), dtype="<f2"), "24 bytes .*; expected 48"),
    "cut off": (cut, "44 bytes .*; expected 48"),
    "another output": (set_name, "outputs 'token_embeddings' .*; expected 'sentence_embedding'"),
    "the output twice": (add_output, "outputs 'sentence_embedding', 'sentence_embedding'"),
    "no content": (drop_content, "with 0 contents"),
    "another model's": (set_model, "of the model 'rerank'; expected embed_text or embed_tokens"),
    "nothing": (lambda response: response.Clear(), "of the model ''"),
}


@pytest.mark.parametrize(("change", "says"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_a_wrong_embedding_is_refused(
    change: Callable[[Any], None], says: str, connect: Callable[..., Any], server: SmallServer
) -> None:
    with closing(connect(server.url)) as encoder:
        np.testing.assert_array_equal(encoder.encode(THREE), vectors(THREE))
        server.change = change
        with pytest.raises(ServerError, match=says) as raised:
            encoder.encode(THREE)
        assert f"wrong answer from {server.url}: " in str(raised.value)
        assert str(raised.value).endswith("(0 of 3 sentences were embedded)")
        with pytest.raises(ServerError, match=says):
            list(encoder.encode_stream(THREE))


@pytest.mark.parametrize(("name", "value"), [*Conformance().wrong_fields, ("min_cosine", float("nan"))], ids=str)
def test_a_wrong_field_of_the_manifest_is_named(name: str, value: Any, server: SmallServer) -> None:
    server.manifest[name] = value
    server.announce_tokenizer = name != "files"
    with pytest.raises(
        ServerError, match=rf"{server.url} sent a manifest.json .*the manifest's {name} is .*; expected"
    ):
        SentenceEncoder(server.url)


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"\xff", b"[]", b"[" * 100_000, {}],
    ids=["no bytes", "cut", "not UTF-8", "list", "deep", "empty"],
)
def test_what_is_no_manifest_is_the_servers_error(
    manifest: Any, connect: Callable[..., Any], server: SmallServer
) -> None:
    server.manifest, server.announce_tokenizer = manifest, False
    with pytest.raises(ServerError, match=f"{server.url} sent a manifest.json that this client cannot read: "):
        connect(server.url)
    with pytest.raises(ServerError, match=f"{server.url} sent a manifest.json"):
        check_canary(ClientSettings(url=server.url))


# Files that are not tokenizers, and a part that makes the library panic.
BROKEN_TOKENIZERS = {
    "empty": b"",
    "nothing": b"{}",
    "not UTF-8": b"\xff",
    "no model": b'{"model": {"type": "None"}}',
    "panic": json.dumps(
        {**json.loads(make_tokenizer()), "normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}
    ).encode(),
}


@pytest.mark.parametrize("tokenizer", BROKEN_TOKENIZERS.values(), ids=BROKEN_TOKENIZERS)
def test_a_broken_tokenizer_is_the_servers_error(
    tokenizer: bytes, connect: Callable[..., Any], server: SmallServer
) -> None:
    server.tokenizer = tokenizer
    for _ in range(2):  # fetched, then cached
        with pytest.raises(ServerError, match=f"{server.url} sent a tokenizer.json that this client cannot read: "):
            connect(server.url)


def test_a_tokenizer_that_cannot_tokenize_is_the_servers_error(server: SmallServer) -> None:
    server.tokenizer = server.tokenizer.replace(b'"unk_token":"?"', b'"unk_token":"!"')
    with SentenceEncoder(server.url) as encoder, pytest.raises(ServerError, match=r"tokenizer.json does not tokenize"):
        encoder.encode("unknown")


def test_a_panic_of_the_tokenizers_library_is_the_servers_error(
    connect: Callable[..., Any], server: SmallServer
) -> None:
    # The library finds this wrong when it truncates.
    truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 3}
    server.tokenizer = json.dumps({**json.loads(server.tokenizer), "truncation": truncation}).encode()
    server.manifest.update(include_prompt=False)
    with closing(connect(server.url)) as encoder:
        message = r"^the server's tokenizer\.json does not tokenize these sentences: .*stride.* must be"
        for call in (encoder.encode, encoder.token_ids):
            with pytest.raises(ServerError, match=message):
                call(["w1 w2 w3 w4"])
        with pytest.raises(ServerError, match=r"^the server's tokenizer\.json does not tokenize the prompt: .*stride"):
            encoder.encode(["w1"], prompt="w1 w2 w3 w4 ")
        np.testing.assert_array_equal(encoder.encode(["w1"]), vectors(["w1"]))


def test_an_interrupt_while_sentences_are_tokenized_passes(server: SmallServer) -> None:
    tokenizer = TextTokenizer(server.tokenizer.decode())

    class Sentences(list[str]):
        def __iter__(self) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenizer.tokenize(Sentences(["w1"]))


def test_another_tokenizer_than_announced_is_refused(server: SmallServer) -> None:
    server.announce_tokenizer = False
    with pytest.raises(ServerError, match=r"sha256 .*, expected a{64}"):
        SentenceEncoder(server.url)


def set_content(raw: bytes, shape: tuple[int, ...] = (1,), name: str = "content", datatype: str = "BYTES") -> Any:
    def change(response: Any) -> None:
        response.outputs[0].name, response.outputs[0].datatype = name, datatype
        response.outputs[0].shape[:] = shape
        response.raw_output_contents[0] = raw

    return change


ELEMENT = struct.pack("<I", 2) + b"{}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_content(ELEMENT[:-1]), "in 5 bytes"),
        (set_content(b"\x00"), "begin with 0x00; expected shape"),
        (set_content(b""), "in 0 bytes"),
        (set_content(ELEMENT * 2, (2,)), r"shape \[2\] in 12 bytes"),
        (set_content(ELEMENT * 2), r"shape \[1\] in 12 bytes"),
        (set_content(ELEMENT, name="text"), "outputs 'text' with 1 contents; expected 'content'"),
        (set_content(ELEMENT, datatype="FP32"), "content as 'FP32'; expected BYTES"),
        (set_model, "of the model 'rerank'; expected assets"),
        (lambda response: response.Clear(), "of the model ''"),
    ],
    ids=["cut", "short", "no bytes", "two", "one of two", "another output", "numbers", "another model's", "nothing"],
)
def test_a_wrong_asset_is_refused(
    change: Callable[[Any], None], says: str, connect: Callable[..., Any], server: SmallServer
) -> None:
    server.change_asset = change
    with pytest.raises(ServerError, match=says):
        connect(server.url)


GOLDEN = {"sentences": THREE, "sentence_embedding": vectors(THREE).tolist()}


@pytest.mark.parametrize(
    ("golden", "says"),
    [
        ({}, "no list of sentences"),
        ([], "no list of sentences"),
        ({**GOLDEN, "sentences": []}, "no list of sentences"),
        ({**GOLDEN, "sentences": [1, 2, 3]}, "no list of sentences"),
        ({**GOLDEN, "sentence_embedding": None}, r"shape \[\]; expected finite numbers of shape \[3, 4\]"),
        ({**GOLDEN, "sentence_embedding": [[1], [2, 3], []]}, "no matrix of numbers"),
        ({**GOLDEN, "sentence_embedding": vectors(THREE).tolist()[:2]}, r"shape \[2, 4\]; expected"),
        ({**GOLDEN, "sentence_embedding": [[float("nan")] * 4] * 3}, "finite"),
        (b"no JSON", "Expecting value"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_wrong_golden_vectors_are_the_servers_error(
    golden: Any, says: str, check: Callable[[SmallServer], Any], server: SmallServer
) -> None:
    server.golden = golden
    with pytest.raises(ServerError, match=rf"{server.url} sent a golden.json that this client cannot read: .*{says}"):
        check(server)


@pytest.mark.parametrize(("change", "says"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_the_canary_refuses_a_wrong_embedding(
    change: Callable[[Any], None], says: str, check: Callable[[SmallServer], Any], server: SmallServer
) -> None:
    server.golden = GOLDEN
    server.change = change
    with pytest.raises(ServerError, match=says):
        check(server)
