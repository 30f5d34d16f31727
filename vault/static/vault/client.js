// The vault's reference client for browsers, see docs/vault.md. It does not trust the server: envelopes
// decrypt only in their own place, and versions older than those seen before are refused.
import {
  decryptEnvelope, decryptRecord, derive, encryptEnvelope, encryptRecord, MIN_ITERATIONS, NIL_ID,
  recordPlace, VaultError,
} from "./crypto.js";

export { derive };

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const UUID_CHARACTERS = 36;

/** The claims of a JSON Web Token, without verifying it. */
function parseClaims(token) {
  const payload = token.split(".")[1];
  return JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/")));
}

const isValidVersion = (version) => Number.isInteger(version) && version > 0 && version < 2 ** 31;
const isValidId = (id) => UUID.test(id) && id !== NIL_ID;

/** Throws VaultError for invalid ids and versions, and for a version older than the highest seen. */
function verifyRow(name, { vault_id, item_id, version }, seen) {
  const isValid = isValidId(vault_id) && isValidId(item_id ?? vault_id) && isValidVersion(version);
  if (!isValid || version < Math.abs(seen[name] ?? 0)) {
    throw new VaultError(`${name} was rolled back to version ${version}.`);
  }
}

/**
 * The decrypted vaults of one account.
 *
 * `vaults` maps a vault id to `{ key, record, version }`. `items` maps `<vault id>/<item id>` to
 * `{ vaultId, itemId, version, value }`. `undecryptable` maps the same names to rows that do not decrypt. The
 * caller stores `memory` between visits; it is not secret and shows when the server returns an older state.
 */
export class Client {
  #accountKey; // undefined while locked
  #accessToken;
  #cursor;

  constructor(memory = {}) {
    this.lock();
    // `seen` maps names to the highest version seen, negative after a deletion.
    this.memory = { iterations: MIN_ITERATIONS, seen: {}, ...memory };
  }

  /**
   * Send one request and return the JSON of the response; an expired access token is renewed once. Throws
   * VaultError with the fields of the problem document.
   */
  async call(method, path, body, ifMatch, isRetry) {
    const headers = { "Content-Type": "application/json", "X-Requested-With": "vault" };
    if (this.#accessToken) headers.Authorization = `Bearer ${this.#accessToken}`;
    if (ifMatch) headers["If-Match"] = `"${ifMatch}"`;
    const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store" };
    const response = await fetch(`/api/v1/${path}`, options);
    const noJson = () => ({ detail: `The server answered ${response.status}.` });
    const data = response.status === 204 ? null : await response.json().catch(noJson);
    if (data?.code?.startsWith("token_") && !isRetry) {
      await this.#refreshAccessToken();
      return this.call(method, path, body, ifMatch, true);
    }
    if (!response.ok) {
      const message = data.errors?.map((error) => error.detail).join(" ") || data.detail;
      throw Object.assign(new VaultError(message), data);
    }
    return data;
  }

  async #refreshAccessToken() {
    const { sid } = parseClaims(this.#accessToken);
    this.#accessToken = "";
    const { access } = await this.call("POST", "auth/refresh", {}, 0, true);
    if (parseClaims(access).sid !== sid) { // another tab has signed in, perhaps to another account
      this.lock();
      throw Object.assign(new VaultError(), { code: "refresh_refused" });
    }
    this.#accessToken = access;
  }

  /** Sign in and read the vaults. `askSecondFactor()` resolves to `{ code }` or `{ recovery_code }`. */
  async signIn(email, password, askSecondFactor) {
    this.#accessToken = "";
    const parameters = await this.call("POST", "auth/prelogin", { email });
    if (parameters.scheme !== "blind") {
      throw new VaultError("This is not a zero-knowledge account: the server would see its password.");
    }
    const { auth_hash, key } = await derive(password, parameters, this.memory.iterations);
    const { access } = await this.call("POST", "auth/login", { email, auth_hash }).catch(async (error) => {
      if (error.code !== "mfa_required") throw error;
      const factor = await askSecondFactor();
      return this.call("POST", "auth/mfa/verify", { challenge: error.challenge, ...factor });
    });
    await this.startSession(access, key, parameters);
  }

  /** Use a new access token and account key, and read the vaults. */
  async startSession(accessToken, accountKey, { kdf, salt }) {
    this.#accessToken = accessToken;
    this.memory.iterations = kdf.iterations;
    // A known envelope under the account key, to verify the password when the page is unlocked.
    const envelope = await encryptEnvelope(accountKey, "", recordPlace(NIL_ID, 1));
    this.passwordVerifier = { kdf, salt, envelope };
    await this.#open(accountKey);
  }

  async #open(accountKey) {
    this.lock();
    this.#accountKey = accountKey;
    await this.sync().catch((error) => {
      this.lock();
      throw error;
    });
  }

  /** Drop every key and everything that was decrypted. */
  lock() {
    this.#accountKey = undefined;
    this.#cursor = "";
    this.vaults = new Map();
    this.items = new Map();
    this.undecryptable = new Map();
  }

  /** Derive the secrets from the present password. Throws VaultError for another password. */
  async verifyPassword(password) {
    const secrets = await derive(password, this.passwordVerifier);
    await decryptEnvelope(secrets.key, this.passwordVerifier.envelope, recordPlace(NIL_ID)).catch(() => {
      throw new VaultError("This password is wrong.");
    });
    return secrets;
  }

  async unlock(password) {
    await this.#open((await this.verifyPassword(password)).key);
  }

  /** Read and decrypt what changed. Throws VaultError when the server returns an older state. */
  async sync() {
    const accountKey = this.#accountKey;
    const vaults = new Map(this.vaults);
    const items = new Map(this.items);
    const undecryptable = new Map(this.undecryptable);
    const seen = { ...this.memory.seen };
    const { rows, cursor } = await this.#readChanges();
    for (const [name, row] of rows) verifyRow(name, row, seen);
    const applyRow = async (name, row, id, target, decrypt) => {
      target.delete(id);
      undecryptable.delete(name);
      if (row.deleted) {
        seen[name] = -row.version;
        return;
      }
      try {
        const decrypted = await decrypt(row);
        if (!decrypted) return;
        target.set(id, decrypted);
        seen[name] = row.version;
      } catch {
        undecryptable.set(name, row);
      }
    };
    const decryptVault = (row) => decryptRecord(accountKey, row);
    const decryptItem = async (row) => {
      const vault = vaults.get(row.vault_id);
      const place = { vaultId: row.vault_id, itemId: row.item_id, version: row.version };
      return vault && { ...place, value: JSON.parse(await decryptEnvelope(vault.key, row, place)) };
    };
    // Vaults come before items, because a vault's record contains the key of its items.
    const vaultRows = [...rows].filter(([, row]) => !row.item_id);
    const itemRows = [...rows].filter(([, row]) => row.item_id);
    await Promise.all(
      vaultRows.map(([name, row]) => applyRow(name, row, row.vault_id, vaults, decryptVault)),
    );
    await Promise.all(itemRows.map(([name, row]) => applyRow(name, row, name, items, decryptItem)));
    for (const [name, { vaultId }] of items) if (!vaults.has(vaultId)) items.delete(name);
    const missing = Object.keys(seen).find((name) => seen[name] > 0 && !name.endsWith(NIL_ID)
      && vaults.has(name.slice(0, UUID_CHARACTERS)) && !items.has(name) && !undecryptable.has(name));
    if (missing) throw new VaultError(`The server did not return ${missing}.`);
    if (accountKey !== this.#accountKey) return; // the page was locked meanwhile
    Object.assign(this, { vaults, items, undecryptable });
    this.memory.seen = seen;
    this.#cursor = cursor;
  }

  /** Read the changed rows by `<vault id>/<item id>`, with the nil UUID for a vault's own record. */
  async #readChanges() {
    const rows = new Map();
    let page = { cursor: this.#cursor, more: true };
    while (page.more) {
      page = await this.call("GET", `vault/changes?since=${page.cursor}`);
      for (const row of page.results) rows.set(`${row.vault_id}/${row.item_id ?? NIL_ID}`, row);
    }
    return { rows, cursor: page.cursor };
  }

  /** Encrypt a vault's own record with the present account key. */
  encryptRecord(vaultId, vault, version) {
    return encryptRecord(this.#accountKey, vaultId, vault, version);
  }

  /**
   * Create an item, or replace its version `version`. Throws VaultError, with status 412 when another client
   * has changed the item since.
   */
  async putItem(value, { vaultId, itemId, version = 0 }) {
    const vault = this.vaults.get(vaultId);
    const place = { vaultId, itemId, version: version + 1 };
    const envelope = await encryptEnvelope(vault.key, JSON.stringify(value), place);
    if (version) await this.call("PUT", `vault/${vaultId}/items/${itemId}`, envelope, version);
    else await this.call("POST", `vault/${vaultId}/items`, { item_id: itemId, ...envelope }, vault.version);
    await this.sync();
  }

  /** Delete a vault or an item permanently, by way of the trash. `name` is `<vault id>/<item id>`. */
  async purge(name, version) {
    const vaultId = name.slice(0, UUID_CHARACTERS);
    const itemId = name.slice(UUID_CHARACTERS + 1);
    const path = itemId === NIL_ID ? `vault/${vaultId}` : `vault/${vaultId}/items/${itemId}`;
    await this.call("DELETE", path, undefined, version);
    await this.call("DELETE", `${path}?deleted=true`, undefined, version);
  }
}
