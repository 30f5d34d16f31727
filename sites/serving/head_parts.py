"""The registry of markup that other apps add to published pages, for example an analytics script."""

from collections.abc import Callable
from dataclasses import dataclass, field

from django.utils.safestring import SafeString, mark_safe


@dataclass(frozen=True, slots=True)
class HeadPart:
    """Trusted markup of our own apps for every published page.

    `head_html` goes to the end of the head, `body_html` to the end of the body. `script_hashes` are base64
    SHA-256 digests for the `script-src` directive of the page's Content-Security-Policy.
    """

    head_html: SafeString
    script_hashes: list[str] = field(default_factory=list)
    body_html: SafeString = field(default_factory=SafeString)


_factories: list[Callable[[str], HeadPart]] = []


def register(factory: Callable[[str], HeadPart]) -> None:
    """Call `factory(base_url)` for every rendered page. Use it in `AppConfig.ready()`."""
    _factories.append(factory)


def collect_head_parts(*, base_url: str) -> HeadPart:
    """Return the parts of all registered factories, joined to one."""
    parts = [factory(base_url) for factory in _factories]
    # Joining trusted parts of our own apps gives trusted markup.
    head_html = mark_safe("".join(part.head_html for part in parts))  # noqa: S308
    body_html = mark_safe("".join(part.body_html for part in parts))  # noqa: S308
    script_hashes = [script_hash for part in parts for script_hash in part.script_hashes]
    return HeadPart(head_html, script_hashes, body_html)
