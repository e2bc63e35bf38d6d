"""Every block of code on every page is read by a test. A new block fails here until it has a test or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.snippets import PAGES, Block, blocks

# The tests that read all blocks of a language, on every page.
ON_EVERY_PAGE = {
    "console": "tests/unit/test_commands_in_documents.py",
    "python": "tests/server/test_programs_in_documents.py",
}
# The tests that read all blocks of these languages on a page. Those of clients run or reject a further block.
ON_A_PAGE = {
    "checkpoints/sentriton-ko-mini/README.md": {"text": "tests/server/test_programs_in_documents.py"},
    "client/cpp/README.md": dict.fromkeys(["cpp", "cmake", "text"], "tests/polyglot/test_cpp.py"),
    "client/go/README.md": dict.fromkeys(["go", "text"], "tests/polyglot/test_go.py"),
    "client/java/README.md": dict.fromkeys(["java", "xml", "groovy", "text"], "tests/polyglot/test_java.py"),
    "client/node/README.md": dict.fromkeys(["js", "text"], "tests/polyglot/test_node.py"),
    "client/rust/README.md": dict.fromkeys(["rust", "rust,no_run", "text"], "tests/polyglot/test_rust.py"),
    "docs/gateway.md": {"json": "tests/gateway/test_tools.py", "yaml": "tests/manifests/test_guide.py"},
    "docs/train.md": {"toml": "tests/end_to_end/test_training.py"},
    "docker/README.md": {"yaml": "tests/manifests/test_guide.py"},
    "docker/kubernetes.md": {"yaml": "tests/manifests/test_guide.py"},
    "docker/sizing.md": {"yaml": "tests/manifests/test_guide.py"},
}
# The tests that compare text, such as the output of a command, by the beginning of the text.
OUTPUTS = {
    "  1. 이는": "tests/server/test_programs_in_documents.py",
    "serving sentriton-ko-mini at ": "tests/server/test_commands_in_documents.py",
    "exported sentriton-ko-mini to ": "tests/end_to_end/test_export_command.py",
    "error: cannot serve checkpoint ": "tests/unit/test_checkpoint_kinds.py",
    "SentritonError\n├──": "tests/unit/test_errors.py",
}
# Blocks that no test runs, by page and language, and the reason.
NOT_RUN = {
    ("README.md", "text"): "a drawing",
    ("docs/architecture.md", "text"): "the same drawing",
    ("docs/hardening.md", "nginx"): "no nginx here",
    ("client/java/README.md", "kotlin"): "needs Kotlin's compiler, of which Maven fetches 60 MB",
}


def reader(block: Block) -> str | None:
    """The test that reads a block."""
    if block.output_of == "python":
        return ON_EVERY_PAGE["python"]
    on_page = ON_EVERY_PAGE | ON_A_PAGE.get(block.name, {})
    outputs = (test for beginning, test in OUTPUTS.items() if block.code.startswith(beginning))
    return on_page.get(block.language) or next(outputs, None)


def unread(page: Path) -> list[tuple[str, str]]:
    """The blocks of a page that no test reads, by page and language."""
    return [(block.name, block.language) for block in blocks(page) if reader(block) is None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_test_reads_every_block(page: Path) -> None:
    assert [each for each in unread(page) if each not in NOT_RUN] == [], "name the test that runs it, or the reason"


def test_the_tables_name_nothing_else() -> None:
    assert sorted(each for page in PAGES for each in unread(page)) == sorted(NOT_RUN)
    found = {(block.name, block.language) for page in PAGES for block in blocks(page)}
    assert {(name, language) for name, tests in ON_A_PAGE.items() for language in tests} <= found
    tests = {test for by_language in (ON_EVERY_PAGE, *ON_A_PAGE.values(), OUTPUTS) for test in by_language.values()}
    assert all((ROOT / test).is_file() for test in tests)


def test_the_drawing_is_one() -> None:
    pages = (ROOT / "README.md", ROOT / "docs/architecture.md")
    assert len({block.code for page in pages for block in blocks(page, "text") if block.code.startswith("text ─")}) == 1


def test_a_new_block_is_found(tmp_path: Path) -> None:
    """In a list, as indented code, and as the output of a command."""
    page = tmp_path / "page.md"
    page.write_text(
        "- a\n\n  ```ruby\n  b\n  ```\n\nc\n\n    d\n\n```console\n$ e\n```\n```text\nf\n```\n", encoding="utf-8"
    )
    assert [language for _, language in unread(page)] == ["ruby", "", "text"]
