// The explorer's controls: made once from the data, read into a choice, and set from one.

function makeControls(form, data, changed) {
  const systems = data.systems.map((name, system) => [system, name]);
  const metrics = data.metrics.map((metric, place) => [place, metric.name]);
  const search = make("input", { type: "search", id: "query", oninput: changed });
  const parts = [make("label", {}, "Text", search)];
  if (data.categories) {
    const names = [...new Set(data.categories.filter(Boolean))].sort();
    parts.push(labelledSelect("Category", "category", [["", "all"], ...names.map((name) => [name, name])], changed));
  }
  if (data.seen) {
    parts.push(labelledSelect("In training", "seen", [["", "all"], ["seen", "seen"], ["unseen", "unseen"]], changed));
  }
  const problems = PROBLEMS.filter(([value, , slots]) => (!slots || data.slotErrors)
    && (value !== "alike" || systems.length > 1));
  parts.push(labelledSelect("Only outputs with", "problem", [["", "anything"], ...problems], changed));
  if (systems.length > 1) parts.push(labelledSelect("of", "of", [["", "any system"], ...systems], changed));
  const orders = [["data", "the data's order"]];
  if (metrics.length) orders.push(["score", "score of A"]);
  if (metrics.length && systems.length > 1) {
    orders.push(["difference", "score of A less B"], ["carried", "what carries A less B"],
      ["disagreement", "disagreement of all"]);
  }
  parts.push(labelledSelect("Sort by", "order", orders, changed));
  if (metrics.length) parts.push(labelledSelect("Metric", "metric", metrics, changed));
  if (systems.length > 1) {
    parts.push(labelledSelect("A", "a", systems, changed), labelledSelect("B", "b", systems, changed));
  }
  parts.push(labelledSelect("Direction", "down", [["1", "highest first"], ["0", "lowest first"]], changed));
  parts.push(labelledSelect("A page", "size", [["10", "10"], ["20", "20"], ["50", "50"]], changed));
  parts.push(make("label", { class: "check" }, make("input", { type: "checkbox", id: "mark", checked: true,
    onchange: changed }), "Mark words the nearest reference hasn't"));
  parts.push(make("label", { class: "check" }, make("input", { type: "checkbox", id: "open-references",
    onchange: changed }), "Open references"));
  parts.push(make("button", { type: "button", id: "everything" }, "Show everything"));
  form.append(...parts);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}

const CONTROL_IDS = { text: "query", category: "category", seen: "seen", problem: "problem", of: "of", order: "order",
  metric: "metric", a: "a", b: "b", down: "down", size: "size" };

function readControls(page) {
  const choice = { ...EVERYTHING, page: String(page) };
  for (const [name, id] of Object.entries(CONTROL_IDS)) {
    if (byId(id)) choice[name] = byId(id).value;
  }
  return choice;
}

/** Set every control; a value that its control doesn't offer leaves it as at the start. */
function writeControls(choice) {
  for (const [name, id] of Object.entries(CONTROL_IDS)) {
    const control = byId(id);
    if (!control) continue;
    control.value = choice[name];
    if (control.selectedIndex === -1) control.value = EVERYTHING[name];
    if (control.selectedIndex === -1) control.selectedIndex = 0;
  }
}

/** The choice as an address, without what is as at the start: `outputs?text=pub&page=2`. */
function addressOf(choice) {
  const changed = Object.entries(choice).filter(([name, value]) => value !== EVERYTHING[name]);
  return changed.length ? `outputs?${new URLSearchParams(changed)}` : "";
}

function choiceOf(address) {
  const found = Object.fromEntries(new URLSearchParams(address.split("?")[1] ?? ""));
  return { ...EVERYTHING, ...Object.fromEntries(Object.entries(found).filter(([name]) => name in EVERYTHING)) };
}
