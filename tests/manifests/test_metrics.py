"""The metrics that docker/ names are those that the server publishes, under the names that it keeps."""

from __future__ import annotations

import re

from sentriton_gateway.metrics import GatewayMetrics
from tests.conftest import ROOT

NAME = re.compile(r"\bsentriton_[a-z_]+_(?:total|seconds(?:_sum|_count|_bucket)?|bytes|rows)\b")
# Names of the autoscalers' own, made of the server's by a rule in docker/.
DERIVED = {"sentriton_row_wait_seconds"}


def names(folder: str, *endings: str) -> set[str]:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in endings]
    return {name for path in files for name in NAME.findall(path.read_text(encoding="utf-8"))}


def gateway_names() -> set[str]:
    """The names of the gateway's series."""
    return set(NAME.findall(GatewayMetrics().text().decode()))


def old_names() -> dict[str, str]:
    """Old names of metrics by their present names."""
    source = (ROOT / "model_repository/embed_tokens/1/metrics.py").read_text(encoding="utf-8")
    (pairs,) = re.findall(r"^OLD_NAMES = \{(.*?)\}$", source, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r'"(\w+)": "(\w+)"', pairs))


def test_docker_names_metrics_that_the_server_publishes_under_their_present_names() -> None:
    published = names("model_repository", ".py") | names("server_config", ".py")
    used = names("docker", ".json", ".yaml", ".yml")
    assert used - DERIVED <= published | gateway_names()
    assert not used & set(old_names().values())


def test_expressions_match_by_labels_that_the_metrics_have() -> None:
    rows = re.findall(r"^\| (`sentriton_.*?) \| \w+ \| (.*?) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    labels = {name: set(re.findall(r"`(\w+)`", of)) for names_, of in rows for name in NAME.findall(names_)}
    target = {"job", "instance", "pod", "namespace"}
    files = [path for path in (ROOT / "docker").rglob("*") if path.suffix in (".json", ".yaml")]
    matchers = [
        (name, label)
        for path in files
        for name, inner in re.findall(rf"({NAME.pattern}){{([^}}]*)", path.read_text(encoding="utf-8"))
        for label in re.findall(r"(\w+)(?:=~|!=|!~|=)", inner)
    ]
    assert len(matchers) > 50
    assert [(name, label) for name, label in matchers if label not in target | labels[name]] == []
