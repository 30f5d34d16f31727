"""Default values of environment variables: fixed ones for production, generated ones for development."""

import base64
import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

PRODUCTION_DEFAULTS: dict[str, Any] = {
    "sites_scheme": "https",
    "log_format": "json",
    "drain_seconds": 5,
    "accounts_email_verification": "required",
    "staff_mfa": "required",
}


def development_defaults(base: Path) -> dict[str, Any]:
    """Return the defaults for development: files below VAR_DIR (or `base`/var) and generated secrets."""
    var = Path(os.environ.get("VAR_DIR") or base / "var")
    port = os.environ.get("PORT") or "8000"
    return {
        "sites_scheme": "http",
        "sites_port": int(port) if port.isdecimal() else None,
        "log_format": "console",
        "outbound_allowed_networks": ["127.0.0.0/8", "::1/128"],
        "cors_origins": ["http://localhost:3000", "http://localhost:5173"],
        "object_store_url": f"file://{quote(str((var / 'objects').resolve()))}",
        "backup_store_url": f"file://{quote(str((var / 'backups').resolve()))}",
        "mail_url": f"file://{quote(str((var / 'mail').resolve()))}",
        **_development_secrets(var),
    }


def _development_secrets(var: Path) -> dict[str, Any]:
    """Return the secrets in `secrets.json` (mode 600); generate those that the file does not have yet.

    The file is replaced in one step under a lock, because several commands may start at the same time.
    """
    path = var / "secrets.json"
    var.mkdir(parents=True, exist_ok=True)
    with (var / "secrets.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        generated = {
            "secret_key": secrets.token_urlsafe(48),
            "jwt_keys": [f"dev:{secrets.token_urlsafe(48)}"],
            "audit_keys": [f"dev:{base64.b64encode(secrets.token_bytes(32)).decode()}"],
            "backup_keys": [base64.b64encode(secrets.token_bytes(32)).decode()],
        }
        if generated.keys() - stored.keys():
            stored = {**generated, **stored}
            temporary = var / "secrets.draft"
            temporary.touch(mode=0o600)
            temporary.write_text(json.dumps(stored))
            temporary.replace(path)
    return stored
