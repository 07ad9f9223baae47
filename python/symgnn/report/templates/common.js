// What every page needs: the data it carries, the theme, charts that follow both.
"use strict";

const $ = (id) => document.getElementById(id);

/** Replace the arrays that the page carries as base64 by typed arrays. */
function unpack(value) {
  if (value === null || typeof value !== "object") return value;
  if (typeof value.bytes === "string") {
    const bytes = Uint8Array.from(atob(value.bytes), (letter) => letter.charCodeAt(0));
    return new globalThis[value.type](bytes.buffer);
  }
  if (Array.isArray(value)) return value.map(unpack);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unpack(part)]));
}

/** An element with properties and children; text stays text, so nothing needs escaping. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// --- light and dark ------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
const themeListeners = [];

function isDark() {
  return (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
}

function onTheme(listener) {
  themeListeners.push(listener);
}

dark.addEventListener("change", () => themeListeners.forEach((listener) => listener()));
$("theme").addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  themeListeners.forEach((listener) => listener());
});

// --- charts --------------------------------------------------------------------------------------

/** Draw a chart into an element now, and again whenever the element's width changes. */
function chart(element, draw) {
  let width = 0;
  const redraw = () => {
    if (width > 0) element.replaceChildren(draw(width));
  };
  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry.contentRect.width);
    if (now === width) return;
    width = now;
    redraw();
  }).observe(element);
  onTheme(redraw);
  return redraw;
}
