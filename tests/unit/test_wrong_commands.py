"""Sixty wrong command lines: each gives an exit code and one sentence on standard error with the mistake."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sentriton import SentritonError
from tests.unit.conftest import Command

# The output of serve and export about their work before they fail.
PROGRESS = ("settings: ", "device ", "precision ", "reading checkpoint ")
# Command lines by words of their message. "{in}" is a file of text, "{folder}" a folder, "{bad}" a .jsonl of no JSON.
WRONG: list[tuple[str, str]] = [
    ("nonsense", "No such command 'nonsense'"),
    ("embd x", "No such command 'embd'"),
    ("--nonsense", "No such option: --nonsense"),
    ("embed --nonsense x", "No such option: --nonsense"),
    ("embed x --batch-size", "requires an argument"),
    ("embed x --batch-size many", "'many' is not a valid"),
    ("embed x --batch-size 0", "--batch-size is 0; allowed are whole numbers from 1"),
    ("embed x --truncate-dim -1", "--truncate-dim is -1"),
    ("embed x --precision int8", "allowed are float32, binary, ubinary"),
    ("embed x --precision int4", "allowed are float32, binary, ubinary"),
    ("embed x --json", "--output FILE"),
    ("embed x --column text", "--column is 'text'; it needs --input FILE"),
    ("embed x --on-error ask", "--on-error is 'ask'; allowed are fail, skip"),
    ("embed x --encoding klingon", "--encoding is 'klingon'; allowed are encodings such as utf-8"),
    ("embed --input {in} --encoding utf-16", "convert a file in UTF-16"),
    ("embed x --input {in}", "both TEXT and --input were given"),
    ("embed --input missing.txt", "no file missing.txt"),
    ("embed --input {folder}", "is a folder; give a file"),
    ("embed --input {in} --column text", "has no columns"),
    ("embed --input pyproject.toml", "ends in '.toml'"),
    ("embed x --output out.xlsx", "its ending must be one of .npy, .jsonl, .parquet"),
    ("embed x --output .", "--output is '.'; its ending must be one of"),
    ("embed x --output out", "its ending must be one of"),
    ("embed x --output /nowhere/out.npy", "no folder /nowhere"),
    ("embed x --output {folder}/in.npy", "is a folder; give a file name"),
    ("embed x --url nonsense", "--url is 'nonsense'; allowed are host:port"),
    ("embed x --url host:99999", "--url is 'host:99999'"),
    ("embed x --timeout-s 0", "--timeout-s is '0'; allowed are finite numbers above 0"),
    ("embed x --timeout-s soon", "--timeout-s is 'soon'"),
    ("embed x --stall-timeout-s -1", "--stall-timeout-s is '-1'"),
    ("embed x --priority urgent", "allowed are query, bulk"),
    ("embed x --max-in-flight 0", "allowed are whole numbers from 1"),
    ("embed x --client-key key.pem", "a client certificate and its key must be set together"),
    ("embed x --root-certificates missing.pem", "which cannot be read: No such file"),
    ("embed x --root-certificates {in}", "has no PEM certificate"),
    ("embed x --url 127.0.0.1:9", "is it running? `sentriton serve`"),
    ("embed x --url nowhere.invalid:8001", "its name cannot be resolved; check the spelling of --url"),
    ("similarity", "Missing argument"),
    ("similarity x", "similarity got one sentence"),
    ("similarity x y --plot out.gif", "its ending must be one of .png, .svg, .pdf"),
    ("similarity x y --plot /nowhere/out.png", "no folder /nowhere"),
    ("info extra", "Got unexpected extra argument"),
    ("info --url 127.0.0.1:9", "is it running?"),
    ("health extra", "Got unexpected extra argument"),
    ("health --url 127.0.0.1", "allowed are host:port"),
    ("health --url 127.0.0.1:9", "unreachable: no answer from 127.0.0.1:9"),
    ("evaluate", "Missing argument"),
    ("evaluate missing.csv", "no file missing.csv"),
    ("evaluate /dev/null", "no file /dev/null; give one, or a hub data set as ID:CONFIG:SPLIT"),
    ("evaluate {bad}", "line 1 is not JSON"),
    ("evaluate {bad} --plot out.gif", "its ending must be one of"),
    ("serve a b", "Got unexpected extra argument"),
    ("serve --grpc-port 70000", "--grpc-port is '70000'"),
    ("serve --grpc-port x", "--grpc-port is 'x'"),
    ("serve --precision int4", "--precision is 'int4'"),
    ("serve --device tpu", "--device is 'tpu'"),
    ("serve --tls-key {in}", "--tls-key"),
    ("serve --tls-certificate {in} --tls-key {in}", "is not a certificate in PEM"),
    ("serve --access-key same --admin-key same", "--access-key and --admin-key are the same"),
    ("serve /nowhere/model --grpc-port 0 --metrics-port 0", "no checkpoint at /nowhere/model"),
    ("serve {folder} --grpc-port 0 --metrics-port 0", "is not a checkpoint: it has neither modules.json"),
    ("export {folder}", "Missing argument"),
    ("export {folder} {folder}/out", "is not a checkpoint: it has neither modules.json"),
    ("export {folder} {folder}/out --evaluate missing.csv", "no file missing.csv"),
    ("train", "Missing argument"),
    ("train nonsense", "nonsense"),
    ("train {binary}", "binary.toml is not UTF-8"),
    ("data nonsense", "no data set 'nonsense': must be all or one of"),
    ("cache clear nonsense", "'nonsense' is no entry of the cache"),
    ("cache clear --older-than-days -1", "allowed are numbers from 0"),
    ("cache nonsense", "No such command 'nonsense'"),
]


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "in.txt").write_text("a sentence\n")
    (tmp_path / "bad.jsonl").write_text("{\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    (tmp_path / "in.npy").mkdir()
    files = {"{in}": "in.txt", "{bad}": "bad.jsonl", "{binary}": "binary.toml"}
    return {name: f"{tmp_path}/{file}" for name, file in files.items()} | {"{folder}": str(tmp_path)}


@pytest.mark.parametrize(("line", "words"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_command_line_gives_one_sentence(
    line: str,
    words: str,
    arguments: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> None:
    if line.startswith("cache") and not any(
        plugin.name == "cache" for plugin in entry_points(group="sentriton.commands")
    ):
        pytest.skip("the installed sentriton-server has no entry point for cache; install it again: make unit")
    for name, value in arguments.items():
        line = line.replace(name, value)
    monkeypatch.setenv("SENTRITON_CACHE", str(tmp_path / "cache"))
    code, out, err = command(*line.split())
    assert (code in (1, 2), out) == (True, "")
    said = [text for text in err.splitlines() if not text.startswith(PROGRESS)]
    assert len(said) == 1, err
    assert words in said[0]


@pytest.mark.parametrize(
    ("message", "said"),
    {
        "timeout_s is 0; allowed are numbers above 0": "--timeout-s is 0; allowed are numbers above 0",
        "no answer for 60 s; set a longer stall_timeout_s": "no answer for 60 s; set a longer --stall-timeout-s",
        "a certificate; set client_key, or server_name": "a certificate; set --client-key, or --server-name",
        'text is {"url": 1, "batch_size": 2} and not a string': 'text is {"url": 1, "batch_size": 2} and not a string',
        "url list.txt, line 3: it is empty; remove it": "url list.txt, line 3: it is empty; remove it",
        "its name has no address; check the spelling of url": "its name has no address; check the spelling of --url",
        "config.json has truncate_dim 0; allowed are integers": "config.json has truncate_dim 0; allowed are integers",
    }.items(),
)
def test_a_message_of_the_library_names_flags(
    message: str, said: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its arguments have other names in Python. Text of the user stays as it is."""

    def fail(settings: object) -> None:
        raise SentritonError(message)

    monkeypatch.setattr("sentriton.cli.open_encoder", fail)
    assert command("info") == (1, "", f"error: {said}\n")


def test_the_table_has_sixty_lines() -> None:
    assert len(WRONG) >= 60
