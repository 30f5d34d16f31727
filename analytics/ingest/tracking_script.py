"""The script on published pages: small, inline, allowed by its hash alone; and the picture for browsers
without scripts.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from django.utils.html import format_html
from django.utils.safestring import mark_safe

from analytics.ingest import intake
from sites.serving.head_parts import HeadPart

SOURCE = Path(__file__).parent / "script.js"


@cache
def text() -> str:
    """The script as it is sent: comments and indentation left out, the installation's path put in."""
    lines = (line.strip() for line in SOURCE.read_text().splitlines())
    return "".join(line for line in lines if not line.startswith("//")).replace("PATH", intake.private_path())


@cache
def head_part(base_url: str) -> HeadPart:
    script = text()
    picture = format_html(
        '<noscript><img src="{}" alt="" width="1" height="1" hidden></noscript>',
        intake.private_path(),
    )
    html = mark_safe(f"<script>{script}</script>")  # noqa: S308 - our own file
    return HeadPart(html, [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()], picture)
