"""The page at the gateway's root, a single file without other resources."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

PAGE = files("sentriton_gateway").joinpath("page.html").read_bytes()


def _source(tag: str) -> str:
    """The hash by which the policy allows only the page's own element."""
    match = re.search(rf"<{tag}>(.*?)</{tag}>".encode(), PAGE, re.DOTALL)
    assert match is not None
    return f"'sha256-{base64.b64encode(hashlib.sha256(match[1]).digest()).decode()}'"


PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source('script')}; style-src {_source('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
