from audit.chain import hashing


def test_hash_entry_changes_when_a_byte_moves_to_another_field():
    assert hashing.hash_entry([b"ab", b"c"]) != hashing.hash_entry([b"a", b"bc"])
    assert hashing.hash_entry([b"", b"a"]) != hashing.hash_entry([b"a", b""])
