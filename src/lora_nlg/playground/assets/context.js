// What to say: a test context, slots or triples with their known values, and the line they make up.
import { byId, listOf, make } from "./dom.js";

const MOST_SHOWN = 500;
const TRIPLE = ["subject", "relation", "object"];
let start;
let shown = [];

export const context = () => byId("context").value;

// The context as the model read it, where that is not as it was typed.
export function readAs(text) {
  byId("context").value = text;
  showParts();
}

export function offerContexts(values, changed) {
  start = values;
  byId("choose").hidden = start.contexts.length === 0;
  byId("parts").hidden = byId("more").hidden = start.width === 0;
  byId("add").textContent = start.width === 3 ? "Add a triple" : "Add a slot";
  if (start.width === 2) document.body.append(listOf(Object.keys(start.values), "slots"));
  else TRIPLE.forEach((name) => document.body.append(listOf(start.values[name] ?? [], `known-${name}`)));
  byId("find").addEventListener("input", () => list(byId("find").value));
  byId("contexts").addEventListener("change", () => choose(Number(byId("contexts").value), changed));
  byId("previous").addEventListener("click", () => step(-1, changed));
  byId("next").addEventListener("click", () => step(1, changed));
  byId("context").addEventListener("input", showParts);
  byId("add").addEventListener("click", () => {
    byId("parts").append(part(Array(start.width).fill("")));
    byId("parts").lastElementChild.querySelector("input").focus();
  });
  list("");
  if (shown.length) choose(shown[0]);
  else showParts();
}

function list(words) {
  const wanted = words.toLowerCase().split(/\s+/);
  shown = start.contexts.flatMap(({ context }, index) =>
    wanted.every((word) => context.toLowerCase().includes(word)) ? [index] : []);
  const options = shown.slice(0, MOST_SHOWN).map((index) => make("option", { value: index, text: start.contexts[index].context }));
  byId("contexts").replaceChildren(...options);
  byId("shown").textContent = shown.length > MOST_SHOWN
    ? `(${MOST_SHOWN} of ${shown.length}; a word narrows them)` : `(${shown.length})`;
}

function step(by, changed) {
  const options = [...byId("contexts").options];
  if (!options.length) return;
  const at = byId("contexts").selectedIndex;
  choose(Number(options[(at + by + options.length) % options.length].value), changed);
}

function choose(index, changed) {
  byId("contexts").value = index;
  byId("context").value = start.contexts[index].context;
  showParts();
  changed?.();
}

function showReferences() {
  const references = start.contexts.find((own) => own.context === context())?.references ?? [];
  byId("references").hidden = references.length === 0;
  byId("references").querySelector("summary").textContent = `What people wrote (${references.length})`;
  byId("references").querySelector("ul").replaceChildren(...references.map((text) => make("li", { text })));
}

function showParts() {
  showReferences();
  if (start.width === 0) return;
  const parts = context().split(" | ").filter((text) => text.trim()).map((text) => {
    const fields = text.split(" : ").map((field) => field.trim());
    const rest = fields.slice(start.width - 1).join(" : ");
    return [...fields.slice(0, start.width - 1), rest].concat(Array(start.width).fill("")).slice(0, start.width);
  });
  byId("parts").replaceChildren(...parts.map(part));
}

function part(fields) {
  const names = start.width === 3 ? TRIPLE : ["slot", "value"];
  const inputs = fields.map((value, index) => make("input", { value, ariaLabel: names[index] }));
  const row = make("div", {}, ...inputs);
  const remove = make("button", { type: "button", text: "×", ariaLabel: `remove ${fields.join(" ")}` });
  remove.addEventListener("click", () => {
    (row.nextElementSibling ?? row.previousElementSibling)?.querySelector("button").focus();
    row.remove();
    join();
  });
  row.append(remove);
  if (start.width === 3) inputs.forEach((input, index) => input.setAttribute("list", `known-${TRIPLE[index]}`));
  else {
    inputs[0].setAttribute("list", "slots");
    const known = listOf([], `values-${crypto.randomUUID()}`);
    row.append(known);
    inputs[1].setAttribute("list", known.id);
    inputs[1].addEventListener("focus", () =>
      known.replaceChildren(...(start.values[inputs[0].value.trim()] ?? []).map((value) => make("option", { value }))));
  }
  inputs.forEach((input) => input.addEventListener("input", join));
  return row;
}

function join() {
  const rows = [...byId("parts").children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value.trim()));
  byId("context").value = rows.filter((fields) => fields.some(Boolean)).map((fields) => fields.join(" : ")).join(" | ");
  showReferences();
}
