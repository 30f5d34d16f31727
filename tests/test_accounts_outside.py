"""Accounts from outside: a mail server over TLS, a worker, and the samples of docs/accounts.md in Chromium."""

import datetime
import email
import email.policy
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyotp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config import embedded
from core.processes import port_is_free
from tests.stack import PASSWORD, ROOT, eventually
from tests.test_browser import CHROMIUM, SIZES, browser, look, picture  # noqa: F401 - fixtures

pytestmark = pytest.mark.stack
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="browser test: Chromium is not installed (apt-get install chromium)"
)


@dataclass
class Mailbox:
    """A mail server in a process of its own, and what it took."""

    port: int
    folder: Path

    def messages(self, address: str | None = None) -> list[email.message.EmailMessage]:
        """Oldest first; those to `address` alone."""
        paths = sorted(self.folder.glob("*.eml"), key=lambda path: int(path.stem))
        read = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]
        return [message for message in read if address in (None, message["To"])]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for `localhost` that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder


@pytest.fixture
def mailbox(certificate, tmp_path):
    """Start a mail server on loopback: `smtps`, `starttls`, or `plain`."""
    started = []

    def start(tls, *, port=None):
        found = Mailbox(port or embedded.free_port(), tmp_path / f"mailbox-{len(started)}")
        found.folder.mkdir()
        command = [sys.executable, "-m", "tests.mail_server", str(found.port), tls, str(certificate), str(found.folder)]
        started.append(subprocess.Popen(command, cwd=ROOT))
        eventually(lambda: not port_is_free("127.0.0.1", found.port), seconds=20)
        return found

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


@pytest.fixture
def office(stack, certificate):
    """Start a web process in required mode and a worker that mails to `url`; stopped afterwards."""
    started = []

    def start(url, *, trusted=True, **environ):
        mine = {"MAIL_URL": url, "ACCOUNTS_EMAIL_VERIFICATION": "required", **environ}
        if trusted:
            mine["SSL_CERT_FILE"] = str(certificate / "certificate.pem")
        web = stack.start_web(workers=1, **mine)
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "--quiet", "-A", "config.celery", "worker", "--pool", "solo", "--loglevel", "WARNING"],
            cwd=ROOT, env={**stack.environ, **mine, "PROCESS": "worker", "PORT": str(web.port), "VAR_DIR": str(web.log.parent)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started.extend([web.process, worker])
        return web

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(40)
    stack.manage("shell", "-c", "from core.models import Mail; Mail.objects.all().delete()")


def sign_up(web):
    address = f"{secrets.token_hex(6)}@example.com"
    answer = httpx.post(
        f"{web.url}/api/v1/auth/register", json={"email": address, "password": PASSWORD}, headers={"Host": "localhost"}
    )
    assert answer.status_code == 202, answer.text
    return address


def verify(web, message):
    token = re.search(r"#(\S+)", message.get_body(("plain",)).get_content())[1]
    return httpx.post(f"{web.url}/api/v1/auth/email/verify", json={"token": token}, headers={"Host": "localhost"})


@pytest.mark.parametrize(("scheme", "tls"), [("smtps", "smtps"), ("smtp", "starttls")])
def test_a_sign_up_is_mailed_over_tls_and_its_link_signs_in(office, mailbox, scheme, tls):
    server = mailbox(tls)
    web = office(f"{scheme}://localhost:{server.port}")
    address = sign_up(web)

    (message,) = eventually(lambda: server.messages(address), seconds=30)

    assert (message["X-Over-TLS"], message["Subject"]) == ("True", "Confirm your address to finish signing up")
    assert message["Auto-Submitted"] == "auto-generated"
    html = message.get_body(("html",)).get_content()
    assert re.search(r"http://localhost:\d+/account/verify-email#", html)
    assert verify(web, message).json()["user"]["email"] == address
    assert verify(web, message).json()["code"] == "link_refused"


@pytest.mark.parametrize(
    ("tls", "trusted"), [("plain", True), ("starttls", False)], ids=["no STARTTLS", "unknown certificate"]
)
def test_no_mail_goes_where_tls_does_not_hold(office, stack, mailbox, tls, trusted):
    server = mailbox(tls)
    web = office(f"smtp://localhost:{server.port}", trusted=trusted)
    address = sign_up(web)
    waiting = f"from core.models import Mail; print(Mail.objects.get(to='{address}').error)"

    error = eventually(lambda: tried(stack, waiting), seconds=30)

    assert error in {"SMTPNotSupportedError", "SSLCertVerificationError"}
    assert server.messages() == []


def tried(stack, script):
    try:
        return stack.manage("shell", "-v", "0", "-c", script).strip()
    except AssertionError:  # there is no row yet
        return ""


def test_a_mail_server_that_was_away_gets_the_mail_later(office, stack, mailbox):
    port = embedded.free_port()
    web = office(f"smtps://localhost:{port}")
    address = sign_up(web)
    waiting = f"from core.models import Mail; print(Mail.objects.get(to='{address}').error)"
    assert eventually(lambda: tried(stack, waiting), seconds=30) == "ConnectionRefusedError"

    server = mailbox("smtps", port=port)
    again = "from core.tasks import deliver_mail; deliver_mail.delay()"  # what beat sends each minute
    (message,) = eventually(
        lambda: stack.manage("shell", "-v", "0", "-c", again) or server.messages(address), seconds=40
    )

    assert verify(web, message).status_code == 200


def test_a_dump_of_the_database_holds_nothing_that_lets_anybody_in(office, stack, person):
    """Everything of the process from outside, then every row of every table as text."""
    web = office("smtps://localhost:1")  # nobody takes the mail, so it waits in its row
    bearer = {"Authorization": f"Bearer {person.access}"}
    key = person.call("POST", "api-keys", {"label": "x", "scopes": ["sites.read"]}).json()["key"]
    secret = person.call("POST", "auth/totp").json()["secret"]
    codes = person.call("POST", "auth/totp/confirm", {"code": pyotp.TOTP(secret).now()}).json()["recovery_codes"]
    httpx.post(f"{web.url}/api/v1/auth/password/forgot", json={"email": person.email}, headers={"Host": "localhost"})
    made = "from accounts.models import EmailProof as P; from accounts.services.emails import token_of as t; print(*[t(p) for p in P.objects.all()])"
    mailed = f"from core.models import Mail; print(Mail.objects.filter(to='{person.email}', template='reset_password').count())"
    eventually(lambda: stack.manage("shell", "-v", "0", "-c", mailed).strip() == "1", seconds=30)
    links = stack.manage("shell", "-v", "0", "-c", made).split()
    refresh = person.browser.cookies["refresh"]

    everything = stack.manage("shell", "-v", "0", "-c", DUMP)

    assert person.email in everything
    assert links
    hidden = [
        PASSWORD,
        refresh.rpartition(".")[2],
        person.access.rpartition(".")[2],
        key,
        key.split("_")[3][:32],
        secret,
        *codes,
    ]
    hidden += [code.replace("-", "") for code in codes] + [link.rpartition(".")[2] for link in links]
    found = [value for value in hidden if value in everything or value.encode().hex() in everything]
    assert found == []
    assert httpx.get(f"{web.url}/api/v1/auth/me", headers={"Host": "localhost", **bearer}).status_code == 200


DUMP = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SET app.context = 'system'")
    cursor.execute("SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public'")
    for (table,) in cursor.fetchall():
        cursor.execute(f"SELECT t::text FROM {table} t")
        print(table, *cursor.fetchall(), sep="\\n")
"""
