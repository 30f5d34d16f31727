"""A web process that asks for confirmed addresses and a second factor, with a worker that writes its mails to
a folder.
"""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.issuer import MockIssuer
from tests.oidc_issuer import CLIENT, SECRET
from tests.stack import PASSWORD, ROOT, Stack, Web


@dataclass
class Office:
    """`web` runs with the settings of production for accounts; `worker` delivers the mails of the whole
    stack.
    """

    web: Web
    worker: "subprocess.Popen[bytes]"
    mail_folder: Path
    worker_log: Path

    def mails_to(self, address: str) -> list[str]:
        """The text of every mail to `address`, oldest first."""
        return [path.read_text() for path in sorted(self.mail_folder.glob(f"*-{address}.txt"))]

    def tokens_to(self, address: str) -> list[str]:
        """The tokens of the links in them."""
        return [match[1] for text in self.mails_to(address) if (match := re.search(r"#(\S+)", text))]

    def links_to(self, address: str) -> list[str]:
        """The links in them, as a person would open them. Fails when the worker has ended."""
        assert self.worker.poll() is None, self.worker_log.read_text()[-4000:]
        return [
            match[0] for text in self.mails_to(address) if (match := re.search(r"https?://\S+#\S+", text))
        ]

    def sign_up(self) -> str:
        """Register a new address, which still has to be confirmed."""
        address = f"{secrets.token_hex(6)}@example.com"
        body = {"email": address, "password": PASSWORD}
        answer = httpx.post(
            f"{self.web.url}/api/v1/auth/register", json=body, headers={"Host": "localhost"}, timeout=30
        )
        assert answer.status_code == 202, answer.text
        return address

    @contextmanager
    def mail_undeliverable(self) -> Iterator[None]:
        """Mails cannot be written while the block runs, so they wait in their rows."""
        moved = self.mail_folder.with_suffix(".moved")
        self.mail_folder.rename(moved)
        self.mail_folder.touch()
        try:
            yield
        finally:
            self.mail_folder.unlink()
            moved.rename(self.mail_folder)


@pytest.fixture(scope="session")
def office(
    stack: Stack, _issuer_process: MockIssuer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    """One for each test worker, on its stack."""
    folder = tmp_path_factory.mktemp("mail")
    provider = {"issuer": _issuer_process.url, "client_id": CLIENT, "client_secret": SECRET}
    settings = {
        "MAIL_URL": f"file://{folder}",
        "ACCOUNTS_EMAIL_VERIFICATION": "required",
        "STAFF_MFA": "required",
        "OIDC_PROVIDERS": json.dumps({"acme": provider}),
        "APP_HOST": "localhost",
    }
    web = stack.start_web(workers=1, **settings)
    own = {"PROCESS": "worker", "PORT": str(web.port), "VAR_DIR": str(web.log.parent)}
    log = (web.log.parent / "worker.log").open("wb")
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "celery",
            "--quiet",
            "-A",
            "config.celery",
            "worker",
            "--pool",
            "solo",
            "--loglevel",
            "WARNING",
        ],
        cwd=ROOT,
        env={**stack.environ, **settings, **own},
        stdout=log,
        stderr=log,
    )
    yield Office(web, worker, folder, Path(log.name))
    for process in (web.process, worker):
        process.terminate()
    for process in (web.process, worker):
        process.wait(40)
    log.close()
