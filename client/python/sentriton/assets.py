"""Reads the server's files. For a wrong one, `ServerError` names server and file."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager

from sentriton import cache
from sentriton.golden import Golden
from sentriton.manifest import TOKENIZER, Manifest
from sentriton.tokenization import TextTokenizer, blaming

MANIFEST, GOLDEN = "manifest.json", "golden.json"


def parse_manifest(address: str, content: bytes) -> Manifest:
    with _blaming(address, MANIFEST):
        return Manifest.from_json(content)


def parse_golden(address: str, manifest: Manifest, content: bytes) -> Golden:
    with _blaming(address, GOLDEN):
        found, announced = hashlib.sha256(content).hexdigest(), manifest.files.get(GOLDEN)
        if announced not in (None, found):
            raise ValueError(f"its sha256 is {found}, the manifest's {announced}")
        return Golden.from_json(content, manifest.dimension)


def kept_tokenizer(address: str, manifest: Manifest) -> TextTokenizer | None:
    content = cache.kept(manifest.files[TOKENIZER])
    with _blaming(address, TOKENIZER):
        return None if content is None else TextTokenizer(content.decode("utf-8"))


def parse_tokenizer(address: str, manifest: Manifest, content: bytes) -> TextTokenizer:
    """The tokenizer from the server at `address`. Caches it for later connections."""
    with _blaming(address, TOKENIZER):
        cache.keep(manifest.files[TOKENIZER], content)
        return TextTokenizer(content.decode("utf-8"))


def _blaming(address: str, name: str) -> AbstractContextManager[None]:
    return blaming(f"{address} sent a {name} that this client cannot read")
