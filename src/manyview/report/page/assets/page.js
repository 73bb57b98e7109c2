// The page's own script: charts with one cursor, toggles, sorted tables, copied commands, and in manyview watch the
// polling. Everything is on the page without it. No text is ever inserted as HTML but sections that the server escaped.
(() => {
  "use strict";

  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const SVG = "http://www.w3.org/2000/svg";
  const DASHES = ["", "7 4", "2 3"];
  const LEFT = 58, RIGHT = 14, TOP = 10, BOTTOM = 34, HEIGHT = 210;
  const UNITS = { steps: "step", epochs: "epoch", views: "views", hours: "hours" };
  const live = document.body.dataset.live !== undefined;

  let data = JSON.parse(one("#data").textContent);
  const views = new Map(); // of charts, by key
  const state = { x: "steps", off: new Set(), hide: new Set(), log: new Set(), theme: "", cursor: null };

  // ---- state in the address ------------------------------------------------------------------------------------

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (UNITS[given.get("x")]) state.x = given.get("x");
    for (const name of ["off", "hide", "log"]) {
      state[name] = new Set((given.get(name) || "").split("~").filter(Boolean));
    }
    if (["light", "dark"].includes(given.get("theme"))) state.theme = given.get("theme");
    return given.get("at");
  }

  function writeAddress(at) {
    const kept = new URLSearchParams();
    if (state.x !== "steps") kept.set("x", state.x);
    for (const name of ["off", "hide", "log"]) if (state[name].size) kept.set(name, [...state[name]].join("~"));
    if (state.theme) kept.set("theme", state.theme);
    if (at) kept.set("at", at);
    const text = kept.toString();
    try {
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    } catch (refused) {
      location.hash = text;
    }
  }

  // ---- numbers -------------------------------------------------------------------------------------------------

  function ticks(low, high, most = 5) {
    const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
    const apart = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw * 0.999);
    const found = [];
    for (let n = Math.ceil(low / apart - 1e-9); n <= high / apart + 1e-9; n++) found.push(+(n * apart).toPrecision(12));
    return found;
  }

  function logTicks(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of high / low < 30 ? [1, 2, 5] : [1]) {
        const value = +(factor * 10 ** power).toPrecision(3);
        if (value >= low && value <= high) found.push(value);
      }
    }
    return found.length ? found : ticks(low, high);
  }

  function spell(value, percent) {
    if (percent) return String(+(100 * value).toPrecision(4));
    if (value && Math.abs(value) < 1e-3) return String(+value.toPrecision(2));
    if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
    return String(+value.toPrecision(4));
  }

  function spellX(value) {
    if (state.x === "hours") return value < 1 ? `${spell(value * 60)} min` : `${spell(value)} hours`;
    return state.x === "views" ? `${spell(value)} views` : `${UNITS[state.x]} ${spell(value)}`;
  }

  function between(points, at) {
    let low = 0, high = points.length - 1;
    while (low < high - 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] <= at) low = middle; else high = middle;
    }
    const [from, to] = [points[low], points[high]];
    return to[0] === from[0] ? from[1] : from[1] + ((at - from[0]) / (to[0] - from[0])) * (to[1] - from[1]);
  }

  function toX(run, step) {
    if (state.x === "epochs") return step / run.perEpoch;
    if (state.x === "views") return step * run.viewsPerStep;
    if (state.x === "hours") return between(run.clock, step);
    return step;
  }

  function available(unit) {
    const needed = { epochs: "perEpoch", views: "viewsPerStep", hours: "clock" }[unit];
    return !needed || data.runs.every((run) => run[needed]);
  }

  function nearest(xs, at) {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] <= at) low = middle; else high = middle;
    }
    return Math.abs(xs[low] - at) <= Math.abs(xs[high] - at) ? low : high;
  }

  // ---- drawing -------------------------------------------------------------------------------------------------

  function draw(tag, attributes, text) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== "") made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function marker(x, y, shape, r = 3.4) {
    const corners = {
      1: [[-1, -1], [1, -1], [1, 1], [-1, 1]],
      2: [[0, -1.2], [1.15, 0.9], [-1.15, 0.9]],
      3: [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]],
      4: [[-1.2, -0.4], [-0.4, -0.4], [-0.4, -1.2], [0.4, -1.2], [0.4, -0.4], [1.2, -0.4],
          [1.2, 0.4], [0.4, 0.4], [0.4, 1.2], [-0.4, 1.2], [-0.4, 0.4], [-1.2, 0.4]],
    }[shape % 5];
    if (!corners) return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
    return "M" + corners.map(([dx, dy]) => `${(x + r * dx).toFixed(1)} ${(y + r * dy).toFixed(1)}`).join("L") + "Z";
  }

  const single = () => data.runs.length === 1;
  const shapeOf = (series) => (single() ? series.style : series.run);
  const colorOf = (series) => {
    if (!single()) return `c${series.run % 8}`;
    return ["single steps", "mean of the epoch"].includes(series.name) ? "c0" : `c${series.style}`;
  };
  const idOf = (chart, series) => `${chart.key}.${series.run}.${series.name.replaceAll(" ", "_")}`;
  const isShown = (chart, series) => !state.off.has(String(series.run)) && !state.hide.has(idOf(chart, series));
  const nameOf = (series) => [single() ? "" : data.runs[series.run].name, series.name].filter(Boolean).join(", ");

  function extent(chart, shown, log) {
    const values = shown.flatMap((series) => series.y);
    if (!log) values.push(...chart.lines.map((line) => line.y));
    const low = Math.min(...values), high = Math.max(...values);
    if (log) return [low / 1.08, high * 1.08];
    const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
    return [chart.zero && low >= 0 ? 0 : low - room, high + room];
  }

  // One axis for all charts, of the runs that are switched on.
  function extentOfX() {
    let low = Infinity, high = -Infinity;
    for (const series of data.charts.flatMap((chart) => chart.series)) {
      if (state.off.has(String(series.run))) continue;
      const [first, last] = [series.x[0], series.x[series.x.length - 1]].map((step) => toX(data.runs[series.run], step));
      low = Math.min(low, first);
      high = Math.max(high, last);
    }
    return [low, high > low ? high : low + 1];
  }

  function drawChart(chart) {
    const figure = one(`figure.chart[data-key="${CSS.escape(chart.key)}"]`);
    if (!figure) return;
    const plot = one(".plot", figure), log = chart.log && state.log.has(chart.key);
    const shown = chart.series.filter((series) => isShown(chart, series));
    const width = Math.max(plot.clientWidth || 560, 240);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, "aria-hidden": "true" });
    const view = { chart, figure, plot, svg, width, curves: [], xs: [] };
    views.set(chart.key, view);
    if (shown.length) drawCurves(view, shown, log);
    else svg.append(draw("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle", class: "axis" }, "every curve is switched off"));
    plot.replaceChildren(svg);
    drawLegend(view);
    makeSlider(view);
    moveCursor(view);
  }

  function drawCurves(view, shown, log) {
    const { chart, svg, width } = view;
    const at = new Map(shown.map((series) => [series, series.x.map((step) => toX(data.runs[series.run], step))]));
    const xs = [...at.values()].flat(), [first, last] = extentOfX();
    const [low, high] = extent(chart, shown, log), scale = log ? Math.log10 : (value) => value;
    view.toLeft = (x) => LEFT + ((x - first) / (last - first)) * (width - LEFT - RIGHT);
    view.fromLeft = (left) => first + ((left - LEFT) / (width - LEFT - RIGHT)) * (last - first);
    const toTop = (y) => TOP + ((scale(high) - scale(y)) / (scale(high) - scale(low))) * (HEIGHT - TOP - BOTTOM);
    for (const tick of log ? logTicks(low, high) : ticks(low, high)) {
      const y = toTop(tick);
      svg.append(draw("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "grid" }));
      svg.append(draw("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end", class: "axis" }, spell(tick, chart.percent)));
    }
    const whole = state.x === "steps" || state.x === "views";
    for (const tick of ticks(first, last, Math.max(2, Math.floor(width / 90))).filter((each) => !whole || Number.isInteger(each))) {
      svg.append(draw("text", { x: view.toLeft(tick), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle", class: "axis" }, spell(tick)));
    }
    svg.append(draw("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end", class: "axis" }, state.x));
    for (const line of chart.lines.filter((each) => each.y >= low && each.y <= high)) {
      const y = toTop(line.y);
      svg.append(draw("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "limit" }));
      svg.append(draw("text", { x: width - RIGHT - 2, y: y - 4, "text-anchor": "end", class: "axis" }, line.name));
    }
    for (const [series, own] of [...at].sort((a, b) => b[0].thin - a[0].thin)) {
      const points = own.map((x, n) => [view.toLeft(x), toTop(series.y[n])]), color = colorOf(series);
      const path = "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      svg.append(draw("path", { d: path, class: `curve ${color}${series.thin ? " thin" : ""}`, "stroke-dasharray": DASHES[series.style % 3] }));
      const every = series.marks ? 1 : Math.max(1, Math.floor(points.length / 6));
      if (!series.thin) {
        points.forEach(([x, y], n) => n % every === 0 && svg.append(draw("path", { d: marker(x, y, shapeOf(series)), class: `mark ${color}` })));
      }
      const dot = svg.appendChild(draw("path", { class: `dot ${color}`, visibility: "hidden" }));
      view.curves.push({ series, xs: own, toTop, dot });
    }
    view.xs = [...new Set(xs)].sort((a, b) => a - b);
    view.line = svg.appendChild(draw("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", visibility: "hidden" }));
  }

  function swatch(series) {
    const made = draw("svg", { viewBox: "0 0 30 12", width: 30, height: 12, "aria-hidden": "true" });
    const color = colorOf(series);
    made.append(draw("path", { d: "M1 6H29", class: `curve ${color}${series.thin ? " thin" : ""}`, "stroke-dasharray": DASHES[series.style % 3] }));
    if (!series.thin) made.append(draw("path", { d: marker(15, 6, shapeOf(series)), class: `mark ${color}` }));
    return made;
  }

  function drawLegend(view) {
    const { chart, figure } = view, legend = one(".legend", figure);
    const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    view.values = new Map();
    const items = chart.series.filter((series) => !state.off.has(String(series.run))).map((series) => {
      const item = document.createElement("li"), button = document.createElement("button"), value = document.createElement("span");
      const name = document.createElement("span");
      button.type = "button";
      button.className = "series";
      button.dataset.id = idOf(chart, series);
      button.setAttribute("aria-pressed", String(isShown(chart, series)));
      name.className = "name";
      name.textContent = nameOf(series) || chart.title;
      value.className = "value";
      button.append(swatch(series), name, value);
      button.addEventListener("click", () => {
        const id = idOf(chart, series);
        if (!state.hide.delete(id)) state.hide.add(id);
        writeAddress();
        drawChart(chart);
      });
      view.values.set(series, value);
      item.append(button);
      return item;
    });
    legend.replaceChildren(...items);
    if (focused) all("button", legend).find((button) => button.dataset.id === focused)?.focus();
  }

  // ---- the cursor ----------------------------------------------------------------------------------------------

  function makeSlider(view) {
    const { plot, chart } = view;
    if (plot.dataset.ready) return;
    plot.dataset.ready = "yes";
    plot.tabIndex = 0;
    plot.setAttribute("role", "slider");
    plot.setAttribute("aria-label", `${chart.title}: cursor`);
    plot.addEventListener("pointermove", (event) => {
      const now = views.get(chart.key), box = plot.getBoundingClientRect();
      if (!now.fromLeft) return;
      const at = now.fromLeft(((event.clientX - box.left) / box.width) * now.width);
      setCursor(Math.min(Math.max(at, now.xs[0]), now.xs[now.xs.length - 1]));
    });
    plot.addEventListener("pointerleave", () => document.activeElement !== plot && setCursor(null));
    plot.addEventListener("blur", () => setCursor(null));
    plot.addEventListener("focus", () => {
      const { xs } = views.get(chart.key);
      if (state.cursor === null && xs.length) setCursor(xs[xs.length - 1]);
    });
    plot.addEventListener("keydown", (event) => {
      const { xs } = views.get(chart.key);
      if (!xs.length) return;
      const here = nearest(xs, state.cursor ?? xs[xs.length - 1]);
      const to = { ArrowLeft: here - 1, ArrowRight: here + 1, ArrowDown: here - 1, ArrowUp: here + 1, PageDown: here - 10,
                   PageUp: here + 10, Home: 0, End: xs.length - 1 }[event.key];
      if (event.key === "Escape") setCursor(null);
      else if (to !== undefined) setCursor(xs[Math.min(Math.max(to, 0), xs.length - 1)]);
      else return;
      event.preventDefault();
    });
  }

  function setCursor(at) {
    state.cursor = at;
    for (const view of views.values()) moveCursor(view);
  }

  function moveCursor(view) {
    const { plot, chart, xs } = view, at = state.cursor;
    const values = [];
    for (const { series, xs: own, toTop, dot } of view.curves) {
      const inside = at !== null && at >= own[0] - 1e-9 && at <= own[own.length - 1] + 1e-9;
      const n = at === null ? own.length - 1 : nearest(own, at);
      dot.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) dot.setAttribute("d", marker(view.toLeft(own[n]), toTop(series.y[n]), shapeOf(series), 4.6));
      const text = at !== null && !inside ? "–" : spell(series.y[n], chart.percent) + (chart.percent ? " %" : "");
      view.values.get(series).textContent = text;
      values.push(`${nameOf(series) || chart.title} ${text}`);
    }
    if (!view.line) return;
    view.line.setAttribute("visibility", at === null ? "hidden" : "visible");
    if (at !== null) {
      const left = Math.min(Math.max(view.toLeft(at), LEFT), view.width - RIGHT);
      view.line.setAttribute("x1", left);
      view.line.setAttribute("x2", left);
    }
    const now = at ?? xs[xs.length - 1];
    plot.setAttribute("aria-valuemin", xs[0]);
    plot.setAttribute("aria-valuemax", xs[xs.length - 1]);
    plot.setAttribute("aria-valuenow", now);
    plot.setAttribute("aria-valuetext", `${spellX(now)}: ${values.join("; ")}`);
    one(".at", view.figure).textContent = at === null ? "at the end" : spellX(at);
  }

  // ---- controls ------------------------------------------------------------------------------------------------

  function drawAll() {
    for (const chart of data.charts) drawChart(chart);
  }

  function setUpControls() {
    const controls = one("#controls");
    if (!controls) return;
    controls.hidden = false;
    for (const radio of all('input[name="x"]', controls)) {
      radio.disabled = !available(radio.value);
      if (radio.disabled && state.x === radio.value) state.x = "steps";
      radio.checked = radio.value === state.x;
      radio.addEventListener("change", () => {
        state.x = radio.value;
        state.cursor = null;
        writeAddress();
        drawAll();
      });
    }
    for (const box of all('input[name="run"]', controls)) {
      box.checked = !state.off.has(box.value);
      box.addEventListener("change", () => {
        if (box.checked) state.off.delete(box.value); else state.off.add(box.value);
        writeAddress();
        drawAll();
      });
    }
    for (const box of all('input[name="log"]')) {
      const chart = data.charts.find((each) => each.key === box.value);
      box.closest("label").hidden = !chart || !chart.log;
      box.checked = state.log.has(box.value);
      box.addEventListener("change", () => {
        if (box.checked) state.log.add(box.value); else state.log.delete(box.value);
        writeAddress();
        drawChart(data.charts.find((each) => each.key === box.value));
      });
    }
  }

  function setUpTheme() {
    const button = one("#theme");
    button.hidden = false;
    const show = () => {
      if (state.theme) document.documentElement.dataset.theme = state.theme;
      const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      button.textContent = dark ? "Light" : "Dark";
      button.setAttribute("aria-label", dark ? "Show in light colors" : "Show in dark colors");
    };
    button.addEventListener("click", () => {
      state.theme = button.textContent.toLowerCase();
      writeAddress();
      show();
    });
    show();
  }

  function setUpLinks() {
    for (const link of all('nav a[href^="#"]')) {
      link.addEventListener("click", (event) => {
        event.preventDefault();
        goTo(link.hash.slice(1));
        writeAddress(link.hash.slice(1));
      });
    }
  }

  function goTo(id) {
    const heading = document.getElementById(id)?.querySelector("h2");
    if (!heading) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    heading.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }

  // ---- tables and commands -------------------------------------------------------------------------------------

  function valueOf(row, column) {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return +cell.dataset.value;
    const text = cell.textContent.trim(), number = Number(text.replaceAll(",", ""));
    return text === "" || text === "–" ? null : Number.isNaN(number) ? text.toLowerCase() : number;
  }

  function sortBy(table, column, button) {
    const heads = [...table.tHead.rows[0].cells], head = heads[column], body = table.tBodies[0];
    const descending = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" : head.classList.contains("number");
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
      return descending ? -order : order;
    });
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.replaceChildren(...rows.map(([, row]) => row));
    button.focus();
  }

  function setUpTables(root) {
    for (const table of all("table.sortable", root)) {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "sort";
        button.append(...head.childNodes);
        button.addEventListener("click", () => sortBy(table, column, button));
        head.append(button);
      });
    }
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (refused) {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  function setUpCopying(root) {
    for (const button of all("button.copy", root)) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        const done = await copy(one("code", button.parentElement).textContent);
        button.textContent = done ? "Copied" : "Select it";
        button.focus();
        setTimeout(() => (button.textContent = "Copy"), 1600);
      });
    }
  }

  function enhance(root) {
    setUpTables(root);
    setUpCopying(root);
  }

  // ---- manyview watch ------------------------------------------------------------------------------------------

  const known = { ...data.sections };

  async function poll() {
    const status = one("#status");
    try {
      const answer = await fetch("/data.json", { cache: "no-store" });
      const fresh = await answer.json();
      status.setAttribute("aria-live", status.dataset.state === fresh.state ? "off" : "polite"); // not each second
      status.textContent = fresh.status;
      status.dataset.state = fresh.state;
      document.title = fresh.title;
      const changed = JSON.stringify(data) !== JSON.stringify(fresh.data);
      data = fresh.data;
      if (Object.keys(data.sections).some((id) => !document.getElementById(id))) {
        location.reload(); // a section is new, as after the first evaluation
        return;
      }
      for (const [id, fingerprint] of Object.entries(data.sections)) {
        const section = document.getElementById(id);
        if (section && known[id] !== fingerprint) {
          await refresh(section, id);
          known[id] = fingerprint;
        }
      }
      if (changed) drawAll();
    } catch (lost) {
      status.textContent = "No answer: manyview watch has ended, or cannot be reached.";
      status.dataset.state = "stale";
    }
    setTimeout(poll, document.hidden ? 15000 : 3000);
  }

  async function refresh(section, id) {
    const answer = await fetch(`/section/${id}`, { cache: "no-store" });
    if (!answer.ok) return;
    section.innerHTML = await answer.text();
    enhance(section);
    if (id === "curves") {
      views.clear();
      setUpControls();
      requestAnimationFrame(drawAll);
    }
  }

  // ---- start ---------------------------------------------------------------------------------------------------

  document.documentElement.classList.add("scripted");
  const at = readAddress();
  setUpTheme();
  setUpControls();
  setUpLinks();
  enhance(document);
  drawAll();
  if (at) goTo(at);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      requestAnimationFrame(drawAll);
    }
  });
  addEventListener("beforeprint", () => all("details").forEach((each) => (each.open = true)));
  if (live) poll();
})();
