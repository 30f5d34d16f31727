// Helpers of the vault's page: elements, the status line, and forms that wait for a response.
const STATUS_MILLISECONDS = 6_000;
const STATUS_WITH_BUTTON_MILLISECONDS = 15_000;

export const byId = (id) => document.getElementById(id);
export const createElement = (tag, properties) => Object.assign(document.createElement(tag), properties);

let statusTimer;

/** Show a message for some seconds, with a button when `onClick` and `label` are passed. */
export function showStatus(text, onClick, label) {
  const line = byId("status");
  line.textContent = text;
  if (onClick) {
    const button = createElement("button", { type: "button", textContent: label });
    button.addEventListener("click", onClick, { once: true });
    line.append(button);
  }
  clearTimeout(statusTimer);
  const delay = onClick ? STATUS_WITH_BUTTON_MILLISECONDS : STATUS_MILLISECONDS;
  statusTimer = setTimeout(() => line.replaceChildren(), delay);
}

export function clearStatus() {
  clearTimeout(statusTimer);
  byId("status").replaceChildren();
}

export const showError = (error) => showStatus(error.message || "That did not work. Try again.");

/** Run an action of a form with its buttons disabled, and show an error in the form. One action at a time. */
export async function runFormAction(form, action) {
  if (form.dataset.busy) return;
  const errorLine = form.querySelector(".error");
  const buttons = form.querySelectorAll("button");
  form.dataset.busy = "yes";
  errorLine.textContent = "";
  for (const button of buttons) button.disabled = true;
  try {
    await action();
  } catch (error) {
    errorLine.textContent = errorText(error);
  }
  delete form.dataset.busy;
  for (const button of buttons) button.disabled = false;
}

function errorText(error) {
  if (error.code === "refresh_refused") {
    return "This device was signed out. "
      + "Copy what you have not saved, then reload the page and sign in again.";
  }
  if (error.name === "TypeError") { // fetch failed
    return "The server did not answer. Check your connection and try again.";
  }
  return error.message;
}
