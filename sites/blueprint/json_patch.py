"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) for blueprints.

The number of operations and the size of copied values are limited.
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
    message = "A `test` operation of this patch failed. Nothing was changed."


def validate_operations(operations: Any) -> None:
    """Check the shape and the number of the operations of a JSON Patch. Raises Invalid."""
    if not isinstance(operations, list):
        raise Invalid([FieldProblem("", "not_a_list", "Send a list of operations (RFC 6902).")])
    if len(operations) > MAX_OPERATIONS:
        raise Invalid(
            [FieldProblem("", "too_many_operations", f"A patch has at most {MAX_OPERATIONS} operations.")]
        )
    for number, operation in enumerate(operations):
        is_supported = isinstance(operation, dict) and operation.get("op") in OPERATIONS
        paths = [operation.get(name, "") for name in ("path", "from")] if is_supported else [None]
        if not all(isinstance(path, str) for path in paths) or "path" not in operation:
            raise _operation_refused(number, "This is not a JSON Patch operation.")
        if not operation["path"] and operation["op"] != "test":
            raise _operation_refused(number, "Replace the whole document with PUT.")


def apply_patch(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply all operations to `document` in place and return it.

    Raises Invalid at the first operation that cannot be applied, and PatchTestFailed when a `test` fails.
    The total size of the copied values is limited, because a few `copy` operations could otherwise double
    the document again and again.
    """
    copied_characters = 0
    for number, operation in enumerate(operations):
        try:
            if operation["op"] == "copy":
                source = JsonPointer(operation.get("from", "")).resolve(document)
                copied_characters += len(json.dumps(source))
                if copied_characters > MAX_BLUEPRINT_BYTES:
                    raise _operation_refused(
                        number, "The copies of this patch are larger than a blueprint may be."
                    )
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
            raise _operation_refused(number, "This operation cannot be applied to this document.") from None
    return document


def _operation_refused(number: int, detail: str) -> Invalid:
    return Invalid([FieldProblem(f"/{number}", "operation_refused", detail)])


def merge_patch(target: Any, changes: Any) -> Any:
    """Return `target` merged with `changes` as RFC 7396 says; neither argument is modified.

    A null removes the member, an object is merged member by member, any other value replaces the old one.
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
    """Return the first 128 bits of the SHA-256 of the canonical JSON of `value`, in hexadecimal."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
