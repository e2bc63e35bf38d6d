"""A real Prometheus for a test: started on a scratch folder, asked over its API."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from sentriton_server.settings import ServerSettings
from tests.ports import with_free_ports
from tests.waiting import until


class Prometheus:
    """The series and alerts of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each series at this Unix time, by default now."""
        result = self.get("query", query=expression, time=str(time.time() if at is None else at))["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def firing(self) -> set[str]:
        alerts = self.get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextmanager
def prometheus(binary: str, configuration: dict[str, Any], folder: Path) -> Iterator[Prometheus]:
    """Run it on a configuration until the block ends."""
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{with_free_ports(ServerSettings(grpc_port=0)).grpc_port}"
    arguments = [
        binary,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            running = Prometheus(f"http://{address}")

            def answers() -> bool:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    return bool(running.get("targets")["activeTargets"])
                except URLError:
                    return False

            until(answers, 20)
            yield running
        finally:
            process.terminate()
            process.wait(20)
