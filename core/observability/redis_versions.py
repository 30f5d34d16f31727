"""Versions of Redis and Valkey without the known vulnerabilities of their scripts.

A client that may run scripts could take over the server: CVE-2025-49844, CVE-2025-46817, CVE-2025-46818 and
CVE-2025-46819.
"""

import re
from typing import Any

MINIMUM_VERSION = (6, 2)
PATCHED_REDIS = {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}
PATCHED_VALKEY = {(7, 2): 11, (8, 0): 6, (8, 1): 4}


def is_supported(info: dict[str, Any]) -> bool:
    """Return whether the server has the commands that we use. `info` is what INFO returns."""
    return _parse_version(info["redis_version"])[:2] >= MINIMUM_VERSION


def is_patched(info: dict[str, Any]) -> bool:
    """Return whether the server's version has no known vulnerability of scripts.

    A series that is newer than all in the tables is patched, any other series that they do not have is not.
    Packages of a distribution may have the corrections under an older version, which INFO does not show.
    """
    patched = PATCHED_VALKEY if is_valkey(info) else PATCHED_REDIS
    *series, patch = _parse_version(version_of(info))
    if tuple(series) > max(patched):
        return True
    return patch >= patched.get((series[0], series[1]), patch + 1)


def version_of(info: dict[str, Any]) -> str:
    """Return the version of the server itself. Valkey also reports a compatible version of Redis."""
    return str(info["valkey_version"] if is_valkey(info) else info["redis_version"])


def is_valkey(info: dict[str, Any]) -> bool:
    return "valkey_version" in info


def describe_patched_versions(info: dict[str, Any]) -> str:
    """Return the oldest patched version of each series, for an operator: `6.2.20, 7.2.11 ... or newer`."""
    patched = PATCHED_VALKEY if is_valkey(info) else PATCHED_REDIS
    return ", ".join(f"{major}.{minor}.{patch}" for (major, minor), patch in patched.items()) + " or newer"


def _parse_version(version: str) -> tuple[int, int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    return major, minor, patch
