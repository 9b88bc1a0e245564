"use strict";
// Draws the texts of one document, of one model or two side by side, and shades what a token reads. Nothing is fetched.
(async () => {
  const find = id => document.getElementById(id);
  const data = JSON.parse(find("data").textContent);
  const KINDS = ["encoder", "decoder", "cross"];
  const title = (m, kind) => data.models[m].blocks[kind].replace(/^./, first => first.toUpperCase());
  const panes = data.models.map(() => ({ heads: {}, weights: null, tokens: {}, thumbs: {} }));
  let [at, pinned, shown, arcs] = [0, null, null, false];
  let last = "cross"; // the block whose head the keys [ and ] change

  // ---------------------------------------------------------------------------------------- weights

  const make = (tag, options = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...children);
    return made;
  };

  const unpack = async id => {
    const packed = atob(find(id).textContent);
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  const shapes = () => {
    const [S, U] = [data.documents[at].source.length, data.documents[at].target.length];
    return { encoder: [S, S], decoder: [U, U], cross: [U, S] };
  };

  const load = async m => {
    const bytes = await unpack(`w-${at}-${m}`);
    const { layers, heads } = data.models[m];
    const [found, sizes] = [{}, shapes()];
    let from = 0;
    for (const kind of KINDS) {
      const [q, k] = sizes[kind];
      found[kind] = bytes.subarray(from, from += layers * heads * q * k);
    }
    return found;
  };

  // Bytes hold 255 √w. A head of 0 is the mean over all.
  const headsOf = (m, kind) => {
    const [layer, head] = panes[m].heads[kind];
    const { layers, heads } = data.models[m];
    if (layer) return [(layer - 1) * heads + head - 1];
    return [...Array(layers * heads).keys()];
  };

  const cells = (m, kind, pick) => {
    const [q, k] = shapes()[kind];
    const [from, step, count] = pick(q, k);
    const sums = new Float64Array(count);
    const own = headsOf(m, kind);
    for (const head of own) {
      const start = head * q * k + from;
      for (let i = 0; i < count; i++) sums[i] += (panes[m].weights[kind][start + i * step] / 255) ** 2 / own.length;
    }
    return sums;
  };
  const row = (m, kind, i) => cells(m, kind, (q, k) => [i * k, 1, k]);
  const column = (m, kind, j) => cells(m, kind, (q, k) => [j, k, q]);

  // ---------------------------------------------------------------------------------------- what is drawn

  const drawText = m => {
    const [pane, one] = [panes[m], data.documents[at]];
    pane.text.replaceChildren(pane.arcs);
    for (const part of ["source", "target"]) {
      const block = make("p", { className: `words ${part}`, dir: "auto" });
      const spans = one[part].map(([gap, text], i) => {
        const span = make("span", { className: "token", textContent: text });
        span.dataset.part = part;
        span.dataset.i = i;
        block.append(gap, span);
        if (part === "target") {
          const { nats, regret } = one.models[m];
          const [off, times] = regret ? [regret, 3] : [nats, 1.2]; // a loss is nats, a regret parts of one
          if (off[i] >= 0.005) span.style.borderBottomWidth = `${Math.min(7, 1 + times * Math.sqrt(off[i]))}px`;
        }
        return span;
      });
      if (part === "target") {
        pane.start = make("span", { className: "mark", textContent: "[SEP]", title: "before the target" });
        block.prepend(pane.start, " ");
      }
      pane.tokens[part] = spans;
      pane.text.append(block);
    }
    const { nats, regret } = one.models[m];
    const sum = values => values.reduce((a, b) => a + b, 0).toFixed(3);
    pane.about.textContent = `${data.models[m].about}; this target: loss ${sum(nats)} nats` +
      (regret ? `, regret ${sum(regret)}` : "");
  };

  const shade = (elements, values) => elements.forEach((element, i) => {
    const value = values ? values[i] ?? 0 : 0;
    element.style.setProperty("--w", Math.sqrt(Math.max(0, value)).toFixed(3));
  });

  const told = (m, part, i) => {
    const one = data.documents[at];
    const name = text => `“${text.trim() || "␣"}”`;
    const top = (values, words) => [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, 4)
      .filter(j => values[j] >= 0.01).map(j => `${words[j].trim() || "␣"} ${values[j].toFixed(2)}`).join(", ");
    const source = one.source.map(([, text]) => text);
    if (part === "source") return `${name(source[i])} attends to ${top(row(m, "encoder", i), source) || "nothing"}`;
    const { nats, floor, regret } = one.models[m];
    const loss = `loss ${nats[i].toFixed(3)} nats` +
      (regret ? ` (floor ${floor[i].toFixed(3)}, expected regret ${regret[i].toFixed(3)})` : "");
    const aligned = one.aligned && one.aligned[i] >= 0 ? `; stated by ${name(source[one.aligned[i]])}` : "";
    return `${name(one.target[i][1])}: ${loss}; attends to ${top(row(m, "cross", i), source) || "nothing"}${aligned}`;
  };

  const light = token => {
    shown = token;
    panes.forEach((pane, m) => {
      const { source, target } = pane.tokens;
      [...source, ...target].forEach(element => element.classList.remove("here"));
      const before = token?.part === "target" ? row(m, "decoder", token.i) : null;
      shade(source, token && row(m, token.part === "source" ? "encoder" : "cross", token.i));
      shade([pane.start], before && [before[0]]);
      // Of a source token: who in the target reads it.
      shade(target, token && (before ? before.slice(1, token.i + 1) : column(m, "cross", token.i)));
      if (token) pane.tokens[token.part][token.i].classList.add("here");
      pane.told.textContent = token ? told(m, token.part, token.i) : "Point at a token, or use the arrow keys.";
      drawArcs(m);
    });
  };

  const drawArcs = m => {
    const [pane, { aligned }] = [panes[m], data.documents[at]];
    pane.arcs.replaceChildren();
    if (!aligned) return;
    const own = shown?.part === "target" ? [shown.i] : [];
    const of = arcs ? aligned.keys() : own;
    const box = pane.text.getBoundingClientRect();
    for (const u of of) {
      if (aligned[u] < 0) continue;
      const [a, b] = [pane.tokens.target[u], pane.tokens.source[aligned[u]]].map(e => e.getBoundingClientRect());
      const [x0, y0] = [a.left + a.width / 2 - box.left, a.top - box.top];
      const [x1, y1] = [b.left + b.width / 2 - box.left, b.bottom - box.top];
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      const bend = Math.max(12, (y0 - y1) / 2);
      path.setAttribute("d", `M${x0} ${y0} C${x0} ${y0 - bend} ${x1} ${y1 + bend} ${x1} ${y1}`);
      pane.arcs.append(path);
    }
  };

  const THUMB = 96;
  const paint = (canvas, m, kind, head, [r, g, b]) => {
    const [q, k] = shapes()[kind];
    const [h, w] = [Math.min(q, THUMB), Math.min(k, THUMB)];
    [canvas.width, canvas.height] = [w, h];
    const context = canvas.getContext("2d");
    const image = context.createImageData(w, h);
    const pixels = image.data;
    const across = Int32Array.from({ length: k }, (_, j) => 4 * Math.floor(j * w / k) + 3);
    const bytes = panes[m].weights[kind];
    let from = head * q * k;
    for (let i = 0; i < q; i++) {
      const line = 4 * Math.floor(i * h / q) * w;
      for (let j = 0; j < k; j++) {
        const value = bytes[from++];
        const pixel = line + across[j]; // the largest of what falls on one pixel
        if (value > pixels[pixel]) pixels[pixel] = value;
      }
    }
    for (let i = 0; i < pixels.length; i += 4) {
      pixels[i] = r;
      pixels[i + 1] = g;
      pixels[i + 2] = b;
    }
    context.putImageData(image, 0, 0);
  };

  const repaint = m => {
    const colour = getComputedStyle(document.documentElement).getPropertyValue("--heat").split(",").map(Number);
    KINDS.forEach(kind => panes[m].thumbs[kind].forEach((button, i) => {
      if (i) paint(button.firstChild, m, kind, i - 1, colour);
    }));
  };

  const mark = () => {
    panes.forEach((pane, m) => KINDS.forEach(kind => pane.thumbs[kind].forEach((button, i) => {
      const [layer, head] = pane.heads[kind];
      button.setAttribute("aria-pressed", i === (layer ? (layer - 1) * data.models[m].heads + head : 0));
    })));
    document.querySelectorAll("#rows tr").forEach(line => {
      const [m, kind, layer, head] = line.dataset.head.split(" ");
      const own = panes[m].heads[kind];
      line.classList.toggle("chosen", own[0] === Number(layer) && own[1] === Number(head));
    });
    document.querySelectorAll(".block").forEach(block => block.classList.toggle("active", block.dataset.kind === last));
    find("arcs").setAttribute("aria-pressed", arcs);
    find("arcs").disabled = !data.documents[at].aligned;
    find("place").textContent = `Document ${at + 1} of ${data.documents.length} (test ${data.documents[at].index})`;
    find("back").disabled = at === 0;
    find("next").disabled = at === data.documents.length - 1;
    const heads = panes.map(pane => KINDS.map(kind => pane.heads[kind].join(".")).join("_"));
    const token = pinned ? `${pinned.part[0]}${pinned.i}` : "";
    history.replaceState(null, "", `#d=${at}&t=${token}&h=${heads.join("-")}&a=${Number(arcs)}`);
  };

  // ---------------------------------------------------------------------------------------- what is done

  const choose = (m, kind, layer, head) => {
    panes[m].heads[kind] = [layer, head];
    last = kind;
    mark();
    light(shown);
  };

  const pin = token => {
    pinned = token;
    mark();
    light(token);
  };

  // What a document opens with: a copied token, whose arc and shades are worth a look; else the first one.
  const telling = () => ({ part: "target", i: Math.max(0, data.documents[at].aligned?.findIndex(j => j >= 0) ?? 0) });

  const open = async (i, token = null) => {
    at = Math.max(0, Math.min(data.documents.length - 1, i));
    const weights = await Promise.all(data.models.map((_, m) => load(m)));
    panes.forEach((pane, m) => {
      pane.weights = weights[m];
      drawText(m);
      repaint(m);
    });
    const length = token && data.documents[at][token.part].length;
    pin(token && token.i < length ? token : telling());
  };

  const build = () => data.models.forEach((model, m) => {
    const pane = panes[m];
    pane.arcs = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    pane.arcs.setAttribute("class", "arcs");
    pane.arcs.setAttribute("aria-hidden", "true");
    pane.text = make("div", { className: "text" });
    pane.about = make("p", { className: "about" });
    pane.told = make("p", { className: "told" });
    pane.told.setAttribute("role", "status");
    const section = make("section", { className: "pane" }, make("h2", { textContent: model.name }), pane.about, pane.text, pane.told);
    const blocks = make("div", { className: "blocks" });
    section.append(blocks);
    for (const kind of KINDS) {
      const grid = make("div", { className: "grid" });
      grid.style.setProperty("--heads", model.heads);
      pane.heads[kind] = model.start[kind];
      pane.thumbs[kind] = [];
      const button = (label, layer, head, ...inside) => {
        const made = make("button", { type: "button", title: label }, ...inside);
        made.setAttribute("aria-label", `${title(m, kind)}: ${label}`);
        made.addEventListener("click", () => choose(m, kind, layer, head));
        pane.thumbs[kind].push(made);
        return made;
      };
      const mean = button("mean of all heads", 0, 0, "mean");
      for (let layer = 1; layer <= model.layers; layer++)
        for (let head = 1; head <= model.heads; head++)
          grid.append(button(`layer ${layer}, head ${head}`, layer, head, make("canvas")));
      const block = make("div", { className: "block" }, make("h3", { textContent: title(m, kind) }, " ", mean), grid);
      block.dataset.kind = kind;
      blocks.append(block);
    }
    find("panes").append(section);
  });

  const table = () => {
    const two = data.models.length > 1;
    const columns = [...(two ? [["model", "model"]] : []), ["kind", "attention"], ["layer", "layer"], ["head", "head"], ...data.columns];
    const rows = data.models.flatMap((model, m) => model.rows.map(one => ({ ...one, model: "AB"[m], m })));
    const [body, COUNTED] = [find("rows"), new Set(["layer", "head"])];
    const lines = rows.map(one => {
      const line = make("tr", { tabIndex: 0 });
      line.dataset.head = `${one.m} ${one.kind} ${one.layer} ${one.head}`;
      line.append(...columns.map(([key]) => {
        const value = one[key];
        const measured = value === null ? "–" : typeof value === "number" ? value.toFixed(3).replace("-", "−") : value;
        const cell = make("td", { textContent: key === "kind" ? data.models[one.m].blocks[value] : COUNTED.has(key) ? value : measured });
        if (typeof value !== "string") cell.className = "number";
        return cell;
      }));
      const take = () => choose(one.m, one.kind, one.layer, one.head);
      line.addEventListener("click", take);
      line.addEventListener("keydown", event => { if (event.key === "Enter") take(); });
      return line;
    });
    const heads = columns.map(([key, label, about]) => {
      const button = make("button", { type: "button", textContent: label, title: about ?? label });
      const head = make("th", { scope: "col", className: key === "model" || key === "kind" ? "" : "number" }, button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        heads.forEach(other => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const order = [...rows.keys()].sort((i, j) => {
          const [a, b] = [rows[i][key], rows[j][key]];
          if (a === null || b === null) return (a === null) - (b === null); // what does not apply comes last
          const less = typeof a === "string" ? a.localeCompare(b) : a - b;
          return up ? less : -less;
        });
        body.append(...order.map(i => lines[i]));
      });
      return head;
    });
    find("head").append(...heads);
    body.append(...lines);
    data.models.forEach((model, m) => model.best.forEach(([label, kind, layer, head, value]) => {
      const where = `${two ? `${"AB"[m]} ` : ""}${layer}.${head}`;
      const button = make("button", { type: "button", textContent: `${label} ${value.toFixed(2)}: ${where}` });
      button.title = `${data.models[m].blocks[kind]}, layer ${layer}, head ${head}`;
      button.addEventListener("click", () => choose(m, kind, layer, head));
      find("best").append(button, " ");
    }));
    const filters = document.querySelectorAll(".filter button");
    filters.forEach(button => button.addEventListener("click", () => {
      const { kind } = button.dataset;
      filters.forEach(other => other.setAttribute("aria-pressed", other === button));
      const own = rows.map(one => !kind || one.kind === kind);
      lines.forEach((line, i) => { line.hidden = !own[i]; });
      // A column that applies to none of these rows is left out.
      columns.forEach(([key], c) => {
        const none = rows.every((one, i) => !own[i] || one[key] === null);
        [heads[c], ...lines.map(line => line.cells[c])].forEach(cell => { cell.hidden = none; });
      });
    }));
    filters[0].click();
  };

  const step = (part, by) => {
    const token = pinned ?? shown;
    const count = data.documents[at][part].length;
    const i = token?.part === part ? token.i + by : Math.min(token?.i ?? 0, count - 1);
    pin({ part, i: (i + count) % count });
    panes[0].tokens[part][pinned.i].scrollIntoView({ block: "nearest" });
  };

  const turn = by => panes.forEach((pane, m) => {
    const count = data.models[m].layers * data.models[m].heads + 1;
    const [layer, head] = pane.heads[last];
    const i = ((layer ? (layer - 1) * data.models[m].heads + head : 0) + by + count) % count;
    choose(m, last, i ? Math.ceil(i / data.models[m].heads) : 0, i ? (i - 1) % data.models[m].heads + 1 : 0);
  });

  const toggle = () => {
    arcs = !arcs && Boolean(data.documents[at].aligned);
    mark();
    light(shown);
  };

  const tokenOf = event => {
    const span = event.target.closest?.(".token");
    return span ? { part: span.dataset.part, i: Number(span.dataset.i) } : null;
  };

  build();
  table();
  find("panes").addEventListener("mouseover", event => { const token = tokenOf(event); if (token) light(token); });
  find("panes").addEventListener("mouseout", event => { if (tokenOf(event)) light(pinned); });
  find("panes").addEventListener("click", event => {
    const token = tokenOf(event);
    if (token) pin(pinned && pinned.part === token.part && pinned.i === token.i ? null : token);
  });
  find("back").addEventListener("click", () => open(at - 1));
  find("next").addEventListener("click", () => open(at + 1));
  find("arcs").addEventListener("click", toggle);
  addEventListener("resize", () => panes.forEach((_, m) => drawArcs(m)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panes.forEach((_, m) => repaint(m)));
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const part = (pinned ?? shown)?.part ?? "target";
    const keys = {
      ArrowLeft: () => step(part, -1), ArrowRight: () => step(part, 1),
      ArrowUp: () => step("source", 0), ArrowDown: () => step("target", 0),
      n: () => open(at + 1), p: () => open(at - 1), g: toggle, Escape: () => pin(null),
      "[": () => turn(-1), "]": () => turn(1),
      e: () => { last = "encoder"; mark(); }, d: () => { last = "decoder"; mark(); }, c: () => { last = "cross"; mark(); },
      m: () => panes.forEach((_, m) => choose(m, last, 0, 0)),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });

  const hash = new URLSearchParams(location.hash.slice(1));
  hash.get("h")?.split("-").forEach((heads, m) => heads.split("_").forEach((one, i) => {
    const [layer, head] = one.split(".").map(Number);
    const model = data.models[m];
    const fits = model && (layer === 0 || (layer >= 1 && layer <= model.layers && head >= 1 && head <= model.heads));
    if (fits && KINDS[i]) panes[m].heads[KINDS[i]] = [layer, layer && head];
  }));
  const asked = /^([st])(\d+)$/.exec(hash.get("t") ?? "");
  arcs = hash.get("a") === "1";
  await open(Number(hash.get("d")) || 0, asked && { part: asked[1] === "s" ? "source" : "target", i: Number(asked[2]) });
  document.body.dataset.ready = "yes";
})();
