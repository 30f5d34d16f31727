// The reference client of the vault: see docs/vault.md, and GET /api/v1/vault/vectors. What the server says is not believed.
export const LEAST_ITERATIONS = 600_000;
export const NO_ITEM = "00000000-0000-0000-0000-000000000000"; // in the place of a vault's own record

/** The server said no (`status`, `code`), or cannot be believed. The message is for people. */
export class Refused extends Error {}

const utf8 = new TextEncoder();
const { subtle } = crypto;
export const random = (count) => crypto.getRandomValues(new Uint8Array(count));
export const base64 = (bytes) => btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(""));
export const raw = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

async function bits(secret, options) {
  const base = await subtle.importKey("raw", secret, options.name, false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ hash: "SHA-256", ...options }, base, 256));
}

const hkdf = (key, salt, info) => bits(key, { name: "HKDF", salt, info: utf8.encode(`getyousite/v1/${info}`) });

/** PBKDF2-HMAC-SHA256 of the password in NFKC. Throws Refused. */
async function masterKey(password, salt, iterations, least) {
  if (!(iterations >= least && iterations <= 10_000_000)) throw new Refused("This server asks for too weak a key. Do not sign in.");
  return bits(utf8.encode(password.normalize("NFKC")), { name: "PBKDF2", salt, iterations });
}

/** By what `auth/prelogin` says: `auth_hash` to send, and `key`, which stays. */
export async function derive(password, { kdf, salt }, least = LEAST_ITERATIONS) {
  const master = await masterKey(password, raw(salt), kdf.iterations, least);
  const [hash, key] = await Promise.all(["auth", "enc"].map((info) => hkdf(master, new Uint8Array(), info)));
  return { auth_hash: base64(hash), key };
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

export const own = (vaultId, version) => ({ vaultId, itemId: NO_ITEM, version });

/** A vault's own record: its key, and what else a client keeps there. */
export async function openRecord(account, row) {
  const record = JSON.parse(await unseal(account, row, own(row.vault_id)));
  return { key: raw(record.key), record, version: row.version };
}

export const sealRecord = (account, vaultId, { record, key }, version) =>
  seal(account, JSON.stringify({ ...record, key: base64(key) }), own(vaultId, version));

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const claims = (token) => JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));

/** One person's vaults: `{ key, record, version }` by id; `items`, `{ vaultId, itemId, version, value }` by `vault/item`; `broken`, rows
 * that do not open. Keep `memory`, which is not secret: it shows when the server takes something back. */
export class Client {
  #key; // the account's; none while locked
  #access;
  #cursor;

  constructor(memory = {}) {
    this.lock();
    this.memory = { iterations: LEAST_ITERATIONS, seen: {}, ...memory }; // versions by name, negative once deleted
  }

  async call(method, path, body, ifMatch, again) {
    const headers = { "Content-Type": "application/json", "X-Requested-With": "vault" };
    if (this.#access) headers.Authorization = `Bearer ${this.#access}`;
    if (ifMatch) headers["If-Match"] = `"${ifMatch}"`;
    const answer = await fetch(`/api/v1/${path}`, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
    const told = answer.status === 204 ? null : await answer.json().catch(() => ({ detail: `The server answered ${answer.status}.` }));
    if (told?.code?.startsWith("token_") && !again) {
      const { sid } = claims(this.#access);
      this.#access = "";
      const { access } = await this.call("POST", "auth/refresh", {}, 0, true);
      if (claims(access).sid !== sid) { // of another tab, perhaps of somebody else
        this.lock();
        throw Object.assign(new Refused(), { code: "refresh_refused" });
      }
      this.#access = access;
      return this.call(method, path, body, ifMatch, true);
    }
    if (!answer.ok) throw Object.assign(new Refused(told.errors?.map((error) => error.detail).join(" ") || told.detail), told);
    return told;
  }

  /** `secondFactor(asked)` gives `{ code }` or the like. */
  async signIn(email, password, secondFactor) {
    this.#access = "";
    const told = await this.call("POST", "auth/prelogin", { email });
    if (told.scheme !== "blind") throw new Refused("This account is not blind: the server would see its password.");
    const { auth_hash, key } = await derive(password, told, this.memory.iterations);
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
    await this.sync().catch((error) => { this.lock(); throw error; });
  }

  /** Forget every key and everything that was opened. */
  lock() {
    [this.#key, this.#cursor, this.vaults, this.items, this.broken] = [undefined, "", new Map(), new Map(), new Map()];
  }

  async prove(password) {
    const found = await derive(password, this.check);
    await unseal(found.key, this.check.envelope, own(NO_ITEM)).catch(() => { throw new Refused("This is not the password."); });
    return found;
  }

  async unlock(password) {
    await this.#open((await this.prove(password)).key);
  }

  /** Read what changed, and believe nothing that is older than it was. */
  async sync() {
    const key = this.#key;
    const [rows, vaults, items, broken] = [[], this.vaults, this.items, this.broken].map((old) => new Map(old));
    const seen = { ...this.memory.seen };
    let told = { cursor: this.#cursor, more: true };
    while (told.more) {
      told = await this.call("GET", `vault/changes?since=${told.cursor}`);
      for (const row of told.results) rows.set(`${row.vault_id}/${row.item_id ?? NO_ITEM}`, row);
    }
    for (const [name, { vault_id, item_id, version }] of rows) {
      const sound = [vault_id, item_id ?? vault_id].every((id) => ID.test(id) && id !== NO_ITEM) && Number.isInteger(version) && version > 0 && version < 2 ** 31;
      if (!sound || version < Math.abs(seen[name] ?? 0)) throw new Refused(`${name} was rolled back to version ${version}.`);
    }
    const settle = (wanted, map, open) => Promise.all([...rows].filter(([, row]) => !row.item_id === wanted).map(async ([name, row]) => {
      const id = wanted ? row.vault_id : name;
      map.delete(id);
      broken.delete(name);
      if (row.deleted) seen[name] = -row.version;
      else await open(row).then((it) => it && map.set(id, it) && (seen[name] = row.version), () => broken.set(name, row));
    }));
    await settle(true, vaults, (row) => openRecord(key, row));
    await settle(false, items, async (row) => {
      const [vault, where] = [vaults.get(row.vault_id), { vaultId: row.vault_id, itemId: row.item_id, version: row.version }];
      return vault && { ...where, value: JSON.parse(await unseal(vault.key, row, where)) };
    });
    for (const [name, { vaultId }] of items) if (!vaults.has(vaultId)) items.delete(name);
    const lost = Object.keys(seen).find((name) => seen[name] > 0 && vaults.has(name.slice(0, 36)) && !name.endsWith(NO_ITEM) && !items.has(name) && !broken.has(name));
    if (lost) throw new Refused(`The server has lost ${lost}.`);
    if (key !== this.#key) return; // locked meanwhile
    [this.vaults, this.items, this.broken, this.memory.seen, this.#cursor] = [vaults, items, broken, seen, told.cursor];
  }

  record(vaultId, vault, version) {
    return sealRecord(this.#key, vaultId, vault, version);
  }

  /** Write an item, new or over `version`; Refused has status 412 when somebody was faster. */
  async put(value, { vaultId, itemId, version = 0 }) {
    const vault = this.vaults.get(vaultId);
    const sealed = await seal(vault.key, JSON.stringify(value), { vaultId, itemId, version: version + 1 });
    if (version) await this.call("PUT", `vault/${vaultId}/items/${itemId}`, sealed, version);
    else await this.call("POST", `vault/${vaultId}/items`, { item_id: itemId, ...sealed }, vault.version);
    await this.sync();
  }
}
