// The reference client of the vault: WebCrypto, nothing else. docs/vault.md has the protocol; GET /api/v1/vault/vectors the
// examples that this file and vault/client.py are held to. What the server says is not believed: see `unseal` and `check`.
export const LEAST_ITERATIONS = 600_000;
export const NO_ITEM = "00000000-0000-0000-0000-000000000000"; // in the place of a vault's own record

export class Refused extends Error {}

const utf8 = new TextEncoder();
const { subtle } = crypto;
export const base64 = (bytes) => btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
export const raw = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** HKDF-SHA256 (RFC 5869), 32 bytes; `info` begins with `getyousite/v1/`. */
async function hkdf(key, salt, info) {
  const base = await subtle.importKey("raw", key, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info: utf8.encode(`getyousite/v1/${info}`) }, base, 256));
}

/** PBKDF2-HMAC-SHA256 of the password in NFKC. Throws Refused below 600,000 iterations. */
export async function masterKey(password, salt, iterations) {
  if (!(iterations >= LEAST_ITERATIONS)) throw new Refused("This server asks for too weak a key. Do not sign in.");
  const typed = await subtle.importKey("raw", utf8.encode(password.normalize("NFKC")), "PBKDF2", false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, typed, 256));
}

/** What is sent in place of the password. */
export const authHash = (master) => hkdf(master, new Uint8Array(), "auth");

/** What seals the vaults' own records. It never leaves the client. */
export const accountKey = (master) => hkdf(master, new Uint8Array(), "enc");

const idBytes = (id) => Uint8Array.from(id.replaceAll("-", "").match(/../g), (pair) => parseInt(pair, 16));

/** The associated data: label, NUL, both ids (16 bytes each), version (4 bytes, big-endian). */
export function place(vaultId, itemId, version) {
  const end = new DataView(new ArrayBuffer(4));
  end.setUint32(0, version);
  return new Uint8Array([...utf8.encode("getyousite/v1\0"), ...idBytes(vaultId), ...idBytes(itemId), ...new Uint8Array(end.buffer)]);
}

async function sealingKey(key, salt) {
  return subtle.importKey("raw", await hkdf(key, salt, "envelope"), "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** An envelope under a key of its own. `iv` and `salt` are given by tests alone. */
export async function seal(key, plain, { vaultId, itemId, version, iv, salt }) {
  iv ??= crypto.getRandomValues(new Uint8Array(12));
  salt ??= crypto.getRandomValues(new Uint8Array(16));
  const options = { name: "AES-GCM", iv, additionalData: place(vaultId, itemId, version) };
  const sealed = await subtle.encrypt(options, await sealingKey(key, salt), utf8.encode(plain));
  return { ciphertext: base64(sealed), iv: base64(iv), salt: base64(salt), version, alg: "A256GCM" };
}

/** What an envelope holds, as text. Throws Refused for one that was changed, or belongs elsewhere. */
export async function unseal(key, envelope, { vaultId, itemId }) {
  if (envelope.alg !== "A256GCM") throw new Refused("An envelope names an algorithm that is not ours.");
  const options = { name: "AES-GCM", iv: raw(envelope.iv), additionalData: place(vaultId, itemId, envelope.version) };
  try {
    const plain = await subtle.decrypt(options, await sealingKey(key, raw(envelope.salt)), raw(envelope.ciphertext));
    return new TextDecoder("utf-8", { fatal: true }).decode(plain);
  } catch {
    throw new Refused("An envelope does not open: it was changed, or belongs elsewhere.");
  }
}
