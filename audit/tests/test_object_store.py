"""Tests of `core.storage.object_store`, which keeps checkpoints and archives."""

import pytest

from config import embedded_servers
from core.storage import object_store

pytestmark = [pytest.mark.django_db, pytest.mark.commits]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_object_store_creates_an_object_once_and_never_overwrites_it(kind, request, tmp_path):
    url = f"file://{tmp_path}/objects" if kind == "folder" else request.getfixturevalue("s3")
    store = object_store.open_store(url)

    store.create("audit/a.json", b"first")
    with pytest.raises(object_store.ObjectExists):
        store.create("audit/a.json", b"second")
    store.create("audit/b/c.json", b"other")

    assert [store.read(key) for key in ("audit/a.json", "audit/none")] == [b"first", None]
    assert store.keys("audit/") == ["audit/a.json", "audit/b/c.json"]
    assert store.keys("audit/b") == ["audit/b/c.json"]


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.create("a", b""),
        lambda store: store.read("a"),
        lambda store: store.keys(""),
    ],
    ids=["create", "read", "keys"],
)
def test_object_store_raises_object_store_unavailable_without_a_server(call):
    address = f"http://127.0.0.1:{embedded_servers.free_port()}"
    store = object_store.open_store(f"s3://a:b@trail/x?endpoint={address}")

    with pytest.raises(object_store.ObjectStoreUnavailable):
        call(store)


@pytest.mark.parametrize("url", ["", "/tmp/x", "http://x", "s3://", "file://"])
def test_open_store_refuses_an_invalid_url(url):
    with pytest.raises(ValueError, match="OBJECT_STORE_URL"):
        object_store.open_store(url)
