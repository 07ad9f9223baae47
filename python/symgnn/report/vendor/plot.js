// The part of Observable Plot that report pages use.
export { areaY, axisX, dot, gridX, gridY, hexagon, hexbin, link, lineY, plot, rectY, ruleX, ruleY, text, tip, pointer, pointerX } from "@observablehq/plot";
