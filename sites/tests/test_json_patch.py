"""JSON Patch and JSON Merge Patch on plain documents. `test_drafts.py` has them through the API."""

import pytest

from core.errors import Invalid
from sites.blueprint import json_patch
from sites.blueprint.json_patch import (
    MAX_OPERATIONS,
    PatchTestFailed,
    apply_patch,
    json_digest,
    merge_patch,
    validate_operations,
)

REPLACE_TITLE = {"op": "replace", "path": "/title", "value": "New"}


@pytest.mark.parametrize(
    ("operations", "pointer", "code"),
    [
        ({}, "", "not_a_list"),
        ([REPLACE_TITLE] * (MAX_OPERATIONS + 1), "", "too_many_operations"),
        ([REPLACE_TITLE, "x"], "/1", "operation_refused"),
        ([{"op": "replace"}], "/0", "operation_refused"),
        ([{"op": "rename", "path": "/title"}], "/0", "operation_refused"),
        ([{"op": "copy", "path": "/title", "from": 1}], "/0", "operation_refused"),
        ([{"op": "replace", "path": "", "value": {}}], "/0", "operation_refused"),
    ],
)
def test_validate_operations_reports_the_refused_operation(operations, pointer, code):
    with pytest.raises(Invalid) as refusal:
        validate_operations(operations)

    assert [(error.pointer, error.code) for error in refusal.value.errors] == [(pointer, code)]


def test_validate_operations_refuses_one_operation_more_than_the_limit():
    assert validate_operations([REPLACE_TITLE] * MAX_OPERATIONS) is None

    with pytest.raises(Invalid) as refusal:
        validate_operations([REPLACE_TITLE] * (MAX_OPERATIONS + 1))
    assert [error.pointer for error in refusal.value.errors] == [""]


def test_apply_patch_applies_all_operations_in_order():
    operations = [
        {"op": "test", "path": "/title", "value": "Old"},
        REPLACE_TITLE,
        {"op": "copy", "from": "/title", "path": "/heading"},
        {"op": "remove", "path": "/title"},
    ]

    assert apply_patch({"title": "Old"}, operations) == {"heading": "New"}


def test_apply_patch_raises_patch_test_failed():
    with pytest.raises(PatchTestFailed):
        apply_patch({"title": "Old"}, [{"op": "test", "path": "/title", "value": "Other"}])


def test_apply_patch_limits_the_size_of_copies(monkeypatch):
    monkeypatch.setattr(json_patch, "MAX_BLUEPRINT_BYTES", 100)
    copy = {"op": "copy", "from": "/text", "path": "/copies/-"}

    with pytest.raises(Invalid) as refusal:
        apply_patch({"text": "x" * 40, "copies": []}, [copy, copy, copy])

    assert [error.pointer for error in refusal.value.errors] == ["/2"]


@pytest.mark.parametrize(
    ("target", "changes", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, None, None),
        (["a"], {"b": 1}, {"b": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_rfc_7396(target, changes, merged):
    assert merge_patch(target, changes) == merged


def test_json_digest_ignores_the_order_of_members():
    assert json_digest({"a": 1, "b": [2]}) == json_digest({"b": [2], "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 2})
