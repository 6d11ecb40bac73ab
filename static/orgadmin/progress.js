"use strict";

/*
 * Shows the progress of a long task without reloading the page, so that people keep the
 * focus, and screen readers their position.
 *
 * While the task runs, only the content of the element [data-progress] is updated. The
 * value of this attribute is the state of the task. When the state changes, or when the
 * element is missing because the task has finished, the page is reloaded.
 */

const EVERY = 3000; // milliseconds

const progress = document.querySelector("[data-progress]");

/* Load the page again, and return its element [data-progress], or null. */
async function readProgress() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) return null;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  return page.querySelector("[data-progress]");
}

async function follow() {
  let current;
  try {
    current = await readProgress();
  } catch {
    // The network failed, so try again later.
    setTimeout(follow, EVERY);
    return;
  }
  if (current === null || current.dataset.progress !== progress.dataset.progress) {
    location.reload();
    return;
  }
  // Without this check, screen readers would read the same text again.
  if (current.innerHTML !== progress.innerHTML) {
    progress.replaceChildren(...current.childNodes);
  }
  setTimeout(follow, EVERY);
}

if (progress !== null) setTimeout(follow, EVERY);
