"""protos/inference/inference.proto is Triton's protocol, and the code generated from it is current."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2

from tests.conftest import ROOT
from tests.polyglot.callers import environment
from tests.polyglot.conftest import RunGo, RunNode

PROTOS = ROOT / "protos"
PROTO = "inference/inference.proto"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorProto:
    """The file as protoc reads it."""
    out = tmp_path_factory.mktemp("protos") / "set"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--descriptor_set_out={out}", PROTO]
    subprocess.run(command, check=True)
    return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


@pytest.fixture(scope="module")
def upstream() -> descriptor_pb2.FileDescriptorProto:
    """Triton's file, out of tritonclient's generated code."""
    file = descriptor_pb2.FileDescriptorProto()
    service_pb2.DESCRIPTOR.CopyToProto(file)
    return file


def without_json_names(message: descriptor_pb2.DescriptorProto) -> descriptor_pb2.DescriptorProto:
    """protoc notes them in one form of a descriptor and not in the other; they follow from the names."""
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        without_json_names(nested)
    return message


def test_every_message_and_field_is_upstreams(
    ours: descriptor_pb2.FileDescriptorProto, upstream: descriptor_pb2.FileDescriptorProto
) -> None:
    assert (ours.package, ours.syntax, list(ours.enum_type)) == (upstream.package, upstream.syntax, [])
    theirs = {message.name: without_json_names(message) for message in upstream.message_type}
    assert len(ours.message_type) == 15
    for message in ours.message_type:
        assert without_json_names(message) == theirs[message.name]


def test_every_call_is_upstreams(
    ours: descriptor_pb2.FileDescriptorProto, upstream: descriptor_pb2.FileDescriptorProto
) -> None:
    (service,), (theirs,) = ours.service, upstream.service
    assert service.name == theirs.name
    calls = {method.name: method for method in theirs.method}
    names = "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata ModelInfer ModelStreamInfer".split()
    assert [method.name for method in service.method] == names
    for method in service.method:
        method.ClearField("options")
        calls[method.name].ClearField("options")
        assert method == calls[method.name]


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


@pytest.fixture(scope="module")
def filled(ours: descriptor_pb2.FileDescriptorProto) -> list[tuple[Any, Any]]:
    """Each message, in five variants, filled in our class and in upstream's."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(ours)
    pairs = []
    for message in ours.message_type:
        our_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{message.name}"))
        their_class = getattr(service_pb2, message.name)
        pairs += [(fill(our_class(), variant), fill(their_class(), variant)) for variant in range(5)]
    return pairs


def test_messages_are_byte_identical_both_ways(filled: list[tuple[Any, Any]]) -> None:
    assert len(filled) == 15 * 5
    for our_message, their_message in filled:
        ours, theirs = (message.SerializeToString(deterministic=True) for message in (our_message, their_message))
        assert ours == theirs
        # A class passes on unknown fields unread: so the fields are compared as well.
        assert MessageToDict(type(our_message).FromString(theirs)) == MessageToDict(their_message)
        assert MessageToDict(type(their_message).FromString(ours)) == MessageToDict(our_message)


def test_nodes_messages_are_byte_identical_both_ways(filled: list[tuple[Any, Any]], run_node: RunNode) -> None:
    sent = [[theirs.DESCRIPTOR.name, base64.b64encode(theirs.SerializeToString()).decode()] for _, theirs in filled]
    ran = run_node(Path(__file__).with_name("reencode.mjs"), stdin=json.dumps(sent))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == sent


def test_gos_messages_are_byte_identical_both_ways(filled: list[tuple[Any, Any]], run_go: RunGo) -> None:
    encoded = [theirs.SerializeToString(deterministic=True) for _, theirs in filled]
    sent = [
        [theirs.DESCRIPTOR.name, base64.b64encode(raw).decode()]
        for (_, theirs), raw in zip(filled, encoded, strict=True)
    ]
    ran = run_go("run", "./internal/reencode", stdin=json.dumps(sent))
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == sent


def test_buf_finds_nothing_to_lint(node_tools: Path) -> None:
    for command in (["lint"], ["format", "--diff", "--exit-code"]):
        ran = subprocess.run([node_tools / "buf", *command], cwd=PROTOS, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_node_generated_code_is_current(node_tools: Path, tmp_path: Path) -> None:
    assert_current(node_tools, tmp_path, "client/node/src/generated")


def test_go_generated_code_is_current(node_tools: Path, run_go: RunGo, tmp_path: Path) -> None:
    assert_current(node_tools, tmp_path, "client/go/internal/generated")


def assert_current(node_tools: Path, scratch: Path, folder: str) -> None:
    """The committed code in `folder` is that of the entries of buf.gen.yaml for it. Another language's tools may be
    missing.
    """
    template = yaml.safe_load((PROTOS / "buf.gen.yaml").read_text(encoding="utf-8"))
    template["plugins"] = [plugin for plugin in template["plugins"] if plugin["out"] == f"../{folder}"]
    assert template["plugins"]
    generate = ["generate", "--output", str(scratch / "protos"), "--template", json.dumps(template)]
    subprocess.run([node_tools / "buf", *generate], cwd=PROTOS, env=environment(), check=True)
    made, committed = (read_tree(root / folder) for root in (scratch, ROOT))
    assert made
    assert made == committed, f"{folder} differs from inference.proto; run: make protos"


def read_tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}
