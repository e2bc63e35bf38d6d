"""The examples in the docstrings of the client's public interface run against a server, and print their output."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect

import pytest
from llama_index.core.schema import TextNode

import sentriton
from sentriton import AsyncSentenceEncoder, SentenceEncoder
from sentriton.integrations.langchain import SentritonEmbeddings
from sentriton.integrations.llama_index import SentritonEmbedding
from tests.server.conftest import RunningServer

METHODS = ("encode", "encode_query", "encode_document", "encode_stream", "info", "health")
SHOWN = {
    "sentriton": sentriton,
    "SentenceEncoder": SentenceEncoder,
    "similarity": SentenceEncoder.similarity,
    **{name: getattr(SentenceEncoder, name) for name in METHODS},
    "AsyncSentenceEncoder": AsyncSentenceEncoder,
    "SentritonEmbeddings": SentritonEmbeddings,
    "SentritonEmbedding": SentritonEmbedding,
}


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs(name: str, server: RunningServer) -> None:
    text = (inspect.getdoc(SHOWN[name]) or "").replace("localhost:8001", server.url)
    with SentenceEncoder(server.url) as encoder:
        names: dict[str, object] = {
            **vars(sentriton),
            **{each.__name__: each for each in (SentritonEmbeddings, SentritonEmbedding)},
            "encoder": encoder,
            "lines": ["A first sentence.", "And a second one."],
            "queries": encoder.encode_query(["A question?"]),
            "documents": encoder.encode_document(["An answer.", "Another."]),
            "nodes": [TextNode(text="A first sentence.")],
        }
        test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
        assert test.examples, "it has no example"
        if name.startswith("Async"):
            (example,) = test.examples
            code = compile(example.source, f"<{name}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            asyncio.run(eval(code, names))
        else:
            assert doctest.DocTestRunner().run(test).failed == 0
