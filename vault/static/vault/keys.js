// New passwords, and new keys of vaults. Everything is re-encrypted in one request, or nothing changes.
import {
  decryptRecord, derive, encodeBase64, encryptEnvelope, encryptRecord, MIN_ITERATIONS, randomBytes,
} from "./crypto.js";

const MAX_VAULTS = 100; // of one account; a list of this length is complete

/**
 * Derive the secrets of a new password. `fields` are the fields of the requests for sign-up, password change
 * and password reset; `key` is the account key and never leaves the client.
 */
export async function newSecret(password, iterations = MIN_ITERATIONS) {
  const parameters = { kdf: { algorithm: "PBKDF2-SHA256", iterations }, salt: encodeBase64(randomBytes(16)) };
  const { auth_hash, key } = await derive(password, parameters);
  return { fields: { scheme: "blind", ...parameters, auth_hash }, key };
}

/** Create a vault with a random key and return its id. Throws VaultError. */
export async function createVault(client) {
  const vaultId = crypto.randomUUID();
  const envelope = await client.encryptRecord(vaultId, { key: randomBytes(32) }, 1);
  await client.call("POST", "vault", { vault_id: vaultId, ...envelope });
  await client.sync();
  return vaultId;
}

/**
 * Replace a vault's key and re-encrypt its record and items. The server deletes former versions and the trash
 * of the vault. Throws VaultError.
 */
export async function rotateVaultKey(client, vaultId) {
  const { record, version } = client.vaults.get(vaultId);
  const key = randomBytes(32);
  const vaultItems = [...client.items.values()].filter((item) => item.vaultId === vaultId);
  const items = await Promise.all(vaultItems.map(async ({ itemId, version: lastVersion, value }) => {
    const place = { vaultId, itemId, version: lastVersion + 1 };
    return { item_id: itemId, ...(await encryptEnvelope(key, JSON.stringify(value), place)) };
  }));
  const envelope = await client.encryptRecord(vaultId, { record, key }, version + 1);
  await client.call("POST", `vault/${vaultId}/rotate`, { ...envelope, items }, version);
  await client.sync();
}

/**
 * Replace the password of the signed-in account. The own record of every vault is re-encrypted, including
 * vaults in the trash. Throws VaultError.
 */
export async function changePassword(client, currentPassword, newPassword) {
  const current = await client.verifyPassword(currentPassword);
  const { fields, key } = await newSecret(newPassword, client.memory.iterations);
  const { results } = await client.call("GET", `vault?deleted=true&limit=${MAX_VAULTS}`);
  const trashRows = await Promise.all(
    results.map((head) => client.call("GET", `vault/${head.vault_id}?deleted=true`)),
  );
  const trash = await Promise.all(
    trashRows.map(async (row) => [row.vault_id, await decryptRecord(current.key, row)]),
  );
  const vaults = await Promise.all([...client.vaults, ...trash].map(async ([vaultId, vault]) => {
    const envelope = await encryptRecord(key, vaultId, vault, vault.version + 1);
    return { vault_id: vaultId, ...envelope };
  }));
  const body = { ...fields, current_auth_hash: current.auth_hash, vaults };
  const { access } = await client.call("POST", "auth/password/vaults", body);
  await client.startSession(access, key, fields);
}
