// One segment: its context, every system's text beside the references, slots, n-best, a link, a copy as Markdown.

const STATES = {
  realised: ["✓", "realised"], wrong: ["≠", "wrong"], missing: ["✗", "missing"], added: ["+", "added"],
};

function segmentAddress(data, n) {
  return `seg-${encodeURIComponent(data.ids[n])}`;
}

function contextList(data, n) {
  const items = data.contexts[n].map((parts) => {
    if (parts.length === 1) return make("li", {}, parts[0]);
    if (parts.length === 2) return make("li", {}, make("span", { class: "part" }, `${parts[0]}: `), parts[1]);
    return make("li", {}, parts[0], make("span", { class: "part" }, ` → ${parts[1]} → `), parts[2]);
  });
  return make("ul", { class: "context", "aria-label": "Context" }, ...items);
}

/** What became of each slot in one output: [[state, text], …]; null where slots aren't known. */
function slotStates(data, system, n) {
  if (!data.slotErrors) return null;
  const [missing, wrong, added] = data.slotErrors[system][n] ?? [[], [], []];
  const slotOf = (label) => data.slotNames[label.replace(/\s/g, "").toLowerCase()];
  const concerns = (slot) => (error) => error.startsWith(`${slot}: `);
  const states = data.contexts[n].map(([label, value]) => {
    const slot = slotOf(label);
    const error = wrong.find(concerns(slot));
    if (error) return ["wrong", `${label}: ${error.split(" -> ").pop()}, not ${value}`];
    return [missing.some(concerns(slot)) ? "missing" : "realised", `${label}: ${value}`];
  });
  return [...states, ...added.map((error) => ["added", error])];
}

function chips(data, system, n) {
  const states = slotStates(data, system, n);
  if (!states) return "";
  const items = states.map(([state, text]) => {
    const [sign, word] = STATES[state];
    return make("li", { class: state, title: word }, make("span", { "aria-hidden": "true" }, `${sign} `),
      make("span", { class: "visually-hidden" }, `${word}: `), text);
  });
  return make("ul", { class: "chips", "aria-label": "Slots" }, ...items);
}

function nBestDetails(system, n) {
  const details = make("details", { class: "more" }, make("summary", {}, "n-best"));
  details.addEventListener("toggle", async () => {
    if (!details.open || details.childElementCount > 1) return;
    const rows = (await nBest(system, n)) ?? [];
    const items = rows.map(([text, score]) =>
      make("li", {}, text || "(empty)", " ", make("span", { class: "note" }, fixed(score))));
    details.append(rows.length ? make("ol", { class: "n-best" }, ...items)
      : make("p", { class: "note" }, "Only one hypothesis was kept."));
  });
  return details;
}

function systemText(data, view, system, n) {
  const text = data.texts[system][n];
  const metric = data.metrics[view.metric];
  const score = metric ? fixed(scoreOf(data, view.metric, system, n)) : "";
  const words = make("span", { class: "words" }, text || make("em", {}, "(empty)"));
  const said = make("div", { class: "said" }, words, chips(data, system, n));
  return make("div", { class: "text", "data-system": system },
    make("div", { class: "who" }, make("span", { class: `swatch s${data.runOf[system] % 8}`, "aria-hidden": "true" }),
      data.systems[system]),
    said,
    make("div", { class: "score", title: metric?.name }, make("span", { class: "visually-hidden" }, metric?.name ?? ""),
      ` ${score}`),
    hasNBest() ? nBestDetails(system, n) : "");
}

/** Mark, in every system's text, the words that its nearest reference hasn't. */
function markSegment(data, element, n) {
  element.querySelectorAll(".words").forEach((words, system) => {
    const text = data.texts[system][n];
    if (text) words.replaceChildren(...marked(text, nearestReference(text, data.references[n])));
  });
}

function segmentElement(data, view, n) {
  const address = segmentAddress(data, n);
  const facts = [data.categories?.[n], data.seen && { true: "seen", false: "unseen" }[data.seen[n]]].filter(Boolean);
  const copy = make("button", { type: "button", onclick: (event) => copyText(markdownOf(data, n), event.target) },
    "Copy as Markdown");
  const references = data.references[n];
  return make("article", { class: "segment", id: address, tabindex: "-1", "aria-labelledby": `${address}-title` },
    make("h3", {}, make("a", { href: `#${address}`, id: `${address}-title` }, data.ids[n]),
      make("span", { class: "note" }, facts.join(" · ")), copy),
    contextList(data, n),
    ...data.systems.map((_, system) => systemText(data, view, system, n)),
    make("details", { open: view.references }, make("summary", {}, counted(references.length, "reference")),
      make("ol", { class: "references" }, ...references.map((reference) => make("li", {}, reference)))));
}

/** A cell's text in a Markdown table: signs that Markdown or HTML would read are escaped. */
function cellText(text) {
  return text.replace(/[\\`*_{}[\]<>|#&]/g, "\\$&").replace(/\s*\n\s*/g, " ");
}

function markdownOf(data, n) {
  const context = data.contexts[n].map((parts) => parts.join(" : ")).join(" | ");
  const lines = [`**${cellText(data.ids[n])}** ${cellText(context)}`, "", "| system | text |", "| --- | --- |"];
  data.systems.forEach((name, system) => lines.push(`| ${cellText(name)} | ${cellText(data.texts[system][n])} |`));
  data.references[n].forEach((text) => lines.push(`| reference | ${cellText(text)} |`));
  return lines.join("\n") + "\n";
}

async function copyText(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages opened from a file may not be allowed the clipboard; the old way still is.
    const area = make("textarea", { readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = "Copied";
  announce("Copied as Markdown");
  setTimeout(() => { button.textContent = before; }, 1500);
}
