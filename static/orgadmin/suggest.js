"use strict";

/*
 * Suggests people while someone types whom to add to an organization. The page finds
 * them: it answers ?suggest=<text>. Without this script, people type the whole name.
 */

const WAIT = 200; // milliseconds without a key
const SHORTEST = 2; // letters

const field = document.querySelector("#id_add-who");
const list = document.querySelector("#suggested-people");

let timer = null;
let newest = 0;

function show(suggestions) {
  const options = suggestions.map(({ name, text }) => {
    const option = document.createElement("option");
    option.value = name;
    option.textContent = text;
    return option;
  });
  list.replaceChildren(...options);
}

async function suggest() {
  const text = field.value.trim();
  newest += 1;
  const number = newest;
  if (text.length < SHORTEST) {
    show([]);
    return;
  }
  const url = new URL(field.form.action);
  url.searchParams.set("suggest", text);
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  // Someone whose session has ended gets a page instead.
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  // An older answer may come later than a newer one.
  if (response.ok && isJson && number === newest) {
    const { suggestions } = await response.json();
    show(suggestions);
  }
}

function suggestSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => suggest().catch(() => show([])), WAIT);
}

if (field && list) {
  field.setAttribute("list", list.id);
  field.addEventListener("input", suggestSoon);
}
