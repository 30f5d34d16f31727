// Sign-in for the pages behind mailed links, with an ordinary or a zero-knowledge password.
import { derive } from "../vault/client.js";

/** POST to the API. Returns the JSON body of the response with `status` and `ok` added. */
export async function callApi(path, body, accessToken) {
  const headers = { "Content-Type": "application/json", "X-Requested-With": "fetch" };
  if (accessToken) headers.Authorization = `Bearer ${accessToken}`;
  const response = await fetch(`/api/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const result = response.status === 202 ? {} : await response.json();
  return { status: response.status, ok: response.ok, ...result };
}

/** The text of a problem response (RFC 9457) for the user. */
export const errorText = (result) =>
  result.errors ? result.errors.map((error) => error.detail).join(" ") : result.detail;

/** Returns the result of `callApi`: with `access`, or with the code `mfa_required` and a `challenge`. */
export async function signInWithPassword(email, password) {
  const scheme = await callApi("auth/prelogin", { email });
  if (scheme.scheme !== "blind") return callApi("auth/login", { email, password });
  const { auth_hash } = await derive(password, scheme);
  return callApi("auth/login", { email, auth_hash });
}

/** The second step of a sign-in: the code of an authenticator app. */
export const verifyCode = (challenge, code) => callApi("auth/mfa/verify", { challenge, code });
