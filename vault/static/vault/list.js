// The list of items on the vault's page.
import { byId, createElement, showStatus } from "./dom.js";

/**
 * Show the items whose name or user name contains the text of the search field, sorted by name, and how many
 * rows do not decrypt. `openEditor(item)` is called for a click on an item.
 */
export function renderList(client, openEditor) {
  const query = byId("search").value.toLowerCase();
  const items = [...client.items.values()].filter(
    ({ value }) => `${value.name} ${value.username ?? ""}`.toLowerCase().includes(query),
  );
  items.sort((left, right) => String(left.value.name).localeCompare(String(right.value.name)));
  byId("list").replaceChildren(...items.map((item) => createListItem(item, openEditor)));
  const undecryptableCount = client.undecryptable.size;
  byId("undecryptable").hidden = !undecryptableCount;
  byId("undecryptable-message").textContent = undecryptableCount === 1
    ? "One item cannot be decrypted: it was changed, or encrypted with another key."
    : `${undecryptableCount} items cannot be decrypted: they were changed, or encrypted with another key.`;
  byId("empty-message").hidden = items.length > 0;
  byId("empty-message").textContent = client.items.size
    ? "No name matches your search."
    : "Your vault is empty. Add the first item.";
}

function createListItem(item, openEditor) {
  const line = document.createElement("li");
  const openButton = createElement("button", { type: "button", className: "item" });
  for (const text of [item.value.name, item.value.username]) {
    if (text) openButton.append(createElement("span", { textContent: text }));
  }
  openButton.addEventListener("click", () => openEditor(item));
  const copyButton = createElement("button", { type: "button", className: "plain", textContent: "Copy" });
  copyButton.setAttribute("aria-label", `Copy the secret of ${item.value.name}`);
  copyButton.addEventListener("click", () => copySecret(item));
  line.append(openButton, copyButton);
  return line;
}

async function copySecret(item) {
  try {
    await navigator.clipboard.writeText(item.value.secret ?? "");
    showStatus(`Copied the secret of ${item.value.name}.`);
  } catch {
    showStatus("Your browser does not allow this page to copy.");
  }
}
