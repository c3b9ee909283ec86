"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children; text stays text. */
function made(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A figure as people read it: whole numbers in full, others with five digits. */
function written(value) {
  if (value === null || Number.isNaN(value)) return "";
  return Number.isInteger(value) ? value.toLocaleString("en") : String(Number(value.toPrecision(5)));
}

for (const library of document.querySelectorAll("script.library")) {
  const packed = Uint8Array.from(atob(library.textContent), character => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  library.remove();
}
const DataTable = window.tables.default;

/** Let a table be sorted and filtered; what it is filtered by stays where it is when it is scrolled. */
function sorted(table, options = {}) {
  const search = options.layout || table.rows.length > 6 ? { search: { text: "", placeholder: "Filter" } } : null;
  const scrolled = table.closest(".wide");
  const interactive = new DataTable(table, {
    paging: false, info: false, order: [], autoWidth: false,
    layout: { topStart: search, topEnd: null, bottomStart: null, bottomEnd: null, ...options.layout },
    ...options.table,
  });
  if (scrolled) {
    for (const name of ["class", "role", "aria-label", "tabindex"]) {
      const value = scrolled.getAttribute(name);
      scrolled.removeAttribute(name);
      table.parentElement.setAttribute(name, `${name === "class" ? `${table.parentElement.className} ` : ""}${value}`);
    }
  }
  return interactive;
}
