"""Checks the metadata and contents of a distribution's file, without installing it."""

from __future__ import annotations

import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

from packaging.metadata import Metadata
from packaging.requirements import Requirement

from release.build import CLIENT, GATEWAY, ROOT, SERVER

# The client's code, unpacked, without the licence and pip's records. The wheel itself is a third of that.
MAX_CLIENT_BYTES = 300_000
HEAVY = {"torch", "transformers", "sentence-transformers", "nvidia-pytriton", "scipy", "pyarrow", "matplotlib"}
RESOURCES = ("model_repository", "server_config", "checkpoints")


def check_client(wheel: Path, version: str) -> str:
    """Check that the client's wheel has only its code. Returns its figures. `AssertionError` names the fault."""
    metadata = _check_metadata(wheel, "sentriton", version)
    files = _files(wheel)
    _check_code(files, CLIENT, "sentriton")
    outside = [name for name in files if name.partition("/")[0] not in ("sentriton", f"sentriton-{version}.dist-info")]
    assert not outside, f"{wheel.name} must hold the client alone; it also holds {outside}"
    size = sum(size for name, size in files.items() if name.startswith("sentriton/"))
    assert size < MAX_CLIENT_BYTES, f"{wheel.name} unpacks to {size} bytes; at most {MAX_CLIENT_BYTES} are allowed"
    required = {Requirement(one).name for one in _base_requirements(metadata)}
    assert not required & HEAVY, f"{wheel.name} must stay light; it requires {required & HEAVY}"
    return f"{len(files)} files, {size / 1000:.0f} kB unpacked"


def check_server(wheel: Path, version: str) -> str:
    """Check the server's wheel: its code, Triton models and bundled checkpoint, and the client of its version."""
    metadata = _check_metadata(wheel, "sentriton_server", version)
    files = _files(wheel)
    _check_code(files, SERVER, "sentriton_server")
    for folder in RESOURCES:
        for path in _tracked(ROOT / folder):
            name = f"sentriton_server/_resources/{path.relative_to(ROOT).as_posix()}"
            assert files.get(name) == path.stat().st_size, f"{wheel.name} lacks {name}, or holds it in another size"
    assert not [name for name in files if name.startswith("sentriton/")], f"{wheel.name} must not hold the client"
    clients = [one for one in _base_requirements(metadata) if Requirement(one).name == "sentriton"]
    assert clients == [f"sentriton=={version}"], f"{wheel.name} must require its own client; it requires {clients}"
    return f"{len(files)} files, {sum(files.values()) / 1e6:.1f} MB unpacked"


def check_gateway(wheel: Path, version: str) -> str:
    """Check the gateway's wheel: its code and page, the client of its version, and no heavy requirement."""
    metadata = _check_metadata(wheel, "sentriton_gateway", version)
    files = _files(wheel)
    _check_code(files, GATEWAY, "sentriton_gateway")
    required = _base_requirements(metadata)
    heavy = {Requirement(one).name for one in required} & HEAVY
    assert not heavy, f"{wheel.name} must stay light; it requires {heavy}"
    assert f"sentriton=={version}" in required, f"{wheel.name} must require its own client; it requires {required}"
    return f"{len(files)} files, {sum(files.values()) / 1000:.0f} kB unpacked"


def check_node(tarball: Path, version: str) -> str:
    """Check the Node package: both module systems, types, sources and the licence."""
    own_files = {"package.json", "README.md", "LICENSE"}
    assert tarball.name == f"sentriton-{version}.tgz", f"{tarball.name} must have the version {version}"
    with tarfile.open(tarball) as archive:
        names = {member.name.removeprefix("package/") for member in archive.getmembers()}
    wanted = {f"dist/{kind}/index.{end}" for kind in ("esm", "cjs") for end in ("js", "d.ts")}
    missing = (wanted | {*own_files, "dist/cjs/package.json", "src/index.ts"}) - names
    assert not missing, f"{tarball.name} lacks {sorted(missing)}"
    others = {name for name in names if name.partition("/")[0] not in {"dist", "src", *own_files}}
    assert not others, f"{tarball.name} must hold the client alone; it also holds {sorted(others)}"
    return f"{len(names)} files, {tarball.stat().st_size / 1000:.0f} kB"


def _check_metadata(wheel: Path, name: str, version: str) -> Metadata:
    """Check the metadata by the packaging specifications, like package indexes."""
    assert wheel.name == f"{name}-{version}-py3-none-any.whl", f"{wheel.name} must have the version {version}"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None, f"{wheel.name} is damaged"
        raw = archive.read(f"{name}-{version}.dist-info/METADATA")
        licenses = [one for one in archive.namelist() if one == f"{name}-{version}.dist-info/licenses/LICENSE"]
    metadata = Metadata.from_email(raw, validate=True)
    assert licenses, f"{wheel.name} lacks the license's text"
    assert metadata.license_expression == "Apache-2.0", f"{wheel.name} names the license {metadata.license_expression}"
    assert metadata.description, f"{wheel.name} has no description"
    assert message_from_bytes(raw)["Description-Content-Type"] == "text/markdown"
    return metadata


def _check_code(files: dict[str, int], project: Path, package: str) -> None:
    """Check that the wheel has all files of the package, and no compiled ones."""
    expected = {path.relative_to(project).as_posix() for path in _tracked(project / package)}
    missing = expected - set(files)
    assert not missing, f"the wheel of {project.name} lacks {sorted(missing)}"
    compiled = [name for name in files if "__pycache__" in name]
    assert not compiled, f"the wheel of {project.name} must not hold {compiled}"


def _base_requirements(metadata: Metadata) -> list[str]:
    """The requirements without any extra, as written."""
    return [str(one) for one in metadata.requires_dist or [] if "extra ==" not in str(one.marker or "")]


def _files(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: one.file_size for one in archive.infolist()}


def _tracked(folder: Path) -> list[Path]:
    """The tracked files below a folder of the checkout."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
