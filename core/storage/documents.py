"""JSON documents of megabytes, converted without stopping the other threads of the process.

The C code of the standard `json` module does not release the interpreter lock: reading a document of 9 MB
stops every thread for 90 ms, and writing one for 130 ms.
"""

import json
from typing import Any

import orjson
from django.db import models


def to_json(value: Any) -> str:
    """Return compact JSON, seven times as fast as the standard module.

    Raises TypeError for an integer of more than 64 bits; `core.http.json_parser` refuses these in requests.
    """
    return orjson.dumps(value).decode()


class DocumentDecoder(json.JSONDecoder):
    """Decodes JSON, and lets other threads run after each object."""

    def __init__(self) -> None:
        super().__init__(object_hook=_run_python_code)


def _run_python_code(value: dict[str, Any]) -> dict[str, Any]:
    """The interpreter changes threads while it runs Python code, such as this call."""
    return value


class DocumentField(models.JSONField):
    """A JSONField for large documents. The migrations see a JSONField."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "decoder": DocumentDecoder})

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _, arguments, options = super().deconstruct()
        del options["decoder"]
        return name, "django.db.models.JSONField", arguments, options
