"""Requests of any kind that the gateway's OpenAPI file allows, and does not allow, by schemathesis."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.gateway.conftest import RunningGateway

EXAMPLES = int(os.environ.get("SENTRITON_FUZZ", "40"))  # per operation and phase


def test_every_answer_is_one_of_the_file_s(gateway: RunningGateway, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            "run",
            f"{gateway.url}/openapi.json",
            f"--max-examples={EXAMPLES}",
            "--phases=examples,coverage,fuzzing",
            "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--seed=20261126",
            "--request-timeout=30",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
