"""A web process that requires confirmed addresses and a second factor, and a worker that delivers its mails.

The worker writes mails to a folder, so that a test can open the links in them.
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
from django.conf import settings

from tests.oidc_fixtures import OidcServer
from tests.oidc_server import CLIENT_ID, CLIENT_SECRET
from tests.stack import PASSWORD, ROOT, Stack, WebProcess


@dataclass
class WebAndWorker:
    """`web` runs with production's account settings; `worker` delivers the mails of the whole stack."""

    web: WebProcess
    worker: "subprocess.Popen[bytes]"
    mail_folder: Path
    worker_log: Path

    def mails_to(self, address: str) -> list[str]:
        """The text of every mail to `address`, oldest first."""
        return [path.read_text() for path in sorted(self.mail_folder.glob(f"*-{address}.txt"))]

    def tokens_to(self, address: str) -> list[str]:
        """The tokens of the links in the mails to `address`, oldest first."""
        return [match[1] for text in self.mails_to(address) if (match := re.search(r"#(\S+)", text))]

    def links_to(self, address: str) -> list[str]:
        """The links in the mails to `address`, oldest first. Fails when the worker has ended."""
        assert self.worker.poll() is None, self.worker_log.read_text()[-4000:]
        pattern = re.compile(r"https?://\S+#\S+")
        return [match[0] for text in self.mails_to(address) if (match := pattern.search(text))]

    def sign_up(self) -> str:
        """Register a new address, which still has to be confirmed, and return it."""
        address = f"{secrets.token_hex(6)}@example.com"
        response = httpx.post(
            f"{self.web.url}/api/v1/auth/register",
            json={"email": address, "password": PASSWORD},
            headers={"Host": "localhost"},
            timeout=30,
        )
        assert response.status_code == 202, response.text
        return address

    @contextmanager
    def mail_undeliverable(self) -> Iterator[None]:
        """While the block runs, the mail folder cannot be written to, so mails stay in their rows."""
        moved = self.mail_folder.with_suffix(".moved")
        self.mail_folder.rename(moved)
        self.mail_folder.touch()
        try:
            yield
        finally:
            self.mail_folder.unlink()
            moved.rename(self.mail_folder)


@pytest.fixture(scope="session")
def web_and_worker(
    stack: Stack, oidc_process: OidcServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebAndWorker]:
    """One pair for each test worker, on the PostgreSQL and Redis of its stack."""
    folder = tmp_path_factory.mktemp("mail")
    provider = {"issuer": oidc_process.url, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    variables = {
        "MAIL_URL": f"file://{folder}",
        "ACCOUNTS_EMAIL_VERIFICATION": "required",
        "STAFF_MFA": "required",
        "OIDC_PROVIDERS": json.dumps({"acme": provider}),
        "APP_HOST": "localhost",
    }
    web = stack.start_web(workers=1, **variables)
    worker_variables = {"PROCESS": "worker", "PORT": str(web.port), "VAR_DIR": str(web.log.parent)}
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "config.celery"]
    log_path = web.log.parent / "worker.log"
    with log_path.open("wb") as log:
        worker = subprocess.Popen(
            [
                *celery,
                "worker",
                "--pool",
                "solo",
                "--loglevel",
                "WARNING",
                "--queues",
                ",".join(settings.QUEUES),
            ],
            cwd=ROOT,
            env={**stack.environ, **variables, **worker_variables},
            stdout=log,
            stderr=log,
        )
        yield WebAndWorker(web, worker, folder, log_path)
        for process in (web.process, worker):
            process.terminate()
        for process in (web.process, worker):
            process.wait(40)
