"use strict";

/*
 * Suggests people while someone types whom to add to an organization. The page finds
 * them: it answers ?suggest=<text>. Without this script, people type the whole name.
 */

const SUGGESTION_WAIT = 200; // milliseconds without a key
const SHORTEST_NAME = 2; // letters

const nameField = document.querySelector("#id_add-who");
const suggestionList = document.querySelector("#suggested-people");

let suggestionTimer = null;
let newestQuestion = 0;

function showSuggestions(suggestions) {
  const options = suggestions.map(({ name, text }) => {
    const option = document.createElement("option");
    option.value = name;
    option.textContent = text;
    return option;
  });
  suggestionList.replaceChildren(...options);
}

async function suggestPeople() {
  const text = nameField.value.trim();
  newestQuestion += 1;
  const number = newestQuestion;
  if (text.length < SHORTEST_NAME) {
    showSuggestions([]);
    return;
  }
  const url = new URL(nameField.form.action);
  url.searchParams.set("suggest", text);
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  // Someone whose session has ended gets a page instead.
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  // An older answer may come later than a newer one.
  if (response.ok && isJson && number === newestQuestion) {
    const { suggestions } = await response.json();
    showSuggestions(suggestions);
  }
}

/* Without a connection, people go on typing. */
function suggestIfPossible() {
  suggestPeople().catch(() => showSuggestions([]));
}

function suggestPeopleSoon() {
  clearTimeout(suggestionTimer);
  suggestionTimer = setTimeout(suggestIfPossible, SUGGESTION_WAIT);
}

if (nameField && suggestionList) {
  nameField.setAttribute("list", suggestionList.id);
  nameField.addEventListener("input", suggestPeopleSoon);
}
