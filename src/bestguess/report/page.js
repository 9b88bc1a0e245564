"use strict";
// Unpacks Plotly (gzip in base64, in this very file) and draws every figure over its still picture.
// Whatever fails on the way, the still pictures stay.
(async () => {
  const plots = [...document.querySelectorAll(".plot")];
  if (!plots.length) return;
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent.trim()), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 36rem)");
  const touch = matchMedia("(pointer: coarse)");
  let printing = false;

  const specification = plot => {
    let text = plot.querySelector('script[type="application/json"]').textContent;
    if (dark.matches && !printing)
      for (const [light, other] of Object.entries(JSON.parse(plot.dataset.theme))) text = text.replaceAll(light, other);
    return JSON.parse(text);
  };

  // Small multiples take as many columns as the window has room for.
  const arrange = (layout, width) => {
    const grid = layout.meta && layout.meta.grid;
    if (!grid) return;
    const columns = Math.max(1, Math.min(grid.columns, Math.floor(width / grid.panel_width)));
    if (columns === grid.columns) return;
    const rows = Math.ceil(grid.panels / columns);
    const [wide, gap] = [columns > 1 ? 0.08 : 0, rows > 1 ? 0.25 / rows : 0];
    const [w, h] = [(1 - wide * (columns - 1)) / columns, (1 - gap * (rows - 1)) / rows];
    for (let i = 0; i < grid.panels; i++) {
      const [row, column, n] = [Math.floor(i / columns), i % columns, i ? i + 1 : ""];
      const [left, top] = [column * (w + wide), 1 - row * (h + gap)];
      const [x, y] = [layout["xaxis" + n], layout["yaxis" + n]];
      x.domain = [left, Math.min(1, left + w)];
      y.domain = [Math.max(0, top - h), top];
      const last = i + columns >= grid.panels;
      if (grid.share_x) [x.showticklabels, x.ticks] = [last, last ? "outside" : ""];
      if (grid.share_y) [y.showticklabels, y.ticks] = [column === 0, column ? "" : "outside"];
      x.title.text = last ? grid.x[i] : "";
      y.title.text = column === 0 ? grid.y[i] : "";
    }
    layout.height = layout.margin.t + layout.margin.b + grid.panel_height * rows;
  };

  // On a phone words must leave room for what is drawn: rows are named briefly, titles and legends begin at the left.
  const broken = (text, most) => text.split(" ").reduce(([...lines], word) => {
    const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
    return lines.length && longer.length <= most ? [...lines.slice(0, -1), longer] : [...lines, word];
  }, []).join("<br>");
  const brief = text => text.includes("  ") ? text.split("  ")[0] : broken(text, 24); // "H1a  Larger is better"
  const fitted = layout => {
    let taller = 1;
    for (const [name, axis] of Object.entries(layout)) {
      if (name.startsWith("xaxis") && !axis.ticktext) Object.assign(axis, { tickangle: 0, nticks: 4 });
      if (!name.startsWith("yaxis") || !axis.ticktext) continue;
      axis.ticktext = axis.ticktext.map(brief);
      axis.tickfont = { ...axis.tickfont, size: 11 };
      const lines = Math.max(...axis.ticktext.map(text => text.split("<br>").length));
      const [bottom, top] = axis.domain ?? [0, 1];
      const room = (top - bottom) * (layout.height - layout.margin.t - layout.margin.b) / axis.ticktext.length;
      if (lines > 1) taller = Math.max(taller, (14 * lines + 6) / room);
    }
    layout.height *= taller;
    for (const note of layout.annotations ?? []) Object.assign(note, { text: broken(note.text, 38), align: "left" });
    if (layout.meta?.grid) Object.assign(layout.legend, { xref: "container", x: 0.02, xanchor: "left" });
  };

  const draw = async plot => {
    const { data, layout } = specification(plot);
    arrange(layout, plot.clientWidth);
    if (plot.classList.contains("square")) layout.height = Math.min(layout.height, plot.clientWidth);
    layout.autosize = true;
    if (touch.matches) layout.dragmode = false; // a finger scrolls the page
    if (narrow.matches) {
      layout.font.size = 12;
      layout.margin.l = 44;
      layout.margin.r = 8;
      fitted(layout);
    }
    const config = {
      responsive: true, displaylogo: false,
      displayModeBar: narrow.matches ? false : "hover", // it would lie on the title
      modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
      toImageButtonOptions: { format: "svg", filename: plot.dataset.name },
    };
    const canvas = plot.querySelector(".canvas");
    canvas.hidden = false;
    // A legend stands above the chart, or above the titles of a grid's panels, and takes as many lines as the window
    // makes of it. Left to itself, Plotly takes them from what is drawn, and scrolls a legend higher than half of it.
    const grid = layout.meta?.grid;
    if (layout.legend) layout.legend.maxheight = 10_000;
    if (layout.legend && !grid) Object.assign(layout.legend, { yref: "container", y: 1, yanchor: "top" });
    await Plotly.react(canvas, data, layout, config);
    const legend = canvas.querySelector("g.legend");
    if (legend) {
      const two = layout.annotations?.some(note => note.text.includes("<br>"));
      const below = grid ? (two ? 44 : 30) : 10;
      const more = Math.ceil(legend.getBoundingClientRect().height) + below - layout.margin.t;
      if (more > 0) {
        layout.margin.t += more;
        layout.height += more;
        await Plotly.react(canvas, data, layout, config);
      }
    }
    const still = plot.querySelector("img");
    if (still) still.remove();
  };

  const redraw = () => plots.forEach(plot => plot.dataset.drawn && draw(plot));
  for (const plot of plots) {
    try {
      await draw(plot);
      plot.dataset.drawn = "yes";
    } catch (error) {
      plot.querySelector(".canvas").hidden = true;
      console.error(error);
    }
  }
  dark.addEventListener("change", redraw);
  narrow.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; redraw(); });
  addEventListener("afterprint", () => { printing = false; redraw(); });
  document.documentElement.dataset.plots = "ready";
})().catch(error => console.error(error));
