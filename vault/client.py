"""The reference client of the vault, for people at a terminal: `python -m vault.client
login|list|get|put|rotate|password`.

It needs `cryptography` and Python alone, no Django, and follows docs/vault.md; vault/vectors.json checks it
and the one in JavaScript by the same examples. What the server says is not believed: envelopes open only in
their place and version, a version that was seen before never comes back older, and a server that asks for a
weaker key than before is refused.
"""

import argparse
import base64
import getpass
import hashlib
import json
import os
import struct
import sys
import unicodedata
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LEAST_ITERATIONS = 600_000
MOST_ITERATIONS = 10_000_000
MIN_PASSWORD = 8  # characters
NO_ITEM = UUID(int=0)  # in the place of a vault's own record


class Refused(Exception):
    """The server said no, or what it said cannot be believed.

    The message is for people; `told` is the server's problem.
    """

    def __init__(self, message: str, told: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.told = told or {}


def hkdf(key: bytes, *, salt: bytes, info: str) -> bytes:
    """HKDF-SHA256 (RFC 5869), 32 bytes; `info` begins with `getyousite/v1/`."""
    return HKDF(hashes.SHA256(), 32, salt, f"getyousite/v1/{info}".encode()).derive(key)


def master_key(password: str, *, salt: bytes, iterations: int) -> bytes:
    """PBKDF2-HMAC-SHA256 of the password in NFKC.

    Raises Refused below 600,000 iterations, and for absurdly many.
    """
    if not LEAST_ITERATIONS <= iterations <= MOST_ITERATIONS:
        raise Refused("This server asks for too weak a key. Do not sign in.")
    return hashlib.pbkdf2_hmac("sha256", unicodedata.normalize("NFKC", password).encode(), salt, iterations)


def auth_hash(master: bytes) -> bytes:
    """What is sent in place of the password."""
    return hkdf(master, salt=b"", info="auth")


def account_key(master: bytes) -> bytes:
    """What seals the vaults' own records. It never leaves the client."""
    return hkdf(master, salt=b"", info="enc")


def place(vault_id: UUID, item_id: UUID, version: int) -> bytes:
    """The associated data: label, NUL, both ids (16 bytes each), version (4 bytes, big-endian)."""
    return b"getyousite/v1\0" + vault_id.bytes + item_id.bytes + struct.pack(">I", version)


def seal(
    key: bytes,
    plain: bytes,
    *,
    vault_id: UUID,
    item_id: UUID,
    version: int,
    iv: bytes | None = None,
    salt: bytes | None = None,
) -> dict[str, Any]:
    """An envelope under a key of its own. `iv` and `salt` are given by tests alone."""
    iv = iv or os.urandom(12)
    salt = salt or os.urandom(16)
    sealed = AESGCM(hkdf(key, salt=salt, info="envelope")).encrypt(
        iv, plain, place(vault_id, item_id, version)
    )
    return {"ciphertext": b64(sealed), "iv": b64(iv), "salt": b64(salt), "version": version, "alg": "A256GCM"}


def unseal(key: bytes, envelope: dict[str, Any], *, vault_id: UUID, item_id: UUID) -> bytes:
    """What an envelope holds. Raises Refused for one that was changed, or belongs elsewhere."""
    if envelope["alg"] != "A256GCM":
        raise Refused("An envelope names an algorithm that is not ours.")
    opened = AESGCM(hkdf(key, salt=raw(envelope["salt"]), info="envelope"))
    try:
        aad = place(vault_id, item_id, envelope["version"])
        return opened.decrypt(raw(envelope["iv"]), raw(envelope["ciphertext"]), aad)
    except InvalidTag:
        raise Refused("An envelope does not open: it was changed, or belongs elsewhere.") from None


def compact(value: Any) -> bytes:
    """JSON as short as the client in JavaScript writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def raw(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def problem(body: bytes) -> dict[str, Any]:
    """What a refusal says, if it is JSON."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@dataclass
class Memory:
    """What the client remembers between runs, so that the server cannot take it back.

    Nothing secret is in it but the access token, which lives for 15 minutes; the key never is.
    """

    url: str
    email: str
    iterations: int = LEAST_ITERATIONS
    cursor: str = ""
    access: str = ""
    seen: dict[str, int] = field(
        default_factory=dict
    )  # `vault/item` to the highest version, negative once deleted

    def check(self, name: str, version: Any) -> None:
        """Raise Refused for a version that is none, or older than one seen before."""
        if type(version) is not int or not abs(self.seen.get(name, 0)) <= version < 2**31 or not version:
            raise Refused(f"{name} was rolled back to version {version}.")


class Client:
    """A signed-in person's vaults.

    `vaults` has what is in each one's own record, by id; `broken` names what does not open.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.master = b""
        self.vaults: dict[UUID, dict[str, Any]] = {}
        self.heads: dict[UUID, int] = {}
        self.items: dict[tuple[UUID, UUID], dict[str, Any]] = {}
        self.values: dict[tuple[UUID, UUID], dict[str, Any]] = {}
        self.broken: list[str] = []

    def call(self, method: str, path: str, body: Any = None, *, if_match: int | None = None) -> Any:
        """One request. Raises Refused with what the server said."""
        sent = {"Content-Type": "application/json"}
        if self.memory.access:
            sent["Authorization"] = f"Bearer {self.memory.access}"
        if if_match is not None:
            sent["If-Match"] = f'"{if_match}"'
        content = None if body is None else json.dumps(body).encode()
        # Https, or this machine; see `main`.
        request = urllib.request.Request(f"{self.memory.url}/api/v1/{path}", content, sent, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                text = answer.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            told = problem(error.read())
            raise Refused(f"{error.code} {told.get('code')}: {told.get('detail')}", told) from None
        except (OSError, ValueError) as error:
            raise Refused(f"There was no answer that makes sense: {error}") from None

    def parameters(self) -> dict[str, Any]:
        """How this account signs in. Raises Refused for a weaker key than it had before."""
        told: dict[str, Any] = self.call("POST", "auth/prelogin", {"email": self.memory.email})
        if told["scheme"] != "blind":
            raise Refused("This account is not blind: the server would see its password.")
        if told["kdf"]["iterations"] < self.memory.iterations:
            raise Refused("This server asks for a weaker key than before. Do not sign in.")
        return told

    def sign_in(self, password: str) -> None:
        told = self.parameters()
        self.master = master_key(password, salt=raw(told["salt"]), iterations=told["kdf"]["iterations"])
        self.memory.access = ""
        body = {"email": self.memory.email, "auth_hash": b64(auth_hash(self.master))}
        try:
            done = self.call("POST", "auth/login", body)
        except Refused as refused:
            if refused.told.get("code") != "mfa_required":
                raise
            code = ask("VAULT_CODE", "Code of your app, or a recovery code: ")
            factor = {"code" if code.replace(" ", "").isdecimal() else "recovery_code": code}
            done = self.call("POST", "auth/mfa/verify", {"challenge": refused.told["challenge"], **factor})
        self.memory.access = done["access"]
        self.memory.iterations = told["kdf"]["iterations"]

    def sync(self) -> None:
        """Read everything anew, and believe nothing that is older than it was.

        What does not open is set aside in `broken`.
        """
        rows: dict[str, dict[str, Any]] = {}
        since = ""
        more = True
        while more:
            told = self.call("GET", f"vault/changes?since={since}")
            for row in told["results"]:
                rows[f"{UUID(row['vault_id'])}/{UUID(row['item_id']) if row['item_id'] else NO_ITEM}"] = row
            since = told["cursor"]
            more = told["more"]
        for name, row in rows.items():
            self.memory.check(name, row["version"])
        self.vaults = {}
        self.heads = {}
        self.items = {}
        self.values = {}
        self.broken = []
        for name, row in sorted(rows.items(), key=lambda named: bool(named[1]["item_id"])):  # vaults first
            self._take(name, row)
        lost = [
            name for name, version in self.memory.seen.items() if version > 0 and self._missing(name, rows)
        ]
        if lost:
            raise Refused(f"The server has lost {lost[0]}, and does not say that it was deleted.")

    def _missing(self, name: str, rows: dict[str, Any]) -> bool:
        """Whether something is not there whose vault is."""
        vault_id, _, item_id = name.partition("/")
        return UUID(vault_id) in self.vaults and UUID(item_id) != NO_ITEM and name not in rows

    def _take(self, name: str, row: dict[str, Any]) -> None:
        vault_id = UUID(row["vault_id"])
        item_id = UUID(row["item_id"]) if row["item_id"] else NO_ITEM
        if row["deleted"]:
            self.memory.seen[name] = -row["version"]
            return
        try:
            if not row["item_id"]:
                self.vaults[vault_id] = self._record_in(row)
                self.heads[vault_id] = row["version"]
            elif vault_id in self.vaults:
                plain = unseal(self._key_of(vault_id), row, vault_id=vault_id, item_id=item_id)
                self.items[vault_id, item_id] = row
                self.values[vault_id, item_id] = json.loads(plain)
            else:
                return
        except (Refused, ValueError, KeyError):
            self.broken.append(name)
            return
        self.memory.seen[name] = row["version"]

    def _key_of(self, vault_id: UUID) -> bytes:
        return raw(self.vaults[vault_id]["key"])

    def _record_in(self, row: dict[str, Any]) -> dict[str, Any]:
        """What a vault's own record says, its key first of all."""
        plain = unseal(account_key(self.master), row, vault_id=UUID(row["vault_id"]), item_id=NO_ITEM)
        record: dict[str, Any] = json.loads(plain)
        raw(record["key"])
        return record

    def change_password(self, password: str) -> None:
        """Replace the password: every vault's own record, in the trash too, is sealed anew in the same
        request.
        """
        if self.broken:
            raise Refused(f"First delete what does not open: {', '.join(self.broken)}")
        salt = os.urandom(16)
        iterations = self.memory.iterations
        before = auth_hash(self.master)
        after = master_key(password, salt=salt, iterations=iterations)
        trash = self.call("GET", "vault?deleted=true&limit=100")["results"]  # nobody has more
        rows = [self.call("GET", f"vault/{head['vault_id']}?deleted=true") for head in trash]
        records = [(pk, record, self.heads[pk] + 1) for pk, record in self.vaults.items()]
        records += [(UUID(row["vault_id"]), self._record_in(row), row["version"] + 1) for row in rows]
        self.master = after
        vaults = [
            {"vault_id": str(pk), **self._sealed(pk, record, version)} for pk, record, version in records
        ]
        kdf = {"algorithm": "PBKDF2-SHA256", "iterations": iterations}
        secret = {"scheme": "blind", "kdf": kdf, "salt": b64(salt), "auth_hash": b64(auth_hash(after))}
        body = {"current_auth_hash": b64(before), **secret, "vaults": vaults}
        self.memory.access = self.call("POST", "auth/password/vaults", body)["access"]
        self.sync()

    def make_vault(self) -> UUID:
        vault_id = uuid4()
        record = {"key": b64(os.urandom(32))}
        self.call("POST", "vault", {"vault_id": str(vault_id), **self._sealed(vault_id, record, 1)})
        self.vaults[vault_id] = record
        self.heads[vault_id] = 1
        return vault_id

    def _sealed(self, vault_id: UUID, record: dict[str, Any], version: int) -> dict[str, Any]:
        """A vault's own record, sealed with the account's key."""
        return seal(
            account_key(self.master), compact(record), vault_id=vault_id, item_id=NO_ITEM, version=version
        )

    def put(self, vault_id: UUID, item_id: UUID, value: dict[str, Any]) -> None:
        """Write an item, new or over the version that was read last.

        Raises Refused when somebody was faster.
        """
        row = self.items.get((vault_id, item_id))
        version = row["version"] + 1 if row else 1
        sealed = seal(
            self._key_of(vault_id), compact(value), vault_id=vault_id, item_id=item_id, version=version
        )
        if row:
            self.call("PUT", f"vault/{vault_id}/items/{item_id}", sealed, if_match=version - 1)
        else:
            body = {"item_id": str(item_id), **sealed}
            self.call("POST", f"vault/{vault_id}/items", body, if_match=self.heads[vault_id])
        self.memory.seen[f"{vault_id}/{item_id}"] = version

    def rotate(self, vault_id: UUID) -> None:
        """Give a vault a new key and seal everything anew: all of it or nothing.

        Former versions and its trash go.
        """
        key = os.urandom(32)
        version = self.heads[vault_id] + 1
        items = []
        for (in_vault, item_id), value in self.values.items():
            if in_vault == vault_id:
                after = self.items[in_vault, item_id]["version"] + 1
                sealed = seal(key, compact(value), vault_id=vault_id, item_id=item_id, version=after)
                items.append({"item_id": str(item_id), **sealed})
        record = {**self.vaults[vault_id], "key": b64(key)}
        body = {**self._sealed(vault_id, record, version), "items": items}
        self.call("POST", f"vault/{vault_id}/rotate", body, if_match=version - 1)


def main(arguments: list[str]) -> int:
    """0 when it was done; 1 with a sentence on standard error when not."""
    parser = argparse.ArgumentParser(
        prog="python -m vault.client", description="Your vaults, from a terminal."
    )
    parser.add_argument(
        "--state", type=Path, default=Path.home() / ".getyousite-vault.json", help="What it remembers."
    )
    acts = parser.add_subparsers(dest="act", required=True)
    login = acts.add_parser("login", help="Say where and who; asks for the password.")
    login.add_argument("url")
    login.add_argument("email")
    acts.add_parser("list", help="Names of everything.")
    get = acts.add_parser("get", help="Print one thing.")
    get.add_argument("name")
    put = acts.add_parser("put", help="Keep one thing; the secret is read from standard input.")
    put.add_argument("name")
    acts.add_parser("rotate", help="Give every vault a new key.")
    acts.add_parser("password", help="Replace the password, from VAULT_NEW_PASSWORD or by asking.")
    chosen = parser.parse_args(arguments)
    try:
        run(chosen)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def run(chosen: argparse.Namespace) -> None:
    """Do one command.

    The password comes from VAULT_PASSWORD or a question, each time: nothing that opens is kept.
    """
    if chosen.act == "login":
        if not chosen.url.startswith(("https://", "http://localhost:", "http://127.0.0.1:")):
            raise Refused("The address must be https://.")
        memory = Memory(chosen.url.rstrip("/"), chosen.email)
        if chosen.state.exists():
            before = Memory(**json.loads(chosen.state.read_text()))
            memory = before if (before.url, before.email) == (memory.url, memory.email) else memory
    elif chosen.state.exists():
        memory = Memory(**json.loads(chosen.state.read_text()))
    else:
        raise Refused("Sign in first: python -m vault.client login URL EMAIL")
    client = Client(memory)
    client.sign_in(ask("VAULT_PASSWORD", "Password: "))
    client.sync()
    act(client, chosen)
    save(chosen.state, memory)


def act(client: Client, chosen: argparse.Namespace) -> None:
    named = {value.get("name", ""): (ids, value) for ids, value in client.values.items()}
    if client.broken:
        print(f"These do not open: {', '.join(client.broken)}", file=sys.stderr)
    if chosen.act == "list":
        print("\n".join(sorted(named)) or "Nothing yet.")
    elif chosen.act == "get":
        if chosen.name not in named:
            raise Refused(f"There is no {chosen.name}.")
        print(named[chosen.name][1].get("secret", ""))
    elif chosen.act == "put":
        vault_id = next(iter(client.vaults), None) or client.make_vault()
        ids, value = named.get(chosen.name, ((vault_id, uuid4()), {}))
        client.put(*ids, {**value, "name": chosen.name, "secret": sys.stdin.read().rstrip("\n")})
    elif chosen.act == "rotate":
        for vault_id in client.vaults:
            client.rotate(vault_id)
        client.sync()
    elif chosen.act == "password":
        client.change_password(new_password())


def ask(variable: str, question: str) -> str:
    """A password, from the environment or by asking."""
    return os.environ.get(variable) or getpass.getpass(question)


def new_password() -> str:
    """From the environment, or typed twice: nobody can replace it.

    Raises Refused for a short one, and when the two differ.
    """
    found = ask("VAULT_NEW_PASSWORD", "New password: ")
    if len(found) < MIN_PASSWORD:
        raise Refused(f"Use at least {MIN_PASSWORD} characters.")
    if "VAULT_NEW_PASSWORD" not in os.environ and found != getpass.getpass("New password again: "):
        raise Refused("The two passwords differ.")
    return found


def save(path: Path, memory: Memory) -> None:
    draft = path.with_suffix(".draft")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({**memory.__dict__, "access": ""}))
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
