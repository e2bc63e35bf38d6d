"""The command line that every image and manifest comes down to, against the real Triton's own help."""

from __future__ import annotations

import os
import re
import subprocess

from sentriton_server.serving.installation import find_installation
from sentriton_server.serving.process import _arguments
from sentriton_server.serving.profile import read_profile
from sentriton_server.settings import ServerSettings


def test_triton_knows_every_argument() -> None:
    everything = ServerSettings(http_port=8000, trace_url="http://localhost:4318/v1/traces", max_connection_age_s=300)
    triton = find_installation()
    help_ = subprocess.run(
        [triton.binary, "--help"], env={**os.environ, **triton.environment}, capture_output=True, text=True, check=False
    )
    known = set(re.findall(r"--[a-z-]+", help_.stdout + help_.stderr))
    arguments = [*_arguments(everything), *read_profile("cpu").flags, *read_profile("gpu").flags]
    used = {argument.split("=")[0] for argument in arguments}
    assert len(used) > 8
    assert used <= known
