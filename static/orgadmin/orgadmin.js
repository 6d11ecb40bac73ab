"use strict";
/* While a form with an element .busy is being sent: say so, and let nobody send it twice. */
document.addEventListener("submit", (event) => {
  const busy = event.target.querySelector(".busy");
  if (!busy) return;
  if (!busy.hidden) event.preventDefault();
  busy.hidden = false;
});
window.addEventListener("pageshow", () => document.querySelectorAll(".busy").forEach((busy) => { busy.hidden = true; }));

/* What the stock admin does not tell those who do not see: the names of fields in tables, and of those that search. */
const labelCells = (table) => {
  const heads = [...table.querySelectorAll("thead th")];
  heads.filter((head) => !head.textContent.trim()).forEach((head) => head.setAttribute("role", "none"));
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.cells].forEach((cell, column) => {
      for (const field of cell.querySelectorAll("input:not([type=hidden]), select, textarea")) {
        field.setAttribute("aria-label", heads[column].textContent.trim());
      }
    });
  }
};
const nameOf = (select) => (select.labels[0] ? select.labels[0].textContent.replace(/:\s*$/, "") : select.getAttribute("aria-label") || "");
const labelTables = () => document.querySelectorAll(".tabular table").forEach(labelCells);
const labelSearches = () => {
  for (const select of document.querySelectorAll("select.admin-autocomplete")) {
    const label = select.labels[0], box = select.nextElementSibling;
    if (!label || !box || !box.matches(".select2")) continue;
    label.id = label.id || `${select.id}_label`;
    const chosen = box.querySelector("[role=combobox], .select2-selection");
    const old = chosen.getAttribute("aria-labelledby");
    if (!old || !old.includes(label.id)) chosen.setAttribute("aria-labelledby", `${label.id} ${old || ""}`.trim());
    for (const field of box.querySelectorAll(".select2-search__field")) field.setAttribute("aria-label", nameOf(select));
    for (const text of box.querySelectorAll("[role=textbox]")) text.setAttribute("aria-labelledby", `${label.id} ${text.id}`);
  }
};
for (const select of document.querySelectorAll("select.admin-autocomplete")) {  // before the widget is made of it
  select.dataset.dropdownParent = "#content";
  if (select.multiple) select.dataset.allowClear = "false";
}
for (const group of document.querySelectorAll(".inline-group")) {
  group.tabIndex = 0;  // it scrolls where the screen is narrow
  group.setAttribute("role", "group");
  group.setAttribute("aria-labelledby", `${group.id.replace(/-group$/, "")}-heading`);
}
labelTables();
document.addEventListener("formset:added", labelTables);
if (window.django && django.jQuery) django.jQuery(() => {  // after the widgets are made
  labelSearches();
  django.jQuery(document).on("select2:open", (event) => {
    const list = document.querySelector(".select2-results__options");
    for (const field of document.querySelectorAll(".select2-search__field, .select2-selection[aria-expanded=true]")) {
      field.setAttribute("aria-controls", list.id);
      if (!field.hasAttribute("aria-label")) field.setAttribute("aria-label", nameOf(event.target));
    }
  });
  django.jQuery(document).on("select2:close select2:select select2:unselect", () => {
    document.querySelectorAll(".select2-container [aria-controls]").forEach((field) => field.removeAttribute("aria-controls"));
    setTimeout(labelSearches);
  });
});
