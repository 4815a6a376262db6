// The page: asks the server behind it, and nobody else, whenever something is changed.
import { context, offerContexts, readAs } from "./context.js";
import { byId } from "./dom.js";
import { method, offerSettings, penalty, settings } from "./settings.js";
import { Side } from "./side.js";

let sides = [];
let running = false;
let waiting = new Set();
let timer;

async function call(path, value) {
  const options = value && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The playground doesn't answer; it has been stopped. Start it again in the terminal.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// Changes come faster than answers: a side is asked again once it has answered, with what is set by then.
function askSoon(asked = sides, after = 150) {
  asked.forEach((side) => waiting.add(side));
  clearTimeout(timer);
  timer = setTimeout(askAll, after);
}

async function askAll() {
  if (running) return;
  running = true;
  const began = performance.now();
  byId("error").textContent = "";
  byId("status").textContent = method() === "search" ? "Searching …" : "Sampling …";
  try {
    while (waiting.size) {
      const [side] = waiting;
      waiting.delete(side);
      await ask(side);
    }
    byId("status").textContent = `Done in ${((performance.now() - began) / 1000).toFixed(1)} s`;
  } catch (error) {
    waiting.clear();
    byId("error").textContent = error.message;
    byId("status").textContent = "";
  } finally {
    running = false;
  }
}

async function ask(side) {
  if (!side.system) {
    side.show(null);
    side.render(penalty());
    return;
  }
  const list = side.part("hypotheses");
  const question = { system: side.system.name, factor: side.factor, context: context().trim(), ...settings() };
  list.setAttribute("aria-busy", "true");
  try {
    const answer = await call("ask", question);
    if (answer.context !== question.context && question.context === context().trim()) readAs(answer.context);
    side.show(answer, { ...question, context: answer.context });
    side.render(penalty());
    if (answer.note) byId("error").textContent = answer.note;
  } finally {
    list.removeAttribute("aria-busy");
  }
  await askWords(side);
}

async function askWords(side) {
  const { answer, question } = side;
  const wanted = side.order(penalty()).map((own) => own.index).filter((index) => !side.said[index]);
  if (!wanted.length) return;
  const { words } = await call("words", { ...question, hypotheses: wanted.map((index) => answer.hypotheses[index].tokens) });
  if (side.answer !== answer) return;
  wanted.forEach((index, at) => { side.said[index] = words[at]; });
  side.render(penalty());
}

function rank() {
  byId("penalty-value").textContent = penalty().toFixed(1);
  if (method() === "sample") return askSoon();
  sides.forEach((side) => {
    side.render(penalty());
    if (side.answer) askWords(side).catch((error) => { byId("error").textContent = error.message; });
  });
}

function begin(start) {
  const { systems } = start;
  byId("about").textContent = `Version ${start.version}. ` + systems.map((own) => {
    return `${own.name} (${own.method}, step ${own.step})`;
  }).join(" · ");
  const second = systems[1] ?? systems[0];
  const beside = systems.length === 1 && second.fixed ? "" : second.name;
  sides = [
    new Side(0, start, systems[0].name, start.factor, (side) => askSoon([side])),
    new Side(1, start, beside, systems.length > 1 ? 1 : 0, (side) => askSoon([side])),
  ];
  byId("sides").append(...sides.map((side) => side.root));
  offerSettings(start, () => askSoon());
  offerContexts(start, () => askSoon());
  byId("penalty-value").textContent = penalty().toFixed(1);
  byId("penalty").addEventListener("input", rank);
  byId("shades").addEventListener("change", () => byId("sides").classList.toggle("plain", !byId("shades").checked));
  byId("question").addEventListener("submit", (event) => {
    event.preventDefault();
    askSoon(sides, 0);
  });
  byId("context").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.ctrlKey) askSoon(sides, 0);
  });
  sides.forEach((side) => side.render(penalty()));
  if (start.contexts.length) askSoon(sides, 0);
}

call("start").then(begin).catch((error) => { byId("error").textContent = error.message; });
