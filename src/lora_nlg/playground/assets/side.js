// One side of the comparison: a run, its dial, and what it answers.
import { byId, make } from "./dom.js";

const STATES = {
  said: (own) => `✓ ${own.slot}: ${own.value}`,
  wrong: (own) => `✗ ${own.slot}: ${own.value}, says ${own.found}`,
  missing: (own) => `✗ ${own.slot}: ${own.value} missing`,
  added: (own) => `+ ${own.slot}: ${own.value} added`,
  unseen: (own) => `? ${own.slot}: ${own.value}`,
};
const LEGENDS = {
  scorer: "Slots as the slot error rate counts them: ✓ said, ✗ wrong or missing, + added.",
  literally: "Values looked for word for word: ✓ said; ? not in these words, though a paraphrase may say it.",
};
const short = (number) => String(Number(number.toPrecision(4)));
const percent = (logProb) => `${(100 * Math.exp(logProb)).toFixed(1)} %`;

export class Side {
  constructor(index, start, chosen, factor, turned) {
    this.systems = start.systems;
    this.root = byId("side").content.firstElementChild.cloneNode(true);
    this.root.setAttribute("aria-label", `Side ${"AB"[index]}`);
    this.part = (name) => this.root.querySelector(`.${name}`);
    this.root.querySelector("h2").textContent = "AB"[index];
    const options = start.systems.map((own) => make("option", { value: own.name, text: own.name }));
    if (index) options.push(make("option", { value: "", text: "nothing" }));
    this.part("system").append(...options);
    for (const [label, control] of [["name", "system"], ["dial-name", "turn"]]) {
      this.part(control).id = `${control}-${index}`;
      this.part(label).htmlFor = this.part(control).id;
    }
    this.part("system").value = chosen;
    this.part("system").addEventListener("change", () => { this.setFactor(1); turned(this); });
    this.part("turn").addEventListener("input", () => { this.setFactor(Number(this.part("turn").value)); turned(this); });
    this.part("number").addEventListener("change", () => {
      this.setFactor(Number(this.part("number").value) / (this.system.scaling ?? 1));
      turned(this);
    });
    this.part("copy").addEventListener("click", () => this.copy());
    this.setFactor(factor);
  }

  get system() {
    return this.systems.find((own) => own.name === this.part("system").value);
  }

  setFactor(factor) {
    const { system } = this;
    this.factor = system?.fixed ? 1 : factor;
    this.part("dial").hidden = !system || Boolean(system.fixed);
    this.part("fixed").textContent = system?.fixed ?? "";
    if (!system || system.fixed) return;
    const name = system.scaling === null ? "× alpha" : "alpha/r";
    this.part("dial-name").textContent = name;
    this.part("number").ariaLabel = `${name} as a number`;
    this.part("turn").value = factor;
    this.part("number").value = short(factor * (system.scaling ?? 1));
    const meaning = { 0: "the base", 1: "as trained" }[factor] ?? `${short(factor)} × as trained`;
    this.part("meaning").textContent = meaning;
    this.part("turn").setAttribute("aria-valuetext", `${this.part("number").value}, ${meaning}`);
  }

  show(answer, question) {
    this.answer = answer;
    this.question = question;
    this.said = answer && answer.hypotheses.map(() => null);
  }

  order(penalty) {
    return this.answer?.rankings.find((own) => own.penalty === penalty)?.order ?? [];
  }

  render(penalty) {
    const { answer } = this;
    this.part("command").hidden = this.part("legend").hidden = !answer;
    this.part("hypotheses").replaceChildren(...this.order(penalty).map((place) => this.hypothesis(place)));
    if (!answer) return;
    this.part("legend").textContent = answer.slots.some((own) => own.length) ? LEGENDS[answer.checked] : "";
    this.root.querySelector("code").textContent = `${answer.command} --length_penalty ${penalty}`;
  }

  hypothesis({ index, score }) {
    const own = this.answer.hypotheses[index];
    const words = this.said[index];
    const text = make("p", { className: "text" });
    if (words) text.append(...words.flatMap((word, at) => this.shaded(word, at)));
    else text.textContent = own.text;
    const numbers = [
      `score ${score === null ? "none" : score.toFixed(4)}`, `log-probability ${own.log_prob.toFixed(2)}`,
      `${own.tokens.length} tokens`, ...(own.finished ? [] : ["not ended"]),
    ];
    const slots = this.answer.slots[index].map((state) => make("li", { className: state.state, text: STATES[state.state](state) }));
    const item = make("li", {}, text);
    if (slots.length) item.append(make("ul", { className: "slots" }, ...slots));
    item.append(make("p", { className: "quiet", text: numbers.join(" · ") }));
    if (words) {
      const sure = words.map((word) => make("li", { text: `${percent(word.log_prob)} ${word.text.trim() || "(end)"}` }));
      item.append(make("details", { className: "sure" }, make("summary", { text: "How sure of each word" }), make("ul", {}, ...sure)));
    }
    return item;
  }

  // The space before a word stays outside its shade; the first word has none to show.
  shaded(word, at) {
    const ended = word.text === "";
    const text = word.text.trimStart();
    const space = at ? word.text.slice(0, word.text.length - text.length) : "";
    const span = make("span", { text: ended ? "∎" : text, title: `${ended ? "the end: " : ""}${percent(word.log_prob)}` });
    span.style.setProperty("--doubt", (1 - Math.exp(word.log_prob)).toFixed(3));
    return [ended ? " " : space, span];
  }

  async copy() {
    const button = this.part("copy");
    const name = button.textContent;
    try {
      await navigator.clipboard.writeText(this.root.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(this.root.querySelector("code"));
      button.textContent = "Selected: copy it with Ctrl + C";
    }
    setTimeout(() => { button.textContent = name; }, 2000);
  }
}
