"""Arguments that the client rejects before it sends a request, and arguments that it accepts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sentriton import InvalidInput

ONE_SENTENCE = {"sentences": "x"}
WHOLE = "allowed are whole numbers from 1"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"sentences": None}, "sentences is None; give a string or an iterable of strings"),
    ({"sentences": 3}, "sentences is 3; give a string"),
    ({"sentences": b"bytes"}, "sentences is b'bytes'; give a string"),
    ({"sentences": ["fine", 3]}, r"sentences\[1\] is 3 \(int\); every sentence must be a string"),
    ({"sentences": [None]}, r"sentences\[0\] is None \(NoneType\)"),
    ({"sentences": np.array([["a", "b"]])}, r"sentences is a ndarray of shape \(1, 2\); give one column"),
    ({"sentences": ["가", "나다\ud800"]}, r"sentences\[1\] has the lone surrogate '\\ud800' at character 2"),
    ({"sentences": "\udfff"}, r"sentences has the lone surrogate '\\udfff' at character 0"),
    ({"batch_size": 0}, f"batch_size is 0; {WHOLE}"),
    ({"batch_size": "3"}, f"batch_size is '3'; {WHOLE}"),
    ({"batch_size": True}, f"batch_size is True; {WHOLE}"),
    ({"batch_size": 2.5}, f"batch_size is 2.5; {WHOLE}"),
    ({"prompt_name": "qury"}, "prompt_name is 'qury'; the model's prompts are 'document', 'query'"),
    ({"prompt_name": ["query"]}, r"prompt_name is \['query'\]; the model's prompts are"),
    ({"prompt": 3}, r"prompt is 3 \(int\); give a string or None"),
    ({"prompt": "\ud800"}, "prompt has the lone surrogate"),
    ({"truncate_dim": 0}, "truncate_dim is 0; allowed are 1 to 256"),
    ({"truncate_dim": -1}, "truncate_dim is -1; allowed are 1 to 256"),
    ({"truncate_dim": 257}, "truncate_dim is 257; allowed are 1 to 256"),
    ({"truncate_dim": False}, "truncate_dim is False; allowed are 1 to 256"),
    ({"precision": "int4"}, "precision is 'int4'; allowed are float32, int8, uint8, binary, ubinary"),
    ({"precision": "int8"}, "precision is 'int8', which takes its ranges from the call's .*more than one sentence"),
    ({"output_value": "pooled"}, "output_value is 'pooled'; allowed are sentence_embedding, token_embeddings"),
    ({"output_value": None}, "output_value is None; allowed are"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[ascii(arguments) for arguments, _ in WRONG])
def test_wrong_arguments_name_themselves(
    arguments: dict[str, Any], says: str, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentriton.protocol.tokens_request", lambda *_, **__: pytest.fail("a request was made"))
    for method in (encoder.encode, encoder.encode_query, encoder.encode_document):
        with pytest.raises(InvalidInput, match=says):
            method(**{**ONE_SENTENCE, **arguments})


def test_whole_numbers_of_numpy_are_taken(encoder: Any) -> None:
    assert encoder.encode("x", batch_size=np.int64(2), truncate_dim=np.int32(8)).shape == (8,)


def test_unknown_similarity_names_itself(encoder: Any) -> None:
    with pytest.raises(InvalidInput, match="similarity_fn_name is 'cosin'; allowed are cosine, dot"):
        encoder.similarity_fn_name = "cosin"


def test_rows_of_different_models_are_not_compared(encoder: Any) -> None:
    with pytest.raises(InvalidInput, match=r"\(2, 8\) and \(3, 4\) cannot be compared"):
        encoder.similarity(np.ones((2, 8)), np.ones((3, 4)))
    with pytest.raises(InvalidInput, match=r"\(2, 8\) and \(3, 8\) cannot be paired"):
        encoder.similarity_pairwise(np.ones((2, 8)), np.ones((3, 8)))
