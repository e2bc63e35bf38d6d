"""No file of code is longer than 350 lines, since a longer one has more than one idea."""

from __future__ import annotations

from tests.conftest import ROOT
from tests.unit.test_documentation import FILES

MOST_LINES = 350
CODE = set(".py .pyi .ts .mts .cts .mjs .js .c .cpp .hpp .h .go .java .rs .sh .proto".split())
GENERATED = [
    ROOT / "client" / folder
    for folder in ("node/src/generated", "go/internal/generated", "java/src/generated", "rust/src/generated")
]


def test_no_file_of_code_is_too_long() -> None:
    code = [path for path in FILES if path.suffix in CODE and not any(map(path.is_relative_to, GENERATED))]
    assert len(code) > 300
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in code}
    too_long = {name: lines for name, lines in lengths.items() if lines > MOST_LINES}
    assert not too_long, f"split by idea: at most {MOST_LINES} lines"
