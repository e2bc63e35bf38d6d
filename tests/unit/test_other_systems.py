"""The client on Windows, as far as Linux can test it: it works without modules that only POSIX has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.small_server import SmallServer

PROGRAM = """
import sys
import grpc, numpy, rich.progress, tokenizers, tritonclient.grpc, typer
sys.platform = "win32"
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
from sentriton import cli
cli.main()
"""


def test_the_commands_of_the_client_need_no_module_of_posix(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,w1\n")
    with SmallServer() as server:
        arguments = ["embed", "--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.jsonl")]
        command = [sys.executable, "-c", PROGRAM, *arguments, "--url", server.url]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.jsonl").read_text() == '{"id": "1", "text": "w1", "embedding": [1.0, 1.0, 1.0, 1.0]}\n'
