"""A copy of the database is worth nothing to an attacker: it holds no secret that opens an account."""

import httpx
import pyotp
import pytest

from tests.stack import PASSWORD, wait_until

pytestmark = pytest.mark.stack
DUMP_ALL_TABLES = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SET app.context = 'system'")
    cursor.execute('''
        SELECT c.oid::regclass::text
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND n.nspname = 'public'
    ''')
    for (table,) in cursor.fetchall():
        cursor.execute(f"SELECT t::text FROM {table} t")
        print(table, *cursor.fetchall(), sep="\\n")
"""
COUNT_PREPARED_RESET_MAILS = """
from core.models import Mail
mails = Mail.objects.filter(to={email!r}, template='reset_password')
print(mails.exclude(context='{{}}').count())
"""
PRINT_LINK_TOKENS = """
from accounts.models import EmailProof
from accounts.services.email_links import make_token
print(*[make_token(proof) for proof in EmailProof.objects.all()])
"""


def run_in_shell(stack, script):
    return stack.manage("shell", "-v", "0", "-c", script)


def test_database_dump_holds_no_password_token_key_or_code(web_and_worker, stack, person):
    """Creates every kind of secret over HTTP, and dumps all tables while mails wait in their rows."""
    web = web_and_worker.web
    key = person.call("POST", "api-keys", {"label": "x", "scopes": ["sites.read"]}).json()["key"]
    secret = person.call("POST", "auth/totp").json()["secret"]
    confirmed = person.call("POST", "auth/totp/confirm", {"code": pyotp.TOTP(secret).now()})
    codes = confirmed.json()["recovery_codes"]
    with web_and_worker.mail_undeliverable():
        httpx.post(
            f"{web.url}/api/v1/auth/password/forgot",
            json={"email": person.email},
            headers={"Host": "localhost"},
        )
        count_mails = COUNT_PREPARED_RESET_MAILS.format(email=person.email)
        wait_until(lambda: run_in_shell(stack, count_mails).strip() == "1", seconds=30)
        link_tokens = run_in_shell(stack, PRINT_LINK_TOKENS).split()
        refresh = person.browser.cookies["refresh"]

        dump = run_in_shell(stack, DUMP_ALL_TABLES)

    assert person.email in dump
    assert link_tokens
    secrets = [
        PASSWORD,
        refresh.rpartition(".")[2],
        person.access.rpartition(".")[2],
        key,
        key.split("_")[3][:32],
        secret,
        *codes,
        *(code.replace("-", "") for code in codes),
        *(token.rpartition(".")[2] for token in link_tokens),
    ]
    assert [value for value in secrets if value in dump or value.encode().hex() in dump] == []
    headers = {"Host": "localhost", "Authorization": f"Bearer {person.access}"}
    assert httpx.get(f"{web.url}/api/v1/auth/me", headers=headers).status_code == 200
