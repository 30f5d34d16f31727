// The vault's page over client.js. Nothing that was opened leaves this page's memory but by "Copy", and it goes when it locks.
import { Client, newSecret } from "./client.js";
import { changePassword } from "./password.js";

const IDLE = 5 * 60 * 1000; // milliseconds
const FIELDS = ["name", "username", "secret", "note"];
const LABELS = { name: "Name", username: "User name", secret: "Secret", note: "Note" };

const byId = (id) => document.getElementById(id);
let client = new Client();
let edited; // the item in the editor, or null for a new one
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
  for (const button of buttons) button.disabled = false;
}

// --- what is kept of a person between visits: versions that were seen, iterations; nothing secret ---

const memoryOf = (email) => JSON.parse(localStorage.getItem(`vault:${email}`) ?? "{}");

function remember() {
  if (!client.email) return;
  localStorage.setItem(`vault:${client.email}`, JSON.stringify(client.memory));
  localStorage.setItem("vault", client.email);
}

// --- the door ---

let waiting; // answers a challenge for a second factor

function showDoor(why) {
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  for (const field of document.querySelectorAll("input, textarea")) field.value = "";
  byId("list").replaceChildren();
  byId("theirs").replaceChildren();
  [edited, waiting] = [undefined, undefined];
  const unlocking = Boolean(client.check);
  byId("door-title").textContent = unlocking ? "Locked" : "Your vault";
  if (why) byId("door-why").textContent = why;
  byId("door-who").hidden = unlocking;
  byId("email").required = !unlocking;
  byId("email").value = client.email ?? localStorage.getItem("vault") ?? "";
  byId("join").textContent = unlocking ? "Somebody else" : "I am new here";
  byId("door-factor").hidden = true;
  byId("bar").hidden = byId("open").hidden = true;
  byId("door").hidden = false;
  byId(byId("email").value ? "password" : "email").focus();
}

function showOpen() {
  byId("door").hidden = true;
  byId("password").value = byId("factor").value = "";
  byId("bar").hidden = byId("open").hidden = false;
  showList();
  byId(client.items.size ? "search" : "add").focus();
}

function askFactor() {
  byId("door-factor").hidden = false;
  byId("enter").disabled = false;
  byId("factor").focus();
  return new Promise((resolve) => {
    waiting = () => {
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
  during(event.target, async () => {
    const password = byId("password").value;
    if (client.check) await client.unlock(password);
    else {
      const email = byId("email").value.trim();
      client = new Client(memoryOf(email));
      client.email = email;
      try {
        await client.signIn(email, password, askFactor);
      } catch (error) {
        [client, waiting] = [new Client(), undefined];
        byId("door-factor").hidden = true;
        throw error;
      }
    }
    showOpen();
  });
});

byId("join").addEventListener("click", (event) => {
  const form = byId("door");
  if (client.check) {
    client = new Client();
    showDoor("Sign in to open your vault.");
    byId("email").value = "";
    byId("email").focus();
    return;
  }
  if (!form.reportValidity()) return;
  during(form, async () => {
    const [email, password] = [byId("email").value.trim(), byId("password").value];
    const { fields, key } = await newSecret(password);
    const joined = new Client();
    const made = await joined.call("POST", "auth/register", { email, ...fields });
    if (!made.access) {
      byId("door-why").textContent = "A mail is on its way. Open the link in it, then come back and sign in.";
      return;
    }
    client = joined;
    client.email = email;
    await client.begin(made.access, key, fields);
    showOpen();
  });
});

// --- the list ---

function showList() {
  const wanted = byId("search").value.toLowerCase();
  const items = [...client.items.values()].filter(({ value }) => `${value.name} ${value.username ?? ""}`.toLowerCase().includes(wanted));
  items.sort((one, other) => String(one.value.name).localeCompare(String(other.value.name)));
  byId("list").replaceChildren(...items.map(row));
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
byId("add").addEventListener("click", () => edit(null));

// --- the editor ---

function edit(item) {
  edited = item;
  byId("editor-title").textContent = item ? "Change" : "Add";
  for (const field of FIELDS) byId(field).value = item?.value[field] ?? "";
  byId("delete").hidden = !item;
  byId("conflict").hidden = true;
  byId("save").hidden = false;
  reveal(false);
  byId("editor").querySelector(".said").textContent = "";
  if (!byId("editor").open) byId("editor").showModal();
}

function reveal(shown) {
  byId("secret").type = shown ? "text" : "password";
  byId("show").setAttribute("aria-pressed", shown);
  byId("show").textContent = shown ? "Hide" : "Show";
}

const editing = (act) => during(byId("editor").querySelector("form"), act);

/** Save what the editor has over `edited`; when somebody was faster, show theirs beside it and let the person choose. */
function save() {
  byId("conflict").hidden = true;
  byId("save").hidden = false;
  editing(async () => {
    const value = { ...edited?.value, ...Object.fromEntries(FIELDS.map((field) => [field, byId(field).value])) };
    const vaultId = edited?.vaultId ?? client.vaults.keys().next().value ?? (await client.makeVault());
    try {
      await client.put(value, { vaultId, ...edited });
    } catch (error) {
      if (error.status !== 412) throw error;
      await client.sync();
      return showConflict();
    }
    byId("editor").close();
    showList();
    say("Saved.");
  });
}

function showConflict() {
  const theirs = client.items.get(`${edited.vaultId}/${edited.itemId}`);
  showList();
  if (!theirs) throw new Error("This was deleted on another device. Cancel, and add it again if you want it back.");
  byId("theirs").replaceChildren(...FIELDS.filter((field) => theirs.value[field] !== byId(field).value).flatMap((field) => [
    Object.assign(document.createElement("dt"), { textContent: LABELS[field] }),
    Object.assign(document.createElement("dd"), { textContent: theirs.value[field] || "(empty)" }),
  ]));
  byId("conflict").hidden = false;
  byId("save").hidden = true;
  byId("keep-mine").onclick = () => {
    edited = theirs;
    save();
  };
  byId("take-theirs").onclick = () => edit(theirs);
  byId("keep-mine").focus();
}

byId("editor").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
byId("show").addEventListener("click", () => reveal(byId("secret").type === "password"));
byId("cancel").addEventListener("click", () => byId("editor").close());
byId("delete").addEventListener("click", () => editing(async () => {
  const { vaultId, itemId, version, value } = edited;
  const path = `vault/${vaultId}/items/${itemId}`;
  await client.call("DELETE", path, undefined, version);
  await client.sync();
  byId("editor").close();
  showList();
  say(`${value.name} is in the trash for 30 days.`, async () => {
    await client.call("POST", `${path}/restore`, {});
    await client.sync();
    showList();
    say("It is back.");
  }, "Undo");
}));

// --- settings ---

byId("settings").addEventListener("click", () => {
  byId("more").querySelector(".said").textContent = "";
  byId("more").showModal();
});
const setting = (act) => during(byId("more").querySelector("form"), act);
byId("rotate").addEventListener("click", () => setting(async () => {
  await client.sync();
  for (const vaultId of client.vaults.keys()) await client.rotate(vaultId);
  byId("more").close();
  say("Everything is sealed with a new key. Other devices are signed out.");
}));
byId("more").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  setting(async () => {
    await client.sync();
    await changePassword(client, byId("current").value, byId("next").value);
    byId("more").close();
    say("The password is changed. Other devices are signed out.");
  });
});
byId("close").addEventListener("click", () => byId("more").close());
byId("more").addEventListener("close", () => { byId("current").value = byId("next").value = ""; });
byId("leave").addEventListener("click", () => setting(async () => {
  client.lock();
  await client.call("POST", "auth/logout", {});
  client = new Client();
  showDoor("You are signed out.");
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
