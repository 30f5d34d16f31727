// The reference client of the vault: see docs/vault.md, and GET /api/v1/vault/vectors. What the server says is not believed.
export const LEAST_ITERATIONS = 600_000;
export const NO_ITEM = "00000000-0000-0000-0000-000000000000"; // in the place of a vault's own record

/** The server said no (`status`, `code`), or cannot be believed. The message is for people. */
export class Refused extends Error {}
const weaker = () => new Refused("This server asks for too weak a key. Do not sign in.");

const utf8 = new TextEncoder();
const { subtle } = crypto;
const random = (count) => crypto.getRandomValues(new Uint8Array(count));
export const base64 = (bytes) => btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
export const raw = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

async function bits(secret, options) {
  const base = await subtle.importKey("raw", secret, options.name, false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ hash: "SHA-256", ...options }, base, 256));
}

const hkdf = (key, salt, info) => bits(key, { name: "HKDF", salt, info: utf8.encode(`getyousite/v1/${info}`) });

/** PBKDF2-HMAC-SHA256 of the password in NFKC. Throws Refused below 600,000 iterations. */
async function masterKey(password, salt, iterations) {
  if (!(iterations >= LEAST_ITERATIONS)) throw weaker();
  return bits(utf8.encode(password.normalize("NFKC")), { name: "PBKDF2", salt, iterations });
}

/** Of a password, as `auth/prelogin` says: `auth_hash` to send, and `key`, which stays. */
export async function derive(password, { kdf, salt }) {
  const master = await masterKey(password, raw(salt), kdf.iterations);
  const [hash, key] = await Promise.all(["auth", "enc"].map((info) => hkdf(master, new Uint8Array(), info)));
  return { auth_hash: base64(hash), key };
}

/** A new secret: `fields` for sign-up, change or reset, and `key`. */
export async function newSecret(password, iterations = LEAST_ITERATIONS) {
  const parameters = { kdf: { algorithm: "PBKDF2-SHA256", iterations }, salt: base64(random(16)) };
  const { auth_hash, key } = await derive(password, parameters);
  return { fields: { scheme: "blind", ...parameters, auth_hash }, key };
}

const idBytes = (id) => id.replaceAll("-", "").match(/../g).map((pair) => parseInt(pair, 16));

/** The associated data: label, NUL, both ids (16 bytes each), version (4 bytes, big-endian). */
export function place({ vaultId, itemId, version }) {
  return new Uint8Array([...utf8.encode("getyousite/v1\0"), ...idBytes(vaultId), ...idBytes(itemId), ...[24, 16, 8, 0].map((by) => version >>> by)]);
}

async function sealingKey(key, salt) {
  return subtle.importKey("raw", await hkdf(key, salt, "envelope"), "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** An envelope under a key of its own. `iv` and `salt` are given by tests alone. */
export async function seal(key, plain, { iv = random(12), salt = random(16), ...where }) {
  const sealed = await subtle.encrypt({ name: "AES-GCM", iv, additionalData: place(where) }, await sealingKey(key, salt), utf8.encode(plain));
  return { ciphertext: base64(sealed), iv: base64(iv), salt: base64(salt), version: where.version, alg: "A256GCM" };
}

/** What an envelope holds, as text. Throws Refused for one that was changed, or belongs elsewhere. */
export async function unseal(key, { alg, iv, salt, version, ciphertext }, where) {
  const options = { name: "AES-GCM", iv: raw(iv), additionalData: place({ ...where, version }) };
  try {
    if (alg !== "A256GCM") throw alg;
    const plain = await subtle.decrypt(options, await sealingKey(key, raw(salt)), raw(ciphertext));
    return new TextDecoder("utf-8", { fatal: true }).decode(plain);
  } catch {
    throw new Refused("An envelope does not open: it was changed, or belongs elsewhere.");
  }
}

const own = (vaultId, version) => ({ vaultId, itemId: NO_ITEM, version });
export const sealRecord = (account, vaultId, key, version) => seal(account, JSON.stringify({ key: base64(key) }), own(vaultId, version));
export const openRecord = async (account, row) => raw(JSON.parse(await unseal(account, row, own(row.vault_id))).key);

/** One person's vaults: `{ key, version }` by id, and `items`, `{ vaultId, itemId, version, value }` by `vault/item`.
 * Keep `memory`, which is not secret: it shows when the server takes something back. */
export class Client {
  #key; // the account's; none while locked
  #access;
  #cursor;

  constructor(memory = {}) {
    this.lock();
    this.memory = { iterations: LEAST_ITERATIONS, seen: {}, ...memory };
  }

  /** One request. Throws Refused with what the server said. */
  async call(method, path, body, ifMatch, again) {
    const headers = { "Content-Type": "application/json", "X-Requested-With": "vault" };
    if (this.#access) headers.Authorization = `Bearer ${this.#access}`;
    if (ifMatch) headers["If-Match"] = `"${ifMatch}"`;
    const answer = await fetch(`/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    const told = answer.status === 204 ? null : await answer.json();
    if (told?.code?.startsWith("token_") && !again) {
      this.#access = "";
      this.#access = (await this.call("POST", "auth/refresh", {}, 0, true)).access;
      return this.call(method, path, body, ifMatch, true);
    }
    if (!answer.ok) throw Object.assign(new Refused(told.errors?.map((error) => error.detail).join(" ") || told.detail), told);
    return told;
  }

  /** Sign in and read everything. `secondFactor(asked)` gives `{ code }` or the like. */
  async signIn(email, password, secondFactor) {
    this.#access = "";
    const told = await this.call("POST", "auth/prelogin", { email });
    if (told.scheme !== "blind") throw new Refused("This account is not blind: the server would see its password.");
    if (told.kdf.iterations < this.memory.iterations) throw weaker();
    const { auth_hash, key } = await derive(password, told);
    const { access } = await this.call("POST", "auth/login", { email, auth_hash }).catch(async (refused) => {
      if (refused.code !== "mfa_required") throw refused;
      return this.call("POST", "auth/mfa/verify", { challenge: refused.challenge, ...(await secondFactor(refused)) });
    });
    await this.begin(access, key, told);
  }

  async begin(access, key, { kdf, salt }) {
    this.#access = access;
    this.memory.iterations = kdf.iterations;
    this.check = { kdf, salt, envelope: await seal(key, "", own(NO_ITEM, 1)) };
    await this.#open(key);
  }

  async #open(key) {
    this.lock();
    this.#key = key;
    await this.sync();
  }

  /** Forget every key and everything that was opened. */
  lock() {
    [this.#key, this.#cursor, this.vaults, this.items] = [undefined, "", new Map(), new Map()];
  }

  async unlock(password) {
    const { key } = await derive(password, this.check);
    await unseal(key, this.check.envelope, own(NO_ITEM)).catch(() => { throw new Refused("This is not the password."); });
    await this.#open(key);
  }

  /** Read what changed. */
  async sync() {
    const [key, rows, vaults, items, { seen }] = [this.#key, new Map(), new Map(this.vaults), new Map(this.items), this.memory];
    let told = { cursor: this.#cursor, more: true };
    while (told.more) {
      told = await this.call("GET", `vault/changes?since=${told.cursor}`);
      for (const row of told.results) rows.set(`${row.vault_id}/${row.item_id ?? NO_ITEM}`, row);
    }
    for (const [name, { deleted, version }] of rows) deleted ? delete seen[name] : this.#saw(name, version);
    await Promise.all([...rows.values()].filter((row) => !row.item_id).map(async (row) => {
      if (row.deleted) vaults.delete(row.vault_id);
      else vaults.set(row.vault_id, { key: await openRecord(key, row), version: row.version });
    }));
    await Promise.all([...rows].map(async ([name, row]) => {
      const where = { vaultId: row.vault_id, itemId: row.item_id, version: row.version };
      if (row.deleted || !vaults.has(where.vaultId)) items.delete(name);
      else if (where.itemId) items.set(name, { ...where, value: JSON.parse(await unseal(vaults.get(where.vaultId).key, row, where)) });
    }));
    for (const [name, { vaultId }] of items) if (!vaults.has(vaultId)) items.delete(name);
    const lost = Object.keys(seen).find((name) => vaults.has(name.slice(0, 36)) && !name.endsWith(NO_ITEM) && !items.has(name));
    if (lost) throw new Refused(`The server has lost ${lost}.`);
    if (key === this.#key) [this.vaults, this.items, this.#cursor] = [vaults, items, told.cursor]; // not locked meanwhile
  }

  #saw(name, version) {
    const before = this.memory.seen[name];
    if (version < before) throw new Refused(`${name} was rolled back from version ${before} to ${version}.`);
    this.memory.seen[name] = version;
  }

  async makeVault() {
    const id = crypto.randomUUID();
    await this.call("POST", "vault", { vault_id: id, ...(await sealRecord(this.#key, id, random(32), 1)) });
    await this.sync();
    return id;
  }

  /** Write an item, new or over `version`. Throws Refused with status 412 when somebody was faster. */
  async put(value, { vaultId, itemId = crypto.randomUUID(), version = 0 }) {
    const sealed = await seal(this.vaults.get(vaultId).key, JSON.stringify(value), { vaultId, itemId, version: version + 1 });
    if (version) await this.call("PUT", `vault/${vaultId}/items/${itemId}`, sealed, version);
    else await this.call("POST", `vault/${vaultId}/items`, { item_id: itemId, ...sealed });
    this.#saw(`${vaultId}/${itemId}`, version + 1);
    await this.sync();
  }

  /** Seal a whole vault with a new key, or nothing. */
  async rotate(vaultId) {
    const [key, { version }] = [random(32), this.vaults.get(vaultId)];
    const mine = [...this.items.values()].filter((item) => item.vaultId === vaultId);
    const items = await Promise.all(mine.map(async ({ itemId, version: last, value }) =>
      ({ item_id: itemId, ...(await seal(key, JSON.stringify(value), { vaultId, itemId, version: last + 1 })) })));
    await this.call("POST", `vault/${vaultId}/rotate`, { ...(await sealRecord(this.#key, vaultId, key, version + 1)), items }, version);
    await this.sync();
  }
}
