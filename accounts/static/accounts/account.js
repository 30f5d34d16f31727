// The pages behind mailed links: read the token after the #, call the API, say what happened.
"use strict";
const form = document.getElementById("form");
const said = document.getElementById("said");
const button = form.querySelector("button");
const page = form.dataset.page;
const token = location.hash.slice(1);

const value = (id) => document.getElementById(id).value;
const routes = {
  "verify-email": ["email/verify", () => ({ token }), "Done. Your address is confirmed, and you can sign in."],
  "forgot-password": ["password/forgot", () => ({ email: value("email") }), "If there is an account with this address, a mail is on its way."],
  "reset-password": ["password/reset", () => ({ token, password: value("password") }), "Done. Sign in with your new password."],
};

function say(text, bad) {
  said.textContent = text;
  said.className = bad ? "bad" : "";
}

if (page !== "forgot-password") {
  history.replaceState(null, "", location.pathname); // the token is not for the history
  if (!token) say("This address is not complete. Open the link in your mail, or copy all of it.", true);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  say("", false);
  const [route, body, done] = routes[page];
  try {
    const answer = await fetch(`/api/v1/auth/${route}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body()) });
    if (answer.ok) {
      say(done, false);
      form.hidden = true;
    } else {
      const problem = await answer.json();
      say(problem.errors ? problem.errors.map((error) => error.detail).join(" ") : problem.detail, true);
    }
  } catch {
    say("There was no answer. Are you online? Try again.", true);
  }
  button.disabled = false;
});
