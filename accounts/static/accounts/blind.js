// What a blind account sends in place of its password. docs/accounts.md has it step by step, with a test vector.
export const ITERATIONS = 600_000;

export const base64 = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
export const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** The key that everything else is derived from. It stays in this browser. */
async function masterKey(password, salt, iterations) {
  const typed = await crypto.subtle.importKey("raw", new TextEncoder().encode(password.normalize("NFKC")), "PBKDF2", false, ["deriveBits"]);
  const master = await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt, iterations }, typed, 256);
  return crypto.subtle.importKey("raw", master, "HKDF", false, ["deriveBits"]);
}

/** `auth_hash`: proves the password, and tells nothing of the key that encrypts. */
export async function authHash(password, { kdf, salt }) {
  if (kdf.algorithm !== "PBKDF2-SHA256" || kdf.iterations < ITERATIONS) throw new Error("This server asks for too weak a key.");
  const master = await masterKey(password, bytes(salt), kdf.iterations);
  const info = new TextEncoder().encode("getyousite/v1/auth");
  return base64(await crypto.subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info }, master, 256));
}

/** The fields that set a new password of a blind account. */
export async function newSecret(password, iterations = ITERATIONS) {
  const parameters = { kdf: { algorithm: "PBKDF2-SHA256", iterations }, salt: base64(crypto.getRandomValues(new Uint8Array(16))) };
  return { scheme: "blind", ...parameters, auth_hash: await authHash(password, parameters) };
}
