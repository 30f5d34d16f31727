"""The vault's reference client for a terminal: `python -m vault.client login|list|get|put|rotate|password`.

Needs Python and `cryptography` only, no Django, and follows docs/vault.md. It does not trust the server:
envelopes decrypt only in their own place and version, a version older than one seen before is refused, and so
is a server that asks for a weaker key than before.
"""

import argparse
import getpass
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from vault.client_crypto import (
    NIL_ITEM_ID,
    VaultError,
    compact_json,
    decode_base64,
    decrypt_envelope,
    derive_account_key,
    derive_auth_hash,
    derive_master_key,
    encode_base64,
    encrypt_envelope,
)
from vault.client_state import ClientState

MIN_PASSWORD_CHARACTERS = 8
MAX_VAULTS = 100  # of one account; a list of this length is complete
REQUEST_TIMEOUT_SECONDS = 30


class Client:
    """The decrypted vaults of one account.

    `vaults` holds the content of each vault's own record and `vault_versions` its version, by vault id.
    `item_rows` holds items as the server sent them and `item_values` their decrypted content, by vault id and
    item id. `undecryptable` holds the names of rows that do not decrypt.
    """

    def __init__(self, state: ClientState) -> None:
        self.state = state
        self.master_key = b""
        self._clear()

    def _clear(self) -> None:
        self.vaults: dict[UUID, dict[str, Any]] = {}
        self.vault_versions: dict[UUID, int] = {}
        self.item_rows: dict[tuple[UUID, UUID], dict[str, Any]] = {}
        self.item_values: dict[tuple[UUID, UUID], dict[str, Any]] = {}
        self.undecryptable: list[str] = []

    def request(self, method: str, path: str, body: Any = None, *, if_match: int | None = None) -> Any:
        """Send one request and return the JSON of the response. Raises VaultError."""
        headers = {"Content-Type": "application/json"}
        if self.state.access:
            headers["Authorization"] = f"Bearer {self.state.access}"
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        content = None if body is None else json.dumps(body).encode()
        # `load_or_create_state` allows https and this machine only.
        url = f"{self.state.url}/api/v1/{path}"
        request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as response:  # noqa: S310
                text = response.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            problem = parse_problem(error.read())
            message = f"{error.code} {problem.get('code')}: {problem.get('detail')}"
            raise VaultError(message, problem) from None
        except (OSError, ValueError) as error:
            raise VaultError(f"The server did not answer with JSON: {error}") from None

    def get_sign_in_parameters(self) -> dict[str, Any]:
        """Return the key derivation parameters. Raises VaultError for a weaker key than before."""
        parameters: dict[str, Any] = self.request("POST", "auth/prelogin", {"email": self.state.email})
        if parameters["scheme"] != "blind":
            raise VaultError("This is not a zero-knowledge account: the server would see its password.")
        if parameters["kdf"]["iterations"] < self.state.iterations:
            raise VaultError("This server requests a weaker key than before. Do not sign in.")
        return parameters

    def sign_in(self, password: str) -> None:
        """Derive the keys and sign in; asks for a second factor when needed. Raises VaultError."""
        parameters = self.get_sign_in_parameters()
        iterations = parameters["kdf"]["iterations"]
        salt = decode_base64(parameters["salt"])
        self.master_key = derive_master_key(password, salt=salt, iterations=iterations)
        self.state.access = ""
        auth_hash = encode_base64(derive_auth_hash(self.master_key))
        body = {"email": self.state.email, "auth_hash": auth_hash}
        try:
            session = self.request("POST", "auth/login", body)
        except VaultError as refusal:
            if refusal.problem.get("code") != "mfa_required":
                raise
            code = prompt_secret("VAULT_CODE", "Code of your app, or a recovery code: ")
            factor = {"code" if code.replace(" ", "").isdecimal() else "recovery_code": code}
            body = {"challenge": refusal.problem["challenge"], **factor}
            session = self.request("POST", "auth/mfa/verify", body)
        self.state.access = session["access"]
        self.state.iterations = iterations

    def sync(self) -> None:
        """Read and decrypt everything. Raises VaultError when the server returns an older state.

        Rows that cannot be decrypted are listed in `undecryptable`.
        """
        rows = self._read_changes()
        for name, row in rows.items():
            self.state.verify_version(name, row["version"])
        self._clear()
        # Vaults come before items, because a vault's record contains the key of its items.
        for name, row in sorted(rows.items(), key=lambda pair: bool(pair[1]["item_id"])):
            self._apply_row(name, row)
        missing = [
            name
            for name, version in self.state.versions.items()
            if version > 0 and self._is_missing_item(name, rows)
        ]
        if missing:
            raise VaultError(
                f"The server did not return {missing[0]}, and did not report that it was deleted."
            )

    def _read_changes(self) -> dict[str, dict[str, Any]]:
        """Return every row, by `<vault id>/<item id>` with the nil UUID for a vault's own record."""
        rows: dict[str, dict[str, Any]] = {}
        cursor = ""
        has_more = True
        while has_more:
            page = self.request("GET", f"vault/changes?since={cursor}")
            for row in page["results"]:
                item_id = UUID(row["item_id"]) if row["item_id"] else NIL_ITEM_ID
                rows[f"{UUID(row['vault_id'])}/{item_id}"] = row
            cursor = page["cursor"]
            has_more = page["more"]
        return rows

    def _is_missing_item(self, name: str, rows: dict[str, Any]) -> bool:
        """Return whether the server returned the vault of an item but not the item."""
        vault_id, _, item_id = name.partition("/")
        return UUID(vault_id) in self.vaults and UUID(item_id) != NIL_ITEM_ID and name not in rows

    def _apply_row(self, name: str, row: dict[str, Any]) -> None:
        vault_id = UUID(row["vault_id"])
        item_id = UUID(row["item_id"]) if row["item_id"] else NIL_ITEM_ID
        if row["deleted"]:
            self.state.versions[name] = -row["version"]
            return
        try:
            if not row["item_id"]:
                self.vaults[vault_id] = self._decrypt_record(row)
                self.vault_versions[vault_id] = row["version"]
            elif vault_id in self.vaults:
                key = self._key_of(vault_id)
                plaintext = decrypt_envelope(key, row, vault_id=vault_id, item_id=item_id)
                self.item_rows[vault_id, item_id] = row
                self.item_values[vault_id, item_id] = json.loads(plaintext)
            else:
                return
        except (VaultError, ValueError, KeyError):
            self.undecryptable.append(name)
            return
        self.state.versions[name] = row["version"]

    def _key_of(self, vault_id: UUID) -> bytes:
        return decode_base64(self.vaults[vault_id]["key"])

    def _decrypt_record(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the content of a vault's own record. Raises VaultError, ValueError, KeyError."""
        key = derive_account_key(self.master_key)
        plaintext = decrypt_envelope(key, row, vault_id=UUID(row["vault_id"]), item_id=NIL_ITEM_ID)
        record: dict[str, Any] = json.loads(plaintext)
        decode_base64(record["key"])
        return record

    def _encrypt_record(self, vault_id: UUID, record: dict[str, Any], version: int) -> dict[str, Any]:
        """Encrypt a vault's own record with the account key."""
        key = derive_account_key(self.master_key)
        return encrypt_envelope(
            key, compact_json(record), vault_id=vault_id, item_id=NIL_ITEM_ID, version=version
        )

    def change_password(self, password: str) -> None:
        """Replace the password, and re-encrypt every vault's own record in the same request.

        Includes vaults in the trash. Raises VaultError.
        """
        if self.undecryptable:
            names = ", ".join(self.undecryptable)
            raise VaultError(f"First delete the items that cannot be decrypted: {names}")
        salt = os.urandom(16)
        iterations = self.state.iterations
        current_auth_hash = derive_auth_hash(self.master_key)
        records = self._next_records()
        self.master_key = derive_master_key(password, salt=salt, iterations=iterations)
        body = {
            "current_auth_hash": encode_base64(current_auth_hash),
            "scheme": "blind",
            "kdf": {"algorithm": "PBKDF2-SHA256", "iterations": iterations},
            "salt": encode_base64(salt),
            "auth_hash": encode_base64(derive_auth_hash(self.master_key)),
            "vaults": [
                {"vault_id": str(vault_id), **self._encrypt_record(vault_id, record, version)}
                for vault_id, record, version in records
            ],
        }
        self.state.access = self.request("POST", "auth/password/vaults", body)["access"]
        self.sync()

    def _next_records(self) -> list[tuple[UUID, dict[str, Any], int]]:
        """Return id, own record and next version of every vault, those in the trash included."""
        records = [
            (vault_id, record, self.vault_versions[vault_id] + 1) for vault_id, record in self.vaults.items()
        ]
        trash = self.request("GET", f"vault?deleted=true&limit={MAX_VAULTS}")["results"]
        for head in trash:
            row = self.request("GET", f"vault/{head['vault_id']}?deleted=true")
            records.append((UUID(row["vault_id"]), self._decrypt_record(row), row["version"] + 1))
        return records

    def create_vault(self) -> UUID:
        """Create a vault with a random key and return its id. Raises VaultError."""
        vault_id = uuid4()
        record = {"key": encode_base64(os.urandom(32))}
        self.request(
            "POST", "vault", {"vault_id": str(vault_id), **self._encrypt_record(vault_id, record, 1)}
        )
        self.vaults[vault_id] = record
        self.vault_versions[vault_id] = 1
        return vault_id

    def put_item(self, vault_id: UUID, item_id: UUID, value: dict[str, Any]) -> None:
        """Create an item, or replace the version that was read last.

        Raises VaultError when another client has changed it since.
        """
        row = self.item_rows.get((vault_id, item_id))
        version = row["version"] + 1 if row else 1
        envelope = encrypt_envelope(
            self._key_of(vault_id), compact_json(value), vault_id=vault_id, item_id=item_id, version=version
        )
        if row:
            self.request("PUT", f"vault/{vault_id}/items/{item_id}", envelope, if_match=version - 1)
        else:
            body = {"item_id": str(item_id), **envelope}
            self.request("POST", f"vault/{vault_id}/items", body, if_match=self.vault_versions[vault_id])
        self.state.versions[f"{vault_id}/{item_id}"] = version

    def rotate_vault_key(self, vault_id: UUID) -> None:
        """Replace a vault's key and re-encrypt its record and items in one request. Raises VaultError.

        The server deletes former versions and the trash of the vault.
        """
        key = os.urandom(32)
        version = self.vault_versions[vault_id] + 1
        items = []
        for (item_vault_id, item_id), value in self.item_values.items():
            if item_vault_id == vault_id:
                next_version = self.item_rows[vault_id, item_id]["version"] + 1
                envelope = encrypt_envelope(
                    key, compact_json(value), vault_id=vault_id, item_id=item_id, version=next_version
                )
                items.append({"item_id": str(item_id), **envelope})
        record = {**self.vaults[vault_id], "key": encode_base64(key)}
        body = {**self._encrypt_record(vault_id, record, version), "items": items}
        self.request("POST", f"vault/{vault_id}/rotate", body, if_match=version - 1)


def parse_problem(body: bytes) -> dict[str, Any]:
    """Return the problem document of an error response, or an empty dictionary."""
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def main(arguments: list[str]) -> int:
    """Run the command line. Returns 0, or 1 after printing the error on standard error."""
    try:
        run_command(build_parser().parse_args(arguments))
    except VaultError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vault.client", description="Read and write your vaults from a terminal."
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=Path.home() / ".getyousite-vault.json",
        help="File in which the client stores versions and iterations.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    login = commands.add_parser("login", help="Sign in to a server and store its address.")
    login.add_argument("url")
    login.add_argument("email")
    commands.add_parser("list", help="Print the names of all items.")
    get = commands.add_parser("get", help="Print the secret of an item.")
    get.add_argument("name")
    put = commands.add_parser("put", help="Store an item. The secret is read from standard input.")
    put.add_argument("name")
    commands.add_parser("rotate", help="Replace the key of every vault.")
    commands.add_parser(
        "password", help="Change the password. It is read from VAULT_NEW_PASSWORD or a prompt."
    )
    return parser


def run_command(options: argparse.Namespace) -> None:
    """Sign in, read the vaults, run one command and save the state. Raises VaultError.

    The password comes from VAULT_PASSWORD or a prompt in each run, because no key is ever saved.
    """
    state = load_or_create_state(options)
    client = Client(state)
    client.sign_in(prompt_secret("VAULT_PASSWORD", "Password: "))
    client.sync()
    if client.undecryptable:
        print(f"These items cannot be decrypted: {', '.join(client.undecryptable)}", file=sys.stderr)
    execute(client, options)
    state.save(options.state)


def load_or_create_state(options: argparse.Namespace) -> ClientState:
    """Return the saved state; for `login` to another account a new one. Raises VaultError."""
    saved = ClientState.load(options.state) if options.state.exists() else None
    if options.command != "login":
        if saved is None:
            raise VaultError("Sign in first: python -m vault.client login URL EMAIL")
        return saved
    if not options.url.startswith(("https://", "http://localhost:", "http://127.0.0.1:")):
        raise VaultError("The address must be https://.")
    url = options.url.rstrip("/")
    if saved and (saved.url, saved.email) == (url, options.email):
        return saved
    return ClientState(url, options.email)


def execute(client: Client, options: argparse.Namespace) -> None:
    """Run the command on the vaults that were read. Raises VaultError."""
    items = {value.get("name", ""): (ids, value) for ids, value in client.item_values.items()}
    if options.command == "list":
        print("\n".join(sorted(items)) or "The vault is empty.")
    elif options.command == "get":
        if options.name not in items:
            raise VaultError(f"There is no item {options.name!r}.")
        _, value = items[options.name]
        print(value.get("secret", ""))
    elif options.command == "put":
        vault_id = next(iter(client.vaults), None) or client.create_vault()
        ids, value = items.get(options.name, ((vault_id, uuid4()), {}))
        secret = sys.stdin.read().rstrip("\n")
        client.put_item(*ids, {**value, "name": options.name, "secret": secret})
    elif options.command == "rotate":
        for vault_id in client.vaults:
            client.rotate_vault_key(vault_id)
        client.sync()
    elif options.command == "password":
        client.change_password(read_new_password())


def prompt_secret(variable: str, prompt: str) -> str:
    """Return the environment variable, or ask for the value without showing it."""
    return os.environ.get(variable) or getpass.getpass(prompt)


def read_new_password() -> str:
    """Return the environment variable VAULT_NEW_PASSWORD, or ask for the password twice.

    A mistyped password would lock the vault for ever.

    Raises VaultError for a short password, and when the two inputs differ.
    """
    password = prompt_secret("VAULT_NEW_PASSWORD", "New password: ")
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise VaultError(f"Use at least {MIN_PASSWORD_CHARACTERS} characters.")
    if "VAULT_NEW_PASSWORD" not in os.environ and password != getpass.getpass("New password again: "):
        raise VaultError("The two passwords differ.")
    return password


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
