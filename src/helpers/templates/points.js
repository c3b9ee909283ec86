/** A list to choose from, with its label; `change` is told the place that was chosen. */
function choice(figure, label, titles, chosen, change) {
  const select = made("select", {}, ...titles.map((title, place) => new Option(title, place)));
  select.value = chosen;
  select.addEventListener("change", () => change(Number(select.value)));
  figure.querySelector(".choices").append(made("label", {}, `${label} `, select));
}

/** An empty plot in a figure, which is shown from now on. */
function plotted(figure, options) {
  figure.hidden = false;
  const plot = Bokeh.Plotting.figure({
    height: 380, sizing_mode: "stretch_width", tools: "pan,box_zoom,wheel_zoom,reset,save",
    background_fill_color: null, border_fill_color: null, outline_line_color: null, ...options,
  });
  plot.toolbar.logo = null;
  for (const axis of [...plot.below, ...plot.left]) {
    if (axis.formatter instanceof Bokeh.BasicTickFormatter) {
      axis.formatter.setv({ power_limit_low: -5, power_limit_high: 9 });
    }
  }
  return plot;
}

/** What the colours of files stand for. */
function keyed(figure, names, colours) {
  const runtimes = new Map(names.map((name, place) => [name.split(" ")[0], colours[place]]));
  for (const [runtime, colour] of runtimes) {
    const mark = made("span", { class: "mark", "aria-hidden": "true" }, "\u25cf");
    mark.style.color = colour;
    figure.querySelector(".choices").append(made("span", {}, mark, ` ${runtime}`));
  }
}

function pointing(plot, tooltips, renderers = "auto") {
  plot.add_tools(new Bokeh.HoverTool({ tooltips, renderers }));
}

/** Points by any two of the columns, those that are `last` above the others; returns what draws them
 * again, with those that are shown.
 */
function scattered(figure, found, options = {}) {
  const places = [...found.chosen];
  const source = new Bokeh.ColumnDataSource({ data: {} });
  const plot = plotted(figure, {});
  const style = { fill_alpha: 0.75, line_color: { field: "colour" }, fill_color: { field: "colour" } };
  plot.scatter({ field: "x" }, { field: "y" },
    { source, marker: { field: "marker" }, size: { field: "size" }, ...style });
  pointing(plot, [["", "@name"], ["", "@note"], ["across", "@across"], ["up", "@up"]]);
  function draw(shown = () => true) {
    const [across, up] = places.map(place => found.columns[place]);
    const last = row => Number((found.last ?? []).includes(row));
    const rows = found.names.map((_, row) => row).sort((a, b) => last(a) - last(b))
      .filter(row => shown(row) && across.values[row] !== null && up.values[row] !== null);
    const of = values => rows.map(row => values[row]);
    source.data = {
      x: of(across.values), y: of(up.values), name: of(found.names), note: of(found.notes),
      colour: of(found.colours), marker: of(found.markers),
      size: of(found.markers).map(marker => marker === "star" ? 18 : 9),
      across: of(across.values).map(value => `${across.title}: ${written(value)}`),
      up: of(up.values).map(value => `${up.title}: ${written(value)}`),
    };
    plot.below[0].axis_label = new Bokeh.PlainText({ text: across.title }); // "$$" would be TeX, which is fetched
    plot.left[0].axis_label = new Bokeh.PlainText({ text: up.title });
  }
  const titles = found.columns.map(column => column.title);
  let last;
  const again = shown => draw(last = shown ?? last);
  ["across", "up"].forEach((label, axis) => choice(figure, label, titles, places[axis], place => {
    places[axis] = place;
    again();
  }));
  draw();
  Bokeh.Plotting.show(plot, figure.querySelector(".chart"));
  return again;
}
