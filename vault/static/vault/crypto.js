// Cryptography of the vault: key derivation and envelopes, as docs/vault.md specifies them. Tested with the
// examples of GET /api/v1/vault/vectors.
export const MIN_ITERATIONS = 600_000;
export const MAX_ITERATIONS = 10_000_000;
export const NIL_ID = "00000000-0000-0000-0000-000000000000"; // item id of a vault's own record
const ALGORITHM = "A256GCM";

/** A request was refused (`status` and `code` of the problem), or data from the server cannot be trusted. */
export class VaultError extends Error {}

const utf8 = new TextEncoder();
const { subtle } = crypto;

export const randomBytes = (count) => crypto.getRandomValues(new Uint8Array(count));
export const encodeBase64 = (bytes) =>
  btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
export const decodeBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

async function deriveBits(secret, algorithm) {
  const key = await subtle.importKey("raw", secret, algorithm.name, false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ hash: "SHA-256", ...algorithm }, key, 256));
}

/** HKDF-SHA256 (RFC 5869), 32 bytes. */
function deriveKey(key, salt, info) {
  return deriveBits(key, { name: "HKDF", salt, info: utf8.encode(`getyousite/v1/${info}`) });
}

/** PBKDF2-HMAC-SHA256 of the password in Unicode NFKC, 32 bytes. Throws VaultError. */
async function deriveMasterKey(password, salt, iterations, minIterations) {
  if (!(iterations >= minIterations && iterations <= MAX_ITERATIONS)) {
    throw new VaultError("This server requests a key that is too weak. Do not sign in.");
  }
  return deriveBits(utf8.encode(password.normalize("NFKC")), { name: "PBKDF2", salt, iterations });
}

/**
 * Derive both secrets from a password and the parameters that `auth/prelogin` returns. `auth_hash` is sent
 * to the server instead of the password; `key` is the account key and never leaves the client. Throws
 * VaultError.
 */
export async function derive(password, { kdf, salt }, minIterations = MIN_ITERATIONS) {
  const masterKey = await deriveMasterKey(password, decodeBase64(salt), kdf.iterations, minIterations);
  const [authHash, key] = await Promise.all(
    ["auth", "enc"].map((info) => deriveKey(masterKey, new Uint8Array(), info)),
  );
  return { auth_hash: encodeBase64(authHash), key };
}

const uuidBytes = (id) => id.replaceAll("-", "").match(/../g).map((pair) => parseInt(pair, 16));
const uint32Bytes = (number) => [24, 16, 8, 0].map((shift) => number >>> shift);

/** The associated data: label, NUL, both ids (16 bytes each), version (4 bytes, big-endian). */
export function associatedData({ vaultId, itemId, version }) {
  const label = utf8.encode("getyousite/v1\0");
  return new Uint8Array([...label, ...uuidBytes(vaultId), ...uuidBytes(itemId), ...uint32Bytes(version)]);
}

async function importEnvelopeKey(key, salt) {
  const bytes = await deriveKey(key, salt, "envelope");
  return subtle.importKey("raw", bytes, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/**
 * Encrypt text with AES-256-GCM under a key that is derived for this envelope alone. `place` is
 * `{ vaultId, itemId, version }`. Only tests pass `iv` and `salt`; otherwise they are random.
 */
export async function encryptEnvelope(key, text, { iv = randomBytes(12), salt = randomBytes(16), ...place }) {
  const algorithm = { name: "AES-GCM", iv, additionalData: associatedData(place) };
  const ciphertext = await subtle.encrypt(algorithm, await importEnvelopeKey(key, salt), utf8.encode(text));
  return {
    ciphertext: encodeBase64(ciphertext),
    iv: encodeBase64(iv),
    salt: encodeBase64(salt),
    version: place.version,
    alg: ALGORITHM,
  };
}

/** Decrypt an envelope to text. Throws VaultError for an envelope that was changed or moved. */
export async function decryptEnvelope(key, { alg, iv, salt, version, ciphertext }, place) {
  const additionalData = associatedData({ ...place, version });
  const algorithm = { name: "AES-GCM", iv: decodeBase64(iv), additionalData };
  try {
    if (alg !== ALGORITHM) throw alg;
    const envelopeKey = await importEnvelopeKey(key, decodeBase64(salt));
    const plaintext = await subtle.decrypt(algorithm, envelopeKey, decodeBase64(ciphertext));
    return new TextDecoder("utf-8", { fatal: true }).decode(plaintext);
  } catch {
    throw new VaultError("An envelope cannot be decrypted: it was changed, or belongs to another item.");
  }
}

/** The place of a vault's own record. */
export const recordPlace = (vaultId, version) => ({ vaultId, itemId: NIL_ID, version });

/** Decrypt a vault's own record: the vault's key, and what else clients store there. Throws VaultError. */
export async function decryptRecord(accountKey, row) {
  const record = JSON.parse(await decryptEnvelope(accountKey, row, recordPlace(row.vault_id)));
  return { key: decodeBase64(record.key), record, version: row.version };
}

/** Encrypt a vault's own record with the account key. */
export function encryptRecord(accountKey, vaultId, { record, key }, version) {
  const text = JSON.stringify({ ...record, key: encodeBase64(key) });
  return encryptEnvelope(accountKey, text, recordPlace(vaultId, version));
}
