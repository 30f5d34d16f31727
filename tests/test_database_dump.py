"""What a copy of the database gives away about accounts, seen from outside."""

import httpx
import pyotp
import pytest

from tests.stack import PASSWORD, wait_until

pytestmark = pytest.mark.stack


def test_a_dump_of_the_database_holds_nothing_that_lets_anybody_in(web_and_worker, stack, person):
    """Everything of the process from outside, then every row of every table as text, while mails wait in
    their rows.
    """
    web = web_and_worker.web
    bearer = {"Authorization": f"Bearer {person.access}"}
    key = person.call("POST", "api-keys", {"label": "x", "scopes": ["sites.read"]}).json()["key"]
    secret = person.call("POST", "auth/totp").json()["secret"]
    codes = person.call("POST", "auth/totp/confirm", {"code": pyotp.TOTP(secret).now()}).json()[
        "recovery_codes"
    ]
    with web_and_worker.mail_undeliverable():
        httpx.post(
            f"{web.url}/api/v1/auth/password/forgot",
            json={"email": person.email},
            headers={"Host": "localhost"},
        )
        made = "from accounts.models import EmailProof as P; from accounts.services.email_links import token_of as t; print(*[t(p) for p in P.objects.all()])"
        mailed = f"from core.models import Mail; print(Mail.objects.filter(to='{person.email}', template='reset_password').exclude(facts='{{}}').count())"
        wait_until(lambda: stack.manage("shell", "-v", "0", "-c", mailed).strip() == "1", seconds=30)
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
