// The pages behind mailed links: read the token after the #, call the API, say what happened.
import { newSecret } from "../vault/keys.js"; // one derivation for every page

const form = document.getElementById("form");
const said = document.getElementById("said");
const button = form.querySelector("button");
const { page, blind, provider } = form.dataset;
const token = location.hash.slice(1);
const returned = Object.fromEntries(new URLSearchParams(location.search)); // what a sign-in provider says

const value = (id) => document.getElementById(id).value;
const routes = {
  "verify-email": ["email/verify", () => ({ token }), "Done. Your address is confirmed, and you can sign in."],
  "forgot-password": ["password/forgot", () => ({ email: value("email") }), "If there is an account with this address, a mail is on its way."],
  "reset-password": ["password/reset", newPassword, "Done. Sign in with your new password."],
  "restore-account": ["restore", () => ({ token }), "Done. Your account is open again, and you can sign in."],
  impersonate: ["impersonate", () => ({ token }), "Begun. Sign out when you are done; it ends by itself after half an hour."],
  oidc: [`login/oidc/${provider}`, () => ({ code: returned.code, state: returned.state, iss: returned.iss }), "Done. You are signed in."],
};

/** Of a blind account the password itself stays here. */
async function newPassword(iterations) {
  const secret = blind ? { ...(await newSecret(value("password"), iterations)).fields, accept_vault_loss: true } : { password: value("password") };
  return { token, ...secret };
}

async function send([route, body], ...options) {
  const content = JSON.stringify(await body(...options));
  return fetch(`/api/v1/auth/${route}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: content });
}

function say(text, bad) {
  said.textContent = text;
  said.className = bad ? "bad" : "";
}

if (page === "oidc") {
  history.replaceState(null, "", location.pathname);
  if (returned.error) say("The provider did not sign you in. Go back and try again.", true);
  form.hidden = Boolean(returned.error);
} else if (page !== "forgot-password") {
  history.replaceState(null, "", location.pathname); // the token is not for the history
  if (!token) say("This address is not complete. Open the link in your mail, or copy all of it.", true);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  say("", false);
  try {
    let answer = await send(routes[page]);
    let problem = answer.ok ? null : await answer.json();
    if (problem?.code === "kdf_lowered") {
      answer = await send(routes[page], problem.iterations);
      problem = answer.ok ? null : await answer.json();
    }
    if (problem) {
      say(problem.errors ? problem.errors.map((error) => error.detail).join(" ") : problem.detail, true);
    } else {
      say(routes[page][2], false);
      form.hidden = true;
    }
  } catch {
    say("There was no answer. Are you online? Try again.", true);
  }
  button.disabled = false;
});
