"""The hooks of the documentation site: pages from other folders, and links that work on GitHub and on the site.

Pages are written for GitHub, with links to paths in the repository. Here a link to another page becomes the page's
place on the site. A link to another file becomes a link to `repo_url`, or plain words if that is unset. The places
of the API reference are comments. Instead of them, GitHub shows links to the code, which the site leaves out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# The places of pages outside docs/ on the site.
OUTSIDE = {
    "README.md": "index.md",
    "README.ko.md": "korean.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "client/README.md": "clients/rules.md",
    "docker/README.md": "deploy.md",
    "docker/kubernetes.md": "kubernetes.md",
    "docker/sizing.md": "sizing.md",
    "docker/certificates.md": "certificates.md",
    "checkpoints/sentriton-ko-mini/README.md": "bundled-model.md",
    "benchmarks/README.md": "benchmarks/README.md",
    "benchmarks/peers.md": "benchmarks/peers.md",
    "benchmarks/request-path.md": "benchmarks/request-path.md",
    "benchmarks/long-texts.md": "benchmarks/long-texts.md",
    "benchmarks/gpu.md": "benchmarks/gpu.md",
    "benchmarks/columns.md": "benchmarks/columns.md",
    "benchmarks/results/README.md": "benchmarks/results/README.md",
}
# Sections of the navigation with a page per folder: clients after the rules, processors after the results.
_FOLDERS = {
    "Clients": {
        f"client/{path.parent.name}/README.md": f"clients/{path.parent.name}.md"
        for path in sorted(ROOT.glob("client/*/README.md"))
        if path.parent.name != "python"  # docs/python-client.md
    },
    "Benchmarks": {
        f"benchmarks/results/{path.parent.name}/README.md": f"benchmarks/results/{path.parent.name}.md"
        for path in sorted(ROOT.glob("benchmarks/results/*/README.md"))
    },
}
# Rust's documentation has words after the language, and hidden lines.
_RUST = re.compile(r"^```rust(?:,\w+)?\n(?P<code>.*?)^```", re.M | re.S)
# A place of the API reference, which GitHub would show as it is, and the words for readers on GitHub.
_REFERENCE = re.compile(r"^<!-- (?P<place>::: .*?) -->$", re.M | re.S)
_ON_GITHUB = re.compile(r"^<!-- only on GitHub -->\n.*?^<!-- end -->\n", re.M | re.S)
_CODE = r"^```.*?^```|`[^`\n]+`"
_LINK = re.compile(rf"(?P<code>{_CODE})|(?P<image>!?)\[(?P<words>[^\[\]]*)\]\((?P<target>[^()\s]+)\)", re.M | re.S)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the folders to their sections."""
    for section in config.nav or []:
        for title in section.keys() & _FOLDERS if isinstance(section, dict) else ():
            places = _FOLDERS[title].values()
            # The navigation uses the folders' names, since the titles of results include every cache of a processor.
            section[title].extend({Path(place).stem: place} if title == "Benchmarks" else place for place in places)
    return config


@event_priority(100)  # before the plugin that checks links reads the list
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are outside docs/."""
    for source, place in _outside().items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links for the site."""
    place = page.file.src_uri
    source = ROOT / {page: source for source, page in _outside().items()}.get(place, f"docs/{place}")

    def replaced(link: re.Match[str]) -> str:
        if link["code"] or urlsplit(link["target"]).scheme or link["target"].startswith("#"):
            return link[0]
        target = _target(link["target"], source, place, files, config)
        return f"{link['image']}[{link['words']}]({target})" if target else link["words"]

    markdown = _REFERENCE.sub(r"\g<place>", _ON_GITHUB.sub("", markdown))
    return _LINK.sub(replaced, _RUST.sub(_shown, markdown))


def _shown(block: re.Match[str]) -> str:
    """A block of Rust without hidden lines."""
    lines = [line for line in block["code"].splitlines(keepends=True) if not line.startswith("# ")]
    return f"```rust\n{''.join(lines)}```"


def _target(link: str, source: Path, place: str, files: Files, config: MkDocsConfig) -> str | None:
    """The target of a link on the site, or None for a file that is not on it."""
    path, _, fragment = link.partition("#")
    absolute = (source.parent / path).resolve()
    name = absolute.relative_to(ROOT).as_posix()
    on_site = _outside().get(name) or name.removeprefix("docs/")
    if name in _outside() or (name.startswith("docs/") and files.get_file_from_path(on_site)):
        relative = os.path.relpath(on_site, Path(place).parent)
        return f"{relative}#{fragment}" if fragment else relative
    if not absolute.exists():
        return link  # MkDocs warns
    return f"{config.repo_url.rstrip('/')}/blob/main/{name}" if config.repo_url else None


def _outside() -> dict[str, str]:
    return {**OUTSIDE, **{source: place for folder in _FOLDERS.values() for source, place in folder.items()}}
