// "Use a passkey" at the sign-in form of the admin: asks for a challenge, lets the browser answer it, sends the form.
"use strict";
const button = document.getElementById("use-passkey");
const trouble = document.getElementById("passkey-error");

async function usePasskey() {
  trouble.hidden = true;
  const asked = await fetch("/api/v1/auth/login/passkey/options", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
  const answer = await asked.json();
  if (!asked.ok) throw new Error(answer.detail);
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(answer.public_key);
  const credential = await navigator.credentials.get({ publicKey });
  document.getElementById("id_challenge").value = answer.challenge;
  document.getElementById("id_credential").value = JSON.stringify(credential.toJSON());
  document.getElementById("login-form").submit();
}

if (window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON) {
  button.hidden = false;
  button.addEventListener("click", () => usePasskey().catch((error) => {
    trouble.textContent = error.name === "NotAllowedError" ? "No passkey was used." : error.message;
    trouble.hidden = false;
  }));
}
