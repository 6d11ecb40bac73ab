"use strict";

/*
 * Shows a notice two minutes before the session ends, with a button to extend the
 * session. The page contains the hidden notice, with the number of seconds for which the
 * session lasts at least.
 *
 * Before the notice appears, and when the time is over, the script asks the server,
 * because other tabs may have used the session. Tabs also send messages to each other.
 * The script runs after orgadmin.js, because it calls a function defined there.
 */

const NOTICE_BEFORE = 120; // seconds
const ANNOUNCED_AT = [120, 60, 30, 10]; // seconds
const SECOND = 1000; // milliseconds

const notice = document.getElementById("session-end");
const announcement = document.getElementById("session-end-status");
const extendForm = notice && notice.querySelector("form");
const saveButton = notice && notice.querySelector("[data-when=save]");
const tabs = window.BroadcastChannel && new BroadcastChannel("orgadmin session");

let endsAt = 0; // milliseconds since 1970
let isLast = false; // whether the session ends even if it is used
let hasEnded = false;
let timer = null;
let announcedAt = Infinity; // seconds before the end
let lastFocus = null; // the element outside of the notice that had the focus

/* The content of the notice */

/* Show only the parts of the notice for the given situations, such as "going". */
function show(...situations) {
  for (const part of notice.querySelectorAll("[data-when]")) {
    const when = part.dataset.when.split(" ");
    part.hidden = !situations.some((situation) => when.includes(situation));
  }
  notice.hidden = false;
  document.documentElement.classList.add("has-session-end");
}

function hide() {
  const hadFocus = notice.contains(document.activeElement);
  notice.hidden = true;
  document.documentElement.classList.remove("has-session-end");
  if (hadFocus && lastFocus) {
    lastFocus.focus();
  }
}

/* Make screen readers read a text at the next pause. */
function announce(text) {
  announcement.textContent = text;
}

function readShownText() {
  const parts = [...notice.querySelectorAll("h2 [data-when], p[data-when]")];
  const shown = parts.filter((part) => !part.hidden);
  return shown.map((part) => part.textContent.trim()).join(". ");
}

/* Return a time such as "2 minutes" or "30 seconds" in the language of the page. */
function describeSeconds(seconds) {
  const isLong = seconds >= 60;
  const options = {
    style: "unit",
    unit: isLong ? "minute" : "second",
    unitDisplay: "long",
  };
  const format = new Intl.NumberFormat(document.documentElement.lang, options);
  return format.format(isLong ? Math.round(seconds / 60) : seconds);
}

function describeClock(milliseconds) {
  const options = { hour: "numeric", minute: "2-digit" };
  const language = document.documentElement.lang;
  return new Date(milliseconds).toLocaleTimeString(language, options);
}

function fillIn(name, text) {
  for (const part of notice.querySelectorAll(`[data-${name}]`)) {
    part.textContent = text;
  }
}

/* Return the button that saves unsaved input, or undefined if there is none. */
function findSaveButton() {
  const key = findUnsavedKey();
  return key && key.form.querySelector("[name=_continue], .default");
}

/* The time that is left */

function countDown() {
  const seconds = Math.ceil((endsAt - Date.now()) / SECOND);
  if (seconds <= 0) {
    askServer();
    return;
  }
  const reached = ANNOUNCED_AT.filter((number) => seconds <= number).pop();
  const minutes = Math.floor(seconds / 60);
  const rest = String(seconds % 60).padStart(2, "0");
  if (reached < announcedAt) {
    announcedAt = reached;
    fillIn("time", describeSeconds(seconds));
    announce(readShownText());
  }
  fillIn("time", `${minutes}:${rest}`);
  saveButton.hidden = !isLast || !findSaveButton();
  timer = setTimeout(countDown, SECOND);
}

function startCountDown() {
  show(isLast ? "last" : "going");
  fillIn("clock", describeClock(endsAt));
  clearTimeout(timer);
  countDown();
}

function end() {
  hasEnded = true;
  clearTimeout(timer);
  const hasForm = document.querySelector("[name=form_key]");
  show(hasForm ? "ended" : "over");
  announce(readShownText());
}

/* Hide the notice, and set a timer until it may have to appear again. */
function wait(secondsLeft) {
  hasEnded = false;
  endsAt = Date.now() + secondsLeft * SECOND;
  isLast = false;
  announcedAt = Infinity;
  clearTimeout(timer);
  if (!notice.hidden) {
    hide();
  }
  const milliseconds = (secondsLeft - NOTICE_BEFORE) * SECOND;
  timer = setTimeout(askServer, Math.max(milliseconds, 0));
}

/* Update the notice for the state of the session on the server. */
function follow(state) {
  if (state.seconds <= 0) {
    end();
  } else if (state.seconds > NOTICE_BEFORE) {
    wait(state.seconds);
  } else {
    hasEnded = false;
    endsAt = Date.now() + state.seconds * SECOND;
    isLast = state.is_last;
    startCountDown();
  }
}

/* Update the notice without the server, which cannot be reached. */
function followOwnClock() {
  if (Date.now() < endsAt) {
    startCountDown();
  } else {
    end();
  }
}

/* Asking the server */

async function send(url, options) {
  const response = await fetch(url, { ...options, redirect: "error" });
  if (!response.ok) {
    throw new Error(`The server answered ${response.status}.`);
  }
  return response.json();
}

async function askServer() {
  clearTimeout(timer);
  const user = extendForm.elements.session_of.value;
  try {
    follow(await send(`${extendForm.action}?session_of=${user}`));
  } catch {
    followOwnClock();
  }
}

async function extendSession(event) {
  event.preventDefault();
  let state;
  try {
    const options = { method: "POST", body: new FormData(extendForm) };
    state = await send(extendForm.action, options);
  } catch {
    show("going", "failed");
    announce(readShownText());
    return;
  }
  follow(state);
  if (state.seconds > NOTICE_BEFORE) {
    announce(announcement.dataset.extended);
  }
  tellTabs(state);
}

/* Other tabs */

function tellTabs(state) {
  if (tabs) {
    tabs.postMessage({ ...state, user: extendForm.elements.session_of.value });
  }
}

function hearTab(event) {
  if (event.data.user === extendForm.elements.session_of.value) {
    follow(event.data);
  }
}

/* Start */

function rememberFocus(event) {
  if (!notice.contains(event.target)) {
    lastFocus = event.target;
  }
}

/* Timers stop while a computer sleeps, so check the time when the page is shown again. */
function wakeUp() {
  if (!document.hidden && !hasEnded && Date.now() > endsAt - NOTICE_BEFORE * SECOND) {
    askServer();
  }
}

function saveNow() {
  const button = findSaveButton();
  if (button) {
    button.click();
  }
}

if (notice) {
  const seconds = Number(notice.dataset.seconds);
  wait(seconds);
  if (seconds > NOTICE_BEFORE) {
    tellTabs({ seconds });
  }
  extendForm.addEventListener("submit", extendSession);
  saveButton.addEventListener("click", saveNow);
  document.addEventListener("focusin", rememberFocus);
  document.addEventListener("visibilitychange", wakeUp);
  window.addEventListener("pageshow", wakeUp);
  if (tabs) {
    tabs.addEventListener("message", hearTab);
  }
}
