"use strict";

/*
 * Shows how far a long piece of work has come, without loading the page again: whoever
 * reads it with a screen reader, or has moved the focus, stays where they are.
 *
 * What changes while the work goes on is the content of the element [data-progress]. The
 * value of this attribute is the state of the work. When the state changes, or when the
 * element is missing because the work is done, the page is loaded again.
 */

const EVERY = 3000; // milliseconds

const progress = document.querySelector("[data-progress]");

/* Return the [data-progress] of the page as it is now, or null if it has none. */
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
    // The network does not answer. It may next time.
    setTimeout(follow, EVERY);
    return;
  }
  if (current === null || current.dataset.progress !== progress.dataset.progress) {
    location.reload();
    return;
  }
  // Otherwise a screen reader would read the same text again.
  if (current.innerHTML !== progress.innerHTML) {
    progress.replaceChildren(...current.childNodes);
  }
  setTimeout(follow, EVERY);
}

if (progress !== null) setTimeout(follow, EVERY);
