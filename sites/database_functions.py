"""SQL expressions for blueprints and for the numbers of sites."""

from functools import reduce
from operator import add

from django.db import models
from django.db.models import F, Func, Value
from django.db.models.functions import Cast

from core.storage.documents import DocumentField


class JsonPathQueryArray(Func):
    """Every match of an SQL/JSON path in a JSON field, as a list.

    The path becomes part of the SQL text: pass constants only, never input.
    """

    function = "jsonb_path_query_array"
    output_field = models.JSONField()

    def __init__(self, field: str, path: str) -> None:
        super().__init__(F(field), template=f"%(function)s(%(expressions)s, '{path}')")


class BlueprintWithOnePage(Func):
    """A blueprint in which only the page at `path` has its blocks; all pages keep their other properties."""

    function = "sites_with_one_page"
    output_field = DocumentField()

    def __init__(self, field: str, path: str) -> None:
        super().__init__(F(field), Value(path, output_field=models.TextField()))


class PageCount(Func):
    """The number of pages of a blueprint."""

    template = "coalesce(jsonb_array_length(%(expressions)s -> 'pages'), 0)"
    output_field = models.IntegerField()


class NextNumber(Func):
    """The next value of `Site.number`, from a sequence.

    Tables with billions of rows refer to sites by this number of 4 bytes. It is never shown.
    """

    template = "nextval('sites_number'::regclass)"
    output_field = models.IntegerField()


class OctetLength(Func):
    """The bytes of a text in UTF-8."""

    function = "octet_length"
    output_field = models.IntegerField()


def size_field(*fields: str) -> models.GeneratedField:
    """Return a column, computed by the database, with the bytes of `fields`: texts, and JSON as text."""
    lengths = [OctetLength(Cast(field, models.TextField())) for field in fields]
    return models.GeneratedField(
        expression=reduce(add, lengths), output_field=models.PositiveIntegerField(), db_persist=True
    )
