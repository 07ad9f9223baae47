// The page about a structure: what the reader chooses to see, and what is known of an atom.
"use strict";

const data = unpack(JSON.parse($("data").textContent));
const { positions, species, elements, cell, barrier, std, ood } = data;
const COUNT = species.length;
const inverse = cell && invert(cell);
const radii = Float32Array.from(species, (kind) => elements[kind].radius);
const explained = new Map(data.explanations.map((each) => [each.atom, each]));
const QUANTITIES = {
  barrier: { name: "energy barrier", unit: "eV", values: barrier },
  std: { name: "standard uncertainty", unit: "eV", values: std },
  ood: { name: "out of distribution", unit: "", values: ood, range: [0, 1] },
};
const known = Float64Array.from(barrier.filter(Number.isFinite)).sort();
const ranking = Array.from({ length: COUNT }, (_, i) => i)
  .filter((i) => Number.isFinite(barrier[i]))
  .sort((a, b) => barrier[a] - barrier[b]);
const knownOf = elements.map((_, kind) =>
  Float64Array.from(ranking.filter((i) => species[i] === kind), (i) => barrier[i]));
const rank = new Map(ranking.map((atom, place) => [atom, place]));

const EDGES_AT_FIRST = 30;
const SMALL = 0.45; // spheres of surroundings, so that links between them can be seen
const state = {
  low: known[0], high: known.at(-1), hidden: new Set(), axis: -1, from: 0, to: 1, by: "barrier", atom: -1,
  shown: COUNT, edges: [],
};
const mask = new Uint8Array(COUNT);
const colors = new Uint8Array(3 * COUNT);

// --- numbers and words -------------------------------------------------------------------------

const fixed = (value, digits = 3) =>
  Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–";
const percent = (share) => `${(100 * share).toFixed(share < 0.1 || share > 0.9 ? 1 : 0)}%`;

/** How many of sorted values are below one. */
function below(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function standing(sorted, value) {
  const lower = below(sorted, value);
  return lower === 0 ? "the lowest" : `${percent(lower / sorted.length)} are lower`;
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];

/** Where an atom is in the structure's own coordinates, Å. */
const placeOf = (atom) => data.origin.map((start, d) => start + positions[3 * atom + d]);

function nameOf(atom) {
  return `${elements[species[atom]].symbol} ${atom}`;
}

// --- geometry ----------------------------------------------------------------------------------

function invert([a, b, c]) {
  const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
  const normals = [cross(b, c), cross(c, a), cross(a, b)];
  const volume = a[0] * normals[0][0] + a[1] * normals[0][1] + a[2] * normals[0][2];
  return normals.map((normal) => normal.map((x) => x / volume)); // fraction k = normals[k] · r
}

const fraction = (k, x, y, z) => inverse[k][0] * x + inverse[k][1] * y + inverse[k][2] * z;

/** Neighbors of an atom within a distance, periodic images included, nearest first. */
function neighborsOf(atom, reach) {
  const [x, y, z] = positions.subarray(3 * atom, 3 * atom + 3);
  // Along each axis, only images of the cell that the sphere around the atom can touch.
  const images = [0, 1, 2].map((axis) => {
    if (!cell || !data.periodic[axis]) return [0, 0];
    const share = reach * Math.hypot(...inverse[axis]);
    const place = fraction(axis, x, y, z);
    return [Math.floor(place - share), Math.floor(place + share)];
  });
  const found = [];
  for (let i = images[0][0]; i <= images[0][1]; i++) {
    for (let j = images[1][0]; j <= images[1][1]; j++) {
      for (let k = images[2][0]; k <= images[2][1]; k++) {
        const shift = [0, 1, 2].map((d) => (cell ? i * cell[0][d] + j * cell[1][d] + k * cell[2][d] : 0));
        const [sx, sy, sz] = [shift[0] - x, shift[1] - y, shift[2] - z];
        for (let n = 0; n < COUNT; n++) {
          const dx = positions[3 * n] + sx;
          if (dx > reach || dx < -reach) continue;
          const dy = positions[3 * n + 1] + sy;
          const dz = positions[3 * n + 2] + sz;
          const square = dx * dx + dy * dy + dz * dz;
          if (square > reach * reach || (n === atom && square < 1e-6)) continue;
          found.push({ atom: n, vector: [dx, dy, dz], distance: Math.sqrt(square) });
        }
      }
    }
  }
  return found.sort((a, b) => a.distance - b.distance);
}

// --- colors ------------------------------------------------------------------------------------

function rangeOf(by) {
  const { values, range } = QUANTITIES[by];
  if (range) return range;
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort();
  return [quantile(sorted, 0.01), quantile(sorted, 0.99)];
}

function colorScale(by) {
  const [low, high] = rangeOf(by);
  return (value) => {
    if (!Number.isFinite(value)) return [128, 128, 128];
    const share = high > low ? (value - low) / (high - low) : 0.5;
    const step = 3 * Math.max(0, Math.min(255, Math.round(255 * share)));
    return [data.colors[step], data.colors[step + 1], data.colors[step + 2]];
  };
}

const bytes = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

function recolor() {
  const shade = state.by === "element" ? null : colorScale(state.by);
  for (let i = 0; i < COUNT; i++) {
    const color = shade ? shade(QUANTITIES[state.by].values[i]) : bytes(elements[species[i]].color);
    colors.set(color, 3 * i);
  }
  view?.glass.color(colors);
  view?.draw();
  legend();
}

function swatch(element) {
  const dot = make("span", { className: "swatch" });
  dot.style.background = element.color;
  return dot;
}

function legend() {
  if (state.by === "element") {
    $("legend").replaceChildren(...elements.flatMap((each) => [swatch(each), each.symbol]));
    return;
  }
  const { name, unit } = QUANTITIES[state.by];
  const [low, high] = rangeOf(state.by);
  const bar = make("div", { className: "bar" });
  const stops = Array.from({ length: 17 }, (_, i) => {
    const step = 3 * Math.round((255 * i) / 16);
    return `rgb(${data.colors.slice(step, step + 3).join(" ")})`;
  });
  bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
  $("legend").replaceChildren(
    make("span", {}, unit ? `${name} (${unit})` : name), bar,
    make("div", { className: "ends" }, make("span", {}, fixed(low, 2)), make("span", {}, fixed(high, 2))),
  );
}

// --- which atoms are shown ---------------------------------------------------------------------

function filter() {
  const all = state.low <= known[0] && state.high >= known.at(-1);
  let shown = 0;
  for (let i = 0; i < COUNT; i++) {
    let inside = !state.hidden.has(species[i]) && (all || (barrier[i] >= state.low && barrier[i] <= state.high));
    if (inside && state.axis >= 0) {
      const place = fraction(state.axis, positions[3 * i], positions[3 * i + 1], positions[3 * i + 2]);
      inside = place >= state.from && place <= state.to;
    }
    mask[i] = inside ? 1 : 0;
    shown += mask[i];
  }
  view?.glass.show(mask);
  view?.draw();
  state.shown = shown;
  caption();
}

function caption() {
  const [all, shown] = [COUNT, state.shown].map((number) => number.toLocaleString("en"));
  $("shown").textContent = view?.near
    ? `surroundings of ${nameOf(state.atom)}: ${view.near.count} atoms`
    : state.shown === COUNT ? `all ${all} atoms` : `${shown} of ${all} atoms (${percent(state.shown / COUNT)})`;
}

/** A slider with two ends on one track. `changed` gets both values; returns a function that sets them. */
function pair(container, { low, high, step, names, text, changed }) {
  const between = make("div", { className: "between" });
  const ends = names.map((name, i) => {
    const input = make("input", { type: "range", min: low, max: high, step, value: i ? high : low });
    input.setAttribute("aria-label", name);
    return input;
  });
  const words = [make("span"), make("span")];
  const value = (i) => {
    const number = Number(ends[i].value);
    if (!i && number <= Number(ends[i].min)) return low; // the step may not meet the ends
    return i && number >= Number(ends[i].max) - step ? high : number;
  };
  const refresh = () => {
    const share = (i) => (high > low ? (100 * (value(i) - low)) / (high - low) : 100 * i);
    between.style.left = `${share(0)}%`;
    between.style.right = `${100 - share(1)}%`;
    ends.forEach((input, i) => {
      words[i].textContent = text(value(i), i);
      input.setAttribute("aria-valuetext", words[i].textContent);
    });
    // Where both meet, the one that can still move is on top.
    ends[0].style.zIndex = share(0) > 50 ? 2 : 1;
    ends[1].style.zIndex = 1;
  };
  ends.forEach((input, i) =>
    input.addEventListener("input", () => {
      if (value(0) > value(1)) input.value = ends[1 - i].value;
      refresh();
      changed(value(0), value(1));
    }));
  container.replaceChildren(
    make("div", { className: "pair" }, make("div", { className: "track" }), between, ...ends),
    make("div", { className: "pair-ends" }, ...words),
  );
  refresh();
  return (from, to) => {
    ends[0].value = from;
    ends[1].value = to;
    refresh();
    changed(value(0), value(1));
  };
}

// --- one atom ----------------------------------------------------------------------------------

function pick(atom) {
  if (!(atom >= 0 && atom < COUNT)) atom = -1;
  state.atom = atom;
  const picked = atom >= 0;
  $("number").value = picked ? atom : "";
  $("hint").hidden = picked;
  $("explained").hidden = picked || explained.size === 0;
  $("picked").hidden = !picked;
  const explanation = explained.get(atom);
  $("explanation").hidden = !explanation;
  if (picked) describe(atom);
  if (explanation) {
    $("edges").max = explanation.importance.length;
    $("edges").value = Math.min(EDGES_AT_FIRST, explanation.importance.length);
  }
  if (!picked) $("surroundings").checked = false;
  else if (explanation) $("surroundings").checked = true;
  showSurroundings();
  drawHistogram();
  try {
    history.replaceState(null, "", picked ? `#atom=${atom}` : location.pathname + location.search);
  } catch {
    // A page inside a frame without an address of its own may not change it.
  }
}

function describe(atom) {
  const element = elements[species[atom]];
  $("picked-name").replaceChildren(swatch(element), nameOf(atom));
  const own = knownOf[species[atom]];
  const entries = [["energy barrier", `${fixed(barrier[atom], 4)} eV`]];
  if (std) entries.push(["standard uncertainty", `${fixed(std[atom], 4)} eV`]);
  if (ood) entries.push(["out of distribution", `${fixed(ood[atom], 3)}${ood[atom] > data.novel ? " (do not trust it)" : ""}`]);
  if (rank.has(atom)) {
    entries.push(["among all atoms", standing(known, barrier[atom])], [`among ${element.symbol}`, standing(own, barrier[atom])]);
  }
  if (explained.has(atom)) entries.push(["explained value", `${fixed(explained.get(atom).prediction, 4)} eV`]);
  if (data.identifiers) entries.push(["LAMMPS id", String(data.identifiers[atom])]);
  entries.push(["position", `${placeOf(atom).map((x) => fixed(x, 2)).join(", ")} Å`]);
  $("values").replaceChildren(...entries.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function reach() {
  return Number($("reach").value);
}

function listNeighbors(atom, neighbors) {
  $("reach-shown").textContent = `${fixed(reach(), 1)} Å`;
  const counts = elements.map((each, kind) => {
    const count = neighbors.filter((neighbor) => species[neighbor.atom] === kind).length;
    return `${count} ${each.symbol}`;
  });
  $("neighbors-title").textContent = `${neighbors.length} neighbors: ${counts.join(", ")}`;
  const left = leftOut(explained.get(atom));
  const row = (neighbor) => {
    const button = make("button", { type: "button" }, String(neighbor.atom));
    button.addEventListener("click", () => pick(neighbor.atom));
    const cells = [fixed(neighbor.distance, 2), fixed(barrier[neighbor.atom], 3)];
    if (left) cells.push(fixed(left(neighbor), 3));
    return make("tr", {},
      make("th", { scope: "row" }, swatch(elements[species[neighbor.atom]]), elements[species[neighbor.atom]].symbol),
      make("td", {}, button), ...cells.map((text) => make("td", {}, text)));
  };
  const headings = ["", "atom", "Å", "barrier (eV)", ...(left ? ["change without (eV)"] : [])];
  $("neighbors").replaceChildren(make("table", {},
    make("thead", {}, make("tr", {}, ...headings.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...neighbors.map(row))));
}

/** Change of the barrier when a neighbor is left out, as a function of the neighbor. */
function leftOut(explanation) {
  const tried = explanation?.left_out;
  if (!tried?.change.length) return null;
  return ({ atom, vector }) => {
    for (let i = 0; i < tried.change.length; i++) {
      const apart = Math.hypot(...[0, 1, 2].map((d) => tried.positions[3 * i + d] - vector[d]));
      if (tried.atoms[i] === atom && apart < 0.1) return tried.change[i]; // files round
    }
    return NaN;
  };
}

/** The strongest edges of an explanation by the chosen measure: from sender to receiver. */
function strongest(explanation) {
  const values = explanation[$("measure").value];
  const order = Array.from(values.keys()).filter((i) => Number.isFinite(values[i]))
    .sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, Number($("edges").value));
  const largest = Math.max(1e-12, ...order.map((i) => Math.abs(values[i])));
  $("edges-shown").textContent = String(order.length);
  $("edges-note").textContent =
    `${order.length} of ${explanation.total.toLocaleString("en")} edges. A rod is thick where a message starts and ` +
    ($("measure").value === "importance" ? "thin where it arrives." : "thin where it arrives; red raises the barrier, blue lowers it, against no edges at all.");
  const { fidelity } = explanation;
  $("fidelity").hidden = !fidelity;
  if (fidelity) {
    $("fidelity").textContent =
      `How far to trust the mask: without its top ${percent(fidelity.share)} of the edges the barrier changes by ` +
      `${fixed(fidelity.top, 2)} eV, without random ones of the same lengths and steps away by ` +
      `${fixed(fidelity.same_steps, 2)} eV (same lengths only: ${fixed(fidelity.same_lengths, 2)} eV). Compare these; ` +
      "do not read the eV: no model was fitted to structures without edges.";
  }
  const place = (n) => Array.from(explanation.positions.subarray(3 * n, 3 * n + 3));
  return order.map((i) => {
    const [receiver, sender] = explanation.edges.subarray(2 * i, 2 * i + 2);
    const share = Math.abs(values[i]) / largest;
    const color = $("measure").value === "importance" ? "#2f9e90" : values[i] > 0 ? "#cf4a3a" : "#3c78c8";
    return { receiver, sender, from: place(sender), to: place(receiver), color, width: 0.05 + 0.2 * share };
  });
}

function showSurroundings() {
  const { atom } = state;
  hover(-1);
  const alone = $("surroundings").checked && atom >= 0;
  const explanation = explained.get(atom);
  let neighbors = [];
  if (atom >= 0) {
    neighbors = neighborsOf(atom, reach());
    listNeighbors(atom, neighbors);
  }
  const edges = explanation ? strongest(explanation) : [];
  state.edges = edges;
  if (!view) return;
  if (!alone) {
    if (view.near) {
      view.surround(null);
      caption();
    }
    view.ring(view.mark, atom < 0 ? null : positions.subarray(3 * atom, 3 * atom + 3), atom < 0 ? 0 : radii[atom]);
    return;
  }
  const origin = Array.from(positions.subarray(3 * atom, 3 * atom + 3));
  const there = (vector) => vector.map((x, d) => x + origin[d]);
  // Atoms by place, so that one that is both neighbor and end of an edge is drawn once.
  const spheres = new Map();
  const add = (number, vector) =>
    spheres.set(`${number}:${vector.map((x) => Math.round(20 * x)).join()}`, { number, vector });
  add(atom, [0, 0, 0]);
  neighbors.forEach((neighbor) => add(neighbor.atom, neighbor.vector));
  edges.forEach(({ receiver, sender, from, to }) => {
    add(explanation.atoms[receiver], to);
    add(explanation.atoms[sender], from);
  });
  const list = [...spheres.values()];
  const links = explanation
    ? edges.map((edge) => ({ ...edge, from: there(edge.from), to: there(edge.to) }))
    : neighbors.map(({ vector }) => ({ from: there(vector), to: origin, color: "#9aa0a8", width: 0.06 }));
  const far = Math.max(3, ...list.map(({ vector }) => Math.hypot(...vector)));
  view.surround({
    positions: Float32Array.from(list.flatMap(({ vector }) => there(vector))),
    radii: Float32Array.from(list, ({ number }) => SMALL * radii[number]),
    numbers: Uint32Array.from(list, ({ number }) => number),
    colors: Uint8Array.from(list.flatMap(({ number }) => [...colors.subarray(3 * number, 3 * number + 3)])),
  }, links, origin, far + 1.5);
  view.ring(view.mark, origin, SMALL * radii[atom]);
  caption();
}

function hover(found, event) {
  if (!view) return;
  if (found < 0) {
    $("tip").hidden = true;
    view.ring(view.hovered, null);
    return;
  }
  const layer = view.active;
  view.ring(view.hovered, layer.positions.subarray(3 * found, 3 * found + 3), layer.radii[found]);
  tell(layer.numbers[found], event);
}

/** Say beside the pointer what an atom is. */
function tell(atom, event) {
  const tip = $("tip");
  tip.hidden = false;
  const uncertainty = std ? ` ± ${fixed(std[atom])}` : "";
  tip.replaceChildren(make("b", {}, swatch(elements[species[atom]]), nameOf(atom)),
    `${fixed(barrier[atom])}${uncertainty} eV${ood ? ` · ood ${fixed(ood[atom], 2)}` : ""}`);
  const box = $("view").getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const left = x + 18 + tip.offsetWidth > box.width ? x - 14 - tip.offsetWidth : x + 18;
  tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.min(y + 14, box.height - tip.offsetHeight - 6)}px)`;
}

// --- charts ------------------------------------------------------------------------------------

const BINS = 48;
const binned = (() => {
  const spread = known.at(-1) - known[0];
  const low = spread > 0 ? known[0] : known[0] - 0.05; // where all are equal, they stand in the middle
  const width = (spread || 0.1) / BINS;
  const bins = Array.from({ length: BINS * elements.length }, (_, i) => ({
    from: low + (i % BINS) * width, to: low + ((i % BINS) + 1) * width,
    element: elements[Math.floor(i / BINS)].symbol, atoms: 0,
  }));
  for (const atom of ranking) {
    const bin = Math.min(BINS - 1, Math.floor((barrier[atom] - low) / width));
    bins[species[atom] * BINS + bin].atoms += 1;
  }
  return bins;
})();

const drawHistogram = chart($("histogram"), (width) => {
  const shade = colorScale("barrier");
  const bins = binned.slice(0, BINS).map((bin, i) => ({
    ...bin, atoms: elements.reduce((sum, _, kind) => sum + binned[kind * BINS + i].atoms, 0),
  }));
  const marks = [
    Plot.rectY(bins, {
      x1: "from", x2: "to", y: "atoms", insetLeft: 0.4, insetRight: 0.4,
      fill: (bin) => `rgb(${shade((bin.from + bin.to) / 2).join(" ")})`,
      fillOpacity: (bin) => (bin.to < state.low || bin.from > state.high ? 0.18 : 1),
    }),
    Plot.ruleY([0]),
  ];
  if (rank.has(state.atom)) {
    marks.push(Plot.ruleX([barrier[state.atom]], { strokeWidth: 2 }));
    marks.push(Plot.text([barrier[state.atom]], {
      x: (x) => x, frameAnchor: "top", text: () => nameOf(state.atom), dy: -9, fontWeight: 600,
    }));
  }
  return Plot.plot({
    width, height: 156, marginLeft: 8, marginRight: 8, marginTop: 18, marginBottom: 36,
    x: { label: "energy barrier (eV)", domain: [bins[0].from, bins.at(-1).to] },
    y: { axis: null }, marks,
  });
});

function drawStatistics() {
  chart($("by-element"), (width) => Plot.plot({
    width, height: 300, marginLeft: 48, marginBottom: 36,
    ariaLabel: "Histogram of energy barriers by element",
    color: { domain: elements.map((each) => each.symbol), range: elements.map((each) => each.color), legend: true },
    x: { label: "energy barrier (eV)" }, y: { label: "atoms", grid: true },
    marks: [
      Plot.rectY(binned, {
        x1: "from", x2: "to", y: "atoms", fill: "element", insetLeft: 0.5, insetRight: 0.5, tip: true,
        channels: { element: "element" },
      }),
      Plot.ruleY([0]),
    ],
  }));
}

function drawTrajectory({ axis, at, mean, quantiles, novel, chosen }) {
  $("trajectory").hidden = false;
  const frames = at.map((x, i) => ({
    x, mean: mean[i], low: quantiles[0][i], lower: quantiles[1][i], upper: quantiles[3][i], high: quantiles[4][i],
    novel: novel?.[i],
  }));
  const common = { height: 240, marginLeft: 52, marginBottom: 36 };
  const x = { label: axis, tickFormat: "~s" };
  chart($("over-time"), (width) => Plot.plot({
    ...common, width, ariaLabel: "Energy barrier over the trajectory", x,
    y: { label: "energy barrier (eV)", grid: true, zero: false },
    marks: [
      Plot.areaY(frames, { x: "x", y1: "low", y2: "high", fill: "var(--accent)", fillOpacity: 0.16 }),
      Plot.areaY(frames, { x: "x", y1: "lower", y2: "upper", fill: "var(--accent)", fillOpacity: 0.28 }),
      Plot.lineY(frames, { x: "x", y: "mean", stroke: "var(--accent)", strokeWidth: 2 }),
      Plot.ruleX([at[chosen]], { strokeDasharray: "4 3" }),
      Plot.tip(frames, Plot.pointerX({ x: "x", y: "mean", channels: { "5%": "low", "95%": "high" } })),
    ],
  }));
  $("novel-part").hidden = !novel;
  if (novel) {
    chart($("novel-over-time"), (width) => Plot.plot({
      ...common, width, ariaLabel: "Share of out-of-distribution atoms over the trajectory", x,
      y: { label: "out of distribution (%)", grid: true, percent: true, domain: [0, 100] },
      marks: [
        Plot.lineY(frames, { x: "x", y: "novel", stroke: "var(--alarm)", strokeWidth: 2 }),
        Plot.ruleX([at[chosen]], { strokeDasharray: "4 3" }), Plot.ruleY([0]),
      ],
    }));
  }
}

// --- files to keep -----------------------------------------------------------------------------

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function table() {
  const columns = [["energy_barrier", barrier], ["energy_barrier_std", std], ["energy_barrier_ood", ood]]
    .filter(([, values]) => values);
  const lines = [["index", "element", "x", "y", "z", ...columns.map(([name]) => name)].join()];
  for (let i = 0; i < COUNT; i++) {
    if (!mask[i]) continue;
    lines.push([i, elements[species[i]].symbol, ...placeOf(i), ...columns.map(([, values]) => values[i])].join());
  }
  return `${lines.join("\n")}\n`;
}

// --- the page ----------------------------------------------------------------------------------

let view = null;
try {
  view = new GlassView($("glass"), {
    positions, radii, cell, onHover: hover,
    onPick: (found, event) => {
      pick(found < 0 ? -1 : view.active.numbers[found]);
      // Where nothing hovers, the tip says what was tapped; the card may be below the screen.
      if (event.pointerType === "touch" && state.atom >= 0) tell(state.atom, event);
    },
  });
} catch (error) {
  console.info("no WebGL:", error.message);
  $("missing").hidden = false;
  $("glass").hidden = $("legend").hidden = true;
  document.querySelector(".tools").hidden = $("png").hidden = true;
}

const setThresholds = pair($("thresholds"), {
  low: known[0], high: known.at(-1), step: (known.at(-1) - known[0]) / 400 || 0.001,
  names: ["Lowest barrier shown", "Highest barrier shown"], text: (value) => `${fixed(value)} eV`,
  changed: (low, high) => {
    Object.assign(state, { low, high });
    filter();
    drawHistogram();
  },
});

elements.forEach((each, kind) => {
  const box = make("input", { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    if (box.checked) state.hidden.delete(kind);
    else state.hidden.add(kind);
    filter();
  });
  const count = species.reduce((sum, other) => sum + (other === kind), 0);
  $("elements").append(make("label", {}, box, swatch(each), `${each.symbol} (${count.toLocaleString("en")})`));
});

const kinds = [...Object.keys(QUANTITIES).filter((by) => QUANTITIES[by].values), "element"];
$("color-by").append(...kinds.map((by) => make("option", { value: by }, QUANTITIES[by]?.name ?? "element")));
$("color-by").addEventListener("change", () => {
  state.by = $("color-by").value;
  recolor();
  showSurroundings();
});

let setSlab = null;
const axes = cell ? ["a", "b", "c"] : [];
$("slab-axis").append(make("option", { value: "-1" }, "none"),
  ...axes.map((name, k) => make("option", { value: k }, `across ${name}`)));
$("slab-axis").parentElement.hidden = !cell;
$("slab-axis").addEventListener("change", () => {
  state.axis = Number($("slab-axis").value);
  $("slab").hidden = state.axis < 0;
  if (state.axis < 0) {
    filter();
    return;
  }
  const height = 1 / Math.hypot(...inverse[state.axis]);
  setSlab = pair($("slab"), {
    low: 0, high: 1, step: 0.005, names: ["Slab from", "Slab to"], text: (value) => `${fixed(value * height, 1)} Å`,
    changed: (from, to) => {
      // Rounding may put an atom that lies on a face of the cell just outside.
      Object.assign(state, { from: from <= 0 ? -Infinity : from, to: to >= 1 ? Infinity : to });
      filter();
    },
  });
  setSlab(0.35, 0.65);
});

$("reach").max = data.farthest;
$("reach").value = data.shell;
$("reach").addEventListener("input", showSurroundings);
for (const id of ["surroundings", "measure"]) $(id).addEventListener("change", showSurroundings);
$("edges").addEventListener("input", showSurroundings);
$("size").addEventListener("input", () => view?.scale(Number($("size").value)));
$("number").addEventListener("change", () => pick($("number").value === "" ? -1 : Number($("number").value)));
$("clear").addEventListener("click", () => pick(-1));
const step = (by) => pick(ranking[Math.max(0, Math.min(ranking.length - 1, (rank.get(state.atom) ?? (by > 0 ? -1 : ranking.length)) + by))]);
$("lowest").addEventListener("click", () => pick(ranking[0]));
$("lower").addEventListener("click", () => step(-1));
$("higher").addEventListener("click", () => step(1));
$("highest").addEventListener("click", () => pick(ranking.at(-1)));
$("reset").addEventListener("click", () => {
  $("surroundings").checked = false;
  showSurroundings();
  view?.reset();
});
$("closer").addEventListener("click", () => view?.zoom(1.25));
$("farther").addEventListener("click", () => view?.zoom(0.8));
$("all").addEventListener("click", () => {
  state.hidden.clear();
  for (const box of $("elements").querySelectorAll("input")) box.checked = true;
  $("slab-axis").value = "-1";
  $("slab-axis").dispatchEvent(new Event("change"));
  setThresholds(known[0], known.at(-1));
});
$("csv").addEventListener("click", () => save(new Blob([table()], { type: "text/csv" }), `${data.name}.shown.csv`));
$("png").addEventListener("click", () => view?.picture((blob) => save(blob, `${data.name}.png`)));

const KEYS = {
  ArrowLeft: () => view.turn(0.1, 0), ArrowRight: () => view.turn(-0.1, 0),
  ArrowUp: () => view.turn(0, 0.1), ArrowDown: () => view.turn(0, -0.1),
  "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8),
  Home: () => $("reset").click(),
};
$("glass").addEventListener("keydown", (event) => {
  if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  KEYS[event.key]();
  event.preventDefault();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && state.atom >= 0) pick(-1);
});

if (explained.size) {
  const buttons = [...explained.keys()].map((atom) => {
    const button = make("button", { type: "button" }, nameOf(atom));
    button.addEventListener("click", () => pick(atom));
    return button;
  });
  $("explained").append("Explained: ", make("span", { className: "row" }, ...buttons));
}

function theme() {
  // Resolve light-dark() through a property that holds colors.
  const resolved = (name) => {
    const probe = make("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const color = getComputedStyle(probe).color;
    probe.remove();
    return color;
  };
  view?.theme(resolved("--stage"), resolved("--line"), resolved("--glow"));
}

onTheme(theme);
theme();
recolor();
filter();
drawStatistics();
if (data.frames) drawTrajectory(data.frames);
const asked = location.hash.match(/^#atom=(\d+)$/);
pick(asked ? Number(asked[1]) : -1);

/** For scripts and the console. */
globalThis.report = { data, state, view, pick, shown: () => mask.reduce((sum, each) => sum + each, 0) };
