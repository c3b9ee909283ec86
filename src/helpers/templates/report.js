for (const table of document.querySelectorAll("table.sorted")) sorted(table);
if (data.files) {
  const figure = document.getElementById("files");
  scattered(figure, data.files);
  keyed(figure, data.files.names, data.files.colours);
}

if (data.latency) {
  const figure = document.getElementById("latency");
  const plot = plotted(figure, { x_axis_type: "log", y_axis_type: "log" });
  const lines = data.latency.map(({ name, colour, batch, low, median, high }) => {
    const source = new Bokeh.ColumnDataSource({ data: {
      batch, median, name: batch.map(() => name), rows: batch.map(written),
      time: median.map((value, i) => `${written(value)} us (${written(low[i])} to ${written(high[i])})`),
    } });
    const options = { source, line_color: colour, line_width: 1.5 };
    return [plot.line({ field: "batch" }, { field: "median" }, options),
      plot.scatter({ field: "batch" }, { field: "median" }, { ...options, size: 7, fill_color: colour })];
  });
  pointing(plot, [["", "@name"], ["rows", "@rows"], ["a call", "@time"]], lines.map(([, dots]) => dots));
  plot.below[0].axis_label = "rows in a call";
  const ticker = new Bokeh.FixedTicker({ ticks: data.latency[0].batch });
  plot.below[0].ticker = ticker;
  for (const grid of plot.center) if (grid.dimension === 0) grid.ticker = ticker;
  for (const axis of [...plot.below, ...plot.left]) {
    axis.formatter = new Bokeh.NumeralTickFormatter({ format: "0,0" });
  }
  plot.left[0].axis_label = "microseconds a call";
  const names = data.latency.map(line => line.name);
  choice(figure, "show", ["all files", ...names], 0, place => lines.forEach((renderers, i) => {
    for (const renderer of renderers) renderer.visible = place === 0 || place === i + 1;
  }));
  keyed(figure, names, data.latency.map(line => line.colour));
  Bokeh.Plotting.show(plot, figure.querySelector(".chart"));
}

if (data.scores) {
  const figure = document.getElementById("scores");
  const { rows, reference, files } = data.scores;
  const plot = plotted(figure, {});
  const source = new Bokeh.ColumnDataSource({ data: {} });
  const ends = [Math.min(...reference), Math.max(...reference)];
  plot.line(ends, ends, { line_color: "#222222", line_width: 0.7 });
  const colour = { field: "colour" };
  const dots = plot.scatter({ field: "reference" }, { field: "score" },
    { source, size: 6, line_color: colour, fill_color: colour, fill_alpha: 0.5, line_alpha: 0.5 });
  pointing(plot, [["", "@row"], ["trained model", "@trained"], ["file", "@found"], ["difference", "@difference"]], [dots]);
  const draw = place => {
    const { scores, colour } = files[place];
    const difference = scores.map((score, i) => written(score - reference[i]));
    source.data = { reference, score: scores, row: rows, colour: rows.map(() => colour), difference,
      trained: reference.map(written), found: scores.map(written) };
  };
  plot.below[0].axis_label = "score of the trained model";
  plot.left[0].axis_label = "score of the file";
  const worst = files.map(file => Math.max(...file.scores.map((score, i) => Math.abs(score - reference[i]))));
  const first = worst.indexOf(Math.max(...worst));
  choice(figure, "file", files.map(file => file.name), first, draw);
  draw(first);
  Bokeh.Plotting.show(plot, figure.querySelector(".chart"));
}
document.documentElement.dataset.ready = "";
