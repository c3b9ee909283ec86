const table = document.getElementById("runs");
const unpacked = list => list && !Array.isArray(list) ? list.at.map(place => list.of[place]) : list;
for (const column of data.columns) for (const name of ["texts", "values"]) column[name] = unpacked(column[name]);

/** The rows as the page has them say what everybody reads; here they get what is chosen, and what they are sorted by. */
[...table.tBodies[0].rows].forEach((row, place) => {
  const name = data.names[place];
  row.dataset.place = place;
  row.cells[0].append(made("input", { type: "checkbox", "aria-label": `Compare run ${name}` }));
  row.cells[1].dataset.order = name;
  data.columns.forEach(({ first, texts, values }, column) => {
    const cell = first ? row.cells[column + 2] : row.appendChild(made("td", { class: "more" }, texts[place]));
    if (values) cell.dataset.order = values[place] ?? "";
  });
});
const natural = new Intl.Collator(undefined, { numeric: true }).compare; // seed=9 before seed=10
DataTable.type("natural", "order", { asc: natural, desc: (a, b) => natural(b, a) });
const shown = sorted(table, {
  layout: {
    topEnd: { buttons: [{ extend: "colvis", columns: ":not(.kept)", collectionLayout: "fixed columns" }] },
  },
  table: {
    columnControl: ["order", "searchDropdown"],
    columnDefs: [
      { targets: "more", visible: false },
      { targets: "natural", type: "natural" },
      { targets: "compared", orderable: false, columnControl: [] },
    ],
    language: { buttons: { colvis: "Columns" } },
    ordering: { indicators: false, handler: false },
  },
});

for (const head of table.tHead.rows[0].cells) {
  const [order, search] = head.querySelectorAll("button");
  if (!order) continue;
  const title = head.querySelector(".dt-column-title").textContent;
  order.setAttribute("aria-label", `Sort by ${title}`);
  search.setAttribute("aria-label", `Filter by ${title}`);
}

const boxes = () => shown.rows().nodes().toArray().map(row => row.querySelector("input"));
const place = row => Number(row.dataset.place);
const figure = document.getElementById("scatter");
const numeric = data.columns.filter(column => column.values);
const varying = numeric.filter(column => new Set(column.values.filter(value => value !== null)).size > 1);

const found = {
  names: data.names,
  notes: data.columns.find(column => column.title === "what differs").texts,
  colours: data.names.map(() => "#33658a"), markers: data.names.map(() => "circle"),
  columns: numeric,
};
let again = () => {};
if (numeric.length > 1) {
  const titles = numeric.map(column => column.title);
  const [first, second] = [...varying, ...numeric];
  const wanted = numeric.filter(column => column.first && varying.includes(column));
  const [up, across] = wanted.length > 1 ? wanted : [first, second];
  found.chosen = [titles.indexOf(across.title), titles.indexOf(up.title)];
  again = scattered(figure, found);
}

function filtered() {
  const rows = new Set(shown.rows({ search: "applied" }).nodes().toArray().map(place));
  again(row => rows.has(row));
  document.getElementById("count").textContent =
    rows.size === data.names.length ? "" : `${rows.size} of ${data.names.length} runs are shown`;
}
shown.on("draw", filtered);

/** A run's name, which leads to its page if it has one. */
function named(row) {
  return table.querySelector(`tr[data-place="${row}"] a`)?.cloneNode(true) ?? data.names[row];
}

/** The chosen runs side by side: parameters that differ between them, and their figures. */
function compare() {
  const chosen = boxes().map((box, row) => [box, place(box.closest("tr"))])
    .filter(([box]) => box.checked).map(([, row]) => row);
  data.names.forEach((_, row) => { found.colours[row] = chosen.includes(row) ? "#d1603d" : "#33658a"; });
  found.last = chosen;
  again();
  const section = document.getElementById("compared");
  section.hidden = chosen.length < 2;
  const two = chosen.length === 2;
  const head = made("tr", {}, made("th", { scope: "col" }, "figure"),
    ...chosen.map(row => made("th", { scope: "col" }, named(row))),
    ...(two ? [made("th", { scope: "col" }, "difference")] : []));
  const body = data.columns.filter(({ title, group, texts }) => title !== "what differs"
    && chosen.some(row => texts[row] !== "")
    && (group !== "parameters" || new Set(chosen.map(row => texts[row])).size > 1))
    .sort((a, b) => (b.group === "parameters") - (a.group === "parameters"))
    .map(({ title, texts, values }) => {
      const [a, b] = values ? chosen.map(row => values[row]) : [null, null];
      const differs = new Set(chosen.map(row => texts[row])).size > 1;
      const change = a === null || b === null || !two ? "" : b - a;
      const sign = change > 0 ? "+" : "";
      return made("tr", differs ? { class: "differs" } : {}, made("th", { scope: "row" }, title),
        ...chosen.map(row => made("td", {}, texts[row])),
        ...(two ? [made("td", {}, change === "" ? "" : `${sign}${written(Number(change.toPrecision(4)))}`)] : []));
    });
  const paired = document.getElementById("paired");
  paired.hidden = !two;
  paired.lastElementChild.textContent = `workbench compare ${chosen.map(row => `${data.study}/${data.names[row]}`).join(" ")} --html compared.html`;
  section.querySelector("table").replaceChildren(made("thead", {}, head), made("tbody", {}, ...body));
}
table.addEventListener("change", compare);
document.getElementById("clear").addEventListener("click", () => {
  for (const box of boxes()) box.checked = false;
  compare();
});
for (const element of document.querySelectorAll(".scripted")) element.hidden = false;
compare();
document.documentElement.dataset.ready = "";
