// "Use a passkey" on the sign-in form of the admin: requests a challenge, signs it, submits the form.
"use strict";
const button = document.getElementById("use-passkey");
const errorText = document.getElementById("passkey-error");

async function signInWithPasskey() {
  errorText.hidden = true;
  const response = await fetch("/api/v1/auth/login/passkey/options", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: "{}",
  });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(body.public_key);
  const credential = await navigator.credentials.get({ publicKey });
  document.getElementById("id_challenge").value = body.challenge;
  document.getElementById("id_credential").value = JSON.stringify(credential.toJSON());
  document.getElementById("login-form").submit();
}

if (window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON) {
  button.hidden = false;
  button.addEventListener("click", () => signInWithPasskey().catch((error) => {
    errorText.textContent = error.name === "NotAllowedError" ? "No passkey was used." : error.message;
    errorText.hidden = false;
  }));
}
