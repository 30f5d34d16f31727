"""Verify an exported trail: `python -m audit.offline_verify FILE --public-key K`.

Needs neither Django nor a database.

K is what `manage.py audit_keys show` printed, obtained from the operator by another way than the file: a key
that comes with the file proves nothing.
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


class Broken(Exception):
    """The file does not say what was sealed; the message says where and how."""


@dataclass
class Result:
    """How many entries, how many runs that end at a signed checkpoint, how many personal values were erased."""

    entries: int = 0
    checkpoints: int = 0
    erased: int = 0


def verify_lines(lines: Iterable[str], keys: dict[str, Ed25519PublicKey]) -> Result:
    """Check an export line by line. Raises Broken."""
    reader = _Reader(keys)
    for count, text in enumerate(lines, 1):
        try:
            reader.read(json.loads(text), first=count == 1)
        except Broken as broken:
            raise Broken(f"line {count}: {broken}") from None
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise Broken(f"line {count}: not a line of an export ({type(error).__name__})") from None
    if reader.digest is not None:
        raise Broken("the file ends before the checkpoint of its last run: it was cut")
    return reader.result


class _Reader:
    """Follows the chain through one run of numbers after the other."""

    def __init__(self, keys: dict[str, Ed25519PublicKey]) -> None:
        self.keys = keys
        self.result = Result()
        self.digest: bytes | None = None  # None between two runs
        self.expected = 0

    def read(self, line: dict[str, Any], *, first: bool) -> None:
        if first:
            if (
                line["kind"] != "header"
                or line["format"] != "getyousite-audit-export"
                or line["version"] != 1
            ):
                raise Broken("not the header of an export")
        elif line["kind"] == "start":
            self._start(line["number"], bytes.fromhex(line["previous"]))
        elif line["kind"] == "checkpoint":
            self._checkpoint(line["document"])
        else:
            self._follow(line)

    def _start(self, number: int, previous: bytes) -> None:
        if self.digest is not None:
            raise Broken("a run does not end at a checkpoint")
        if number == 1 and previous != hashing.GENESIS:
            raise Broken("the first run does not start at the beginning of the chain")
        self.digest = previous
        self.expected = number

    def _follow(self, line: dict[str, Any]) -> None:
        if self.digest is None or line["number"] != self.expected:
            raise Broken(f"number {line['number']} where {self.expected} belongs")
        leaf = base64.b64decode(line["leaf"], validate=True) if line["kind"] == "leaf" else self._entry(line)
        self.digest = hashing.link(self.digest, leaf)
        self.expected = self.expected + 1

    def _entry(self, line: dict[str, Any]) -> bytes:
        fields = line["fields"]
        hashes = json.loads(fields["personal"])
        for field, (salt, value) in line["personal"].items():
            if hashing.personal_hash(base64.b64decode(salt), value) != hashes.get(field):
                raise Broken(f"the personal value `{field}` is not what was sealed")
        self.result.entries += 1
        self.result.erased += len(hashes) - len(line["personal"])
        return hashing.leaf(fields[name].encode() for name in hashing.FIELDS)

    def _checkpoint(self, text: str) -> None:
        document = hashing.check(text, self.keys)
        if document is None:
            raise Broken("the signature of the checkpoint does not hold")
        if (
            self.digest is None
            or document["number"] != self.expected - 1
            or document["digest"] != self.digest.hex()
        ):
            raise Broken("the entries before it do not lead to the signed checkpoint")
        self.digest = None
        self.result.checkpoints = self.result.checkpoints + 1


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m audit.offline_verify", description="Verify an exported audit trail."
    )
    parser.add_argument("file")
    parser.add_argument(
        "--public-key",
        required=True,
        action="append",
        metavar="KID:KEY",
        help="As printed by audit_keys show.",
    )
    given = parser.parse_args()
    try:
        keys = {
            kid: hashing.public_key(key) for kid, _, key in (item.partition(":") for item in given.public_key)
        }
    except ValueError:
        parser.error("--public-key is KID:KEY, the key being 32 bytes in base64")
    try:
        with open(given.file, encoding="utf-8") as lines:
            result = verify_lines(lines, keys)
    except (Broken, UnicodeDecodeError, OSError) as error:
        print(f"FAULT {error}")  # noqa: T201 - a program's answer
        return 1
    print(f"good: {result.entries} entries, {result.checkpoints} checkpoints, {result.erased} values erased")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
