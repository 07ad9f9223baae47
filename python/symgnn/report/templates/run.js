// The page about a training run: curves over epochs, and predictions against labels.
"use strict";

const data = unpack(JSON.parse($("data").textContent));

const MARGINS = { marginLeft: 56, marginBottom: 36 };

function curves(id, label, columns, options = {}) {
  const rows = columns.flatMap(([name, column]) =>
    data.epochs.epoch.map((epoch, i) => ({ epoch, name, value: data.epochs[column][i] })));
  const kept = data.best > 0 ? rows.filter((row) => row.epoch === data.best) : [];
  chart($(id), (width) => Plot.plot({
    ...MARGINS, width, height: 230, ariaLabel: `${label} over epochs`,
    color: { range: ["var(--accent)", "#d9822b"], legend: columns.length > 1 },
    x: { label: "epoch", interval: data.epochs.epoch.length < 8 ? 1 : undefined }, y: { label, grid: true, ...options },
    marks: [
      Plot.lineY(rows, { x: "epoch", y: "value", stroke: "name", strokeWidth: 1.8 }),
      Plot.dot(kept, { x: "epoch", y: "value", fill: "name", r: 4.5 }),
      Plot.tip(rows, Plot.pointerX({ x: "epoch", y: "value" })),
    ],
  }));
}

if (data.epochs?.epoch?.length) {
  $("training").hidden = false;
  curves("pearson", "Pearson", [["Pearson", "validation_pearson"], ["Spearman", "validation_spearman"]]);
  curves("loss", "loss", [["loss", "loss"]]);
  curves("errors", "eV", [["MAE", "validation_mae"], ["RMSE", "validation_rmse"]]);
  curves("rate", "learning rate", [["learning rate", "learning_rate"]], { tickFormat: "~e", zero: true });
}

for (const { name, label, prediction, pearson } of data.parities) {
  const element = make("div", { className: "chart" });
  $("parities").append(make("div", {}, make("h3", {}, `${name}: ${label.length.toLocaleString("en")} atoms, Pearson ${pearson.toFixed(3)}`), element));
  const low = Math.min(...[label, prediction].map((values) => values.reduce((a, b) => Math.min(a, b))));
  const high = Math.max(...[label, prediction].map((values) => values.reduce((a, b) => Math.max(a, b))));
  const pairs = Array.from(label, (y, i) => [prediction[i], y]);
  chart(element, (width) => {
    const side = Math.min(width, 560);
    return Plot.plot({
      ...MARGINS, width: side, height: side, ariaLabel: `Label over prediction, ${name}`,
      x: { label: "predicted energy barrier (eV)", domain: [low, high], nice: true },
      y: { label: "label (eV)", domain: [low, high], nice: true, grid: true },
      color: { scheme: isDark() ? "viridis" : "blues", type: "log", legend: label.length > 1, label: "atoms", ticks: 4, tickFormat: "~g",
        ...(isDark() ? {} : { range: [0.2, 1] }) },
      marks: [
        Plot.dot(pairs, Plot.hexbin({ fill: "count" }, { x: "0", y: "1", binWidth: 9, symbol: "hexagon", r: 5.2 })),
        Plot.link([0], { x1: low, y1: low, x2: high, y2: high, strokeDasharray: "5 4" }),
      ],
    });
  });
}
