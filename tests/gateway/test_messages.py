"""Bodies with very many errors: only one is reported, so that a body of 16 MiB does not take gigabytes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sentriton_gateway.faults import invalid_field
from sentriton_gateway.messages import EmbeddingsRequest

MANY = 1000


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"input": ["x", *range(MANY)]}, ("input", "texts", 1)),
        ({"input": [0, *["x"] * MANY]}, ("input", "tokens", 1)),
        ({"input": [[0], *["x"] * MANY]}, ("input", "token arrays", 1)),
        ({"input": [[0, *["x"] * MANY]] * MANY}, ("input", "token arrays", 0, 1)),
        ({"input": "x", **{f"field{number}": 0 for number in range(MANY)}}, ("field0",)),
    ],
    ids=["texts", "tokens", "no arrays", "token arrays", "fields"],
)
def test_the_first_fault_alone_is_told(wrong: dict[str, object], place: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as raised:
        EmbeddingsRequest.model_validate({"model": "m", **wrong})
    (fault,) = raised.value.errors()
    assert fault["loc"] == place


def test_a_long_name_of_an_unknown_field_is_cut() -> None:
    with pytest.raises(ValidationError) as raised:
        EmbeddingsRequest.model_validate({"input": "x", "model": "m", "n" * 1_000_000: 0})
    message, code, param = invalid_field(raised.value.errors()[0])
    assert message == f"{'n' * 100}… is an unknown parameter"
    assert (code, param) == ("unknown_parameter", f"{'n' * 100}…")
