"""protos/inference/inference.proto is Triton's protocol, and the code generated from it is current."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict
from tritonclient.grpc import service_pb2

from tests.conftest import ROOT
from tests.polyglot.conftest import RunGo
from tests.polyglot.messages import PROTO, PROTOS, VARIANTS, fill
from tests.polyglot.processes import environment


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


@pytest.fixture(scope="module")
def filled(ours: descriptor_pb2.FileDescriptorProto) -> list[tuple[Any, Any]]:
    """Each message, in five variants, filled in our class and in upstream's."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(ours)
    pairs = []
    for message in ours.message_type:
        our_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{message.name}"))
        their_class = getattr(service_pb2, message.name)
        pairs += [(fill(our_class(), variant), fill(their_class(), variant)) for variant in range(VARIANTS)]
    return pairs


def test_messages_are_byte_identical_both_ways(filled: list[tuple[Any, Any]]) -> None:
    assert len(filled) == 15 * VARIANTS
    for our_message, their_message in filled:
        ours, theirs = (message.SerializeToString(deterministic=True) for message in (our_message, their_message))
        assert ours == theirs
        # A class passes on unknown fields unread: so the fields are compared as well.
        assert MessageToDict(type(our_message).FromString(theirs)) == MessageToDict(their_message)
        assert MessageToDict(type(their_message).FromString(ours)) == MessageToDict(our_message)


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
