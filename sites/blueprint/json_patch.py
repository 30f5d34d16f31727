"""JSON Patch (RFC 6902) and Merge Patch (RFC 7396) on blueprints, within bounds that are checked before the
work.
"""

import hashlib
import json
from typing import Any

from jsonpatch import JsonPatch, JsonPatchException, JsonPatchTestFailed
from jsonpointer import JsonPointer, JsonPointerException

from core.errors import DomainError, FieldProblem, Invalid
from sites.blueprint.schema import MAX_BLUEPRINT_BYTES

MAX_OPERATIONS = 1_000
OPERATIONS = {"add", "remove", "replace", "move", "copy", "test"}


class PatchTestFailed(DomainError):
    code = "patch_test_failed"
    status = 409
    message = "A `test` of this patch does not hold. Nothing was changed."


def validate_operations(operations: Any) -> None:
    """The shape and the number of the operations. Raises Invalid."""
    if not isinstance(operations, list):
        raise Invalid([FieldProblem("", "not_a_list", "Send a list of operations (RFC 6902).")])
    if len(operations) > MAX_OPERATIONS:
        raise Invalid(
            [FieldProblem("", "too_many_operations", f"A patch has at most {MAX_OPERATIONS} operations.")]
        )
    for number, operation in enumerate(operations):
        known = isinstance(operation, dict) and operation.get("op") in OPERATIONS
        paths = [operation.get(name, "") for name in ("path", "from")] if known else [None]
        if not all(isinstance(path, str) for path in paths) or "path" not in operation:
            raise _refused(number, "This is no operation of a JSON Patch.")
        if not operation["path"] and operation["op"] != "test":
            raise _refused(number, "Replace the whole document with PUT.")


def apply_patch(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """`document` with all operations done, in place.

    Raises Invalid at the first that cannot be, PatchTestFailed.

    What copies add up to is bounded: a few of them could double a document to any size.
    """
    copied = 0
    for number, operation in enumerate(operations):
        try:
            if operation["op"] == "copy":
                copied += len(json.dumps(JsonPointer(operation.get("from", "")).resolve(document)))
                if copied > MAX_BLUEPRINT_BYTES:
                    raise _refused(number, "The copies of this patch are larger than a blueprint may be.")
            document = JsonPatch([operation]).apply(document, in_place=True)
        except JsonPatchTestFailed:
            raise PatchTestFailed from None
        except (
            JsonPatchException,
            JsonPointerException,
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            RecursionError,
        ):
            raise _refused(number, "This operation cannot be done on this document.") from None
    return document


def _refused(number: int, detail: str) -> Invalid:
    return Invalid([FieldProblem(f"/{number}", "operation_refused", detail)])


def merge_patch(target: Any, changes: Any) -> Any:
    """RFC 7396: what is null goes, what is an object is merged, anything else takes the place of what was
    there.
    """
    if not isinstance(changes, dict):
        return changes
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_digest(value: Any) -> str:
    """128 bits of SHA-256 over the canonical JSON of `value`, hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
