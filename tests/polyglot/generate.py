"""Writes conformance.json: the results of every client for the same sentences, arguments and mistakes. The vectors are
computed by sentence-transformers from the bundled checkpoint. Run it again when checkpoint or cases change:

    python -m tests.polyglot.generate
"""

from __future__ import annotations

import base64
import json
import math
import struct
import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentriton_server.parity_texts import parity_sentences
from sentriton_server.resources import BUNDLED_CHECKPOINT
from tests.polyglot.conformance import CONFORMANCE

MAX_BATCH_SIZE = 64
PLAIN = parity_sentences()[:MAX_BATCH_SIZE]
HANGUL = "값진 밝은 닭볶음탕, 훈민정음 뷁"
SPECIAL: dict[str, tuple[str, int]] = {
    "Korean, composed (NFC)": (unicodedata.normalize("NFC", HANGUL), 1),
    "Korean, decomposed (NFD)": (unicodedata.normalize("NFD", HANGUL), 1),
    "compatibility jamo": ("ㅋㅋㅋ ㅠㅠ ㄱㅅ", 1),
    "emoji": ("오늘 날씨 최고 ☀️😀👍🏽🇰🇷", 1),
    "emoji joined by zero-width joiners": ("👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️‍🔥", 1),
    "letters beyond the basic plane": ("𠮷野家 𝒳 𐍈 🜚", 1),
    "invisible characters": ("\ufeff보이\u200b지 \u2060않\u200d는\u00ad \u202e문자", 1),
    "control characters": ("a\x00b\x07c\x1bd", 1),
    "lines and tabs": ("첫째 줄\r\n둘째\t줄\n\n", 1),
    "empty": ("", 1),
    "white space alone": (" \t\n\u3000\u00a0", 1),
    "special tokens as text": ("[CLS] 문장 [SEP] <s> </s> [MASK] <pad>", 1),
    "10,000 characters": ("숙소는 역에서 걸어서 오 분 거리예요! ", 455),
    "10,000 characters without a space": ("가나다라마", 2000),
    "100,000 characters": ("가나다라마", 20_000),
}
ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 31, 32, 63, 64]
NOBODY = "127.0.0.1:1"
# A gRPC status, the server's words, and the error that they are: every status, and every word that decides.
STATUSES = [
    ("CANCELLED", "CANCELLED", "ServerUnavailable"),
    ("CANCELLED", "by a proxy", "ServerError"),
    ("UNKNOWN", "", "ServerError"),
    ("UNKNOWN", "Stream removed", "ServerUnavailable"),
    ("INVALID_ARGUMENT", "input_ids holds 99 in row 0", "InvalidInput"),
    ("INVALID_ARGUMENT", "Exceeds maximum queue size", "InvalidInput"),
    ("INVALID_ARGUMENT", "fingerprint mismatch: the request is for model 'a'", "ContractMismatch"),
    ("DEADLINE_EXCEEDED", "", "DeadlineExceeded"),
    ("NOT_FOUND", "Request for unknown model: 'embed_text' has no available versions", "ServerUnavailable"),
    ("ALREADY_EXISTS", "", "ServerError"),
    ("PERMISSION_DENIED", "", "AccessDenied"),
    ("RESOURCE_EXHAUSTED", "", "Overloaded"),
    # A message above a limit, in the words of gRPC for C, C++ and Python ...
    ("RESOURCE_EXHAUSTED", "SERVER: Received message larger than max (5000000 vs. 4194304)", "InvalidInput"),
    # ... of Go ...
    ("RESOURCE_EXHAUSTED", "trying to send message larger than max (5000000 vs. 4194304)", "InvalidInput"),
    ("RESOURCE_EXHAUSTED", "grpc: received message after decompression larger than max 4194304", "InvalidInput"),
    # ... of Node ...
    ("RESOURCE_EXHAUSTED", "Attempted to send message with a size larger than 4194304", "InvalidInput"),
    # ... of Java ...
    ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 4194304: 5000000", "InvalidInput"),
    # ... of C# ...
    ("RESOURCE_EXHAUSTED", "Received message exceeds the maximum configured message size.", "InvalidInput"),
    # ... of Rust ...
    (
        "OUT_OF_RANGE",
        "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        "InvalidInput",
    ),
    # ... of Envoy, and of gRPC for the HTTP status of another proxy.
    ("UNKNOWN", "Payload Too Large", "InvalidInput"),
    ("UNKNOWN", "Received http2 header with status: 413", "InvalidInput"),
    ("UNKNOWN", "HTTP status code 413\ninvalid content-type: text/html", "InvalidInput"),
    ("UNKNOWN", "unexpected HTTP status code received from server: 413 (Request Entity Too Large)", "InvalidInput"),
    ("FAILED_PRECONDITION", "", "ServerError"),
    ("ABORTED", "", "ServerError"),
    ("OUT_OF_RANGE", "", "ServerError"),
    ("UNIMPLEMENTED", "", "ServerError"),
    ("INTERNAL", "the model gave a sentence embedding that is not finite", "ServerError"),
    ("INTERNAL", "fingerprint mismatch", "ServerError"),
    ("INTERNAL", "Stub process 'encoder_0_0' is not healthy.", "ServerUnavailable"),
    ("INTERNAL", "Received RST_STREAM with error code 2", "ServerUnavailable"),
    ("INTERNAL", "Failed to increase the shared memory pool size for key 'x'", "Overloaded"),
    ("UNAVAILABLE", "Server is stopping", "ServerUnavailable"),
    ("UNAVAILABLE", "the query lane is full: 8192 rows wait, at most 8192 may; send again later", "Overloaded"),
    ("UNAVAILABLE", "[request id: <id_unknown>] Exceeds maximum queue size", "Overloaded"),
    ("UNAVAILABLE", "Request timeout expired", "Overloaded"),
    (
        "UNAVAILABLE",
        "This protocol is restricted, expecting header 'triton-grpc-protocol-access-key'",
        "AccessDenied",
    ),
    ("DATA_LOSS", "", "ServerError"),
    ("UNAUTHENTICATED", "", "AccessDenied"),
]


# A model's answer to three sentences, of two dimensions: changes to the right answer, each of which makes it wrong.
RIGHT = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
ANSWERS: dict[str, dict[str, Any]] = {
    "right": {},
    "one row for three": {"shape": [1, 2], "content": RIGHT[:8]},
    "more rows": {"shape": [4, 2], "content": RIGHT + RIGHT[:8]},
    "no rows": {"shape": [0, 2], "content": b""},
    "one column": {"shape": [3, 1], "content": RIGHT[:12]},
    "more columns": {"shape": [3, 3], "content": RIGHT + RIGHT[:12]},
    "rows for columns": {"shape": [2, 3]},
    "no columns": {"shape": [3], "content": RIGHT[:12]},
    "a third axis": {"shape": [3, 2, 1]},
    "cut off": {"content": RIGHT[:20]},
    "not a number": {"content": struct.pack("<6f", 1, 2, 3, 4, math.nan, 6)},
    "infinity": {"content": struct.pack("<6f", 1, 2, -math.inf, 4, 5, 6)},
    "integers": {"datatype": "INT32"},
    "another output": {"name": "token_embeddings"},
    "another model's": {"model_name": "assets"},
}
# Values of a manifest's fields that no client takes.
WRONG_FIELDS: dict[str, list[Any]] = {
    "name": ["", 3],
    "fingerprint": [None, ""],
    "dimension": [0, -4, 2.5, "4", True, None, 65_537, 10**12],
    "max_seq_length": [0, "32"],
    "vocab_size": [0],
    "max_batch_size": [0, "64", None],
    "pooling": ["mean", [1], None],
    "include_prompt": ["yes", 1],
    "prompts": [None, ["query"], {"query": None}],
    "default_prompt_name": [3, "no prompt of this model"],
    "similarity": ["maxsim", None],
    "precision": [None],
    "device": [0],
    "min_cosine": ["0.99", None, 1.1],
    "parity": [None, {}, {"min_cosine": "1", "sentences": 3}],
    "files": [None, {}, [], {"tokenizer.json": 3}, {"tokenizer.json": "../../passwd"}, {"model.pt": "a" * 64}],
    "sentriton_version": [None],
}


def answers() -> list[dict[str, Any]]:
    """Answers of `embed_text` to three sentences, the contents in base64: all but the first are wrong."""
    right = {"model_name": "embed_text", "name": "sentence_embedding", "datatype": "FP32", "shape": [3, 2]}
    return [
        {"case": case, **right, **change, "content": base64.b64encode(change.get("content", RIGHT)).decode()}
        for case, change in ANSWERS.items()
    ]


def texts() -> list[str]:
    """Every sentence of the file, in its order."""
    return PLAIN + [text * times for text, times in SPECIAL.values()]


def cases() -> list[dict[str, Any]]:
    """The clients' calls. `sentences` are places in the file's list; options are named as Python's arguments."""
    special = [{"name": name, "sentences": [place]} for place, name in enumerate(SPECIAL, len(PLAIN))]
    batches = [{"name": f"{rows} of 64", "sentences": [*range(rows)], "options": {"batch_size": 64}} for rows in ROWS]
    everything = list(range(len(texts())))
    first = everything[:3]
    return [
        *special,
        *batches,
        {"name": "no sentence", "sentences": []},
        {"name": "a single string", "sentences": [0], "single": True},
        {"name": "a single empty string", "sentences": [everything[len(PLAIN) + 9]], "single": True},
        {"name": "more than a batch, any order", "sentences": [*everything[::-1], *everything]},
        {"name": "more text than a request may have", "sentences": everything[-1:] * 5},
        {"name": "a batch size above the server's", "sentences": everything, "options": {"batch_size": 1000}},
        {"name": "one row a request", "sentences": everything[:20], "options": {"batch_size": 1}},
        {"name": "the bulk lane", "sentences": first, "settings": {"priority": "bulk"}},
        {"name": "one request under way", "sentences": everything, "settings": {"max_in_flight": 1}},
        {"name": "64 dimensions", "sentences": first, "options": {"truncate_dim": 64}},
        {"name": "length 1", "sentences": first, "options": {"normalize_embeddings": True}},
        {
            "name": "64 dimensions of length 1",
            "sentences": first,
            "options": {"truncate_dim": 64, "normalize_embeddings": True},
        },
        {"name": "the query prompt", "sentences": first, "options": {"prompt_name": "query"}},
        {"name": "a prompt is put before", "sentences": [0], "options": {"prompt": PLAIN[1] + " "}},
        refused("an unknown prompt", "InvalidInput", ["nope", "query", "document"], options={"prompt_name": "nope"}),
        refused("no dimensions", "InvalidInput", ["0", "1 to 256"], options={"truncate_dim": 0}),
        refused("too many dimensions", "InvalidInput", ["257", "1 to 256"], options={"truncate_dim": 257}),
        refused("half a row", "InvalidInput", ["0.5", "from 1"], options={"batch_size": 0.5}),
        refused("no time at all", "InvalidInput", ["0", "above 0"], options={"timeout_s": 0}),
        refused("a time before it began", "InvalidInput", ["-1", "above 0"], settings={"timeout_s": -1}),
        refused("no time for an answer", "InvalidInput", ["0", "above 0"], settings={"stall_timeout_s": 0}),
        refused("too little time for an answer", "DeadlineExceeded", [], settings={"stall_timeout_s": 0.0001}),
        refused("too little time", "DeadlineExceeded", [], options={"timeout_s": 0.0001}),
        refused("nobody there", "ServerUnavailable", [NOBODY], settings={"url": NOBODY}),
        refused("no address", "InvalidInput", ["localhost", "host:port"], settings={"url": "localhost"}),
        refused("an unknown lane", "InvalidInput", ["fast", "query", "bulk"], settings={"priority": "fast"}),
        # Broken text, for languages whose strings are UTF-16 ...
        broken("half a surrogate pair", ["surrogate", "character 2"], utf16=[0xAC00, 0xB098, 0xD83D]),
        broken("a surrogate pair the wrong way", ["surrogate", "character 0"], utf16=[0xDE00, 0xD83D]),
        # ... and for those whose strings are bytes, and for whoever writes requests by hand.
        broken("a byte that is not UTF-8", ["0xff", "position 4"], utf8=b"not \xff fine"),
        broken("a character cut off", ["0xea", "position 0"], utf8="가".encode()[:2]),
        broken("an overlong form", ["0xc0", "position 0"], utf8=b"\xc0\xaf"),
        broken("a surrogate in UTF-8", ["0xed", "position 0"], utf8=b"\xed\xa0\x80"),
    ]


def refused(name: str, error: str, says: list[str], **case: Any) -> dict[str, Any]:
    """A case that must end in `error`, whose message says these things."""
    return {"name": name, "sentences": [0], **case, "error": error, "says": says}


def broken(name: str, says: list[str], *, utf16: list[int] | None = None, utf8: bytes | None = None) -> dict[str, Any]:
    """A text that is no Unicode, as UTF-16 code units or as bytes."""
    text = {"utf16": utf16} if utf8 is None else {"utf8": base64.b64encode(utf8).decode()}
    return {"name": name, **text, "error": "InvalidInput", "says": says}


def conformance() -> dict[str, Any]:
    """The whole file: sentences with their vectors (base64 of little-endian float32), and cases."""
    # Here, since the tests of other languages import this module and need no model.
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(BUNDLED_CHECKPOINT), device="cpu")
    vectors: NDArray[np.float32] = model.encode(texts())
    written = [(text, 1) for text in PLAIN] + list(SPECIAL.values())
    sentences = [
        {"text": text, "times": times, "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode()}
        for (text, times), vector in zip(written, vectors, strict=True)
    ]
    expected = cases()
    for case in expected:
        if "prompt" in case.get("options", {}):
            prompted = [case["options"]["prompt"] + texts()[place] for place in case["sentences"]]
            case["vectors"] = [base64.b64encode(row.tobytes()).decode() for row in model.encode(prompted)]
    scores = model.similarity(vectors[:4], vectors[:3]).numpy()
    return {
        "dimension": vectors.shape[1],
        "min_cosine": 0.999999,
        "sentences": sentences,
        "cases": expected,
        "statuses": [list(row) for row in STATUSES],
        "answers": answers(),
        "wrong_fields": [[name, value] for name, values in WRONG_FIELDS.items() for value in values],
        "similarity": {
            "first": [0, 1, 2, 3],
            "second": [0, 1, 2],
            "scores": scores.astype(np.float64).round(6).tolist(),
        },
    }


def write(content: dict[str, Any]) -> str:
    """JSON with a line for each sentence and case. Escaped throughout: no editor may compose split characters."""
    lists = {
        name: "[\n    " + ",\n    ".join(json.dumps(row) for row in content[name]) + "\n  ]"
        for name in ("sentences", "cases", "statuses", "answers", "wrong_fields")
    }
    fields = [f'  "{name}": {lists.get(name) or json.dumps(value)}' for name, value in content.items()]
    return "{\n" + ",\n".join(fields) + "\n}\n"


if __name__ == "__main__":
    CONFORMANCE.write_text(write(conformance()), encoding="ascii")
