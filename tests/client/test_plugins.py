"""Commands of other distributions: without any, with a good one, with broken ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from release.build import CLIENT
from release.environments import link_third_party

MAIN = """
import sys
from sentriton.cli import main
try:
    main()
finally:
    print("imported:", *sorted({"sentriton_server", "torch", "transformers"} & set(sys.modules)), file=sys.stderr)
"""
GOOD = """
import typer

app = typer.Typer()

@app.command()
def count(words: list[str]) -> None:
    "Count words."
    typer.echo(len(words))
"""
BROKEN = {
    "raises": "raise RuntimeError('nothing works here')",
    "leaves": "raise SystemExit(3)",
    "lacks": "import a_package_that_is_not_there",
    "is-none": "app = None",
}


@pytest.fixture(scope="module")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_third_party(tmp_path_factory.mktemp("third_party") / "packages")


def sentriton(*arguments: str, path: list[Path]) -> subprocess.CompletedProcess[str]:
    """Only the client is on this path, since -S leaves out this environment's packages and the server's metadata."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [CLIENT, *path]))}
    return subprocess.run(
        [sys.executable, "-S", "-c", MAIN, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write_plugin(folder: Path, command: str, code: str) -> None:
    module = f"plugin_{command.replace('-', '_')}"
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(f"[sentriton.commands]\n{command} = {module}:app\n")


def test_listing_the_servers_commands_imports_no_torch() -> None:
    result = subprocess.run([sys.executable, "-c", MAIN, "--help"], capture_output=True, text=True, check=True)
    assert "Serve a model" in result.stdout
    assert result.stderr.splitlines() == ["imported: sentriton_server"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["serve", "--grpc-port", "0", "model"], "server"),
        (["export", "--help"], "server"),
        (["gateway", "--gateway-port", "0"], "gateway"),
    ],
)
def test_without_a_distribution_its_commands_say_what_to_install(
    third_party: Path, arguments: list[str], part: str
) -> None:
    result = sentriton(*arguments, path=[third_party])
    assert result.returncode == 1
    error, imported = result.stderr.splitlines()
    assert error.startswith(f"error: sentriton {arguments[0]} needs the distribution sentriton-{part}")
    assert f"pip install ./client/python ./{part}" in error
    assert imported == "imported:"


def test_without_the_server_a_checkpoint_cannot_be_evaluated(third_party: Path) -> None:
    result = sentriton("evaluate", "pairs.csv", "--checkpoint", "model", path=[third_party])
    assert result.returncode == 1
    assert "--checkpoint needs the distribution sentriton-server" in result.stderr


def test_broken_plugins_break_no_other_command(third_party: Path, tmp_path: Path) -> None:
    write_plugin(tmp_path, "count", GOOD)
    for command, code in BROKEN.items():
        write_plugin(tmp_path, command, code)
    path = [third_party, tmp_path]
    health = sentriton("health", "--url", "127.0.0.1:9", path=path)
    assert health.returncode == 2
    assert "unreachable" in health.stderr
    assert sentriton("count", "a", "b", path=path).stdout == "2\n"
    listed = sentriton("--help", path=path).stdout
    for command in ("embed", "health", "serve", "count", *BROKEN):
        assert f"│ {command} " in listed
    assert listed.count("Cannot be loaded from plugin_") == len(BROKEN)
    result = sentriton("lacks", path=path)
    assert result.returncode == 1
    assert "the command lacks of plugin_lacks 1.2 cannot be loaded: ModuleNotFoundError: " in result.stderr


def test_a_plugin_does_not_replace_a_command_of_the_client(third_party: Path, tmp_path: Path) -> None:
    write_plugin(tmp_path, "health", GOOD)
    assert "unreachable" in sentriton("health", "--url", "127.0.0.1:9", path=[third_party, tmp_path]).stderr


def test_similar_names_are_suggested(third_party: Path, tmp_path: Path) -> None:
    write_plugin(tmp_path, "count", GOOD)
    assert "Did you mean 'count'?" in sentriton("coun", path=[third_party, tmp_path]).stderr
