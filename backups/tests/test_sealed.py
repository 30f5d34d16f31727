"""What is stored opens with its key, in its place, whole; anything else is refused by name."""

import json
import secrets

import pytest

from backups.engine.encryption import (
    HEADER,
    SEGMENT,
    TAG,
    Keys,
    new_identity,
    open_part,
    read_keys,
    seal,
    unseal,
)
from backups.engine.errors import Damaged, KeyMissing

KEY = secrets.token_bytes(32)
SIZES = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT + 77]


def blob_of(size, *, name="packs/a/1", key=KEY):
    plain = secrets.token_bytes(size)
    return plain, seal(key, name, plain)


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_comes_back(size):
    plain, blob = blob_of(size)

    assert unseal(KEY, "packs/a/1", blob) == plain
    for offset in {0, size // 2, max(0, size - 1)}:
        length = min(size - offset, SEGMENT + 5)
        if length:
            assert open_part(KEY, "packs/a/1", blob, offset, length) == plain[offset : offset + length]


@pytest.mark.parametrize("size", SIZES)
def test_a_flipped_bit_anywhere_is_noticed(size):
    _, blob = blob_of(size)
    places = {
        0,
        5,
        HEADER - 1,
        HEADER,
        len(blob) // 2,
        len(blob) - 1,
        min(len(blob) - 1, HEADER + SEGMENT + TAG),
    }

    for place in places:
        broken = bytearray(blob)
        broken[place] ^= 1
        with pytest.raises(Damaged):
            unseal(KEY, "packs/a/1", bytes(broken))


@pytest.mark.parametrize("cut", [1, TAG, SEGMENT + TAG, SEGMENT + TAG + 1, "all but the header", "all"])
def test_what_is_cut_off_is_noticed(cut):
    _, blob = blob_of(3 * SEGMENT + 77)
    left = {"all but the header": blob[:HEADER], "all": b""}.get(cut) if isinstance(cut, str) else blob[:-cut]

    with pytest.raises(Damaged):
        unseal(KEY, "packs/a/1", left)


def test_a_segment_belongs_where_it_is():
    plain, blob = blob_of(3 * SEGMENT)
    _, other = blob_of(3 * SEGMENT)
    size = SEGMENT + TAG
    parts = [blob[HEADER + number * size :][:size] for number in range(3)]
    wrong = {
        "swapped": [parts[1], parts[0], parts[2]],
        "twice": [parts[0], parts[0], parts[2]],
        "dropped": [parts[0], parts[2]],
        "from another": [other[HEADER:][:size], parts[1], parts[2]],
    }

    for pieces in wrong.values():
        with pytest.raises(Damaged):
            unseal(KEY, "packs/a/1", blob[:HEADER] + b"".join(pieces))
    with pytest.raises(Damaged):
        unseal(KEY, "packs/b/1", blob)
    with pytest.raises(Damaged):
        unseal(secrets.token_bytes(32), "packs/a/1", blob)
    assert unseal(KEY, "packs/a/1", blob) == plain


def test_either_of_both_kinds_of_keys_opens_a_run():
    master = secrets.token_bytes(32)
    (private, public) = new_identity()
    (_, stranger) = new_identity()
    stored = Keys(masters=(master,), recipients=(public, stranger)).wrap("run1", KEY)

    assert Keys(masters=(secrets.token_bytes(32), master)).open("run1", stored) == KEY
    assert Keys(identities=(private,)).open("run1", stored) == KEY
    for wrong in (
        Keys(),
        Keys(masters=(secrets.token_bytes(32),)),
        Keys(identities=(new_identity()[0],)),
        Keys(recipients=(public,)),
    ):
        with pytest.raises(KeyMissing, match="run1"):
            wrong.open("run1", stored)
    with pytest.raises(KeyMissing):
        Keys(masters=(master,)).open("run2", stored)
    assert KEY not in stored
    assert master not in stored


def test_nobody_encrypts_to_nobody():
    with pytest.raises(KeyMissing):
        Keys().wrap("run1", KEY)


@pytest.mark.parametrize("broken", [b"", b"{}", b"[]", b'{"wraps": [{}]}', b'{"wraps": 7}', b"\xff"])
def test_a_key_file_that_is_none_is_damage(broken):
    with pytest.raises(Damaged):
        Keys(masters=(KEY,)).open("run1", broken)


def test_a_wrap_of_another_run_does_not_open():
    keys = Keys(masters=(KEY,))
    stored = json.loads(keys.wrap("run1", KEY))

    with pytest.raises(KeyMissing):
        keys.open("run2", json.dumps({**stored, "run": "run2"}).encode())


@pytest.mark.parametrize("text", ["", "abc", "not base64!", "AAAA"])
def test_keys_are_32_bytes_in_base64(text):
    with pytest.raises(ValueError, match=r"32 bytes|base64|Only|padding|Incorrect"):
        read_keys([text])
