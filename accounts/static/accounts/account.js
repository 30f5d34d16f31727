// Script of the pages behind mailed links: reads the token in the fragment, calls the API, shows the result.
import { newSecret } from "../vault/keys.js"; // the only implementation of the key derivation

const form = document.getElementById("form");
const result = document.getElementById("said");
const button = form.querySelector("button");
const { page, zeroKnowledge, provider } = form.dataset;
const token = location.hash.slice(1);
// The parameters that a sign-in provider has added.
const query = Object.fromEntries(new URLSearchParams(location.search));

const inputValue = (id) => document.getElementById(id).value;

// Path below /api/v1/auth/, request body, and the text to show on success.
const routes = {
  "verify-email": [
    "email/verify",
    () => ({ token }),
    "Done. Your address is confirmed, and you can sign in.",
  ],
  "forgot-password": [
    "password/forgot",
    () => ({ email: inputValue("email") }),
    "If there is an account with this address, we have sent a mail to it.",
  ],
  "reset-password": ["password/reset", newPasswordBody, "Done. Sign in with your new password."],
  "restore-account": ["restore", () => ({ token }), "Done. Your account is restored, and you can sign in."],
  impersonate: [
    "impersonate",
    () => ({ token }),
    "You are signed in as the customer. Sign out when you have finished. "
      + "The session ends automatically after half an hour.",
  ],
  oidc: [
    `login/oidc/${provider}`,
    () => ({ code: query.code, state: query.state, iss: query.iss }),
    "Done. You are signed in.",
  ],
};

/** The body of a password reset. With zero-knowledge login the password itself is not in it. */
async function newPasswordBody(iterations) {
  const password = inputValue("password");
  if (!zeroKnowledge) return { token, password };
  const { fields } = await newSecret(password, iterations);
  return { token, ...fields, accept_vault_loss: true };
}

async function send([path, makeBody], ...options) {
  return fetch(`/api/v1/auth/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(await makeBody(...options)),
  });
}

function showResult(text, isError) {
  result.textContent = text;
  result.className = isError ? "bad" : "";
}

if (page === "oidc") {
  history.replaceState(null, "", location.pathname);
  if (query.error) showResult("The provider did not sign you in. Go back and try again.", true);
  form.hidden = Boolean(query.error);
} else if (page !== "forgot-password") {
  history.replaceState(null, "", location.pathname); // keep the token out of the browser history
  if (!token) {
    showResult("This address is not complete. Open the link in your mail, or copy the whole address.", true);
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  showResult("", false);
  try {
    let response = await send(routes[page]);
    let problem = response.ok ? null : await response.json();
    if (problem?.code === "kdf_lowered") {
      response = await send(routes[page], problem.iterations);
      problem = response.ok ? null : await response.json();
    }
    if (problem) {
      const details = problem.errors ? problem.errors.map((error) => error.detail) : [problem.detail];
      showResult(details.join(" "), true);
    } else {
      showResult(routes[page][2], false);
      form.hidden = true;
    }
  } catch {
    showResult("The server did not answer. Check your connection and try again.", true);
  }
  button.disabled = false;
});
