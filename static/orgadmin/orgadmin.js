"use strict";

/*
 * What Django's admin lacks: a key that leads to the search, a note while a long form is
 * being sent, a note and a question about a changed form, and names of fields for people
 * who use a screen reader. The page works without any of it.
 *
 * The script is deferred: it runs when the page has been parsed, and before the admin
 * turns its select fields into widgets that search (select2).
 */

/* The key "/" leads to the search, unless the person has turned this off. */

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

/* People who speak to their computer, or press keys by accident, can turn it off. */
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

/* Show the note of a form that has one, and do not let the form be sent twice. */
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

/* The browser may show a page again as it was left, with its note. */
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
    // A field that searches has no choice until someone has made one.
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

/* Return whether leaving the page would lose something. Only forms that save have a key. */
function hasUnsavedFields(key) {
  const form = key.form;
  if (form === formBeingSent) {
    return false;
  }
  return "unsaved" in key.dataset || [...form.elements].some(isChanged);
}

/* Return the key of a form with something that is not saved, if there is one. */
function findUnsavedKey() {
  return [...document.querySelectorAll("[name=form_key]")].find(hasUnsavedFields);
}

/* Say beside the buttons of a form whether something in it is not saved. */
function showUnsavedNotes() {
  for (const note of document.querySelectorAll("[data-unsaved-note]")) {
    const key = note.closest("form").elements.form_key;
    note.hidden = !key || !hasUnsavedFields(key);
  }
}

function askBeforeLeaving(event) {
  if (findUnsavedKey()) {
    event.preventDefault();
    // Browsers from before 2024 ask only because of this.
    event.returnValue = true;
  }
}

function noteSending(event) {
  if (!event.defaultPrevented) {
    formBeingSent = event.target;
  }
}

/* The browser may show a page again that was left. */
function forgetSending() {
  formBeingSent = null;
}

/* Tables of fields, such as the contacts of an organization */

/* Name each field after the heading of its column. */
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

/* On a narrow screen a table scrolls: let the keyboard reach it, and say what it is. */
function makeTablesFocusable() {
  for (const group of document.querySelectorAll(".inline-group")) {
    const prefix = group.id.replace(/-group$/, "");
    group.tabIndex = 0;
    group.setAttribute("role", "group");
    group.setAttribute("aria-labelledby", `${prefix}-heading`);
  }
}

/* Fields that search */

/* Set what select2 reads when it makes its widgets. */
function configureSearchFields() {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    select.dataset.dropdownParent = "#content";
    if (select.multiple) {
      select.dataset.allowClear = "false";
    }
  }
}

/* Return the text of the label of a field, without its colon. */
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

/* While a list of choices is open: say which field it belongs to. */
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

/* The list is gone, and select2 may have made new fields after this event. */
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
  // jQuery does not tell other scripts about the changes that it makes.
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
  // jQuery calls this after the admin has made its widgets.
  django.jQuery(watchSearchFields);
}
