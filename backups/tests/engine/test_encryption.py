"""Encrypted blobs decrypt with their key and name only, and changed blobs raise Damaged."""

import json
import secrets

import pytest

from backups.engine.encryption import (
    HEADER_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
    Keys,
    decrypt_blob,
    decrypt_slice,
    encrypt_blob,
    generate_identity,
    parse_keys,
)
from backups.engine.errors import Damaged, KeyMissing

KEY = secrets.token_bytes(32)
SIZES = [
    0,
    1,
    SEGMENT_BYTES - 1,
    SEGMENT_BYTES,
    SEGMENT_BYTES + 1,
    2 * SEGMENT_BYTES,
    3 * SEGMENT_BYTES + 77,
]


def make_blob(size, *, name="packs/a/1", key=KEY):
    """Random plaintext of a size, and the blob with it."""
    plaintext = secrets.token_bytes(size)
    return plaintext, encrypt_blob(key, name, plaintext)


@pytest.mark.parametrize("size", SIZES)
def test_decrypt_blob_returns_the_plaintext(size):
    plaintext, blob = make_blob(size)

    assert decrypt_blob(KEY, "packs/a/1", blob) == plaintext


@pytest.mark.parametrize("size", SIZES)
def test_decrypt_slice_returns_a_part_of_the_plaintext(size):
    plaintext, blob = make_blob(size)

    for offset in {0, size // 2, max(0, size - 1)}:
        length = min(size - offset, SEGMENT_BYTES + 5)
        if length:
            expected = plaintext[offset : offset + length]
            assert decrypt_slice(KEY, "packs/a/1", blob, offset, length) == expected


@pytest.mark.parametrize("size", SIZES)
def test_decrypt_blob_refuses_a_flipped_bit(size):
    _, blob = make_blob(size)
    positions = {
        0,
        5,
        HEADER_BYTES - 1,
        HEADER_BYTES,
        len(blob) // 2,
        len(blob) - 1,
        min(len(blob) - 1, HEADER_BYTES + SEGMENT_BYTES + TAG_BYTES),
    }

    for position in positions:
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(Damaged):
            decrypt_blob(KEY, "packs/a/1", bytes(changed))


@pytest.mark.parametrize(
    "cut",
    [1, TAG_BYTES, SEGMENT_BYTES + TAG_BYTES, SEGMENT_BYTES + TAG_BYTES + 1, "all but the header", "all"],
)
def test_decrypt_blob_refuses_a_truncated_blob(cut):
    _, blob = make_blob(3 * SEGMENT_BYTES + 77)
    named_cuts = {"all but the header": blob[:HEADER_BYTES], "all": b""}
    truncated = named_cuts[cut] if isinstance(cut, str) else blob[:-cut]

    with pytest.raises(Damaged):
        decrypt_blob(KEY, "packs/a/1", truncated)


def test_decrypt_blob_refuses_moved_segments_another_name_and_another_key():
    plaintext, blob = make_blob(3 * SEGMENT_BYTES)
    _, other_blob = make_blob(3 * SEGMENT_BYTES)
    size = SEGMENT_BYTES + TAG_BYTES
    segments = [blob[HEADER_BYTES + number * size :][:size] for number in range(3)]
    wrong_orders = {
        "swapped": [segments[1], segments[0], segments[2]],
        "twice": [segments[0], segments[0], segments[2]],
        "dropped": [segments[0], segments[2]],
        "from another": [other_blob[HEADER_BYTES:][:size], segments[1], segments[2]],
    }

    for wrong_order in wrong_orders.values():
        with pytest.raises(Damaged):
            decrypt_blob(KEY, "packs/a/1", blob[:HEADER_BYTES] + b"".join(wrong_order))
    with pytest.raises(Damaged):
        decrypt_blob(KEY, "packs/b/1", blob)
    with pytest.raises(Damaged):
        decrypt_blob(secrets.token_bytes(32), "packs/a/1", blob)
    assert decrypt_blob(KEY, "packs/a/1", blob) == plaintext


def test_keys_unwrap_with_a_master_key_or_an_identity():
    master = secrets.token_bytes(32)
    (private, public) = generate_identity()
    (_, other_public) = generate_identity()
    key_file = Keys(masters=(master,), recipients=(public, other_public)).wrap("run1", KEY)

    assert Keys(masters=(secrets.token_bytes(32), master)).unwrap("run1", key_file) == KEY
    assert Keys(identities=(private,)).unwrap("run1", key_file) == KEY
    for wrong_keys in (
        Keys(),
        Keys(masters=(secrets.token_bytes(32),)),
        Keys(identities=(generate_identity()[0],)),
        Keys(recipients=(public,)),
    ):
        with pytest.raises(KeyMissing, match="run1"):
            wrong_keys.unwrap("run1", key_file)
    with pytest.raises(KeyMissing):
        Keys(masters=(master,)).unwrap("run2", key_file)
    assert KEY not in key_file
    assert master not in key_file


def test_keys_wrap_refuses_without_a_key():
    with pytest.raises(KeyMissing):
        Keys().wrap("run1", KEY)


@pytest.mark.parametrize("key_file", [b"", b"{}", b"[]", b'{"wraps": [{}]}', b'{"wraps": 7}', b"\xff"])
def test_keys_unwrap_raises_damaged_for_an_invalid_key_file(key_file):
    with pytest.raises(Damaged):
        Keys(masters=(KEY,)).unwrap("run1", key_file)


def test_keys_unwrap_refuses_the_key_file_of_another_run():
    keys = Keys(masters=(KEY,))
    key_file = json.loads(keys.wrap("run1", KEY))

    with pytest.raises(KeyMissing):
        keys.unwrap("run2", json.dumps({**key_file, "run": "run2"}).encode())


@pytest.mark.parametrize("text", ["", "abc", "not base64!", "AAAA"])
def test_parse_keys_requires_32_bytes_in_base64(text):
    with pytest.raises(ValueError, match=r"32 bytes|base64|Only|padding|Incorrect"):
        parse_keys([text])
