// New passwords, and new keys of vaults: everything is sealed anew in one request, or nothing happens.
import { base64, derive, LEAST_ITERATIONS, openRecord, random, seal, sealRecord } from "./client.js";

/** A new secret: `fields` for sign-up, change or reset, and `key`, which stays. */
export async function newSecret(password, iterations = LEAST_ITERATIONS) {
  const parameters = { kdf: { algorithm: "PBKDF2-SHA256", iterations }, salt: base64(random(16)) };
  const { auth_hash, key } = await derive(password, parameters);
  return { fields: { scheme: "blind", ...parameters, auth_hash }, key };
}

/** A new vault; its id. */
export async function makeVault(client) {
  const id = crypto.randomUUID();
  await client.call("POST", "vault", { vault_id: id, ...(await client.record(id, { key: random(32) }, 1)) });
  await client.sync();
  return id;
}

/** Seal a whole vault with a new key. Former versions and what lies in its trash go. Throws Refused. */
export async function rotate(client, vaultId) {
  const { record, version } = client.vaults.get(vaultId);
  const key = random(32);
  const mine = [...client.items.values()].filter((item) => item.vaultId === vaultId);
  const items = await Promise.all(mine.map(async ({ itemId, version: last, value }) =>
    ({ item_id: itemId, ...(await seal(key, JSON.stringify(value), { vaultId, itemId, version: last + 1 })) })));
  await client.call("POST", `vault/${vaultId}/rotate`, { ...(await client.record(vaultId, { record, key }, version + 1)), items }, version);
  await client.sync();
}

/** Replace the password of who is signed in; every vault's own record, in the trash too, comes sealed anew. Throws Refused. */
export async function changePassword(client, before, after) {
  const now = await client.prove(before);
  const { fields, key } = await newSecret(after, client.memory.iterations);
  const { results } = await client.call("GET", "vault?deleted=true&limit=100"); // nobody has more
  const trash = await Promise.all(results.map((head) => client.call("GET", `vault/${head.vault_id}?deleted=true`)));
  const opened = trash.map(async (row) => [row.vault_id, await openRecord(now.key, row)]);
  const all = [...client.vaults, ...(await Promise.all(opened))];
  const vaults = await Promise.all(all.map(async ([id, vault]) => ({ vault_id: id, ...(await sealRecord(key, id, vault, vault.version + 1)) })));
  const { access } = await client.call("POST", "auth/password/vaults", { ...fields, current_auth_hash: now.auth_hash, vaults });
  await client.begin(access, key, fields);
}
