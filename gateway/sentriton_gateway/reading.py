"""A program that parses one body of POST /v1/embeddings: `python -m sentriton_gateway.reading MOST_INPUTS`.

The body comes from standard input. Standard output gets a pickle: the `EmbeddingsRequest`, or the body's `Fault`.
"""

from __future__ import annotations

import json
import pickle
import sys

from pydantic import ValidationError

from sentriton_gateway.faults import Fault, invalid_field, no_json, too_many_inputs, unreadable
from sentriton_gateway.messages import EmbeddingsRequest


def read(body: bytes, most_inputs: int) -> EmbeddingsRequest | Fault:
    try:
        content = json.loads(body)
        rows = content.get("input") if isinstance(content, dict) else None
        # Before pydantic validates millions of elements.
        if isinstance(rows, list) and len(rows) > most_inputs and isinstance(rows[0], str | list):
            return too_many_inputs(len(rows), most_inputs)
        return EmbeddingsRequest.model_validate(content, from_attributes=True)  # as FastAPI does
    except ValidationError as error:
        return invalid_field(error.errors(include_url=False)[0])
    except json.JSONDecodeError as error:
        return no_json(error.msg)
    except (RecursionError, ValueError) as error:
        return unreadable(error)


if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(read(sys.stdin.buffer.read(), int(sys.argv[1]))))
