"""The keyword arguments that type checkers know are those of the settings and of sentence-transformers."""

from __future__ import annotations

import dataclasses
import inspect

from sentence_transformers import SentenceTransformer

from sentriton import ClientSettings
from sentriton.keywords import AnyArguments, Settings


def test_every_setting_is_a_keyword_of_the_encoders() -> None:
    assert {"url", *Settings.__annotations__} == {field.name for field in dataclasses.fields(ClientSettings)}


def test_every_option_is_one_of_sentence_transformers() -> None:
    theirs = inspect.signature(SentenceTransformer.encode).parameters
    assert set(AnyArguments.__annotations__) - set(theirs) == {"timeout_s"}
    assert set(theirs) - set(AnyArguments.__annotations__) == {"self", "prompt_name", "prompt", "kwargs"}
