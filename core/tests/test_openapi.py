import pytest
from drf_spectacular.generators import SchemaGenerator
from rest_framework.response import Response

from core.http.openapi import ProblemAutoSchema
from core.http.routes import route
from core.http.viewsets import ApiViewSet


@pytest.mark.parametrize(
    ("docstring", "summary", "description"),
    [
        ("Return a thing.", "Return a thing", ""),
        ("Return a thing. It may be old.", "Return a thing", "It may be old."),
        ("Return a thing.\n\nIt may be old. Or new.", "Return a thing", "It may be old. Or new."),
        (
            "Return a thing\nwith two lines.\n\nIt may be old.",
            "Return a thing with two lines",
            "It may be old.",
        ),
    ],
)
def test_problem_auto_schema_splits_a_docstring_into_summary_and_description(docstring, summary, description):
    class ThingViewSet(ApiViewSet):
        schema = ProblemAutoSchema()

        def retrieve(self, request):
            return Response({})

    ThingViewSet.retrieve.__doc__ = docstring
    generator = SchemaGenerator(patterns=[route("api/v1/thing", ThingViewSet, get="retrieve")])

    operation = generator.get_schema(request=None, public=True)["paths"]["/api/v1/thing"]["get"]

    assert (operation["summary"], operation.get("description", "")) == (summary, description)
