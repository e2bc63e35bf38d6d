"""The manifest as JSON, and files that are not manifests."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sentriton.manifest import Manifest
from tests.example_manifest import make_manifest

MANIFEST = make_manifest()


def test_a_manifest_comes_back_as_it_was_written() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    assert Manifest.from_json(MANIFEST.to_json().encode()) == MANIFEST


def test_fields_of_a_newer_server_are_left_out() -> None:
    assert Manifest.from_json(json.dumps({**dataclasses.asdict(MANIFEST), "newer": 1})) == MANIFEST


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest)])
def test_a_missing_field_is_named(name: str) -> None:
    values = dataclasses.asdict(MANIFEST)
    del values[name]
    with pytest.raises(ValueError, match=f"the manifest lacks {name}$"):
        Manifest.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "3"])
def test_what_is_not_a_manifest_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are json's where it is no JSON
        Manifest.from_json(text)
