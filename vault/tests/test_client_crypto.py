"""Tests of the cryptography of both reference clients with the same published vectors."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from vault import client_crypto
from vault.client_crypto import VaultError

VECTORS = json.loads((Path(client_crypto.__file__).parent / "vectors.json").read_text())
VAULT = uuid4()
ITEM = uuid4()
OTHER_ITEM = uuid4()
KEY = bytes(range(32))
MAX_SCRIPT_BYTES = 10 * 1024


@pytest.fixture
def envelope():
    """An envelope of `ITEM` in `VAULT`, encrypted with `KEY`."""
    return client_crypto.encrypt_envelope(KEY, b'{"name": "a"}', vault_id=VAULT, item_id=ITEM, version=1)


def test_derive_master_key_and_derived_keys_match_the_vectors():
    for vector in VECTORS["derivation"]:
        salt = client_crypto.decode_base64(vector["salt"])
        master_key = client_crypto.derive_master_key(
            vector["password"], salt=salt, iterations=vector["iterations"]
        )
        keys = {
            "master": master_key,
            "auth_hash": client_crypto.derive_auth_hash(master_key),
            "account_key": client_crypto.derive_account_key(master_key),
        }
        encoded = {name: client_crypto.encode_base64(key) for name, key in keys.items()}
        assert encoded == {name: vector[name] for name in keys}


def test_encrypt_envelope_and_decrypt_envelope_match_the_vectors():
    for vector in VECTORS["envelopes"]:
        ids = {"vault_id": UUID(vector["vault_id"]), "item_id": UUID(vector["item_id"])}
        key = client_crypto.decode_base64(vector["key"])
        expected = vector["envelope"]
        aad = client_crypto.associated_data(*ids.values(), expected["version"])
        encrypted = client_crypto.encrypt_envelope(
            key,
            vector["plain"].encode(),
            **ids,
            version=expected["version"],
            iv=client_crypto.decode_base64(expected["iv"]),
            salt=client_crypto.decode_base64(expected["salt"]),
        )
        assert client_crypto.encode_base64(aad) == vector["aad"]
        assert encrypted == expected
        assert client_crypto.decrypt_envelope(key, expected, **ids).decode() == vector["plain"]


def test_derive_master_key_refuses_few_iterations():
    with pytest.raises(VaultError, match="too weak"):
        client_crypto.derive_master_key("a password", salt=bytes(16), iterations=599_999)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2},
        {"alg": "A128GCM"},
        {"iv": client_crypto.encode_base64(bytes(12))},
        {"salt": client_crypto.encode_base64(bytes(16))},
        {"ciphertext": client_crypto.encode_base64(bytes(29))},
    ],
)
def test_decrypt_envelope_refuses_a_changed_envelope(envelope, fields):
    with pytest.raises(VaultError):
        client_crypto.decrypt_envelope(KEY, {**envelope, **fields}, vault_id=VAULT, item_id=ITEM)


@pytest.mark.parametrize(("vault_id", "item_id"), [(VAULT, OTHER_ITEM), (OTHER_ITEM, ITEM), (ITEM, VAULT)])
def test_decrypt_envelope_refuses_a_moved_envelope(envelope, vault_id, item_id):
    with pytest.raises(VaultError, match="belongs to another item"):
        client_crypto.decrypt_envelope(KEY, envelope, vault_id=vault_id, item_id=item_id)


FIND_DIFFERENCES = """async (vectors) => {
  const { derive } = await import("/static/vault/client.js");
  const { encryptEnvelope, decryptEnvelope, associatedData, encodeBase64, decodeBase64 } =
    await import("/static/vault/crypto.js");
  const differences = [];
  const compare = (name, actual, expected) => {
    if (JSON.stringify(actual) !== JSON.stringify(expected)) differences.push([name, actual, expected]);
  };
  const errorName = (promise) => promise.catch((error) => error.constructor.name);
  for (const vector of vectors.derivation) {
    const parameters = { kdf: { iterations: vector.iterations }, salt: vector.salt };
    const { auth_hash, key } = await derive(vector.password, parameters);
    compare("auth_hash", auth_hash, vector.auth_hash);
    compare("account_key", encodeBase64(key), vector.account_key);
  }
  for (const { plain, aad, envelope, ...vector } of vectors.envelopes) {
    const key = decodeBase64(vector.key);
    const ids = { vaultId: vector.vault_id, itemId: vector.item_id };
    const place = { ...ids, version: envelope.version };
    const fixed = { iv: decodeBase64(envelope.iv), salt: decodeBase64(envelope.salt) };
    compare("aad", encodeBase64(associatedData(place)), aad);
    compare("encrypted", await encryptEnvelope(key, plain, { ...place, ...fixed }), envelope);
    compare("plain", await decryptEnvelope(key, envelope, ids), plain);
    const changes = [
      { version: envelope.version - 1 },
      { alg: "none" },
      { iv: encodeBase64(new Uint8Array(12)) },
      { ciphertext: encodeBase64(new Uint8Array(40)) },
    ];
    for (const change of changes) {
      const decrypted = decryptEnvelope(key, { ...envelope, ...change }, ids);
      compare("changed", await errorName(decrypted), "VaultError");
    }
    const moved = decryptEnvelope(key, envelope, { vaultId: ids.itemId, itemId: ids.vaultId });
    compare("moved", await errorName(moved), "VaultError");
  }
  const weak = { kdf: { iterations: 599_999 }, salt: encodeBase64(new Uint8Array(16)) };
  compare("weak", await errorName(derive("x", weak)), "VaultError");
  return differences;
}"""


@pytest.mark.stack
def test_vectors_view_set_publishes_the_vectors_that_client_js_matches(stack, open_page):
    web = stack.webs[0]
    published = web.get("/api/v1/vault/vectors")
    page = open_page(f"http://localhost:{web.port}/account/forgot-password")

    assert published.json() == VECTORS
    assert page.evaluate(FIND_DIFFERENCES, VECTORS) == []
    for name in ("client.js", "crypto.js"):
        assert len(web.get(f"/static/vault/{name}").content) < MAX_SCRIPT_BYTES
