// Elements are made by calls, and text is set as text: nothing of a run is ever read as HTML.

/** An element. Attributes in `on…` are listeners; children are elements or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** A labelled select; `choices` is a list of [value, text]. */
function labelledSelect(label, id, choices, onchange) {
  const options = choices.map(([value, text]) => make("option", { value }, text));
  return make("label", {}, label, make("select", { id, onchange }, ...options));
}

/** Do something when the page has nothing better to do, but soon. */
function whenIdle(task) {
  if (window.requestIdleCallback) requestIdleCallback(task, { timeout: 500 });
  else setTimeout(task);
}

/** Tell a screen reader. */
function announce(text) {
  byId("status").textContent = text;
}

function fixed(value, digits = 3) {
  return value === null ? "–" : value.toFixed(digits);
}

function signed(value, digits = 3) {
  return (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(digits);
}

function pValue(p) {
  return p < 0.001 ? "p < 0.001" : `p ${p.toFixed(3)}`;
}

function counted(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}
