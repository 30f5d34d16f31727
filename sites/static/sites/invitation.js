// The page of a mailed invitation when no front end is configured: show the invitation, sign in, accept it.
import { callApi, errorText, signInWithPassword, verifyCode } from "../accounts/sign_in.js";

const byId = (id) => document.getElementById(id);
const form = byId("form");
const button = form.querySelector("button");
const token = location.hash.slice(1);
let challenge = "";

function showMessage(text, isError) {
  byId("said").textContent = text;
  byId("said").className = isError ? "bad" : "";
}

async function openInvitation() {
  history.replaceState(null, "", location.pathname); // the token must not stay in the browser's history
  const invitation = await callApi("invitations/open", { token });
  if (!invitation.ok) {
    byId("invited").hidden = true;
    showMessage(
      "This invitation is not valid: it was used, withdrawn or is older than 7 days. Ask for a new one.",
      true,
    );
    return;
  }
  const inviter = invitation.invited_by || "A member";
  byId("invited").textContent =
    `${inviter} invites you to work on “${invitation.site}” as ${invitation.role}.`;
  byId("email").value = invitation.email;
  form.hidden = false;
  byId("password").focus();
}

async function signIn() {
  const email = byId("email").value;
  const password = byId("password").value;
  if (challenge) return verifyCode(challenge, byId("code").value);
  if (byId("fresh").checked) return callApi("auth/register", { email, password });
  return signInWithPassword(email, password);
}

async function acceptInvitation(accessToken) {
  const membership = await callApi("invitations/accept", { token }, accessToken);
  if (membership.ok) {
    form.hidden = true;
    byId("invited").hidden = true;
    showMessage(`Welcome. You are now ${membership.role} of “${membership.name}”.`, false);
  } else {
    showMessage(errorText(membership), true);
  }
}

byId("fresh").addEventListener("change", () => {
  button.textContent = byId("fresh").checked ? "Create an account and join" : "Sign in and join";
  byId("password").autocomplete = byId("fresh").checked ? "new-password" : "current-password";
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  showMessage("", false);
  try {
    const result = await signIn();
    if (result.code === "mfa_required" && result.methods.includes("totp")) {
      challenge = result.challenge;
      byId("second").hidden = false;
      byId("code").focus();
    } else if (result.status === 202) {
      showMessage("Open the link in the mail that we have sent you, then open this invitation again.", false);
    } else if (!result.ok) {
      challenge = "";
      byId("second").hidden = true;
      showMessage(errorText(result), true);
    } else {
      await acceptInvitation(result.access);
    }
  } catch {
    showMessage("The server did not answer. Check your connection and try again.", true);
  }
  button.disabled = false;
});

openInvitation().catch(() =>
  showMessage("The server did not answer. Check your connection and load this page again.", true),
);
