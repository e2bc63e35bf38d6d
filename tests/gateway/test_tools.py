"""OpenAI's client and curl, as the pages use them, and LangChain's and LlamaIndex's classes for OpenAI on a gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding

from sentriton import SentenceEncoder
from tests.conftest import ROOT
from tests.gateway.conftest import RunningGateway
from tests.snippets import Block, blocks, commands, only

PROGRAMS = [each for page in ("docs/gateway.md", "gateway/README.md") for each in blocks(ROOT / page, "python")]
TEXTS = ["숙소가 역에서 가까워요.", "지하철역 근처 숙소입니다.", "내일 비가 오나요?"]


def test_langchain(gateway: RunningGateway, model: str, encoder: SentenceEncoder) -> None:
    embeddings = OpenAIEmbeddings(
        base_url=f"{gateway.url}/v1",
        api_key="none",  # type: ignore[arg-type]
        model=model,
        check_embedding_ctx_length=False,  # or it sends the tokens of an OpenAI model
    )
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), encoder.encode(TEXTS), atol=1e-6, rtol=0)
    np.testing.assert_allclose(embeddings.embed_query(TEXTS[0]), encoder.encode(TEXTS[0]), atol=1e-6, rtol=0)


def test_tokens_of_another_model_are_refused(gateway: RunningGateway, model: str) -> None:
    """The input that LangChain sends by itself: cl100k_base's tokens of "Hello world"."""
    with (
        gateway.openai() as client,
        pytest.raises(openai.BadRequestError, match="LangChain: check_embedding_ctx_length=False"),
    ):
        client.embeddings.create(input=[[9906, 1917]], model=model)


def test_llama_index(gateway: RunningGateway, model: str, encoder: SentenceEncoder) -> None:
    embedding = OpenAIEmbedding(api_base=f"{gateway.url}/v1", api_key="none", model_name=model)
    np.testing.assert_allclose(embedding.get_text_embedding_batch(TEXTS), encoder.encode(TEXTS), atol=1e-6, rtol=0)
    np.testing.assert_allclose(embedding.get_query_embedding(TEXTS[0]), encoder.encode(TEXTS[0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_a_program_of_its_pages(program: Block, gateway: RunningGateway, model: str) -> None:
    code = program.code.replace("http://localhost:8080", gateway.url).replace("sentriton-ko-mini", model)
    code += "" if program.output else "print(len(vectors), len(vectors[0]))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.stdout) == ("", program.output or "1 256\n")


def answers_to_curl(page: str, url: str, model: str) -> list[Any]:
    """The JSON that the curl commands of a page print."""
    printed = []
    for command in [words for words in commands(ROOT / page) if words[0] == "curl"]:
        words = [word.replace("http://127.0.0.1:8080", url).replace("sentriton-ko-mini", model) for word in command]
        done = subprocess.run([*words, "--silent"], capture_output=True, text=True, timeout=60, check=True)
        printed.append(json.loads(done.stdout))
    return printed


def test_curl_as_the_questions_show_it(gateway: RunningGateway, model: str) -> None:
    models, embeddings = answers_to_curl("docs/questions.md", gateway.url, model)
    assert [each["id"] for each in models["data"]] == [model]
    assert len(embeddings["data"][0]["embedding"]) == 256


def test_curl_as_its_page_shows_it(gateway: RunningGateway, model: str) -> None:
    (printed,) = answers_to_curl("docs/gateway.md", gateway.url, model)
    shown = json.loads(only(ROOT / "docs/gateway.md", "json")[0])
    vectors = [answer["data"][0].pop("embedding") for answer in (printed, shown)]
    np.testing.assert_allclose(*vectors, atol=1e-5, rtol=0)
    assert printed == {**shown, "model": model}
