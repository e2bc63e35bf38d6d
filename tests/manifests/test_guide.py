"""The guide of docker/ lists all that exists: files, components, alerts, build arguments, command lines."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from cryptography import x509

from tests.conftest import ROOT
from tests.manifests.command_lines import known_variables, parse
from tests.manifests.dockerfiles import values
from tests.manifests.files import DOCKER, KUBERNETES, MONITORING, needed, of_kind, overlay, read
from tests.manifests.guide import COMMANDS, FURTHER_COMPONENTS, FURTHER_PATCHES, GUIDE, KUSTOMIZATIONS, follow
from tests.manifests.references import images, secrets
from tests.manifests.test_dockerfiles import DOCKERFILES
from tests.snippets import blocks, command_lines
from tests.unit.test_commands_in_documents import RUN_OPTIONS


def table(header: str, text: str = GUIDE) -> set[str]:
    """The words in code type in the first column of a table."""
    rows = text.split(f"\n| {header} ")[1].split("\n\n")[0].splitlines()[2:]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_tables_name_what_is_there() -> None:
    components = {path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")}
    assert table("component") == components | {"docker/monitoring"}
    own = {path.parent.name for path in KUBERNETES.glob("gateway/components/*/kustomization.yaml")}
    assert table("component of the gateway") == own | {"docker/monitoring/gateway"}
    monitoring = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert table("alert", monitoring) == {
        rule["alert"] for rule in read(MONITORING / "alerts.yaml")["groups"][0]["rules"]
    }
    arguments = {value.split("=")[0] for file in DOCKERFILES for value in values(file, "ARG")}
    assert table("build argument") == arguments
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert all((DOCKER / name).exists() for name in table("file in `docker/`", contributing))


def test_commands_name_files_that_are_there() -> None:
    named = {word for command in COMMANDS for word in shlex.split(command) if word.startswith("docker/")}
    assert named == {"docker/Dockerfile", "docker/Dockerfile.cpu", "docker/compose.yaml"}
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.parametrize("name", sorted(KUSTOMIZATIONS))
def test_its_kustomizations_lack_no_value(name: str, tmp_path: Path) -> None:
    manifests = follow(name, tmp_path)
    assert {image.split(":")[0] for one in manifests for image in images(one)} == {"registry.example.com/sentriton"}
    assert {one["metadata"].get("namespace") for one in manifests} == {"embeddings"}
    assert any(f"apply --kustomize {name}" in command for command in COMMANDS)
    # The commands make the files that they need beside them.
    made = {words[-1].split()[0] for words in (line.split("secret generic") for line in COMMANDS) if len(words) == 2}
    assert set(secrets(manifests)) <= made


def test_every_overlay_is_in_it() -> None:
    resources = {
        resource.removeprefix("../sentriton/docker/kubernetes/")
        for text in KUSTOMIZATIONS.values()
        for resource in yaml.safe_load(text)["resources"]
    }
    whole = {"base", "caller", "export-job", "gateway", "kserve", "overlays/gpu", "overlays/side-by-side"}
    assert resources == whole, "overlays/cpu is the base with the component cpu"


def test_its_certificate_has_the_names_of_its_table(tmp_path: Path) -> None:
    """After all commands of the page of certificates that make a file or a Secret, with no cluster behind kubectl."""
    needed("kubectl", "1.27 or later")
    every = [line for block in blocks(DOCKER / "certificates.md", "console") for line in command_lines(block)]
    lines = [
        line for line in every if line.startswith("openssl ") or (line.startswith("kubectl ") and " create " in line)
    ]
    dry = 'set -e\nkubectl() { command kubectl "$@" --dry-run=client --output name; }'
    done = subprocess.run(
        ["sh", "-c", "\n".join([dry, *lines])], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = ["namespace/embeddings", "secret/sentriton-tls", "secret/sentriton-keys", "secret/sentriton-caller-tls"]
    assert done.stdout.split() == made
    certificate = x509.load_pem_x509_certificate((tmp_path / "tls.crt").read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes()))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == table("name in the certificate")


def test_settings_are_those_of_sentriton() -> None:
    assert set(re.findall(r"SENTRITON_\w+", GUIDE)) <= known_variables("serve") | known_variables("gateway")
    for flag, value in set(re.findall(r"`(--[a-z-]+)(?: ([^`]+))?`", GUIDE)):
        if flag not in RUN_OPTIONS:
            parse(["serve", flag, value or "1"])


def test_its_settings_for_compose_fit_each_other() -> None:
    """The service is that of compose.yaml, and the variables name files below the volume."""
    (block,) = blocks(DOCKER / "README.md", "yaml")
    ((service, values),) = yaml.safe_load(block.code)["services"].items()
    (port,) = read(DOCKER / "compose.yaml")["services"][service]["ports"]
    assert [f"127.0.0.1:{each}" for each in values["ports"]] == [port]
    assert values["environment"].keys() <= known_variables("serve")
    folder, mode = values["volumes"][0].split(":")[1:]
    files = {Path(value) for value in values["environment"].values() if value.startswith("/")}
    assert files == {Path(folder) / name for name in ("tls.crt", "tls.key", "ca.crt")}
    assert mode == "ro"


@pytest.mark.parametrize("name", ["export", "gpu"])
def test_its_storage_class_reaches_the_claim(name: str, tmp_path: Path) -> None:
    manifests = follow(name, tmp_path, FURTHER_PATCHES["PersistentVolumeClaim/sentriton-models"])
    (claim,) = (one for one in manifests if one["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "nfs"


@pytest.mark.parametrize("name", ["cpu", "gpu", "production"])
def test_its_memory_reaches_the_pod(name: str, tmp_path: Path) -> None:
    (found,) = of_kind(follow(name, tmp_path, FURTHER_PATCHES["Deployment/sentriton"]), "Deployment")
    resources = found["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("8Gi", "8Gi")


def test_its_tag_reaches_one_of_two_models(tmp_path: Path) -> None:
    manifests = follow("models", tmp_path, FURTHER_PATCHES["Deployment/sentriton-next"])
    tags = {one["metadata"]["name"]: images(one) for one in manifests if one["kind"] == "Deployment"}
    registry = "registry.example.com/sentriton"
    assert tags == {"sentriton-current": {f"{registry}:model-current"}, "sentriton-next": {f"{registry}:model-2"}}


def test_its_labels_select_all_of_one_of_two_models(tmp_path: Path) -> None:
    (kinds,) = (line.split()[-1].split(",") for line in COMMANDS if "delete --selector" in line)
    manifests = [one for one in follow("models", tmp_path) if "-next" in one["metadata"]["name"]]
    assert {one["metadata"]["labels"]["app.kubernetes.io/instance"] for one in manifests} == {"next"}
    assert {one["kind"].lower() for one in manifests} == set(kinds)


@pytest.mark.parametrize(("name", "kind", "at"), [("export", "Job", 2), ("gpu", "Deployment", 1)])
def test_its_folder_of_a_model_reaches_export_and_pods(name: str, kind: str, at: int, tmp_path: Path) -> None:
    (found,) = of_kind(follow(name, tmp_path, FURTHER_PATCHES["Job/sentriton-export"]), kind)
    assert found["spec"]["template"]["spec"]["containers"][0]["args"][at] == "/models/model-2"


@pytest.mark.parametrize("name", ["caller", "cpu", "export", "gateway", "gpu", "models"])
def test_its_patch_for_openshift_removes_every_id(name: str, tmp_path: Path) -> None:
    assert "10001" not in str(follow(name, tmp_path, FURTHER_PATCHES["Deployment|Job"]))


def test_its_collector_gets_traces(tmp_path: Path) -> None:
    manifests = follow("cpu", tmp_path, FURTHER_COMPONENTS["components"])
    (config,), (policy,) = (of_kind(manifests, kind) for kind in ("ConfigMap", "NetworkPolicy"))
    address = urlsplit(config["data"]["SENTRITON_TRACE_URL"])
    rule = policy["spec"]["egress"][1]
    assert rule["ports"] == [{"port": address.port, "protocol": "TCP"}]
    namespace = rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert (address.hostname or "").split(".")[1] == namespace


@pytest.mark.parametrize("model", ["current", "next"])
def test_each_of_two_models_can_have_the_components(model: str, tmp_path: Path) -> None:
    components = ["components/tls", "components/access-key"]
    manifests = overlay(tmp_path, f"overlays/side-by-side/{model}", components)
    assert set(secrets(manifests)) == {"sentriton-tls", "sentriton-keys"}


@pytest.mark.parametrize("column", [2, 3])
def test_its_paths_of_autoscalers_are_fields(column: int, tmp_path: Path) -> None:
    scaler, kind = [("keda", "ScaledObject"), ("adapter", "HorizontalPodAutoscaler")][column - 2]
    (found,) = of_kind(overlay(tmp_path, components=["components/cpu", f"components/autoscaling-{scaler}"]), kind)
    rows = GUIDE.split("| rule | path in KEDA's ScaledObject |")[1].split("\n\n")[0].splitlines()[2:]
    paths = [path for row in rows for path in re.findall(r"`(/[^`]+)`", row.split("|")[column])]
    assert len(paths) >= 6
    for path in paths:
        value = found
        for part in path.split("/")[1:]:
            value = value[int(part)] if isinstance(value, list) else value[part]


def test_its_export_for_cpus_asks_for_no_gpu(tmp_path: Path) -> None:
    (job,) = (one for one in follow("export", tmp_path, FURTHER_COMPONENTS["export-job"]) if one["kind"] == "Job")
    assert "gpu" not in str(job)


def test_its_caller_gets_the_secrets_of_its_server(tmp_path: Path) -> None:
    for name in ("server", "caller"):
        (tmp_path / name).mkdir()
    server = follow("production", tmp_path / "server")
    caller = follow("caller", tmp_path / "caller", FURTHER_COMPONENTS["caller"])
    assert set(secrets(caller)) == set(secrets(server)) == {"sentriton-tls", "sentriton-keys"}


def test_its_gateway_gets_the_key_of_its_server(tmp_path: Path) -> None:
    assert set(secrets(follow("gateway", tmp_path, FURTHER_COMPONENTS["gateway"]))) == {"sentriton-keys"}


def test_every_block_of_yaml_is_built() -> None:
    of_compose = 1
    found = len(KUSTOMIZATIONS) + len(FURTHER_PATCHES) + len(FURTHER_COMPONENTS) + of_compose
    assert GUIDE.count("```yaml\n") == found
    # The first one is built in tests/manifests/test_changes.py.
    assert FURTHER_PATCHES.keys() == {
        "ConfigMap/sentriton",
        "Deployment/sentriton",
        "Deployment/sentriton-next",
        "Deployment|Job",
        "Job/sentriton-export",
        "PersistentVolumeClaim/sentriton-models",
    }
    assert FURTHER_COMPONENTS.keys() == {"caller", "components", "export-job", "gateway"}
