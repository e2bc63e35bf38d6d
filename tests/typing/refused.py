"""Calls that type checkers reject: exactly the lines with the comment `refused`. This file never runs."""

from __future__ import annotations

from sentriton import AsyncSentenceEncoder, SentenceEncoder
from sentriton.keywords import EncodeArguments


def misspelt(encoder: SentenceEncoder) -> None:
    encoder.encode("a", truncat_dim=8)  # refused
    encoder.encode_query(["a"], batchsize=8)  # refused
    encoder.encode_document(inputs="a", normalise_embeddings=True)  # refused
    encoder.encode_stream(["a"], chunksize=8)  # refused
    SentenceEncoder("localhost:8001", timeout=3)  # refused
    AsyncSentenceEncoder(max_inflight=3)  # refused


def wrong_values(encoder: SentenceEncoder) -> None:
    encoder.encode("a", precision="int4")  # refused
    encoder.encode("a", output_value="sentence_embeddings")  # refused
    encoder.encode("a", truncate_dim=8.5)  # refused
    encoder.encode("a", batch_size="8")  # refused
    encoder.similarity("a", "b")  # refused
    encoder.similarity_fn_name = "cosin"  # refused
    SentenceEncoder(priority="urgent")  # refused
    SentenceEncoder(on_model_change="ask")  # refused


def ranges_of_chunks(encoder: SentenceEncoder, options: EncodeArguments) -> None:
    encoder.encode_stream(["a"], precision="int8")  # refused
    encoder.encode_stream(inputs=["a"], precision="uint8", convert_to_tensor=True)  # refused
    encoder.encode_stream(["a"], precision="int8", convert_to_numpy=False)  # refused
    encoder.encode_stream(["a"], precision="int8", output_value="token_embeddings")  # refused
    encoder.encode_stream(["a"], **options)  # refused


def no_sentences(encoder: SentenceEncoder, text: str | None) -> None:
    encoder.encode()  # refused
    encoder.encode(None)  # refused
    encoder.encode(text)  # refused
    encoder.encode(3)  # refused
    encoder.encode(b"a")  # refused
    encoder.encode([b"a"])  # refused
    encoder.encode("a", inputs="a")  # refused
    encoder.encode_stream(3)  # refused


async def asyncio(encoder: AsyncSentenceEncoder) -> None:
    await encoder.encode("a", truncat_dim=8)  # refused
    await encoder.encode_query(3)  # refused
    encoder.encode("a").tolist()  # refused
