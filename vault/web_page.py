"""The vault in a browser: one page that loads nothing but itself, and two files of scripts by their hashes."""

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

SCRIPT_MODULES = (
    "vault/client.js",
    "vault/keys.js",
    "vault/page.js",
)  # in the order in which they need each other


@require_safe
def vault_page(request: HttpRequest) -> HttpResponse:
    """What the page shows is opened in the browser; the server sends the same bytes to everybody."""
    facts, policy = page_context_and_policy()
    answer = render(request, "vault.html", facts)
    answer["Content-Security-Policy"] = policy
    answer["Cache-Control"] = "no-store"
    return answer


@lru_cache(maxsize=1)
def page_context_and_policy() -> tuple[dict[str, Any], str]:
    """What the template needs, and the policy: only scripts and styles with these hashes run, and nothing
    leaves for another host.
    """
    style = _content("vault/page.css").decode()
    modules = [
        {"url": staticfiles_storage.url(name), "integrity": _hash(_content(name))} for name in SCRIPT_MODULES
    ]
    # Modules import each other by their plain names; in production their addresses have a hash.
    names = {
        f"{settings.STATIC_URL}{name}": module["url"]
        for name, module in zip(SCRIPT_MODULES, modules, strict=True)
    }
    imports = json.dumps({"imports": names})
    scripts = " ".join(
        f"'{found}'" for found in [_hash(imports.encode()), *(each["integrity"] for each in modules)]
    )
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src '{_hash(style.encode())}'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    # Our own files.
    facts = {"style": mark_safe(style), "imports": mark_safe(imports), "modules": modules}  # noqa: S308
    return facts, policy


def _hash(content: bytes) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"


def _content(name: str) -> bytes:
    """A static file as browsers get it."""
    if settings.DEVELOPMENT:
        return Path(str(finders.find(name))).read_bytes()
    # With a manifest.
    with staticfiles_storage.open(staticfiles_storage.stored_name(name)) as stored:  # type: ignore[attr-defined]
        content: bytes = stored.read()
    return content
