"""Writes the generated pages and tables: docs/settings.md, docs/metrics.md, the settings in client/README.md, the
encoders in docs/encoders.md, and the benchmark in README.md.

make docs    (python -m docs.generate; a test checks that the files are current)
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.tables import RESULTS, read_results, summary
from docs.metrics import metrics_page
from sentriton.allowed import ANYTHING
from sentriton.declaration import TRUTH_WORDS, Setting, settings_of
from sentriton.settings import CacheSettings, ClientSettings, EvaluationSettings
from sentriton_gateway.settings import GatewaySettings
from sentriton_server.settings import DataSettings, ExportSettings, ServerSettings, ServeSettings

SERVER = (ExportSettings, ServerSettings, ServeSettings)
GATEWAY = (GatewaySettings,)
# Flags of settings in other commands, or in no command.
FILES = (
    (CacheSettings, "none"),
    (DataSettings, "`--data` of `data` and `train`"),
    (EvaluationSettings, "`--checkpoint` of `evaluate`"),
)
ROOT = Path(__file__).resolve().parents[1]
SERVER_PAGE = ROOT / "docs/settings.md"
CLIENT_PAGE = ROOT / "client/README.md"
ENCODERS_PAGE = ROOT / "docs/encoders.md"
METRICS_PAGE = ROOT / "docs/metrics.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- begin of the table that `make docs` writes -->\n", "<!-- end of the table -->\n"

HEAD = """\
# Settings of the commands

<!-- `make docs` writes this page from docs/generate.py and the declarations of the settings. -->

This page lists the settings of `sentriton serve`, `export`, `train` and `gateway` with their values, defaults and
effects. Set them with flags or environment variables. For example, `sentriton serve --grpc-port 8011` and
`SENTRITON_GRPC_PORT=8011 sentriton serve` do the same. If both are set, the flag wins. Only `$SENTRITON_CACHE` has no
flag.

Each command takes the settings of some sections:

| command | settings |
|---|---|
| `sentriton serve` | the sections from [Model](#model) to [Supervision](#supervision), and `$SENTRITON_CACHE` |
| `sentriton serve --gateway-port PORT` | in addition, the sections of the gateway, but only as environment variables |
| `sentriton export` | [Model](#model) and [Text](#text), without the row cache, and `$SENTRITON_CACHE` |
| `sentriton train` | `--allow-pickle` of [Model](#model), and `--data` of [Files](#files) |
| `sentriton gateway` | the sections of the gateway, and the [settings of a client](../client/README.md#settings) |

The gateway's default of `--on-model-change` is `reload`, unlike that of other clients.

When `serve` starts, it prints the settings that you have set, each with its flag or variable. With `--verbose` it also
prints the defaults. It does not print the settings of the gateway.

Flags and variables follow these rules:

- **Units.** A setting whose name ends in `-s` is in seconds, and one whose name ends in `-mib` is in MiB.
- **Switches.** The flag of a switch takes no value. A second flag turns the switch off, such as `--no-verbose`.
- **Paths.** `~` at the beginning of a path is the home folder.
- **Empty variables.** An empty variable counts as unset. An empty access key or admin key of a server or a gateway is
  an error, because it would leave the server open.

Some settings cannot be combined:

- **Exported repositories.** An export fixes how its model computes. Therefore `serve REPOSITORY` refuses `--precision`,
  `--device`, `--check-on`, `--operators` and `--max-seq-length`, and their variables.
- **TLS.** A certificate needs its key. `serve` refuses TLS together with `--http-port`, and refuses
  `--client-root-certificates` together with `--gateway-port`.

The sizes of the queues are not settings. To change them, edit the [limits of the
queues](serving.md#limits-of-the-queues) in an exported repository.
"""

# A sentence before each group's table.
INTRODUCTIONS = {
    "Model": "These settings choose how the model computes:",
    "Text": "This setting bounds the length of a text:",
    "Network": "These settings choose the addresses and ports on which `serve` listens:",
    "Security": "These settings turn on TLS and keys, as in [Security](serving.md#security):",
    "Tracing": "These settings export [traces](monitoring.md#traces):",
    "Supervision": "These settings decide when `serve` checks, restarts and stops Triton, and how it reports this:",
    "Gateway": "`sentriton serve` starts a [gateway](gateway.md) only if you [set its port](#network), and "
    "`sentriton gateway` has a default port. These settings choose the address and the port:",
    "Gateway's answers": "These settings change the gateway's answers:",
    "Gateway's security": "These settings turn on TLS and a key for the callers of the gateway:",
    "Gateway's limits": "These settings bound the size, the number and the duration of requests:",
}

TITLES = "| flag | variable | values | default | effect |\n|---|---|---|---|---|\n"
FILES_INTRODUCTION = "These settings name files and folders, some of them for other commands:"

FORMER = """
## Former names

Release 0.2 renamed some settings. Their former names still work in this release and print a warning:

| former flag | flag | former variable | variable |
|---|---|---|---|
"""


def server_page() -> str:
    """The content of docs/settings.md."""
    declared = [each for cls in (*SERVER, *GATEWAY) for each in settings_of(cls)]
    changed = [each for cls in (*SERVER, ClientSettings, DataSettings) for each in settings_of(cls) if each.former_flag]
    page = HEAD
    for group in dict.fromkeys(each.group for each in declared):
        page += f"\n## {group}\n\n{INTRODUCTIONS[group]}\n\n{TITLES}" + rows(
            (f"`{each.flag}`", f"`{each.variable}`", values(each), default(each), each.help)
            for each in declared
            if each.group == group
        )
    page += f"\n## Files\n\n{FILES_INTRODUCTION}\n\n{TITLES}" + rows(
        (flag, f"`{each.variable}`", values(each), default(each), each.help)
        for cls, flag in FILES
        for each in settings_of(cls)
    )
    return page + FORMER + rows(map(former, changed))


def client_page() -> str:
    """The content of client/README.md with a new table."""
    table = "| setting | variable | values | default | effect |\n|---|---|---|---|---|\n" + rows(
        (f"`{each.field}`", f"`{each.variable}`", values(each), default(each), each.help)
        for each in settings_of(ClientSettings)
    )
    return with_table(CLIENT_PAGE, table)


def readme() -> str:
    """The content of README.md with a new benchmark."""
    return with_table(README, summary(read_results(RESULTS)))


def encoders_page() -> str:
    """The content of docs/encoders.md with a new table."""
    from sentriton_server.encoder import FAMILIES

    table = "| encoder | model_type | examples | CPU operators |\n|---|---|---|---|\n" + rows(
        (
            each.title,
            f"`{each.model_type}`",
            each.known.replace("*", "\\*"),
            each.operators,
        )
        for each in FAMILIES.values()
    )
    return with_table(ENCODERS_PAGE, table)


def with_table(page: Path, table: str) -> str:
    """The content of a page with `table` between its marks."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.split(END)[1]}"


def rows(cells: Iterable[tuple[str, ...]]) -> str:
    """Lines of a table in Markdown."""
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def values(declared: Setting) -> str:
    """The values of a setting. A switch has those of its variable."""
    if declared.kind is bool:
        return TRUTH_WORDS
    return declared.unit if declared.allowed is ANYTHING else declared.allowed.words


def default(declared: Setting) -> str:
    """The default of a setting. Values are in code type."""
    words = declared.words_of(declared.default)
    return words if declared.default is None or declared.kind is bool else f"`{words}`"


def former(declared: Setting) -> tuple[str, ...]:
    """The row of a setting in the table of former names."""
    variables = (f"`{declared.former_variable}`", f"`{declared.variable}`") if declared.former_variable else ("", "")
    return f"`{declared.former_flag}`", f"`{declared.flag}`", *variables


PAGES = {
    SERVER_PAGE: server_page,
    CLIENT_PAGE: client_page,
    ENCODERS_PAGE: encoders_page,
    METRICS_PAGE: metrics_page,
    README: readme,
}

if __name__ == "__main__":
    for path, content in PAGES.items():
        path.write_text(content(), encoding="utf-8")
