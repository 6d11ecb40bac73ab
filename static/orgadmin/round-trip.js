"use strict";

/*
 * For the pages through which a browser goes to a provider and comes back.
 *
 * The first page, the departure page, stores the length of the browser's history. The
 * last page goes back to the departure page, which the server then redirects. As a
 * result, the "Back" button does not lead to the provider's pages.
 */

const LENGTH = "length of the history at departure";
// Chromium and Firefox do not count more pages, so a longer history has the same length.
const MOST_PAGES = 50;
const PATIENCE = 2000; // milliseconds

const departure = document.querySelector("a[data-departure]");
const arrival = document.querySelector("a[data-return]");

/* Return whether the person opened this page with "Back" or "Forward". */
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
  // This is for browsers that cannot go back. If the browser goes back, the timer is
  // canceled, because the next page may load slowly.
  const waiting = setTimeout(goOn, PATIENCE);
  window.addEventListener("beforeunload", () => clearTimeout(waiting));
}

function leave() {
  sessionStorage.setItem(LENGTH, String(history.length));
  location.assign(departure.href);
}

/*
 * Before the page has loaded, the browser would replace it with the next page in the
 * history. People who come back to the departure page want to stay on this site.
 */
if (departure && !isRevisited()) {
  window.addEventListener("load", () => setTimeout(leave));
}
if (arrival) {
  window.addEventListener("load", () => setTimeout(goBackToDeparture));
}
