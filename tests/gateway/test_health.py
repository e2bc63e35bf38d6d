"""`python -m sentriton_gateway.health`, the health check of the gateway's image, with real gateways."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trustme

from tests.gateway.conftest import RunningGateway, running_gateway
from tests.ports import FREE_PORTS, with_free_ports
from tests.server.conftest import RunningServer


def check(url: str, **variables: str) -> tuple[int, str]:
    """The exit code of the check with the variables of the gateway at `url`, and its output."""
    variables["SENTRITON_GATEWAY_PORT"] = url.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "sentriton_gateway.health"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout


def test_it_passes_while_the_server_serves(gateway: RunningGateway) -> None:
    code, output = check(gateway.url)
    assert (code, '"status":"ok"' in output) == (0, True)
    # A proxy of the environment is for other addresses.
    assert check(gateway.url, http_proxy="http://192.0.2.1:3128") == (code, output)


def test_it_fails_without_the_server() -> None:
    with running_gateway(unused_address()) as gateway:
        code, output = check(gateway.url)
    assert (code, "server_unavailable" in output) == (1, True)


def test_it_fails_without_the_gateway() -> None:
    code, output = check(unused_address())
    assert code == 1
    assert output.startswith("no answer from the gateway: ")


def test_it_passes_with_a_certificate_for_another_name(server: RunningServer, tmp_path: Path) -> None:
    certificate, files = trustme.CA().issue_cert("embeddings.example.com"), [tmp_path / "tls.crt", tmp_path / "tls.key"]
    certificate.cert_chain_pems[0].write_to_path(files[0])
    certificate.private_key_pem.write_to_path(files[1])
    names = ("SENTRITON_GATEWAY_TLS_CERTIFICATE", "SENTRITON_GATEWAY_TLS_KEY")
    variables = dict(zip(names, map(str, files), strict=True))
    with running_gateway(server.url, **variables) as gateway:
        assert check(gateway.url, **variables)[0] == 0
        assert check(gateway.url)[0] == 1, "without the variables, it requests http://"


def unused_address() -> str:
    return f"127.0.0.1:{with_free_ports(FREE_PORTS).grpc_port}"
