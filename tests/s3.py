"""A real S3 server on loopback."""

import subprocess
import sys

import pytest

from config import embedded


@pytest.fixture
def s3(tmp_path):
    """The OBJECT_STORE_URL of a bucket of one's own."""
    import boto3

    from tests.stack import eventually

    port = embedded.free_port()
    log = (tmp_path / "moto.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    endpoint = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )

    def made():
        try:
            return client.create_bucket(Bucket="trail")
        except Exception:  # noqa: BLE001 - not up yet
            return None

    eventually(made, seconds=30)
    yield f"s3://a:b@trail/some/prefix?endpoint={endpoint}"
    server.terminate()
    server.wait(10)
    log.close()
    client.close()
