"""Helpers that use the Python client against a running server."""

import os
import subprocess
import sys

import httpx

from tests.stack import ROOT
from vault import client_crypto

PASSWORD = "correct horse battery staple"
ITERATIONS = 600_000


def run_client(state, *arguments, stdin="", **environment):
    """Run `python -m vault.client` in a process without Django settings."""
    environment = {"PATH": os.environ["PATH"], "VAULT_PASSWORD": PASSWORD, **environment}
    command = [sys.executable, "-m", "vault.client", "--state", str(state), *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, input=stdin, capture_output=True, text=True, timeout=60
    )


def sign_up(web, email, password=PASSWORD):
    """Register a blind account."""
    salt = os.urandom(16)
    master_key = client_crypto.derive_master_key(password, salt=salt, iterations=ITERATIONS)
    body = {
        "email": email,
        "scheme": "blind",
        "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": ITERATIONS},
        "salt": client_crypto.encode_base64(salt),
        "auth_hash": client_crypto.encode_base64(client_crypto.derive_auth_hash(master_key)),
    }
    response = httpx.post(f"{web.url}/api/v1/auth/register", json=body)
    assert response.status_code == 201, response.text
