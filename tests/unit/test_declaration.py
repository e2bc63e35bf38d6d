"""A setting's declaration determines its flag, variable, default, check and row in the documentation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from docs.generate import PAGES
from sentriton import ClientSettings, InvalidInput
from sentriton.cli import app
from sentriton.command_options import takes_settings
from sentriton.declaration import name_of, resolve, settings_of, source_of
from sentriton_gateway.settings import GatewaySettings
from sentriton_server.encoder.precision import PRECISIONS
from sentriton_server.serving import LaunchError
from sentriton_server.serving.preflight import check_ports
from sentriton_server.setting_names import described
from sentriton_server.settings import ExportSettings, ServerSettings, ServeSettings
from tests.conftest import ROOT
from tests.unit.conftest import Command

CLASSES = (ClientSettings, ExportSettings, GatewaySettings, ServerSettings, ServeSettings)
LANGUAGES = ("cpp", "go", "java", "node", "rust")
CLIENT_PAGES = ["client/README.md", *(f"client/{language}/README.md" for language in LANGUAGES)]
PAGES_WITH_VARIABLES = ["README.md", "README.ko.md", *CLIENT_PAGES]
PAGES_WITH_VARIABLES += [
    str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md") if page.name != "settings.md"
]
OTHER_VARIABLES = {"SENTRITON_CACHE", "SENTRITON_DATA"}
UNITS = {"_s": "seconds", "_mib": "MiB"}


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_declared_with_help_and_unit(cls: type) -> None:
    for declared in settings_of(cls):
        assert declared.help.endswith("."), declared.field
        assert declared.kind is bool or declared.unit, declared.field
        assert all(declared.unit == unit for end, unit in UNITS.items() if declared.field.endswith(end)), declared.field
        declared.check(declared.field, declared.default)


def test_precisions_are_those_of_the_encoder() -> None:
    (precision, *_) = settings_of(ExportSettings)
    for name in PRECISIONS:
        precision.check("precision", name)
    assert precision.allowed.words == ", ".join(PRECISIONS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_is_current(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES_WITH_VARIABLES)
def test_variables_that_the_documentation_names_exist(page: str) -> None:
    declared = {each.variable for cls in CLASSES for each in settings_of(cls)}
    named = re.findall(r"(?<!-D )SENTRITON_\w+", (ROOT / page).read_text(encoding="utf-8"))  # -D: options of CMake
    assert set(named) <= declared | OTHER_VARIABLES


# Sources of values


def test_a_flag_beats_a_variable_and_that_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_RESTARTS", "3")
    monkeypatch.setenv("SENTRITON_ROW_CACHE_MIB", "")
    settings = resolve(ServerSettings, flags={"host": "::1"}, defaults={"grpc_port": 9, "restarts": 4})
    assert (settings.host, settings.restarts, settings.grpc_port, settings.row_cache_mib) == ("::1", 3, 9, 0)
    assert source_of(settings, "host") == "--host"
    assert source_of(settings, "restarts") == "$SENTRITON_RESTARTS"
    assert source_of(settings, "grpc_port") is None
    assert name_of(settings, "grpc_port") == "--grpc-port"


def test_a_log_shows_values_with_their_source_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_ADMIN_KEY", "geheim")
    settings = resolve(ServerSettings, flags={"canary_period_s": 2.0})
    assert described(settings, all=False) == [
        "admin_key set ($SENTRITON_ADMIN_KEY)",
        "canary_period_s 2 (--canary-period-s)",
    ]
    everything = described(settings, all=True)
    assert len(everything) == len(dataclasses.fields(ServerSettings))
    assert "http_port unset: no HTTP (default)" in everything
    assert not [line for line in everything if "geheim" in line]


def test_a_former_variable_works_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setenv("SENTRITON_CANARY_PERIOD", "2")
    assert resolve(ServerSettings, warn=warnings.append).canary_period_s == 2
    assert warnings == [
        "$SENTRITON_CANARY_PERIOD is deprecated and will be removed in the next release; use $SENTRITON_CANARY_PERIOD_S"
    ]
    with pytest.warns(FutureWarning, match="is deprecated"):
        resolve(ServerSettings)
    monkeypatch.setenv("SENTRITON_CANARY_PERIOD_S", "3")
    assert resolve(ServerSettings).canary_period_s == 3


# Rejected values


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("grpc_port", 65536, r"grpc_port is 65536; allowed are 0 \(a free port\) to 65535"),
        ("http_port", -1, "http_port is -1"),
        ("metrics_port", 8002.0, r"metrics_port is 8002\.0"),
        ("restarts", True, "restarts is True"),
        ("canary_period_s", float("inf"), "canary_period_s is inf; allowed are finite numbers above 0"),
        ("ready_timeout_s", 0, "ready_timeout_s is 0"),
        ("exit_timeout_s", 2.5, r"exit_timeout_s is 2\.5; allowed are whole numbers of seconds from 0"),
        ("trace_url", "localhost:4317", "trace_url is 'localhost:4317'; allowed are addresses of OTLP over HTTP"),
        ("grpc_port", None, "grpc_port is None"),
    ],
)
def test_a_field_of_the_server_that_cannot_be_is_named(field: str, value: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{says}"):
        ServerSettings(**{field: value})


def test_a_variable_that_cannot_be_is_named_and_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_ACCESS_KEY", "schlüssel")
    with pytest.raises(InvalidInput, match=r"^\$SENTRITON_ACCESS_KEY is a value that is not shown; allowed are"):
        resolve(ServerSettings)
    monkeypatch.setenv("SENTRITON_ALLOW_PICKLE", "maybe")
    with pytest.raises(InvalidInput, match=r"^\$SENTRITON_ALLOW_PICKLE is 'maybe'; allowed are 1, true, yes, on, 0"):
        resolve(ExportSettings)


@pytest.mark.parametrize(
    ("cls", "variable", "without"),
    [
        (ServerSettings, "SENTRITON_ACCESS_KEY", "no key needed"),
        (ServerSettings, "SENTRITON_ADMIN_KEY", "these APIs are disabled"),
        (GatewaySettings, "SENTRITON_GATEWAY_ACCESS_KEY", "callers need the server's access key, if it has one"),
    ],
)
def test_an_empty_key_leaves_no_server_open(
    cls: type, variable: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    with pytest.raises(InvalidInput, match=rf"^\${variable} is empty; set a key, or remove the variable: {without}$"):
        resolve(cls)
    assert resolve(ClientSettings).access_key is None


def test_a_host_or_port_that_cannot_be_had_is_named_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRITON_METRICS_HOST", "203.0.113.1")
    settings = resolve(ServerSettings, flags={"grpc_port": 0, "metrics_port": 0})
    with pytest.raises(LaunchError, match=r"^\$SENTRITON_METRICS_HOST '203.0.113.1' is not an address of this machine"):
        check_ports(settings)
    with pytest.raises(LaunchError, match=r"^--grpc-port and --metrics-port are both 8002; give each"):
        check_ports(resolve(ServerSettings, flags={"grpc_port": 8002}))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["serve", "--grpc-port", "many"], "error: --grpc-port is 'many'; allowed are 0 (a free port) to 65535"),
        (
            ["serve", "--host="],
            "error: --host is ''; allowed are host names and addresses, such as 0.0.0.0",
        ),
        (["serve", "--canary-period-s", "0"], "error: --canary-period-s is '0'; allowed are finite numbers above 0"),
        (["export", "a", "b", "--device", "tpu"], "error: --device is 'tpu'; allowed are auto, cpu, gpu"),
        (["health", "--timeout-s", "nan"], "error: --timeout-s is 'nan'; allowed are finite numbers above 0"),
        (
            ["info", "--client-key", "k.pem"],
            "error: --client-key is set, but a client certificate and its key must be set together",
        ),
        (
            ["embed", "x", "--url", "localhost:1", "--batch-size", "0"],
            "error: --batch-size is 0; allowed are whole numbers from 1",
        ),
        (["embed", "x", "--priority", "urgent"], "error: --priority is 'urgent'; allowed are query, bulk"),
    ],
)
def test_a_flag_that_cannot_be_is_one_sentence(command: Command, arguments: list[str], says: str) -> None:
    assert command(*arguments) == (1, "", f"{says}\n")


# The options of a command


def command_with(cls: type, *fields: str, **defaults: Any) -> typer.Typer:
    """A command that prints the settings that it gets."""
    app = typer.Typer()

    def show(settings: Any, twice: bool = False) -> None:
        typer.echo(repr(settings))

    show.__annotations__["settings"] = cls
    app.command()(takes_settings(cls, *fields, **defaults)(show))
    return app


def test_a_command_gets_settings_of_flags_variables_and_its_own_defaults() -> None:
    app = command_with(ServerSettings, "canary_period_s", "canary_timeout_s", "restarts", canary_timeout_s=1.0)
    done = CliRunner().invoke(app, ["--canary-period-s", "2", "--twice"], env={"SENTRITON_RESTARTS": "7"})
    assert done.output.strip() == repr(ServerSettings(canary_period_s=2.0, canary_timeout_s=1.0, restarts=7))


def test_a_flag_turns_a_switch_off_that_a_variable_turns_on() -> None:
    done = CliRunner().invoke(command_with(ClientSettings, "tls"), ["--no-tls"], env={"SENTRITON_TLS": "1"})
    assert "tls=False" in done.output


def test_a_command_takes_a_former_flag_with_a_warning_and_does_not_list_it() -> None:
    app = command_with(ServerSettings, "canary_period_s")
    done = CliRunner().invoke(app, ["--canary-period", "2"])
    assert "canary_period_s=2.0" in done.output
    assert "warning: --canary-period is deprecated and will be removed in the next release; " in done.output
    assert "use --canary-period-s" in done.output
    assert not re.search(r"--canary-period\b(?!-s)", CliRunner().invoke(app, ["--help"]).output)


def test_an_unknown_flag_is_answered_without_former_names() -> None:
    shown = CliRunner().invoke(app, ["serve", "--canary-perio", "2"]).output
    assert "--canary-period-s" in shown
    assert not re.search(r"--canary-period\b(?!-s)", shown)


@pytest.mark.parametrize("command", ["serve", "export", "embed", "similarity", "info", "health", "evaluate"])
def test_help_shows_full_names_at_80_columns(command: str) -> None:
    group: Any = typer.main.get_command(app)
    names = {
        (parameter.name, getattr(parameter, "rich_help_panel", ""))
        for parameter in group.get_command(None, command).params
    }
    settings = [each for cls in CLASSES for each in settings_of(cls) if (each.field, each.group) in names]
    assert len(settings) >= 3
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).output
    for declared in settings:
        assert re.search(rf"{declared.flag}\s", shown), declared.flag
        assert re.search(rf"\${declared.variable}; ", shown), declared.variable


@pytest.mark.parametrize("command", ["serve", "export", "embed", "similarity", "evaluate", "data", "train"])
def test_help_names_each_value_in_capitals(command: str) -> None:
    group: Any = typer.main.get_command(app)
    for parameter in group.get_command(None, command).params:
        takes_value = parameter.type.name != "boolean" and not getattr(parameter, "hidden", False)
        if takes_value and parameter.name != "help":
            assert parameter.metavar, f"{command} {parameter.name}"
            assert re.sub("all$", "", parameter.metavar.strip("[]")).isupper(), f"{command} {parameter.name}"
