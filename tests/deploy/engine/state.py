"""Starts an engine of Debian's packages in a state of its own, and undoes its changes to this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.conftest import ROOT, cannot_run
from tests.deploy.engine.bases import load_bases
from tests.deploy.engine.docker import Docker

PROGRAMS = ROOT / "build/engine"
_BRIDGE = "docker0"
_START_S, _STOP_S = 60, 60


@contextmanager
def engine(folder: Path) -> Iterator[Docker]:
    """The engine that `docker` on PATH speaks to, if one answers. Else, as root on Debian, one in `folder`.

    The latter is removed afterwards, with its images (some 20 GB), its network and its rules of the packet filter.
    Without any engine the test is skipped with the reason, and fails in CI.
    """
    docker = Docker("this machine's engine")
    if shutil.which("docker") and docker("version", "--format", "{{.Server.Version}}", check=False):
        yield docker
        return
    if reason := _missing():
        cannot_run(f"no Docker engine answers, and none can be started here: {reason}")
    with _own(folder) as docker:
        load_bases(docker, folder)
        yield docker


def _missing() -> str | None:
    if os.geteuid() != 0:
        return "it takes root"
    if Path(f"/sys/class/net/{_BRIDGE}").exists():
        return f"the network {_BRIDGE} belongs to another engine"
    if not (PROGRAMS / "usr/sbin/dockerd").is_file():
        return "run `make engine`, which unpacks one from Debian's packages"
    return None


@contextmanager
def _own(folder: Path) -> Iterator[Docker]:
    usr, socket = PROGRAMS / "usr", folder / "docker.sock"
    libraries = usr / "lib/x86_64-linux-gnu"
    programs = {
        "PATH": f"{usr / 'bin'}:{usr / 'sbin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }
    settings = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(PROGRAMS / "config")}
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    forwarded, policy = forwarding.read_text(), _forward_policy(programs)
    # For slow machines and busy disks: the engine's output goes to a file, and an assertion shows it.
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen(
            [
                usr / "sbin/dockerd",
                f"--host={settings['DOCKER_HOST']}",
                f"--data-root={folder / 'data'}",
                f"--exec-root={folder / 'exec'}",
                f"--pidfile={folder / 'pid'}",
                "--bip=172.31.250.1/24",
                "--storage-driver=overlay2",
            ],
            env={**os.environ, **programs},
            stdout=log,
            stderr=log,
        )
        docker = Docker("an engine of Debian's packages", settings, ("--network=host",), is_of_tests=True)
        # From the last to the first, each even if another fails.
        with ExitStack() as undo:
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            undo.callback(forwarding.write_text, forwarded)
            undo.callback(_remove_own_rules, programs, policy)
            undo.callback(subprocess.run, ["ip", "link", "delete", _BRIDGE], check=False, capture_output=True)
            undo.callback(os.environ.__setitem__, "PATH", os.environ["PATH"])
            undo.callback(_stop, process)
            undo.callback(_remove_containers, docker)
            os.environ["PATH"] = programs["PATH"]
            _wait_until_it_answers(docker, process, folder / "dockerd.log")
            yield docker


def _remove_containers(docker: Docker) -> None:
    with suppress(AssertionError, subprocess.TimeoutExpired):
        if containers := docker("ps", "--all", "--quiet"):
            docker("rm", "--force", *containers.split())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _forward_policy(programs: dict[str, str]) -> str:
    """The policy of the chain FORWARD, ACCEPT where no packet filter is in use: the engine sets it to DROP."""
    found = re.search(r"^:FORWARD (\w+)", _packet_filter(programs, "iptables-nft-save"), re.MULTILINE)
    return found[1] if found else "ACCEPT"


def _remove_own_rules(programs: dict[str, str], policy: str) -> None:
    """Take the engine's chains and rules out of the packet filter; those that others added meanwhile stay."""
    saved = _packet_filter(programs, "iptables-nft-save").splitlines()
    kept = [line for line in saved if not re.search(r"DOCKER|docker0|\bbr-|172\.31\.250\.", line)]
    rules = re.sub(r"(?m)^:FORWARD \w+", f":FORWARD {policy}", "\n".join(kept))
    _packet_filter(programs, "iptables-nft-restore", f"{rules}\n")


def _packet_filter(programs: dict[str, str], command: str, rules: str = "") -> str:
    return subprocess.run(
        [PROGRAMS / "usr/sbin" / command],
        env={**os.environ, **programs},
        input=rules,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _wait_until_it_answers(docker: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while not docker("version", "--format", "{{.Server.Version}}", check=False):
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)
