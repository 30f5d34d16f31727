"""The tracking script that is part of each published page, and the image for browsers without scripts.

The script is inline, and the Content-Security-Policy of the page allows it by its hash.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from django.utils.html import format_html
from django.utils.safestring import mark_safe

from analytics.ingest import intake
from sites.serving.head_parts import HeadPart

SCRIPT_PATH = Path(__file__).parent / "script.js"


@cache
def script_text() -> str:
    """The script as it is sent: without comments and indentation, and with the path of this installation."""
    lines = (line.strip() for line in SCRIPT_PATH.read_text().splitlines())
    code = "".join(line for line in lines if not line.startswith("//"))
    return code.replace("PATH", intake.unlisted_path())


@cache
def head_part(base_url: str) -> HeadPart:
    """The script for the head of a page with its hash, and the image for the end of its body."""
    script = script_text()
    image = format_html(
        '<noscript><img src="{}" alt="" width="1" height="1" hidden></noscript>',
        intake.unlisted_path(),
    )
    html = mark_safe(f"<script>{script}</script>")  # noqa: S308 - a file of this package
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return HeadPart(html, [digest], image)
