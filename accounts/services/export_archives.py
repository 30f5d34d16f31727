"""Builds the ZIP file of a data export in steps, each of which continues where the last finished one stopped.

A step writes whole members. The members of finished steps are stored in `DataExport.members`; the last step
writes the central directory from them.
"""

import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from accounts.models import DataExport
from accounts.services.export_parts import PartWriter
from core import lifecycle, tenancy
from core.storage.database import current_time

# A step starts no further member after this time. It always writes one, so a large member makes it longer.
STEP_SECONDS = 20.0
README_PATH = "README.txt"
README_TEXT = """All personal data that this installation stores about you, as of {last:%Y-%m-%d %H:%M} UTC.

Files that end in .json contain one JSON value. Files that end in .jsonl contain one JSON value per line.
Passwords, keys and codes are not included: the installation stores only one-way hashes of them.

The files were read from {first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC. Number of steps: {steps}.
Each file shows one moment. Files of different steps show different moments, so a change between two steps
may be in one file and not in another.
"""
DATA_DESCRIPTOR_FLAG = 0x08  # APPNOTE 4.4.4, bit 3: checksum and sizes follow the content


def write_step(export: DataExport, stream: PartWriter) -> bool:
    """Write further members of an archive to `stream`. Returns whether the archive is complete.

    Appends to `export.steps` and `export.members`, which the caller stores, and leaves bytes in the buffer of
    `stream`. Raises what `PartWriter.write` raises.
    """
    first_part = stream.parts
    archive = zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED)
    archive.filelist.extend(_zip_info(member) for member in export.members)
    try:
        with _snapshot():
            step: dict[str, Any] = {"attempt": export.attempts, "read_at": current_time().isoformat()}
            export.steps.append(step)
            is_complete = _write_missing_members(archive, export)
        if is_complete:
            _write_member(archive, README_PATH, [_readme(export)])
            archive.close()
        new_members = archive.filelist[len(export.members) :]
    finally:
        archive.fp = None  # otherwise its destructor writes a central directory
    stream.close()
    export.members.extend(_member_values(info) for info in new_members)
    step["parts"] = stream.parts - first_part
    return is_complete


@contextmanager
def _snapshot() -> Iterator[None]:
    """Read in one transaction that sees the database as it was at one moment, in the context `system`."""
    is_outermost = not connection.in_atomic_block
    with transaction.atomic():
        # Inside another transaction the isolation level cannot be set any more.
        if is_outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with tenancy.context(tenancy.SYSTEM):
            yield


def _write_missing_members(archive: zipfile.ZipFile, export: DataExport) -> bool:
    """Write the files that are not in the archive yet, and stop after STEP_SECONDS.

    Returns whether all files are in the archive. Only one value is in memory at a time.
    """
    started = time.monotonic()
    has_written = False
    existing = set(archive.namelist())
    for path, read in lifecycle.export_personal_data(export.user_id):
        if path in existing:
            continue
        if has_written and time.monotonic() - started >= STEP_SECONDS:
            return False
        value = read()
        is_lines = path.endswith(".jsonl")
        _write_member(archive, path, _json_lines(value) if is_lines else [_json_text(value, indent=2)])
        has_written = True
    return True


def _json_lines(values: Iterator[Any]) -> Iterator[str]:
    return (_json_text(value) for value in values)


def _json_text(value: Any, *, indent: int | None = None) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, indent=indent) + "\n"


def _write_member(archive: zipfile.ZipFile, path: str, texts: list[str] | Iterator[str]) -> None:
    with archive.open(path, "w", force_zip64=True) as member:
        for text in texts:
            member.write(text.encode("utf-8", "replace"))


def _readme(export: DataExport) -> str:
    times = [datetime.fromisoformat(step["read_at"]) for step in export.steps]
    return README_TEXT.format(steps=len(times), first=times[0], last=times[-1])


def _member_values(info: zipfile.ZipInfo) -> dict[str, Any]:
    """Return what the central directory needs of a member, as JSON values."""
    return {
        "name": info.filename,
        "written_at": info.date_time,
        "crc": info.CRC,
        "compressed_bytes": info.compress_size,
        "bytes": info.file_size,
        "offset": info.header_offset,
    }


def _zip_info(member: dict[str, Any]) -> zipfile.ZipInfo:
    """Return the entry of the central directory for a member that an earlier step wrote."""
    info = zipfile.ZipInfo(member["name"], tuple(member["written_at"]))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.flag_bits = DATA_DESCRIPTOR_FLAG
    info.external_attr = 0o600 << 16  # as ZipFile.open sets it: readable and writable by the owner
    info.extract_version = zipfile.ZIP64_VERSION
    info.create_version = zipfile.ZIP64_VERSION
    info.CRC = member["crc"]
    info.compress_size = member["compressed_bytes"]
    info.file_size = member["bytes"]
    info.header_offset = member["offset"]
    return info
