"""Hooks for schemathesis. Three of four generated calls use an existing row and a valid If-Match."""

import os

import schemathesis


@schemathesis.hook
def map_case(context, case):
    """Replace the id of the path and the If-Match header in three of four cases."""
    if case.path_parameters and "id" in case.path_parameters and hash(str(case.path_parameters["id"])) % 4:
        case.path_parameters["id"] = os.environ["FUZZ_ID"]
    if case.headers and "If-Match" in case.headers and hash(str(case.headers["If-Match"])) % 4:
        case.headers["If-Match"] = "*"
    return case
