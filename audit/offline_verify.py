"""Verify an exported audit trail: `python -m audit.offline_verify FILE --public-key KID:KEY`.

Needs neither Django nor a database.

KID:KEY is a line that `manage.py audit_keys show` printed. Get it from the operator on another way than the
file: a key that comes together with the file proves nothing.
"""

import argparse
import base64
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.chain import hashing

FORMAT = "getyousite-audit-export"
VERSION = 1


class ExportInvalid(Exception):
    """The file differs from what was sealed. The message says where and how."""


@dataclass
class OfflineResult:
    """How many entries and signed checkpoints were verified, and how many personal values are erased."""

    entries: int = 0
    checkpoints: int = 0
    erased: int = 0


def verify_lines(lines: Iterable[str], keys: dict[str, Ed25519PublicKey]) -> OfflineResult:
    """Verify an export line by line with public keys by kid. Raises ExportInvalid."""
    verifier = _Verifier(keys)
    for line_number, text in enumerate(lines, 1):
        try:
            verifier.verify_line(json.loads(text), is_first=line_number == 1)
        except ExportInvalid as fault:
            raise ExportInvalid(f"line {line_number}: {fault}") from None
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ExportInvalid(
                f"line {line_number}: not a line of an export ({type(error).__name__})"
            ) from None
    if verifier.digest is not None:
        raise ExportInvalid("the file ends before the checkpoint of its last run: it was cut")
    return verifier.result


class _Verifier:
    """Recomputes the chain over one unbroken run of seal numbers after the other."""

    def __init__(self, keys: dict[str, Ed25519PublicKey]) -> None:
        self.keys = keys
        self.result = OfflineResult()
        self.digest: bytes | None = None  # None between two runs
        self.expected_number = 0

    def verify_line(self, line: dict[str, Any], *, is_first: bool) -> None:
        if is_first:
            if line["kind"] != "header" or line["format"] != FORMAT or line["version"] != VERSION:
                raise ExportInvalid("not the header of an export")
        elif line["kind"] == "start":
            self._start_run(line["number"], bytes.fromhex(line["previous"]))
        elif line["kind"] == "checkpoint":
            self._end_run(line["document"])
        else:
            self._continue_run(line)

    def _start_run(self, number: int, previous_digest: bytes) -> None:
        if self.digest is not None:
            raise ExportInvalid("a run does not end at a checkpoint")
        if number == 1 and previous_digest != hashing.GENESIS_DIGEST:
            raise ExportInvalid("the first run does not start at the beginning of the chain")
        self.digest = previous_digest
        self.expected_number = number

    def _continue_run(self, line: dict[str, Any]) -> None:
        if self.digest is None or line["number"] != self.expected_number:
            raise ExportInvalid(f"number {line['number']} where {self.expected_number} is expected")
        if line["kind"] == "leaf":
            leaf = base64.b64decode(line["leaf"], validate=True)
        else:
            leaf = self._hash_entry(line)
        self.digest = hashing.chain_digest(self.digest, leaf)
        self.expected_number = self.expected_number + 1

    def _hash_entry(self, line: dict[str, Any]) -> bytes:
        """Verify the personal values of an entry, count the entry, and return its leaf hash."""
        fields = line["fields"]
        hashes = json.loads(fields["personal"])
        for field, (salt, value) in line["personal"].items():
            if hashing.hash_personal_value(base64.b64decode(salt), value) != hashes.get(field):
                raise ExportInvalid(f"the personal value `{field}` differs from what was sealed")
        self.result.entries += 1
        self.result.erased += len(hashes) - len(line["personal"])
        return hashing.hash_entry(fields[name].encode() for name in hashing.HASHED_FIELDS)

    def _end_run(self, text: str) -> None:
        document = hashing.parse_signed_document(text, self.keys)
        if document is None:
            raise ExportInvalid("the signature of the checkpoint is invalid")
        if (
            self.digest is None
            or document["number"] != self.expected_number - 1
            or document["digest"] != self.digest.hex()
        ):
            raise ExportInvalid("the entries before it do not lead to the signed checkpoint")
        self.digest = None
        self.result.checkpoints = self.result.checkpoints + 1


def main() -> int:
    """Run the command line. Returns 0 for an intact file, and 1 after printing the fault."""
    parser = argparse.ArgumentParser(
        prog="python -m audit.offline_verify", description="Verify an exported audit trail."
    )
    parser.add_argument("file")
    parser.add_argument(
        "--public-key",
        required=True,
        action="append",
        metavar="KID:KEY",
        help="A line that `manage.py audit_keys show` printed.",
    )
    arguments = parser.parse_args()
    try:
        keys = {
            kid: hashing.decode_public_key(key)
            for kid, _, key in (item.partition(":") for item in arguments.public_key)
        }
    except ValueError:
        parser.error("--public-key must be KID:KEY, where KEY is 32 bytes in base64")
    try:
        with open(arguments.file, encoding="utf-8") as lines:
            result = verify_lines(lines, keys)
    except (ExportInvalid, UnicodeDecodeError, OSError) as error:
        print(f"FAULT {error}")  # noqa: T201 - the output of a command
        return 1
    counts = f"{result.entries} entries, {result.checkpoints} checkpoints, {result.erased} values erased"
    print(f"good: {counts}")  # noqa: T201 - the output of a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
