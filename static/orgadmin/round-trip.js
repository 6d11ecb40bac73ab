"use strict";

/*
 * The pages through which a browser goes to a provider and comes back.
 *
 * The first one, the departure page, remembers how long the browser's history is. The last one
 * goes back to the departure page, which the server then redirects. So the provider's pages are
 * not between the pages of this site, and "Back" does not lead to them.
 */

const LENGTH = "length of the history at departure";
// Chromium and Firefox keep no more pages, so the length says nothing from there on.
const MOST_PAGES = 50;
const PATIENCE = 2000; // milliseconds

const departure = document.querySelector("a[data-departure]");
const arrival = document.querySelector("a[data-return]");

/* Return whether the person has come to this page with "Back" or "Forward" */
function isRevisited() {
  const [navigation] = performance.getEntriesByType("navigation");
  return navigation !== undefined && navigation.type === "back_forward";
}

function goOn() {
  location.replace(arrival.href);
}

function goBackToDeparture() {
  const length = Number(sessionStorage.getItem(LENGTH));
  sessionStorage.removeItem(LENGTH);
  const pages = history.length - length;
  const isKnown = length > 0 && pages > 0 && history.length < MOST_PAGES;
  if (!isKnown || isRevisited()) {
    goOn();
    return;
  }
  history.go(-pages);
  // If the browser cannot go back. Once it has begun to, the next page may take its time.
  const waiting = setTimeout(goOn, PATIENCE);
  window.addEventListener("beforeunload", () => clearTimeout(waiting));
}

function leave() {
  sessionStorage.setItem(LENGTH, String(history.length));
  location.assign(departure.href);
}

/*
 * Before the page has loaded, the browser would put the next page in its place.
 * Whoever comes back to the departure page wants to stay on this site.
 */
if (departure && !isRevisited()) {
  window.addEventListener("load", () => setTimeout(leave));
}
if (arrival) {
  window.addEventListener("load", () => setTimeout(goBackToDeparture));
}
