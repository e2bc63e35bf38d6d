"""Installs the distributions in clean environments and calls a server with each of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

from release.environments import CONSTRAINTS, Environment, link_third_party

SENTENCE = "숙소가 역에서 가까워요."
NODE_CALL = f"""
import {{ SentenceEncoder }} from "sentriton";
const encoder = new SentenceEncoder(process.argv[2]);
const [embedding] = await encoder.encode(["{SENTENCE}"]);
console.log(embedding.length);
encoder.close();
"""

Say = Callable[[str], None]


def check_first_calls(
    client_wheel: Path, gateway_wheel: Path, server_wheel: Path, node_tarball: Path, work: Path, say: Say
) -> None:
    """Raises `AssertionError` with the output of the failed call.

    The client's environment gets all of its packages from the index. Environments with the server share third-party
    packages with the project's environment. pip checks that these meet the requirements of the wheels, and installs no
    others.
    """
    client = Environment(work / "client")
    client.pip("install", "--constraint", CONSTRAINTS, client_wheel)
    _check_client_alone(client)
    say("only the client: it lists its commands, and serve names the package to install")
    third_party = link_third_party(work / "third_party")
    server, both = (Environment(work / name, third_party) for name in ("server", "both"))
    for environment in (server, both):
        environment.pip("install", "--no-index", client_wheel, server_wheel)
        environment.pip("check")
    with _serving(server) as url:
        say("server: sentriton serve serves the bundled checkpoint")
        _check_health(client, url)
        dimension = _embed(client, url)
        say(f"only the client: sentriton health and embed call it, {dimension} dimensions")
        client.pip("install", "--constraint", CONSTRAINTS, gateway_wheel)
        _check_gateway(client, url, dimension)
        say("client and gateway: it answers OpenAI's API")
        _check_node(node_tarball, work / "node", url, dimension)
        say("Node: encode calls it")
        _check_health(both, url)
        both.pip("uninstall", "--yes", "sentriton-server")
        _check_client_alone(both)
        _check_health(both, url)
        say("client after pip uninstall sentriton-server: the same as only the client")


def _check_client_alone(environment: Environment) -> None:
    listed = environment.sentriton("--help")
    assert listed.returncode == 0, listed.stderr
    for command in ("embed", "evaluate", "similarity", "info", "health"):
        assert re.search(rf"^\W*{command}\b", listed.stdout, re.MULTILINE), f"{command} is not in {listed.stdout}"
    serve = environment.sentriton("serve")
    assert serve.returncode == 1, serve
    assert "pip install ./client/python ./server" in serve.stderr, serve
    server = list(environment.folder.glob("lib/python*/site-packages/sentriton_server*"))
    assert not server, f"the client must bring no server code; it brings {server}"


def _check_health(environment: Environment, url: str) -> None:
    health = environment.sentriton("health", "--url", url)
    assert health.returncode == 0, health
    assert "canary cosine" in health.stdout, health


def _embed(environment: Environment, url: str) -> int:
    embedded = environment.sentriton("embed", SENTENCE, "--url", url)
    assert embedded.returncode == 0, embedded
    return len(json.loads(embedded.stdout)["embedding"])


def _check_gateway(environment: Environment, url: str, dimension: int) -> None:
    command = [str(environment.folder / "bin/sentriton"), "gateway", "--url", url, "--gateway-port", "0"]
    process = subprocess.Popen(command, env=environment.variables, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        base = process.stdout.readline().split()[-1]
        with urlopen(f"{base}/v1/models", timeout=60) as answer:
            model = json.load(answer)["data"][0]["id"]
        body = json.dumps({"input": SENTENCE, "model": model}).encode()
        with urlopen(
            Request(f"{base}/v1/embeddings", body, {"Content-Type": "application/json"}), timeout=60
        ) as answer:
            assert len(json.load(answer)["data"][0]["embedding"]) == dimension
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0, f"sentriton gateway ended with {process.returncode}"


def _check_node(tarball: Path, folder: Path, url: str, dimension: int) -> None:
    folder.mkdir()
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "call.mjs").write_text(NODE_CALL)
    npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", str(tarball)]
    subprocess.run(npm, cwd=folder, check=True, timeout=300)
    call = subprocess.run(
        ["node", "call.mjs", url], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    assert call.stdout == f"{dimension}\n", call


@contextmanager
def _serving(environment: Environment) -> Iterator[str]:
    """Export and serve the bundled checkpoint on free ports. Yields host:port."""
    command = [str(environment.folder / "bin/sentriton"), "serve", "--grpc-port", "0", "--metrics-port", "0"]
    process = subprocess.Popen(
        command, cwd=environment.folder, env=environment.variables, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        # `serve` bounds its start (--ready-timeout-s), and closes its output when it ends.
        first = process.stdout.readline()
        found = re.match(r"serving sentriton-ko-mini at (\S+) ", first)
        assert found, f"sentriton serve printed {first!r}"
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0, f"sentriton serve ended with {process.returncode}"
