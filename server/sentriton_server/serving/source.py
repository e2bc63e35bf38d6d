"""Turns the argument of `sentriton serve` (none, a repository or a checkpoint) into a repository."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from sentriton.cache import cache_folder
from sentriton_server.cores import usable_cores
from sentriton_server.export_cache import EXPORTS, hold, prune
from sentriton_server.imports import import_large
from sentriton_server.private_folder import private_folder
from sentriton_server.repository import RepositoryError, check_repository
from sentriton_server.resources import BUNDLED_CHECKPOINT, MODEL_REPOSITORY, PACKAGE, PARITY_SENTENCES, hash_files
from sentriton_server.serving.installation import tritonserver_on_path

_BYTES_PER_WEIGHT = 4
_UNUSED_WEIGHTS = 2  # a file may have as many weights in heads of other tasks as in the encoder


def prepare_repository(
    source: str | None,
    *,
    precision: str | None,
    device: str,
    check_on: str = "auto",
    operators: str = "auto",
    max_seq_length: int | None = None,
    allow_pickle: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> Path:
    """The exported repository for `source`: `source` itself, or an export of the checkpoint, cached by content.

    None means the bundled checkpoint. Raises `CheckpointError`, `RepositoryError` or `ExportError`.
    """
    if source is not None and is_repository(source):
        fixed = (precision is None, device == "auto", operators == "auto", check_on == "auto", max_seq_length is None)
        if not all(fixed):
            raise RepositoryError(
                f"{source} is an exported repository: its precision, device, operators and max_seq_length were fixed "
                "by the export; leave out --precision, --device, --operators, --check-on and --max-seq-length "
                "($SENTRITON_PRECISION, $SENTRITON_DEVICE, $SENTRITON_OPERATORS, $SENTRITON_CHECK_ON, "
                "$SENTRITON_MAX_SEQ_LENGTH), or give the checkpoint"
            )
        _hold_in_cache(Path(source))
        return Path(source)
    # Only exports need torch and transformers.
    import_large("torch")
    from sentriton_server.checkpoint import content_key, locate_checkpoint
    from sentriton_server.choices import resolve_choices, resolve_operators
    from sentriton_server.export import export

    # The choices come before the checkpoint, which may be downloaded.
    choices = resolve_choices(precision, device, say, check_on)
    device = choices.device
    if operators == "auto" and device == "cpu" and (tritonserver := tritonserver_on_path()):
        operators = "torch"
        say(f"operators torch (auto: the libtorch backend of {tritonserver} cannot load sentriton's)")
    # The key has the resolved value of auto. So after the installation of a compiler, an older export without the
    # operators is not reused. Only a new export reads the checkpoint and checks its sizes.
    resolved = resolve_operators(operators, device, sizes=None).key
    name, folder = locate_checkpoint(BUNDLED_CHECKPOINT if source is None else source, allow_pickle=allow_pickle)
    content = content_key(folder)
    # A small encoder has a process for each core. Nothing in the export of a large one depends on their number.
    cores = usable_cores() if device == "cpu" and _may_be_small(folder) else 0
    # The key includes the name, which is part of the manifest. Equal checkpoints may have different names.
    decided = f"{name}\n{content}{exporter_key()}{operators}{resolved}{choices.checked_on}\n{max_seq_length}\n{cores}"
    key = hashlib.sha256(decided.encode()).hexdigest()[:16]
    # fp16 may become bf16 unless the user has chosen it.
    asked = None if choices.is_default and device == "gpu" else choices.precision.name
    repository = cache_folder() / EXPORTS / f"{Path(name).name}-{asked or 'auto'}-{device}-{key}"
    with contextlib.suppress(FileNotFoundError):  # no export exists, or another serve has just removed it
        checked = _identity(repository)
        if why := _why_useless(repository):
            say(f"{why}; exporting the checkpoint again")
            _remove(repository, checked)
    is_new = False
    while not hold(repository):  # another process may remove the new repository
        try:
            export(
                folder if source is None else source,
                repository,
                precision=asked,
                device=device,
                check_on=choices.checked_on,
                operators=operators,
                max_seq_length=max_seq_length,
                allow_pickle=allow_pickle,
                content=content,
                say=say,
            )
            is_new = True
        except RepositoryError:
            if _why_useless(repository):
                raise
            # If another serve was first, its export stays.
    if is_new:
        prune(say)
    else:
        say(f"using the export in {repository}")
    return repository


def exporter_key() -> str:
    """Changes with the exporter's code and sentences, so that exports by another release are not reused."""
    code = [path for folder in ("", "checkpoint", "encoder") for path in (PACKAGE / folder).glob("*.py")]
    operators = [path for path in (PACKAGE / "encoder/operators").iterdir() if path.is_file()]
    models = [path for path in MODEL_REPOSITORY.rglob("*") if path.suffix in (".py", ".pbtxt")]
    files = [*sorted(code), *sorted(operators), *sorted(models), PARITY_SENTENCES]
    # An export may have a library that is compiled for one release of torch.
    return hashlib.sha256(f"{hash_files(files)}{metadata.version('torch')}".encode()).hexdigest()[:16]


def is_repository(source: str | None) -> bool:
    """Whether the argument of `serve` is an exported repository."""
    return source is not None and (Path(source) / "embed_text/config.pbtxt").is_file()


def _may_be_small(checkpoint: Path) -> bool:
    """Whether the encoder may be a small one, by the size of its files, which takes no time to read."""
    from sentriton_server.checkpoint.files import list_modules
    from sentriton_server.export import SMALL_ENCODER_PARAMETERS

    encoder = list_modules(checkpoint)[0].folder
    held = [sum(path.stat().st_size for path in encoder.glob(pattern)) for pattern in ("*.safetensors", "*.bin")]
    return (held[0] or held[1]) <= _BYTES_PER_WEIGHT * _UNUSED_WEIGHTS * SMALL_ENCODER_PARAMETERS


def _hold_in_cache(repository: Path) -> None:
    """Protect a repository in the cache from removal. Raises `RepositoryError` if it is being removed."""
    export = repository.resolve()
    if export.parent == (cache_folder() / EXPORTS).resolve() and not hold(export):
        raise RepositoryError(f"{repository} was removed from the cache just now; give its checkpoint")


def _why_useless(repository: Path) -> str | None:
    """The fault of a cached export, or None."""
    try:
        check_repository(repository)
    except RepositoryError as error:
        return str(error)
    return None


def _remove(repository: Path, checked: tuple[int, ...]) -> None:
    """Remove the export with this identity. A new export by another serve stays."""
    # By a rename, so that another process sees the whole export or none.
    with private_folder(repository.parent, ".export-") as folder, contextlib.suppress(FileNotFoundError):
        if _identity(repository) == checked:
            repository.rename(folder / repository.name)


def _identity(folder: Path) -> tuple[int, ...]:
    """The identity of a folder. A later folder of the same name, or even the same inode, has another identity."""
    status = folder.stat()
    return status.st_dev, status.st_ino, status.st_ctime_ns
