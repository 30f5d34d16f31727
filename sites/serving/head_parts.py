"""What other apps put into a published page (an analytics script, say), with its place in the CSP."""

from collections.abc import Callable
from dataclasses import dataclass, field

from django.utils.safestring import SafeString, mark_safe


@dataclass(frozen=True, slots=True)
class HeadPart:
    """`html` is trusted markup of ours for the head, `body` for the end of the body; `script_hashes` are
    base64 SHA-256 digests for the page's `script-src`.
    """

    html: SafeString
    script_hashes: list[str] = field(default_factory=list)
    body: SafeString = field(default_factory=SafeString)


_contributors: list[Callable[[str], HeadPart]] = []


def register(make: Callable[[str], HeadPart]) -> None:
    """Call `make(base_url)` for every rendered page. For `AppConfig.ready()`."""
    _contributors.append(make)


def collect_head_parts(*, base_url: str) -> HeadPart:
    parts = [make(base_url) for make in _contributors]
    # Parts are SafeStrings of our own apps.
    html = mark_safe("".join(part.html for part in parts))  # noqa: S308
    body = mark_safe("".join(part.body for part in parts))  # noqa: S308 - the same
    return HeadPart(html, [digest for part in parts for digest in part.script_hashes], body)
