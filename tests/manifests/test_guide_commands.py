"""The guide's commands run as far as they need no cluster: kubectl and helm know the flags, jq reads a Deployment."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.manifests.files import KUBERNETES, kustomize, needed, of_kind, tool
from tests.manifests.guide import COMMANDS, KUSTOMIZATIONS, follow
from tests.snippets import PAGES, split

EVERY = [words for command in COMMANDS for words in split(command)]
OF_A_CLUSTER = [words for words in EVERY if words[0] in ("kubectl", "helm")]
# Commands in the running text of all pages.
IN_TEXT = {
    command for page in PAGES for command in re.findall(r"`((?:kubectl|helm) [^`]+)`", page.read_text(encoding="utf-8"))
}


def check_flags(words: list[str]) -> None:
    """With --help, a program reads all flags before it prints its help."""
    program = tool("helm") if words[0] == "helm" else needed("kubectl", "1.27 or later")
    done = subprocess.run([program, *words[1:], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [*OF_A_CLUSTER, *map(str.split, sorted(IN_TEXT))], ids=" ".join)
def test_the_program_knows_the_flags(words: list[str]) -> None:
    check_flags(words)


@pytest.mark.parametrize("command", ["kubectl scale deployment/a --replica 2", "helm upgrade --instal a b"])
def test_a_wrong_flag_is_found(command: str) -> None:
    with pytest.raises(AssertionError, match="unknown flag"):
        check_flags(command.split())


def test_jq_reads_a_deployment() -> None:
    (base,) = of_kind(kustomize(KUBERNETES / "base"), "Deployment")
    scaled = {**base, "spec": {**base["spec"], "replicas": 2}}
    jq = needed("jq", "Debian's package jq")
    without, alone = (
        json.loads(
            subprocess.run([jq, *program], input=json.dumps(scaled).encode(), capture_output=True, check=True).stdout
        )
        for name, *program in EVERY
        if name == "jq"
    )
    assert without == base
    assert (alone["kind"], alone["metadata"]["name"], alone["spec"]) == ("Deployment", "sentriton", {"replicas": 2})


def test_its_objects_and_kustomizations_exist(tmp_path: Path) -> None:
    applied = {words[words.index("--kustomize") + 1] for words in OF_A_CLUSTER if "--kustomize" in words}
    assert applied == KUSTOMIZATIONS.keys()
    objects = set()
    for name in applied:
        (tmp_path / name).mkdir()
        objects |= {f"{one['kind'].lower()}/{one['metadata']['name']}" for one in follow(name, tmp_path / name)}
    named = {word for words in OF_A_CLUSTER for word in words if word.startswith(("deployment/", "job/"))}
    assert len(named) == 6
    assert named <= objects
