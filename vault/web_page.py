"""The vault's web page. Its policy allows nothing but its own scripts and style, by their hashes."""

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

# Each module imports only modules before it.
SCRIPT_MODULES = (
    "vault/crypto.js",
    "vault/client.js",
    "vault/keys.js",
    "vault/dom.js",
    "vault/list.js",
    "vault/page.js",
)


@require_safe
def vault_page(request: HttpRequest) -> HttpResponse:
    """Send the page, which is the same for every visitor: vaults are decrypted in the browser."""
    context, policy = page_context_and_policy()
    response = render(request, "vault.html", context)
    response["Content-Security-Policy"] = policy
    response["Cache-Control"] = "no-store"
    return response


@lru_cache(maxsize=1)
def page_context_and_policy() -> tuple[dict[str, Any], str]:
    """Return the template context, and a Content-Security-Policy.

    The policy allows only scripts and styles with the hashes of our files, and connections to our own origin.
    """
    style = _read_static_file("vault/page.css").decode()
    modules = [
        {"url": staticfiles_storage.url(name), "integrity": _integrity(_read_static_file(name))}
        for name in SCRIPT_MODULES
    ]
    # The modules import each other by plain file names. In production the URLs contain a hash, so an import
    # map translates them.
    import_map = json.dumps(
        {
            "imports": {
                f"{settings.STATIC_URL}{name}": module["url"]
                for name, module in zip(SCRIPT_MODULES, modules, strict=True)
            }
        }
    )
    script_hashes = [_integrity(import_map.encode()), *(module["integrity"] for module in modules)]
    directives = [
        "default-src 'none'",
        "script-src " + " ".join(f"'{script_hash}'" for script_hash in script_hashes),
        f"style-src '{_integrity(style.encode())}'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    # Safe to mark: both come from files in this repository.
    context = {
        "style": mark_safe(style),  # noqa: S308
        "imports": mark_safe(import_map),  # noqa: S308
        "modules": modules,
    }
    return context, "; ".join(directives)


def _integrity(content: bytes) -> str:
    """Return the hash of a file as Subresource Integrity and Content-Security-Policy write it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}"


def _read_static_file(name: str) -> bytes:
    """Return the bytes of a static file as browsers receive them."""
    if settings.DEVELOPMENT:
        return Path(str(finders.find(name))).read_bytes()
    # In production the storage has a manifest (`ManifestFilesMixin.stored_name`).
    stored_name = staticfiles_storage.stored_name(name)  # type: ignore[attr-defined]
    with staticfiles_storage.open(stored_name) as file:
        content: bytes = file.read()
    return content
