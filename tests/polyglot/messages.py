"""The messages of inference.proto, each with every field set."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import service_pb2

from tests.conftest import ROOT

PROTOS = ROOT / "protos"
PROTO = "inference/inference.proto"
VARIANTS = 5  # of each message, for the choices of its fields


def filled_messages() -> list[Any]:
    """Each message in Triton's own class, in all variants."""
    names = re.findall(r"^message (\w+)", (PROTOS / PROTO).read_text(encoding="utf-8"), re.M)
    assert len(names) == 15
    return [fill(getattr(service_pb2, name)(), variant) for name in names for variant in range(VARIANTS)]


def fill(message: Any, variant: int) -> Any:
    """Set every field, lists to two elements, maps to one entry; `variant` chooses among a oneof's fields."""
    for field in message.DESCRIPTOR.fields:
        if (choice := field.containing_oneof) and choice.fields[variant % len(choice.fields)] != field:
            continue
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if is_map:
            fill(getattr(message, field.name)["키"], variant)
        elif field.is_repeated and field.message_type:
            fill(getattr(message, field.name).add(), variant)
            fill(getattr(message, field.name).add(), variant + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend([value_of(field, variant), value_of(field, variant + 1)])
        elif field.message_type:
            fill(getattr(message, field.name), variant)
        else:
            setattr(message, field.name, value_of(field, variant))
    return message


def value_of(field: FieldDescriptor, variant: int) -> Any:
    """A value that is not the type's default, and that JavaScript's numbers hold."""
    values: dict[int, tuple[Any, Any]] = {
        FieldDescriptor.CPPTYPE_BOOL: (True, True),
        FieldDescriptor.CPPTYPE_INT32: (-7, 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT32: (7, 2**32 - 1),
        FieldDescriptor.CPPTYPE_INT64: (-7, 2**53 - 1),
        FieldDescriptor.CPPTYPE_UINT64: (7, 2**53 - 1),
        FieldDescriptor.CPPTYPE_FLOAT: (0.5, -1e30),
        FieldDescriptor.CPPTYPE_DOUBLE: (0.1, -1e300),
        FieldDescriptor.CPPTYPE_STRING: (b"\xff\x00", b"raw") if field.type == field.TYPE_BYTES else ("문장", "text"),
    }
    return values[field.cpp_type][variant % 2]
