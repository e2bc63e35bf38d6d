"""The comments of every language for the prose linter."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.comments import comments, language
from docs.prose_of_code import files


def text(source: str, lexer: str) -> list[str]:
    return [" ".join(" ".join(line for _, line in lines).split()) for lines in comments(source, lexer)]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.py", "# One\n# two.\nx = '# no'  # Three."),
        ("a.pyi", "# One\n# two.\nx: int  # Three."),
        ("a.yaml", "# One\n# two.\nx: '# no'  # Three."),
        ("a.toml", "# One\n# two.\nx = '# no'  # Three."),
        ("a.sh", "#!/bin/sh\n# One\n# two.\nx='# no'  # Three."),
        ("a.pbtxt", '# One\n# two.\nx: "# no"  # Three.'),
        ("Dockerfile.cpu", "# One\n# two.\nRUN x\n# Three."),
        ("Makefile", "# One\n# two.\nx:\n# Three."),
        ("CMakeLists.txt", "# One\n# two.\nset(x)  # Three."),
        ("a.proto", '// One\n// two.\noption x = "// no";  // Three.'),
        ("a.go", 'package a\n// One\n// two.\nvar x = "// no" // Three.'),
        ("a.rs", '//! One\n//! two.\nlet x = "// no"; /// Three.'),
        ("a.cpp", '#include <a>\n/// One\n/// two.\nauto x = "// no";  // Three.'),
        ("a.hpp", "/* One\n * two. */\nint x;  // Three."),
        ("a.java", '/**\n * One\n * two.\n */\nString x = "// no"; // Three.'),
        ("a.ts", "/** One\n * two. */\nlet x = '// no'; // Three."),
        ("a.mjs", "// One\n// two.\nlet x = `// no`; // Three."),
    ],
)
def test_consecutive_lines_are_one_comment_and_one_behind_code_is_its_own(name: str, source: str) -> None:
    lexer = language(Path(name))
    assert lexer
    assert text(source, lexer) == ["One two.", "Three."]


def test_a_line_keeps_its_number_and_a_tag_begins_a_paragraph() -> None:
    source = "\n/**\n * A {@code port}.\n * @param port the port\n * <p>More.\n */\n"
    (lines,) = comments(source, "java")
    assert [(number, line.strip()) for number, line in lines if line.strip()] == [
        (3, "A `port`."),
        (4, "@param port the port"),
        (5, "More."),
    ]
    assert [number for number, line in lines if not line.strip()] == [2, 4, 5, 6]


def test_the_whole_tree_is_read_but_generated_code() -> None:
    names = {path.name for path in files([])}
    assert {"inference.proto", "Makefile", "Dockerfile", "layer.cpp", "test_comments.py", "config.pbtxt"} <= names
    assert not names & {"inference.pb.go", "inference.ts", "inference.rs", "InferParameter.java"}
