// How to say it: the settings of search and sampling, the length penalty's place among those ranked by.
import { byId, make } from "./dom.js";

const NAMES = {
  beam: "Beam size", n_best: "Texts shown", no_repeat_ngram_size: "No n-gram twice, n =", repetition_penalty: "Repetition penalty",
  min_length: "Least tokens", eval_len: "Most tokens", semantics: "Semantics", temperature: "Temperature", top_p: "Nucleus (top p)",
  random_seed: "Seed",
};
const ONLY = { search: ["beam", "semantics"], sample: ["temperature", "top_p", "random_seed"] };
const LEAST = { beam: 1, n_best: 1, eval_len: 1 };
let start;

export const method = () => document.querySelector("input[name=method]:checked").value;
export const penalty = () => start.penalties[Number(byId("penalty").value)];

export function offerSettings(values, changed) {
  start = values;
  const rows = Object.entries({ ...start.search, ...start.sampling }).filter(([name]) => NAMES[name]);
  byId("settings").append(...rows.flatMap(([name, value]) => {
    const id = `setting-${name}`;
    const input = name === "semantics"
      ? make("select", { id, name }, ...["lora", "hf"].map((text) => make("option", { text, value: text })))
      : make("input", { id, name, value, type: "number", step: Number.isInteger(value) && !/penalty|top_p|temperature/.test(name) ? 1 : "any", min: LEAST[name] ?? 0 });
    return [make("label", { htmlFor: id, text: NAMES[name] }), input];
  }));
  byId("penalty").max = start.penalties.length - 1;
  byId("penalty").value = start.penalties.indexOf(start.search.length_penalty);
  byId("settings").addEventListener("change", changed);
  document.querySelectorAll("input[name=method]").forEach((radio) => radio.addEventListener("change", () => {
    showMethod();
    changed();
  }));
  showMethod();
}

function showMethod() {
  const other = ONLY[method() === "search" ? "sample" : "search"];
  byId("settings").querySelectorAll("input, select").forEach((input) => {
    input.hidden = input.previousElementSibling.hidden = other.includes(input.name);
  });
  byId("penalty-note").textContent = method() === "search" ? "ranks the same search anew" : "ranks the samples";
}

export function settings() {
  const values = (wanted) => Object.fromEntries([...byId("settings").querySelectorAll("input, select")]
    .filter((input) => input.name in wanted)
    .map((input) => [input.name, input.type === "number" ? (input.value === "" ? null : Number(input.value)) : input.value]));
  return {
    search: { ...values(start.search), length_penalty: penalty() },
    sampling: method() === "sample" ? values(start.sampling) : null,
  };
}
