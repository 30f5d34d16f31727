"""What holds where the environment does not say: in production, and on a machine of one's own."""

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
    """Everything beside this checkout, and secrets that are made once."""
    var = Path(os.environ.get("VAR_DIR") or base / "var")
    return {
        "sites_scheme": "http",
        "sites_port": int(port) if (port := os.environ.get("PORT") or "8000").isdecimal() else None,
        "log_format": "console",
        "cors_origins": ["http://localhost:3000", "http://localhost:5173"],
        "object_store_url": f"file://{quote(str((var / 'objects').resolve()))}",
        "backup_store_url": f"file://{quote(str((var / 'backups').resolve()))}",
        "mail_url": f"file://{quote(str((var / 'mail').resolve()))}",
        **_kept_secrets(var),
    }


def _kept_secrets(var: Path) -> dict[str, Any]:
    """Secrets of a development installation, random and made once (mode 600); a new kind is added when it is
    missing.
    """
    path = var / "secrets.json"
    var.mkdir(parents=True, exist_ok=True)
    with (var / "secrets.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        made = {
            "secret_key": secrets.token_urlsafe(48),
            "jwt_keys": [f"dev:{secrets.token_urlsafe(48)}"],
            "audit_keys": [f"dev:{base64.b64encode(secrets.token_bytes(32)).decode()}"],
            "backup_keys": [base64.b64encode(secrets.token_bytes(32)).decode()],
        }
        if made.keys() - kept.keys():
            kept = {**made, **kept}
            draft = var / "secrets.draft"
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(kept))
            draft.replace(path)
    return kept
