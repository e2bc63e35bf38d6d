"""Writes the generated pages and tables: docs/settings.md, docs/metrics.md, the settings in client/README.md, the
encoders in docs/encoders.md, and the benchmark in README.md.

make docs    (python -m docs.generate; a test checks that the files are current)
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from benchmarks.tables import RESULTS, read_results, summary
from docs.metrics import metrics_page
from sentriton.allowed import ANYTHING, KEY
from sentriton.declaration import FALSE, TRUE, Setting, settings_of
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

HEAD = f"""\
# Settings of the commands

<!-- `make docs` writes this page from docs/generate.py and the declarations of the settings. -->

Set a setting with its flag or its environment variable. These two commands do the same:

```console
$ sentriton serve --grpc-port 8011
$ export SENTRITON_GRPC_PORT=8011 && sentriton serve
```

If both are set, the flag wins. When `serve` starts, it prints the settings that you have set, each with its flag or \
variable. With `--verbose` it also prints the defaults. Of the gateway's settings it prints only the port.

This page lists the settings of the server, the gateway and the data sets. [Rules of all \
clients](../client/README.md#settings) lists those of a client. The sizes of the queues are not settings, but \
[parameters of an exported repository](serving.md#limits-of-the-queues).

## Values

Flags and variables follow these rules:

- **Units.** A setting whose name ends in `-s` is in seconds, and one whose name ends in `-mib` is in MiB.
- **Switches.** The flag of a switch, such as `--verbose`, takes no value. A second flag, such as `--no-verbose`, \
turns it off. The variable of a switch is on (or {", ".join(TRUE[:-1])}) or off (or {", ".join(FALSE[:-1])}).
- **Keys.** A key consists of {KEY.words}.
- **Paths.** `~` at the beginning of a path is the home folder.
- **Empty variables.** An empty variable counts as unset. An empty key of `serve` or `gateway` is an error, because \
without an access key everyone may call.

## Commands

Each command takes the settings of some sections:

| command | settings |
|---|---|
| `sentriton serve` | the sections from [Model](#model) to [Supervision](#supervision) |
| `sentriton serve --gateway-port PORT` | the same, and the variables of the four [sections of the gateway](#gateway) |
| `sentriton export` | [Model](#model) and [Text](#text), without the row cache |
| `sentriton train` | `--allow-pickle` of [Model](#model), and `--data` of [Files](#files) |
| `sentriton data` | `--data` of [Files](#files) |
| `sentriton evaluate` | `--checkpoint` of [Files](#files), and the settings of a client |
| `sentriton gateway` | the four [sections of the gateway](#gateway), and the settings of a client |
| `sentriton embed`, `similarity`, `info`, `health` | the settings of a client |

These commands read the variables of all settings of a client. `gateway` also has a flag for each of them. The \
others have flags for some, which `--help` lists. Some commands have other defaults than a client library:

| command | setting | default |
|---|---|---|
| `gateway` | `--on-model-change` | `reload` |
| `embed` | `--stall-timeout-s` | `1800` |
| `embed` of a file or of standard input | `--priority` | `bulk` |
| `info`, `health` | `--timeout-s` | `10` |
"""

# The text before each group's table.
INTRODUCTIONS = {
    "Model": "These settings choose how the model computes. An export fixes some of them, so `serve REPOSITORY` "
    "refuses `--precision`, `--device`, `--check-on` and `--operators`, and their variables:",
    "Text": "This setting bounds the length of a text. An export fixes it, so `serve REPOSITORY` refuses this setting "
    "too:",
    "Network": "These settings choose the addresses and ports on which `serve` listens:",
    "Security": "These settings turn on TLS and keys ([example](serving.md#security)). A certificate needs its key. "
    "`serve` refuses TLS together with `--http-port`, and `--client-root-certificates` together with `--gateway-port`:",
    "Tracing": "These settings send [traces](monitoring.md#traces) to a collector:",
    "Supervision": "These settings decide when `serve` [checks, restarts and stops](reliability.md) Triton, and how it "
    "reports this:",
    "Gateway": "Two commands start a [gateway](gateway.md): `sentriton gateway`, and `sentriton serve` with "
    "[`--gateway-port`](#network). The default port below is that of `sentriton gateway`:",
    "Gateway's answers": "These settings change the gateway's answers:",
    "Gateway's security": "These settings turn on TLS and a key for the callers of the gateway:",
    "Gateway's limits": "These settings bound the size, the number and the duration of requests:",
}

TITLES = "| flag | variable | values | default | effect |\n|---|---|---|---|---|\n"
FILES_TEXT = "These settings name files and folders. All commands but `health` use the cache, which has no flag:"
CACHED = """
The commands keep these files in the cache:

| command | files in the cache |
|---|---|
| `serve` | exports, compiled operators |
| `export` | compiled operators |
| `data`, `train` | data sets, unless `--data` or `$SENTRITON_DATA` names their folder |
| `embed`, `similarity`, `info`, `evaluate`, `gateway` | tokenizers of served models |
| `cache list`, `cache clear` | all files of the cache |
"""

FORMER = """
## Former names

Release 0.2 renamed some settings. The former names still work and print a warning. Release 0.3 removes them:

| former name | name |
|---|---|
"""
WIDTH = 120


def server_page() -> str:
    """The content of docs/settings.md."""
    declared = [each for cls in (*SERVER, *GATEWAY) for each in settings_of(cls)]
    changed = [each for cls in (*SERVER, ClientSettings, DataSettings) for each in settings_of(cls) if each.former_flag]
    page = wrapped(HEAD)
    for group in dict.fromkeys(each.group for each in declared):
        page += f"\n## {group}\n\n{wrapped(INTRODUCTIONS[group])}\n\n{TITLES}" + rows(
            (f"`{each.flag}`", f"`{each.variable}`", values(each), default(each), each.help)
            for each in declared
            if each.group == group
        )
    page += f"\n## Files\n\n{wrapped(FILES_TEXT)}\n\n{TITLES}" + rows(
        (flag, f"`{each.variable}`", values(each), default(each), each.help)
        for cls, flag in FILES
        for each in settings_of(cls)
    )
    return page + CACHED + FORMER + rows(map(former, changed))


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
    """The values of a setting. The text of a page describes those of switches and keys, which are long."""
    if declared.kind is bool:
        return "on, off"
    return declared.unit if declared.allowed in (ANYTHING, KEY) else declared.allowed.words


def default(declared: Setting) -> str:
    """The default of a setting. Values are in code type."""
    words = declared.words_of(declared.default)
    return words if declared.default is None or declared.kind is bool else f"`{words}`"


def former(declared: Setting) -> tuple[str, str]:
    """The row of a setting in the table of former names: its flag, and its variable if that was renamed too."""
    names = [(declared.former_flag, declared.flag), (declared.former_variable, declared.variable)]
    renamed = [(f"`{old}`", f"`{new}`") for old, new in names if old]
    return ", ".join(old for old, _ in renamed), ", ".join(new for _, new in renamed)


def wrapped(text: str) -> str:
    """Markdown with lines of at most `WIDTH` characters, except in tables and code."""
    return re.sub(rf"^(- )?[A-Z`*\[].{{{WIDTH - 1},}}$", _wrapped, text, flags=re.M)


def _wrapped(line: re.Match[str]) -> str:
    indent = " " * len(line[1] or "")
    return textwrap.fill(line[0], WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


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
