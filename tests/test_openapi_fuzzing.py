"""The OpenAPI document is what the server does: schemathesis sends it what the document allows, and what it
does not.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import ROOT

pytestmark = pytest.mark.stack
EXAMPLES = (
    "400" if os.environ.get("SOAK") else "5"
)  # besides the edge values of each field, which are always sent
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"


def fuzz(web, person, *arguments, of=None):
    """Run schemathesis with a real id most of the time, a site of `person` or `of`; its output."""
    known = of or person.publish()[0]
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{web.url}/api/schema",
        "--header",
        f"Authorization: Bearer {person.access}",
        "--checks",
        CHECKS,
        "--max-examples",
        EXAMPLES,
        "--workers",
        "1",
        "--generation-database",
        "none",
        "--no-color",
        *arguments,
    ]
    scratch = ROOT / "var" / "test" / "schemathesis"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    environ = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.fuzz_hooks",
        "FUZZ_ID": known,
        "PYTHONPATH": str(ROOT),
    }
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=scratch, env=environ, timeout=1500)
        if (
            "AST constructor recursion depth mismatch" not in done.stdout
        ):  # CPython gh-106905, in schemathesis's own threads
            break
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    return done.stdout


ENDS_THE_SESSION = ["logout_all", "delete_me", "end_session"]
OF_STAFF = [
    "list_users",
    "create_user",
    "user",
    "list_roles",
    "create_role",
    "role",
    "change_role",
    "delete_role",
    "list_permissions",
]
OF_ONE_ACCOUNT = ["replace_user", "change_user", "set_user_roles", "delete_user"]


def test_no_5xx_and_no_undocumented_answer(stack, person):
    spared = [part for operation in ENDS_THE_SESSION for part in ("--exclude-operation-id", operation)]

    output = fuzz(stack.webs[0], person, *spared)

    assert "401 Unauthorized" not in output
    assert person.call("GET", "auth/me").status_code == 200


@pytest.mark.parametrize("operation", ENDS_THE_SESSION)
def test_what_ends_the_session_is_as_documented_too(stack, person, operation):
    assert "Tested: 1" in fuzz(stack.webs[0], person, "--include-operation-id", operation)


@pytest.fixture
def administrator(stack, person):
    stack.manage("create_admin", person.email, ADMIN_PASSWORD="not used: there is an account")
    person.sign_in()
    return person


def test_operations_of_staff_are_as_documented(stack, administrator, other_person):
    chosen = [part for operation in OF_STAFF for part in ("--include-operation-id", operation)]
    role = administrator.call(
        "POST", "roles", {"name": f"own-{other_person.id[-12:]}", "permissions": []}
    ).json()

    output = fuzz(stack.webs[0], administrator, *chosen, of=role["id"])

    assert "401 Unauthorized" not in output
    assert "403 Forbidden" not in output


def test_operations_on_accounts_are_as_documented(stack, administrator, other_person):
    chosen = [part for operation in OF_ONE_ACCOUNT for part in ("--include-operation-id", operation)]

    output = fuzz(stack.webs[0], administrator, *chosen, of=other_person.id)

    assert f"Tested: {len(OF_ONE_ACCOUNT)}" in output
