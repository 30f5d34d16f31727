// The page behind an invitation when there is no front end: say what it is, sign in, join.
import { derive } from "../vault/client.js";

const byId = (id) => document.getElementById(id);
const form = byId("form");
const button = form.querySelector("button");
const token = location.hash.slice(1);
let challenge = "";

function say(text, bad) {
  byId("said").textContent = text;
  byId("said").className = bad ? "bad" : "";
}

async function call(path, body, access) {
  const headers = { "Content-Type": "application/json" };
  if (access) headers.Authorization = `Bearer ${access}`;
  const answer = await fetch(`/api/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const told = answer.status === 202 ? {} : await answer.json();
  return { status: answer.status, ok: answer.ok, ...told };
}

const fault = (told) => (told.errors ? told.errors.map((error) => error.detail).join(" ") : told.detail);

async function open() {
  history.replaceState(null, "", location.pathname); // the token is not for the history
  const told = await call("invitations/open", { token });
  if (!told.ok) {
    byId("invited").hidden = true;
    say("This invitation does not work: it was used, withdrawn or is older than 7 days. Ask for a new one.", true);
    return;
  }
  byId("invited").textContent = `${told.invited_by || "Somebody"} invites you to work on “${told.site}” as ${told.role}.`;
  byId("email").value = told.email;
  form.hidden = false;
  byId("password").focus();
}

async function signIn() {
  const email = byId("email").value;
  const password = byId("password").value;
  if (challenge) return call("auth/mfa/verify", { challenge, code: byId("code").value });
  if (byId("fresh").checked) return call("auth/register", { email, password });
  const known = await call("auth/prelogin", { email });
  return call("auth/login", known.scheme === "blind" ? { email, auth_hash: (await derive(password, known)).auth_hash } : { email, password });
}

byId("fresh").addEventListener("change", () => {
  button.textContent = byId("fresh").checked ? "Make an account and join" : "Sign in and join";
  byId("password").autocomplete = byId("fresh").checked ? "new-password" : "current-password";
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  say("", false);
  try {
    const told = await signIn();
    if (told.code === "mfa_required" && told.methods.includes("totp")) {
      challenge = told.challenge;
      byId("second").hidden = false;
      byId("code").focus();
    } else if (told.status === 202) {
      say("Open the link that we just mailed to you, then open this invitation again.", false);
    } else if (!told.ok) {
      challenge = "";
      byId("second").hidden = true;
      say(fault(told), true);
    } else {
      const joined = await call("invitations/accept", { token }, told.access);
      if (joined.ok) {
        form.hidden = true;
        byId("invited").hidden = true;
      }
      say(joined.ok ? `Welcome. You are now ${joined.role} of “${joined.name}”.` : fault(joined), !joined.ok);
    }
  } catch {
    say("There was no answer. Are you online? Try again.", true);
  }
  button.disabled = false;
});

open().catch(() => say("There was no answer. Are you online? Load this page again.", true));
