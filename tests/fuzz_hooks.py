"""Hooks for schemathesis: most calls go to a row that exists, with a precondition that holds."""

import os

import schemathesis


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and "id" in path_parameters and hash(str(path_parameters["id"])) % 4:
        path_parameters["id"] = os.environ["FUZZ_ID"]
    return path_parameters


@schemathesis.hook
def map_headers(context, headers):
    if headers and "If-Match" in headers and hash(str(headers["If-Match"])) % 4:
        headers["If-Match"] = "*"
    return headers
