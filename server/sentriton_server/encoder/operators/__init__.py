"""The encoder's own operators: C++ for x86 processors with AVX-512 or AVX2. One library has both, and chooses when it
is loaded. It is compiled once for each torch and kept in the cache.

A TorchScript module that names these operators loads only after their library is loaded. So the export contains the
library, next to `model.pt`.

`python -m sentriton_server.encoder.operators` compiles the library once into the environment, for exports on machines
without a compiler (docker/install.sh does this).
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from sentriton.cache import cache_folder
from sentriton.errors import SentritonError
from sentriton_server.encoder.packed import PackedEncoder
from sentriton_server.encoder.shape import EncoderShape
from sentriton_server.resources import hash_files

_FOLDER = Path(__file__).parent
SOURCES = sorted([*_FOLDER.glob("*.cpp"), *_FOLDER.glob("*.h")])
_TORCH_VERSION = ".".join(torch.__version__.split(".")[:2])
# In the environment, like serving's backends: no other user can replace it.
PREPARED_OPERATORS = Path(sys.prefix) / "libexec/sentriton/operators"
# torch's C++ interface is stable within one minor release.
LIBRARY = f"operators.torch-{_TORCH_VERSION}.so"
# Strings and lists must have the same layout as in torch, which this compiler option selects.
_LAYOUT = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
_COMPILE = ("-O3", "-std=c++20", "-fPIC", "-fopenmp", "-fvisibility=hidden", _LAYOUT, "-c")
_COMPILE_TIMEOUT_S = 300
# Sizes of products are multiples of this (layer.cpp, kMultiple).
_MULTIPLE = 32
# sha256 of the library that this process has loaded, if any. torch registers only one.
_loaded: set[str] = set()


class OperatorsUnavailable(SentritonError, RuntimeError):
    """The operators cannot be compiled or loaded on this machine, or do not support an encoder."""


@dataclass(frozen=True)
class EncoderSizes:
    """The sizes that the operators must support. `beyond`: the reason why they cannot compute the layers, or empty."""

    hidden_size: int
    num_heads: int
    intermediate_size: int
    beyond: str = ""

    @classmethod
    def of(cls, encoder: PackedEncoder | EncoderShape) -> EncoderSizes:
        return cls(encoder.hidden_size, encoder.num_heads, encoder.intermediate_size, encoder.beyond_operators)


def check_sizes(sizes: EncoderSizes) -> None:
    """Raises `OperatorsUnavailable` for an encoder whose layers or sizes the operators do not support."""
    if sizes.beyond:
        raise OperatorsUnavailable(f"the operators compute layers like BERT's, but in this encoder {sizes.beyond}")
    head_size = sizes.hidden_size // sizes.num_heads
    for name, size in (("feed-forward size", sizes.intermediate_size), ("head size", head_size)):
        if size % _MULTIPLE:
            raise OperatorsUnavailable(f"the {name} is {size}; the operators take multiples of {_MULTIPLE}")


def build_library() -> Path:
    """The compiled library for this torch, from the environment or the cache, else compiled now. Raises
    `OperatorsUnavailable`.
    """
    if platform.machine() != "x86_64":
        raise OperatorsUnavailable(f"the processor is of type {platform.machine()}; the operators are for x86_64")
    key = hashlib.sha256(f"{hash_files(SOURCES)} {' '.join(_COMPILE)}".encode()).hexdigest()[:16]
    prepared, library = (folder / key / LIBRARY for folder in (PREPARED_OPERATORS, cache_folder() / "operators"))
    if prepared.is_file():
        return prepared
    if not library.is_file():
        _compile(library)
    return library


def load_library(folder: Path) -> None:
    """Load the library in `folder`, if any, unless the same library is loaded. Raises `OperatorsUnavailable`."""
    library = folder / LIBRARY
    if not library.is_file():
        return
    sha256 = hash_files([library])
    if is_loaded():
        if sha256 not in _loaded:
            raise OperatorsUnavailable(
                f"cannot load {library}: this process has loaded other operators; start another process for these"
            )
        return
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        raise OperatorsUnavailable(f"cannot load {library}: {error.__cause__ or error}") from error
    _loaded.add(sha256)


def is_loaded() -> bool:
    """Whether this process has the operators."""
    return bool(torch._C._jit_get_schemas_for_operator("sentriton::layers"))


def _compile(library: Path) -> None:
    compiler = shutil.which("g++")
    if compiler is None:
        raise OperatorsUnavailable("no C++ compiler is installed; install g++")
    torch_folder = Path(torch.__file__).parent
    if not (torch_folder / "include").is_dir():
        raise OperatorsUnavailable(f"no headers in {torch_folder / 'include'}; reinstall torch")
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        # Compiled in a temporary folder and moved, so that another process never reads half a file.
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            compiled, linked = Path(scratch, "layer.o"), Path(scratch, LIBRARY)
            # Checks embed the path of their source file. Without its folders, every machine compiles the same library.
            include = torch_folder / "include"
            folders = [f"-ffile-prefix-map={folder}=." for folder in (_FOLDER, include)]
            _run(compiler, *_COMPILE, *folders, f"-I{include}", str(_FOLDER / "layer.cpp"), "-o", str(compiled))
            # Without -fopenmp, since the threads are those of torch's OpenMP.
            libraries = (f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10")
            _run(compiler, "-shared", str(compiled), *libraries, "-o", str(linked))
            linked.rename(library)
    except OSError as error:
        raise OperatorsUnavailable(f"cannot write {library}: {error.strerror or error}") from error


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_COMPILE_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise OperatorsUnavailable(f"the C++ compiler took more than {_COMPILE_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        faults = [line for line in error.stderr.splitlines() if "error" in line] or error.stderr.splitlines()
        raise OperatorsUnavailable(f"the C++ compiler failed: {faults[0] if faults else error}") from error
