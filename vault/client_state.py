"""What the vault's Python client saves between runs."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vault.client_crypto import MIN_ITERATIONS, VaultError


@dataclass
class ClientState:
    """What the client remembers between runs, so that the server cannot go back to an older state.

    The state file contains no secret. `access` is an access token for 15 minutes and is not saved.
    """

    url: str
    email: str
    iterations: int = MIN_ITERATIONS
    access: str = ""
    # `<vault id>/<item id>` to the highest version seen, negative after a deletion.
    versions: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "ClientState":
        saved = json.loads(path.read_text())
        return cls(saved["url"], saved["email"], saved["iterations"], versions=saved["seen"])

    def save(self, path: Path) -> None:
        """Replace the file atomically. Only its owner can read it."""
        saved = {"url": self.url, "email": self.email, "iterations": self.iterations, "seen": self.versions}
        draft = path.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(saved))
        draft.replace(path)

    def verify_version(self, name: str, version: Any) -> None:
        """Raise VaultError unless `version` is valid and not older than the highest version seen."""
        highest = abs(self.versions.get(name, 0))
        if type(version) is not int or not max(highest, 1) <= version < 2**31:
            raise VaultError(f"{name} was rolled back to version {version}.")
