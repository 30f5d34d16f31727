// The vault's page over client.js. Nothing that was opened leaves this page's memory but by "Copy", and it goes when it locks.
import { Client, NO_ITEM } from "./client.js";
import { changePassword, makeVault, newSecret, rotate } from "./keys.js";

const IDLE = 5 * 60 * 1000; // milliseconds
const FIELDS = ["name", "username", "secret", "note"];
const LABELS = { name: "Name", username: "User name", secret: "Secret", note: "Note" };

const byId = (id) => document.getElementById(id);
let client = new Client();
let edited; // the item in the editor; of a new one the id alone, so that a repeated try is the same one
let filled = {}; // what its fields had when they were filled: a field may show less than the item has
let lastTouch = Date.now();

/** Say something that goes away, with something to do about it if there is. */
function say(text, act, label) {
  const line = byId("status");
  line.textContent = text;
  if (act) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", act, { once: true });
    line.append(button);
  }
  clearTimeout(say.timer);
  say.timer = setTimeout(() => line.replaceChildren(), act ? 15_000 : 6_000);
}

/** Run one act of a form: its buttons wait, and what goes wrong is said below it. */
async function during(form, act) {
  const [line, buttons] = [form.querySelector(".said"), form.querySelectorAll("button")];
  if (form.dataset.busy) return;
  form.dataset.busy = "yes";
  line.textContent = "";
  for (const button of buttons) button.disabled = true;
  try {
    await act();
    remember();
  } catch (error) {
    line.textContent = error.name === "TypeError" ? "There was no answer. Are you online? Try again." : error.message;
    if (error.code === "refresh_refused") {
      line.textContent = "This device was signed out. Copy what you have not saved, then reload the page and sign in again.";
    }
  }
  delete form.dataset.busy;
  for (const button of buttons) button.disabled = false;
}

const complain = (error) => say(error.message || "That did not work. Try again.");

// --- what is kept of a person between visits: versions that were seen, iterations; nothing secret ---
const spelled = (email) => email.trim().normalize("NFKC").toLowerCase();
const memoryOf = (email) => JSON.parse(localStorage.getItem(`vault:${email}`) ?? "{}");

/** Another tab may have seen more. */
function remember() {
  if (!client.email) return;
  const { iterations, seen } = memoryOf(client.email);
  for (const [name, version] of Object.entries(seen ?? {})) {
    if (Math.abs(version) > Math.abs(client.memory.seen[name] ?? 0)) client.memory.seen[name] = version;
  }
  client.memory.iterations = Math.max(client.memory.iterations, iterations ?? 0);
  localStorage.setItem(`vault:${client.email}`, JSON.stringify(client.memory));
  localStorage.setItem("vault", client.email);
}

// --- the door ---
let waiting; // answers a challenge for a second factor

function showDoor(why) {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  for (const field of document.querySelectorAll("input, textarea")) field.value = "";
  for (const id of ["list", "theirs", "status", "broken-said"]) byId(id).replaceChildren();
  clearTimeout(say.timer);
  byId("keep-mine").onclick = byId("take-theirs").onclick = null;
  [edited, filled, waiting] = [undefined, {}, undefined];
  const unlocking = Boolean(client.check);
  byId("door-title").textContent = unlocking ? "Locked" : "Your vault";
  if (why) byId("door-why").textContent = why;
  byId("door-who").hidden = unlocking;
  byId("email").required = !unlocking;
  byId("email").value = client.email ?? localStorage.getItem("vault") ?? "";
  byId("join").textContent = unlocking ? "Somebody else" : "I am new here";
  askAgain(false);
  factor(false);
  byId("bar").hidden = byId("open").hidden = true;
  byId("door").hidden = false;
  byId(byId("email").value ? "password" : "email").focus();
}

/** Somebody who is new types the password twice. */
function askAgain(wanted) {
  byId("door-again").hidden = !wanted;
  byId("again").required = wanted;
  byId("password").autocomplete = wanted ? "new-password" : "current-password";
  byId("enter").textContent = wanted ? "Make my vault" : "Open";
  byId("join").hidden = wanted;
}

function showOpen() {
  byId("door").hidden = true;
  byId("password").value = byId("factor").value = "";
  byId("bar").hidden = byId("open").hidden = false;
  showList();
  byId(client.items.size ? "search" : "add").focus();
}

function factor(wanted) {
  byId("door-factor").hidden = !wanted;
  byId("factor").required = wanted;
}

function askFactor() {
  factor(true);
  byId("enter").disabled = false;
  byId("factor").focus();
  return new Promise((resolve) => {
    waiting = () => {
      byId("enter").disabled = true;
      const code = byId("factor").value.trim();
      resolve(/^[0-9 ]{6,7}$/.test(code) ? { code } : { recovery_code: code });
    };
  });
}

byId("door").addEventListener("submit", (event) => {
  event.preventDefault();
  if (waiting) {
    waiting();
    waiting = undefined;
    return;
  }
  if (event.target.dataset.busy) return;
  during(event.target, byId("join").hidden ? join : enter);
});

async function enter() {
  const password = byId("password").value;
  if (client.check) await client.unlock(password);
  else {
    const email = spelled(byId("email").value);
    client = new Client(memoryOf(email));
    client.email = email;
    try {
      await client.signIn(email, password, askFactor);
    } catch (error) {
      [client, waiting] = [new Client(), undefined];
      factor(false);
      throw error;
    }
  }
  showOpen();
}

async function join() {
  const [email, password] = [spelled(byId("email").value), byId("password").value];
  if (password !== byId("again").value) throw new Error("The two passwords differ.");
  const { fields, key } = await newSecret(password);
  const joined = new Client();
  const made = await joined.call("POST", "auth/register", { email, ...fields });
  askAgain(false);
  if (!made.access) {
    byId("door-why").textContent = "A mail is on its way. Open the link in it, then come back and sign in.";
    return;
  }
  client = joined;
  client.email = email;
  await client.begin(made.access, key, fields);
  showOpen();
}

byId("join").addEventListener("click", () => {
  if (!client.check) {
    askAgain(true);
    byId(byId("email").value ? "password" : "email").focus();
    return;
  }
  client.call("POST", "auth/logout", {}).catch(() => {});
  client = new Client();
  showDoor("Sign in to open your vault.");
  byId("email").value = "";
  byId("email").focus();
});

// --- the list ---
function showList() {
  const wanted = byId("search").value.toLowerCase();
  const items = [...client.items.values()].filter(({ value }) => `${value.name} ${value.username ?? ""}`.toLowerCase().includes(wanted));
  items.sort((one, other) => String(one.value.name).localeCompare(String(other.value.name)));
  byId("list").replaceChildren(...items.map(row));
  byId("broken").hidden = !client.broken.size;
  byId("broken-said").textContent = client.broken.size === 1 ? "One thing does not open: it was changed, or sealed with another key." : `${client.broken.size} things do not open: they were changed, or sealed with another key.`;
  byId("none").hidden = items.length > 0;
  byId("none").textContent = client.items.size ? "Nothing has that name." : "Nothing is in here yet. Add the first thing.";
}

function row(item) {
  const line = document.createElement("li");
  const open = Object.assign(document.createElement("button"), { type: "button", className: "item" });
  for (const text of [item.value.name, item.value.username]) {
    if (text) open.append(Object.assign(document.createElement("span"), { textContent: text }));
  }
  open.addEventListener("click", () => edit(item));
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: "Copy" });
  copy.setAttribute("aria-label", `Copy the secret of ${item.value.name}`);
  copy.addEventListener("click", () => navigator.clipboard.writeText(item.value.secret ?? "").then(
    () => say(`Copied the secret of ${item.value.name}.`), () => say("Your browser does not let this page copy.")));
  line.append(open, copy);
  return line;
}

byId("search").addEventListener("input", showList);
byId("add").addEventListener("click", () => edit({ itemId: crypto.randomUUID() }));
byId("drop-broken").addEventListener("click", async () => {
  if (!confirm("Delete for good what does not open?")) return;
  try {
    for (const [name, { version }] of client.broken) {
      const [vaultId, itemId] = [name.slice(0, 36), name.slice(37)];
      const path = itemId === NO_ITEM ? `vault/${vaultId}` : `vault/${vaultId}/items/${itemId}`;
      await client.call("DELETE", path, undefined, version);
      await client.call("DELETE", `${path}?deleted=true`, undefined, version);
    }
    await client.sync();
  } catch (error) {
    complain(error);
  }
  showList();
});

// --- the editor ---
function edit(item) {
  edited = item;
  byId("editor-title").textContent = item.version ? "Change" : "Add";
  for (const field of FIELDS) {
    byId(field).value = item.value?.[field] ?? "";
    filled[field] = byId(field).value;
  }
  byId("delete").hidden = !item.version;
  byId("conflict").hidden = true;
  byId("save").hidden = false;
  reveal(false);
  byId("editor").querySelector(".said").textContent = "";
  if (!byId("editor").open) byId("editor").showModal();
}

const changed = () => FIELDS.filter((field) => byId(field).value !== filled[field]);

function reveal(shown) {
  byId("secret").classList.toggle("masked", !shown);
  byId("secret").rows = shown ? Math.min(12, byId("secret").value.split("\n").length) : 1;
  byId("show").setAttribute("aria-pressed", shown);
  byId("show").textContent = shown ? "Hide" : "Show";
}

const editing = (act) => during(byId("editor").querySelector("form"), act);

/** Save what was changed in the editor; when somebody was faster, show theirs beside it and let the person choose. */
function save() {
  byId("conflict").hidden = true;
  byId("save").hidden = false;
  editing(async () => {
    const fresh = Object.fromEntries(changed().map((field) => [field, byId(field).value]));
    const value = edited.version ? { ...edited.value, ...fresh } : Object.fromEntries(FIELDS.map((field) => [field, byId(field).value]));
    try {
      await keep(value);
    } catch (error) {
      if (![404, 412].includes(error.status) && error.code !== "item_exists") throw error;
      await client.sync();
      if (showConflict()) return;
    }
    byId("editor").close();
    showList();
    say("Saved.");
  });
}

/** In the vault where it is; what is new in the first one, or in another when that is full. */
async function keep(value) {
  const vaultId = edited.vaultId ?? client.vaults.keys().next().value ?? (await makeVault(client));
  await client.put(value, { ...edited, vaultId }).catch(async (error) => {
    if (error.code !== "vault_full" || edited.version) throw error;
    await client.put(value, { ...edited, vaultId: await makeVault(client) });
  });
}

/** Whether what is there differs from what the editor has: it may be ours, and only the answer was lost. */
function showConflict() {
  const theirs = [...client.items.values()].find(({ itemId }) => itemId === edited.itemId);
  showList();
  byId("conflict-what").textContent = theirs ? "This was changed on another device" : "This was deleted on another device";
  byId("conflict-now").textContent = theirs ? "while you had it open. It now says:" : "while you had it open.";
  const different = FIELDS.filter((field) => theirs && (theirs.value[field] ?? "") !== byId(field).value);
  if (theirs && !different.length) {
    edited = theirs;
    return false;
  }
  byId("theirs").replaceChildren(...different.flatMap((field) => [
    Object.assign(document.createElement("dt"), { textContent: LABELS[field] }),
    Object.assign(document.createElement("dd"), { textContent: theirs.value[field] || "(empty)" }),
  ]));
  byId("conflict").hidden = false;
  byId("save").hidden = true;
  byId("take-theirs").hidden = !theirs;
  byId("keep-mine").textContent = theirs ? "Save mine over it" : "Add mine again";
  byId("keep-mine").onclick = () => {
    edited = theirs ?? { itemId: crypto.randomUUID() };
    save();
  };
  byId("take-theirs").onclick = () => edit(theirs);
  byId("keep-mine").focus();
  return true;
}

byId("editor").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
byId("show").addEventListener("click", () => reveal(byId("secret").classList.contains("masked")));
function leaveEditor(event) {
  const busy = byId("editor").querySelector("form").dataset.busy;
  if (busy || (changed().length && !confirm("Discard what you changed?"))) event.preventDefault();
  else byId("editor").close();
}

byId("cancel").addEventListener("click", leaveEditor);
byId("editor").addEventListener("cancel", leaveEditor); // the Escape key
byId("delete").addEventListener("click", () => editing(async () => {
  const { vaultId, itemId, version, value } = edited;
  const path = `vault/${vaultId}/items/${itemId}`;
  const gone = await client.call("DELETE", path, undefined, version).then(() => true, (error) => {
    if (![404, 412].includes(error.status)) throw error;
  });
  await client.sync();
  if (!gone && showConflict()) return;
  if (!gone) throw new Error("Another device has just saved the same. Press Delete again if you still want to.");
  byId("editor").close();
  showList();
  const undo = async () => {
    await client.call("POST", `${path}/restore`, {});
    await client.sync();
    showList();
    say("It is back.");
  };
  say(`${value.name} is in the trash for 30 days.`, () => undo().catch(complain), "Undo");
}));

// --- settings ---
byId("settings").addEventListener("click", () => {
  byId("more").querySelector(".said").textContent = "";
  byId("more").showModal();
});
const setting = (act) => during(byId("more").querySelector("form"), act);
byId("rotate").addEventListener("click", () => setting(async () => {
  await client.sync();
  for (const vaultId of client.vaults.keys()) await rotate(client, vaultId);
  byId("more").close();
  say("Everything is sealed with a new key. Other devices are signed out.");
}));
byId("more").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  setting(async () => {
    if (byId("next").value !== byId("next-again").value) throw new Error("The two new passwords differ.");
    await client.sync();
    if (client.broken.size) throw new Error("First delete what does not open: the list shows it.");
    await changePassword(client, byId("current").value, byId("next").value);
    byId("more").close();
    say("The password is changed. Other devices are signed out.");
  });
});
byId("close").addEventListener("click", () => byId("more").close());
byId("more").addEventListener("close", () => { byId("current").value = byId("next").value = byId("next-again").value = ""; });
byId("leave").addEventListener("click", () => setting(async () => {
  remember();
  const left = client;
  left.lock();
  client = new Client();
  try {
    await left.call("POST", "auth/logout", {});
    showDoor("You are signed out.");
  } catch {
    showDoor("This page has forgotten everything, but there was no answer: the session may not have ended.");
  }
}));

// --- locking ---
function lock(why) {
  if (byId("open").hidden) return;
  remember();
  client.lock();
  showDoor(why);
}

byId("lock").addEventListener("click", () => lock("Everything that was open is gone from this page. Your password opens it again."));
for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => { lastTouch = Date.now(); }, true);
const tooLong = () => Date.now() - lastTouch >= IDLE && lock("You were away for five minutes, so the vault is locked.");
setInterval(tooLong, 5_000);
document.addEventListener("visibilitychange", tooLong); // a computer that slept
addEventListener("pageshow", (event) => event.persisted && lock("Your password opens the vault again."));

showDoor();
