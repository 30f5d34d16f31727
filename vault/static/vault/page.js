// The vault's page. Decrypted values leave the memory of this page only by "Copy", and are dropped when the
// page locks.
import { Client } from "./client.js";
import { byId, clearStatus, createElement, runFormAction, showError, showStatus } from "./dom.js";
import { changePassword, createVault, newSecret, rotateVaultKey } from "./keys.js";
import { renderList } from "./list.js";

const IDLE_MILLISECONDS = 5 * 60 * 1000;
const FIELDS = ["name", "username", "secret", "note"];
const LABELS = { name: "Name", username: "User name", secret: "Secret", note: "Note" };

let client = new Client();
// The item in the editor. A new item has only its id, so that a repeated request creates it once.
let editedItem;
let initialValues = {}; // what the fields were filled with; an input may show less than the item contains
let lastInputTime = Date.now();

/** Run an action of a form, then save what the client must remember. */
const submitForm = (form, action) => runFormAction(form, async () => {
  await action();
  saveMemory();
});

// --- Memory between visits: versions seen and iterations, by account. It contains no secret. ---
const normalizeEmail = (email) => email.trim().normalize("NFKC").toLowerCase();
const loadMemory = (email) => JSON.parse(localStorage.getItem(`vault:${email}`) ?? "{}");

/** Save the memory together with what another tab has saved. */
function saveMemory() {
  if (!client.email) return;
  const { iterations, seen } = loadMemory(client.email);
  for (const [name, version] of Object.entries(seen ?? {})) {
    if (Math.abs(version) > Math.abs(client.memory.seen[name] ?? 0)) client.memory.seen[name] = version;
  }
  client.memory.iterations = Math.max(client.memory.iterations, iterations ?? 0);
  localStorage.setItem(`vault:${client.email}`, JSON.stringify(client.memory));
  localStorage.setItem("vault", client.email);
}

// --- Sign-in, sign-up and unlocking ---
let submitSecondFactor; // set while the form asks for a second factor

function showSignIn(explanation) {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  for (const field of document.querySelectorAll("input, textarea")) field.value = "";
  for (const id of ["list", "stored-values", "undecryptable-message"]) byId(id).replaceChildren();
  clearStatus();
  byId("overwrite-stored").onclick = null;
  byId("use-stored").onclick = null;
  editedItem = undefined;
  initialValues = {};
  submitSecondFactor = undefined;
  const isUnlocking = Boolean(client.passwordVerifier);
  byId("sign-in-title").textContent = isUnlocking ? "Locked" : "Your vault";
  if (explanation) byId("sign-in-explanation").textContent = explanation;
  byId("email-row").hidden = isUnlocking;
  byId("email").required = !isUnlocking;
  byId("email").value = client.email ?? localStorage.getItem("vault") ?? "";
  byId("switch-to-sign-up").textContent = isUnlocking ? "Use another account" : "Create an account";
  showSignUpFields(false);
  showSecondFactorField(false);
  byId("toolbar").hidden = true;
  byId("vault").hidden = true;
  byId("sign-in").hidden = false;
  byId(byId("email").value ? "password" : "email").focus();
}

/** Sign-up asks for the password twice. */
function showSignUpFields(shown) {
  byId("sign-up-row").hidden = !shown;
  byId("password-again").required = shown;
  byId("password").autocomplete = shown ? "new-password" : "current-password";
  byId("sign-in-submit").textContent = shown ? "Create my vault" : "Open";
  byId("switch-to-sign-up").hidden = shown;
}

function showSecondFactorField(shown) {
  byId("second-factor-row").hidden = !shown;
  byId("second-factor").required = shown;
}

function showVault() {
  byId("sign-in").hidden = true;
  byId("password").value = "";
  byId("second-factor").value = "";
  byId("toolbar").hidden = false;
  byId("vault").hidden = false;
  showList();
  byId(client.items.size ? "search" : "add-item").focus();
}

/** Resolve to `{ code }` or `{ recovery_code }` when the form is submitted again. */
function askSecondFactor() {
  showSecondFactorField(true);
  byId("sign-in-submit").disabled = false;
  byId("second-factor").focus();
  return new Promise((resolve) => {
    submitSecondFactor = () => {
      byId("sign-in-submit").disabled = true;
      const code = byId("second-factor").value.trim();
      resolve(/^[0-9 ]{6,7}$/.test(code) ? { code } : { recovery_code: code });
    };
  });
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  if (submitSecondFactor) {
    submitSecondFactor();
    submitSecondFactor = undefined;
    return;
  }
  const isSignUp = byId("switch-to-sign-up").hidden;
  submitForm(event.target, isSignUp ? signUp : signInOrUnlock);
});

async function signInOrUnlock() {
  const password = byId("password").value;
  if (client.passwordVerifier) await client.unlock(password);
  else await signIn(password);
  showVault();
}

async function signIn(password) {
  const email = normalizeEmail(byId("email").value);
  client = new Client(loadMemory(email));
  client.email = email;
  try {
    await client.signIn(email, password, askSecondFactor);
  } catch (error) {
    client = new Client();
    submitSecondFactor = undefined;
    showSecondFactorField(false);
    throw error;
  }
}

async function signUp() {
  const email = normalizeEmail(byId("email").value);
  const password = byId("password").value;
  if (password !== byId("password-again").value) throw new Error("The two passwords differ.");
  const { fields, key } = await newSecret(password);
  const newClient = new Client();
  const account = await newClient.call("POST", "auth/register", { email, ...fields });
  showSignUpFields(false);
  if (!account.access) {
    const explanation = "We have sent you a mail. Open the link in it, then return to this page and sign in.";
    byId("sign-in-explanation").textContent = explanation;
    return;
  }
  client = newClient;
  client.email = email;
  await client.startSession(account.access, key, fields);
  showVault();
}

byId("switch-to-sign-up").addEventListener("click", () => {
  if (!client.passwordVerifier) {
    showSignUpFields(true);
    byId(byId("email").value ? "password" : "email").focus();
    return;
  }
  client.call("POST", "auth/logout", {}).catch(() => {});
  client = new Client();
  showSignIn("Sign in to open your vault.");
  byId("email").value = "";
  byId("email").focus();
});

// --- The list ---
const showList = () => renderList(client, openEditor);

byId("search").addEventListener("input", showList);
byId("add-item").addEventListener("click", () => openEditor({ itemId: crypto.randomUUID() }));
byId("delete-undecryptable").addEventListener("click", async () => {
  if (!confirm("Permanently delete the items that cannot be decrypted?")) return;
  try {
    for (const [name, { version }] of client.undecryptable) await client.purge(name, version);
    await client.sync();
  } catch (error) {
    showError(error);
  }
  showList();
});

// --- The editor ---
const editorForm = byId("editor").querySelector("form");
const submitEditor = (action) => submitForm(editorForm, action);

function openEditor(item) {
  editedItem = item;
  byId("editor-title").textContent = item.version ? "Change" : "Add";
  for (const field of FIELDS) {
    byId(field).value = item.value?.[field] ?? "";
    initialValues[field] = byId(field).value;
  }
  byId("delete-item").hidden = !item.version;
  byId("conflict").hidden = true;
  byId("save-item").hidden = false;
  showSecret(false);
  editorForm.querySelector(".error").textContent = "";
  if (!byId("editor").open) byId("editor").showModal();
}

const changedFields = () => FIELDS.filter((field) => byId(field).value !== initialValues[field]);
const valuesOf = (fields) => Object.fromEntries(fields.map((field) => [field, byId(field).value]));

function showSecret(shown) {
  byId("secret").classList.toggle("masked", !shown);
  byId("secret").rows = shown ? Math.min(12, byId("secret").value.split("\n").length) : 1;
  byId("toggle-secret").setAttribute("aria-pressed", shown);
  byId("toggle-secret").textContent = shown ? "Hide" : "Show";
}

/** Save the changed fields. After a conflict show the stored values, and let the person choose. */
function save() {
  byId("conflict").hidden = true;
  byId("save-item").hidden = false;
  submitEditor(async () => {
    const value = editedItem.version
      ? { ...editedItem.value, ...valuesOf(changedFields()) }
      : valuesOf(FIELDS);
    try {
      await putItem(value);
    } catch (error) {
      if (![404, 412].includes(error.status) && error.code !== "item_exists") throw error;
      await client.sync();
      if (showConflict()) return;
    }
    byId("editor").close();
    showList();
    showStatus("Saved.");
  });
}

/** Store the item in its vault. A new item goes to the first vault, or to a new vault when that is full. */
async function putItem(value) {
  const vaultId = editedItem.vaultId ?? client.vaults.keys().next().value ?? (await createVault(client));
  await client.putItem(value, { ...editedItem, vaultId }).catch(async (error) => {
    if (error.code !== "vault_full" || editedItem.version) throw error;
    await client.putItem(value, { ...editedItem, vaultId: await createVault(client) });
  });
}

/**
 * Show how the stored item differs from the editor, and return whether it does. It does not differ when our
 * own request was stored and only its response was lost.
 */
function showConflict() {
  const storedItem = [...client.items.values()].find(({ itemId }) => itemId === editedItem.itemId);
  showList();
  const differing = FIELDS.filter(
    (field) => storedItem && (storedItem.value[field] ?? "") !== byId(field).value,
  );
  if (storedItem && !differing.length) {
    editedItem = storedItem;
    return false;
  }
  byId("conflict-title").textContent = storedItem
    ? "This was changed on another device"
    : "This was deleted on another device";
  byId("conflict-detail").textContent = storedItem
    ? "while it was open here. The other version is:"
    : "while it was open here.";
  byId("stored-values").replaceChildren(...differing.flatMap((field) => [
    createElement("dt", { textContent: LABELS[field] }),
    createElement("dd", { textContent: storedItem.value[field] || "(empty)" }),
  ]));
  byId("conflict").hidden = false;
  byId("save-item").hidden = true;
  byId("use-stored").hidden = !storedItem;
  byId("overwrite-stored").textContent = storedItem ? "Save my version" : "Add my version again";
  byId("overwrite-stored").onclick = () => {
    editedItem = storedItem ?? { itemId: crypto.randomUUID() };
    save();
  };
  byId("use-stored").onclick = () => openEditor(storedItem);
  byId("overwrite-stored").focus();
  return true;
}

editorForm.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
byId("toggle-secret").addEventListener("click", () => {
  showSecret(byId("secret").classList.contains("masked"));
});

function closeEditor(event) {
  const isDiscardRefused = () => changedFields().length > 0 && !confirm("Discard your changes?");
  if (editorForm.dataset.busy || isDiscardRefused()) event.preventDefault();
  else byId("editor").close();
}

byId("cancel-edit").addEventListener("click", closeEditor);
byId("editor").addEventListener("cancel", closeEditor); // the Escape key
byId("delete-item").addEventListener("click", () => submitEditor(deleteEditedItem));

async function deleteEditedItem() {
  const { vaultId, itemId, version, value } = editedItem;
  const path = `vault/${vaultId}/items/${itemId}`;
  let isDeleted = true;
  try {
    await client.call("DELETE", path, undefined, version);
  } catch (error) {
    if (![404, 412].includes(error.status)) throw error;
    isDeleted = false;
  }
  await client.sync();
  if (!isDeleted) {
    if (showConflict()) return;
    throw new Error("Another device has just saved the same content. Press Delete again to delete it.");
  }
  byId("editor").close();
  showList();
  const undo = () => restoreItem(path).catch(showError);
  showStatus(`${value.name} is in the trash for 30 days.`, undo, "Undo");
}

async function restoreItem(path) {
  await client.call("POST", `${path}/restore`, {});
  await client.sync();
  showList();
  showStatus("The item was restored.");
}

// --- Settings ---
const settingsForm = byId("settings-dialog").querySelector("form");
const submitSettings = (action) => submitForm(settingsForm, action);

byId("open-settings").addEventListener("click", () => {
  settingsForm.querySelector(".error").textContent = "";
  byId("settings-dialog").showModal();
});
byId("rotate-key").addEventListener("click", () => submitSettings(async () => {
  await client.sync();
  for (const vaultId of client.vaults.keys()) await rotateVaultKey(client, vaultId);
  byId("settings-dialog").close();
  showStatus("Everything is encrypted with a new key. Other devices are signed out.");
}));
settingsForm.addEventListener("submit", (event) => {
  event.preventDefault();
  submitSettings(async () => {
    const newPassword = byId("new-password").value;
    if (newPassword !== byId("new-password-again").value) throw new Error("The two new passwords differ.");
    await client.sync();
    if (client.undecryptable.size) throw new Error("First delete the items that cannot be decrypted.");
    await changePassword(client, byId("current-password").value, newPassword);
    byId("settings-dialog").close();
    showStatus("The password is changed. Other devices are signed out.");
  });
});
byId("close-settings").addEventListener("click", () => byId("settings-dialog").close());
byId("settings-dialog").addEventListener("close", () => {
  for (const id of ["current-password", "new-password", "new-password-again"]) byId(id).value = "";
});
byId("sign-out").addEventListener("click", () => submitSettings(async () => {
  saveMemory();
  const signedOutClient = client;
  signedOutClient.lock();
  client = new Client();
  try {
    await signedOutClient.call("POST", "auth/logout", {});
    showSignIn("You are signed out.");
  } catch {
    showSignIn(
      "All keys were removed from this page, but the server did not answer: the session may still be active.",
    );
  }
}));

// --- Locking ---
function lock(explanation) {
  if (byId("vault").hidden) return;
  saveMemory();
  client.lock();
  showSignIn(explanation);
}

function lockWhenIdle() {
  if (Date.now() - lastInputTime < IDLE_MILLISECONDS) return;
  lock("The vault is locked, because there was no input for five minutes.");
}

byId("lock-now").addEventListener("click", () => {
  lock("The vault is locked. Enter your password to unlock it.");
});
for (const type of ["pointerdown", "keydown"]) {
  addEventListener(type, () => { lastInputTime = Date.now(); }, true);
}
setInterval(lockWhenIdle, 5_000);
document.addEventListener("visibilitychange", lockWhenIdle); // the computer may have been asleep
addEventListener("pageshow", (event) => {
  // A page from the back-forward cache.
  if (event.persisted) lock("The vault is locked. Enter your password to unlock it.");
});

showSignIn();
