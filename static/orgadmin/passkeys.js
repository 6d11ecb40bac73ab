"use strict";

/*
 * Handles forms that need a passkey: to sign in, to confirm the identity, or to add a
 * passkey.
 *
 * Such a form has the attribute data-passkey, which contains the URL of the options for
 * the browser, and a hidden field with the attribute data-answer for the browser's
 * answer. Without this script, the form is sent without an answer, and the page shows an
 * error.
 *
 * Pages load the script in their head without "defer", so that nobody can send the form
 * before the script has been loaded.
 */

const answered = new WeakSet();
const waiting = new WeakSet();

/* Converting between the texts in JSON and the bytes that browsers use */

function decode(text) {
  const base64 = text.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function encode(buffer) {
  const text = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decodeOptions(options) {
  options.challenge = decode(options.challenge);
  if (options.user) {
    options.user.id = decode(options.user.id);
  }
  for (const name of ["allowCredentials", "excludeCredentials"]) {
    for (const credential of options[name] || []) {
      credential.id = decode(credential.id);
    }
  }
  return options;
}

function encodeAnswer(credential) {
  const response = {};
  const names = [
    "clientDataJSON",
    "attestationObject",
    "authenticatorData",
    "signature",
    "userHandle",
  ];
  for (const name of names) {
    if (credential.response[name]) {
      response[name] = encode(credential.response[name]);
    }
  }
  const id = encode(credential.rawId);
  const { type } = credential;
  return JSON.stringify({ id, rawId: id, type, response, clientExtensionResults: {} });
}

/* Asking */

async function fetchOptions(form) {
  const token = form.elements.csrfmiddlewaretoken.value;
  const response = await fetch(form.dataset.passkey, {
    method: "POST",
    headers: { "X-CSRFToken": token },
  });
  const { publicKey } = await response.json();
  return decodeOptions(publicKey);
}

/* Make the browser create or use a passkey. It shows its own dialogs for this. */
async function askBrowser(publicKey) {
  if (publicKey.user) {
    return navigator.credentials.create({ publicKey });
  }
  return navigator.credentials.get({ publicKey });
}

function nameProblem(error) {
  const problems = {
    NotAllowedError: "canceled", // or the time is over
    AbortError: "canceled",
    InvalidStateError: "known",
  };
  return problems[error.name] || "failed";
}

/* Show one of the error messages of the form, or none. Screen readers announce it. */
function showProblem(form, name) {
  for (const text of form.querySelectorAll("[data-problem]")) {
    text.hidden = text.dataset.problem !== name;
  }
}

async function answer(form) {
  showProblem(form, "");
  if (!window.PublicKeyCredential) {
    showProblem(form, "unsupported");
    return;
  }
  try {
    const credential = await askBrowser(await fetchOptions(form));
    form.querySelector("[data-answer]").value = encodeAnswer(credential);
  } catch (error) {
    showProblem(form, nameProblem(error));
    return;
  }
  answered.add(form);
  form.requestSubmit();
}

/* Send the form only with an answer, and ask the browser only once at a time. */
async function interceptSubmit(event) {
  const form = event.target;
  if (!form.matches("form[data-passkey]") || answered.delete(form)) {
    return;
  }
  event.preventDefault();
  if (waiting.has(form)) {
    return;
  }
  waiting.add(form);
  await answer(form);
  waiting.delete(form);
}

document.addEventListener("submit", interceptSubmit);
