"use strict";

/*
 * Adds what Django's admin lacks: a key that opens the search, a note while a long form
 * is being sent, a warning about unsaved changes, and labels of fields for people who use
 * a screen reader. All pages also work without this script.
 *
 * The script is deferred, so it runs when the page has been parsed, and before the admin
 * turns select fields into widgets that search (select2).
 */

/* The key "/" moves the focus to the search, unless the person has turned this off. */

const SHORTCUT = "search shortcut";

function hasShortcut() {
  return localStorage.getItem(SHORTCUT) !== "off";
}

function isForText(element) {
  return element.isContentEditable || element.matches("input, textarea, select");
}

function goToSearch(event) {
  const field = document.getElementById("site-search");
  const isOther = event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey;
  if (isOther || !field || isForText(event.target) || !hasShortcut()) {
    return;
  }
  event.preventDefault();
  field.focus();
  field.select();
}

/* Show the setting. Speech input and accidental key presses can trigger the key. */
function offerShortcut() {
  const box = document.querySelector("[data-shortcut]");
  if (!box) {
    return;
  }
  box.checked = hasShortcut();
  box.closest("[hidden]").hidden = false;
  box.addEventListener("change", () => {
    localStorage.setItem(SHORTCUT, box.checked ? "on" : "off");
  });
}

/* Sending a form once */

/* Show the note of a form, and prevent the form from being sent twice. */
function showBusyNote(event) {
  const note = event.target.querySelector(".busy");
  if (!note) {
    return;
  }
  const isBeingSent = !note.hidden;
  if (isBeingSent) {
    event.preventDefault();
  }
  note.hidden = false;
}

/* After "Back", the browser may show a page in its last state, including the note. */
function hideBusyNotes() {
  for (const note of document.querySelectorAll(".busy")) {
    note.hidden = true;
  }
}

/* Leaving a form that was changed */

const NOTHING_TO_SAVE = ["hidden", "password", "submit", "button", "reset", "file"];

let formBeingSent = null;

function isChosen(select) {
  const options = [...select.options];
  const hasDefault = options.some((option) => option.defaultSelected);
  if (!hasDefault && !select.multiple) {
    // In a field that searches, nothing is selected at first.
    const first = select.matches(".admin-autocomplete") ? -1 : 0;
    return select.selectedIndex > first;
  }
  return options.some((option) => option.selected !== option.defaultSelected);
}

function isChanged(field) {
  if (field.disabled || NOTHING_TO_SAVE.includes(field.type)) {
    return false;
  }
  if (field.options) {
    return isChosen(field);
  }
  if (field.type === "checkbox" || field.type === "radio") {
    return field.checked !== field.defaultChecked;
  }
  return field.value !== field.defaultValue;
}

/* Return whether the form with this form key has unsaved input. */
function hasUnsavedFields(key) {
  const form = key.form;
  if (form === formBeingSent) {
    return false;
  }
  return "unsaved" in key.dataset || [...form.elements].some(isChanged);
}

/* Return the form key of a form with unsaved input, or undefined. */
function findUnsavedKey() {
  return [...document.querySelectorAll("[name=form_key]")].find(hasUnsavedFields);
}

/* Show or hide the note about unsaved changes beside the buttons of each form. */
function showUnsavedNotes() {
  for (const note of document.querySelectorAll("[data-unsaved-note]")) {
    const key = note.closest("form").elements.form_key;
    note.hidden = !key || !hasUnsavedFields(key);
  }
}

function askBeforeLeaving(event) {
  if (findUnsavedKey()) {
    event.preventDefault();
    // Browsers older than 2024 ask only if this is set.
    event.returnValue = true;
  }
}

function noteSending(event) {
  if (!event.defaultPrevented) {
    formBeingSent = event.target;
  }
}

/* After "Back", the browser may show a page in its last state. */
function forgetSending() {
  formBeingSent = null;
}

/* Tables of fields, such as the contacts of an organization */

/* Label each field with the heading of its column. */
function labelFields(table) {
  const headings = [...table.querySelectorAll("thead th")];
  for (const heading of headings) {
    if (!heading.textContent.trim()) {
      heading.setAttribute("role", "none");
    }
  }
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, column) => {
      const fields = cell.querySelectorAll("input:not([type=hidden]), select, textarea");
      for (const field of fields) {
        field.setAttribute("aria-label", headings[column].textContent.trim());
      }
    });
  }
}

function labelTables() {
  document.querySelectorAll(".tabular table").forEach(labelFields);
}

/* A wide table scrolls, so people must be able to reach it with the keyboard. */
function makeTablesFocusable() {
  for (const group of document.querySelectorAll(".inline-group")) {
    const prefix = group.id.replace(/-group$/, "");
    group.tabIndex = 0;
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", `${prefix}-heading`);
  }
}

/* Fields that search */

/* Set the data attributes that select2 reads when it makes its widgets. */
function configureSearchFields() {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    select.dataset.dropdownParent = "#content";
    if (select.multiple) {
      select.dataset.allowClear = "false";
    }
  }
}

/* Return the text of a field's label, without the colon. */
function findName(select) {
  const label = select.labels[0];
  if (label) {
    return label.textContent.replace(/\s*:\s*$/, "");
  }
  return select.getAttribute("aria-label") || "";
}

/* Connect each widget with the label of the field that it replaces. */
function labelSearchFields() {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    const label = select.labels[0];
    const widget = select.nextElementSibling;
    if (label && widget && widget.matches(".select2")) {
      labelWidget(widget, select);
    }
  }
}

function labelWidget(widget, select) {
  const label = select.labels[0];
  label.id = label.id || `${select.id}_label`;
  const selection = widget.querySelector("[role=combobox], .select2-selection");
  const labelledBy = selection.getAttribute("aria-labelledby");
  if (!labelledBy || !labelledBy.includes(label.id)) {
    const ids = `${label.id} ${labelledBy || ""}`.trim();
    selection.setAttribute("aria-labelledby", ids);
  }
  for (const field of widget.querySelectorAll(".select2-search__field")) {
    field.setAttribute("aria-label", findName(select));
  }
  for (const text of widget.querySelectorAll("[role=textbox]")) {
    text.setAttribute("aria-labelledby", `${label.id} ${text.id}`);
  }
}

/* Connect an open list of choices with its field, for screen readers. */
function describeOpenList(event) {
  const list = document.querySelector(".select2-results__options");
  const fields = document.querySelectorAll(
    ".select2-search__field, .select2-selection[aria-expanded=true]",
  );
  for (const field of fields) {
    field.setAttribute("aria-controls", list.id);
    if (!field.hasAttribute("aria-label")) {
      field.setAttribute("aria-label", findName(event.target));
    }
  }
}

/* Undo describeOpenList(), and label fields that select2 makes after this event. */
function describeClosedList() {
  const fields = document.querySelectorAll(".select2-container [aria-controls]");
  for (const field of fields) {
    field.removeAttribute("aria-controls");
  }
  setTimeout(labelSearchFields);
}

function watchSearchFields() {
  const page = django.jQuery(document);
  labelSearchFields();
  page.on("select2:open", describeOpenList);
  // jQuery does not send native "change" events for its own changes.
  page.on("change", showUnsavedNotes);
  page.on("select2:close select2:select select2:unselect", describeClosedList);
}

/* Start */

document.addEventListener("submit", showBusyNote);
window.addEventListener("pageshow", hideBusyNotes);

document.addEventListener("submit", noteSending);
window.addEventListener("pageshow", forgetSending);
window.addEventListener("beforeunload", askBeforeLeaving);

document.addEventListener("input", showUnsavedNotes);
document.addEventListener("change", showUnsavedNotes);

document.addEventListener("keydown", goToSearch);
offerShortcut();

makeTablesFocusable();
labelTables();
document.addEventListener("formset:added", labelTables);

configureSearchFields();
if (window.django && django.jQuery) {
  // jQuery calls this function after the admin has made its widgets.
  django.jQuery(watchSearchFields);
}
