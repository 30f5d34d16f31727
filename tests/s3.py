"""A real S3 server (moto) on loopback: one for each test worker, and a bucket for each test."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from config import embedded_servers
from core.processes import port_is_free
from tests.stack import ROOT, wait_until


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of this worker's moto server."""
    port = embedded_servers.free_port()
    with (tmp_path_factory.mktemp("s3") / "log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        wait_until(lambda: not port_is_free("127.0.0.1", port), seconds=30)
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        server.wait(10)


def s3_client(endpoint: str) -> Any:
    """A plain boto3 client. The caller closes it."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


@pytest.fixture
def s3(s3_endpoint: str) -> str:
    """The value of OBJECT_STORE_URL for a new, empty bucket."""
    bucket = f"bucket-{secrets.token_hex(6)}"
    client = s3_client(s3_endpoint)
    client.create_bucket(Bucket=bucket)
    client.close()
    return f"s3://a:b@{bucket}/some/prefix?endpoint={s3_endpoint}"


def through_proxy(url: str, proxy_url: str) -> str:
    """The object store URL `url` with its endpoint replaced by `proxy_url`."""
    parts = urlsplit(url)
    endpoint = parse_qs(parts.query)["endpoint"][0]
    return parts._replace(query=parts.query.replace(endpoint, proxy_url)).geturl()
