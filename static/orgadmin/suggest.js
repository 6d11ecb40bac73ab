"use strict";

/*
 * Suggests people while someone types a name.
 *
 * This works in the field that adds people to an organization, whose page responds to
 * ?suggest=<text>, and in fields whose attribute "data-suggest" contains a URL that
 * responds to it. Without this script, people have to type the whole name.
 */

const SUGGESTION_WAIT = 200; // milliseconds without a key
const SHORTEST_NAME = 2; // letters

const nameFields = document.querySelectorAll("#id_add-who, [data-suggest]");

let suggestionList = document.querySelector("#suggested-people");
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

async function suggestPeople(field) {
  const text = field.value.trim();
  newestQuestion += 1;
  const number = newestQuestion;
  if (text.length < SHORTEST_NAME) {
    showSuggestions([]);
    return;
  }
  const url = new URL(field.dataset.suggest || field.form.action, document.baseURI);
  url.searchParams.set("suggest", text);
  const response = await fetch(url, { headers: { Accept: "application/json" } });
  // If the session has ended, the response is a page instead of JSON.
  const isJson = response.headers.get("Content-Type")?.startsWith("application/json");
  // The response to an older request may arrive after the response to a newer one.
  if (response.ok && isJson && number === newestQuestion) {
    const { suggestions } = await response.json();
    showSuggestions(suggestions);
  }
}

/* If the connection fails, show no suggestions, so that people can continue typing. */
function suggestIfPossible(field) {
  suggestPeople(field).catch(() => showSuggestions([]));
}

function suggestPeopleSoon(event) {
  clearTimeout(suggestionTimer);
  suggestionTimer = setTimeout(suggestIfPossible, SUGGESTION_WAIT, event.target);
}

if (nameFields.length > 0 && !suggestionList) {
  suggestionList = document.createElement("datalist");
  suggestionList.id = "suggested-people";
  document.body.append(suggestionList);
}

for (const field of nameFields) {
  field.setAttribute("list", suggestionList.id);
  field.addEventListener("input", suggestPeopleSoon);
}
