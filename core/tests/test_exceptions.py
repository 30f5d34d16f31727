import json

import pytest

pytestmark = pytest.mark.django_db


def test_not_found_answers_an_unknown_api_path_with_a_problem(api):
    response = api.get("nothing/here")

    assert (response.status_code, json.loads(response.content)["code"]) == (404, "not_found")
