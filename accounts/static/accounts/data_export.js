// The page of a mailed link to a data export: its owner signs in, and the browser saves the archive.
import { callApi, errorText, signInWithPassword, verifyCode } from "./sign_in.js";

const byId = (id) => document.getElementById(id);
const form = byId("form");
const button = form.querySelector("button");
const token = location.hash.slice(1);
let challenge = "";

function showMessage(text, isError) {
  byId("said").textContent = text;
  byId("said").className = isError ? "bad" : "";
}

/** Save the archive as a file. Returns null, or the problem that the server answered with. */
async function download(accessToken) {
  const headers = { Authorization: `Bearer ${accessToken}` };
  const response = await fetch(`/api/v1/exports/${encodeURIComponent(token)}`, { headers });
  if (!response.ok) return response.json();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition"))[1];
  link.click();
  form.hidden = true;
  byId("explanation").hidden = true;
  showMessage("Done. Your browser has saved the archive.", false);
  return null;
}

/** Download at once when this browser is signed in already and its sign-in is recent. */
async function useSession() {
  history.replaceState(null, "", location.pathname); // keep the token out of the browser history
  if (!token) {
    showMessage("This address is not complete. Open the link in your mail, or copy the whole address.", true);
    return;
  }
  const session = await callApi("auth/refresh", {});
  if (session.ok) await download(session.access);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  showMessage("", false);
  try {
    const result = challenge
      ? await verifyCode(challenge, byId("code").value)
      : await signInWithPassword(byId("email").value, byId("password").value);
    if (result.code === "mfa_required" && result.methods.includes("totp")) {
      challenge = result.challenge;
      byId("second").hidden = false;
      byId("code").focus();
    } else if (!result.ok) {
      challenge = "";
      byId("second").hidden = true;
      showMessage(errorText(result), true);
    } else {
      const problem = await download(result.access);
      if (problem?.status === 404) {
        showMessage("This link is older than 24 hours, or belongs to another account.", true);
      } else if (problem) {
        showMessage(errorText(problem), true);
      }
    }
  } catch {
    showMessage("The server did not answer. Check your connection and try again.", true);
  }
  button.disabled = false;
});

useSession().catch(() =>
  showMessage("The server did not answer. Check your connection and load this page again.", true),
);
