// Two systems by groups of segments, and the segments that carry the difference of a corpus score.

const MOST_CARRYING = 10;

function lengthGroup(words) {
  if (words <= 10) return "1 to 10 words";
  return words <= 20 ? "11 to 20 words" : words <= 30 ? "21 to 30 words" : "31 words and more";
}

/** [title, segment → group or null] of every way to group this data. */
function groupings(data) {
  const parts = { slots: "slot", triples: "triple" }[data.kind];
  const found = [];
  if (data.categories) found.push(["category", (n) => data.categories[n]]);
  if (data.seen) found.push(["in training", (n) => ({ true: "seen", false: "unseen" })[data.seen[n]]]);
  if (parts) found.push([`number of ${parts}s`, (n) => counted(data.contexts[n].length, parts)]);
  found.push(["length of the first reference", (n) => lengthGroup(data.references[n][0].split(/\s+/).length)]);
  return found;
}

/** Group → {a, equal, b, sum}: who is better on how many segments, and the sum of differences. */
function tally(data, metric, a, b, group) {
  const higher = data.metrics[metric].higher;
  const found = new Map();
  data.ids.forEach((_, n) => {
    const name = group(n), one = data.scores[metric][a][n], other = data.scores[metric][b][n];
    if (!name || one === null || other === null) return;
    const row = found.get(name) ?? { a: 0, equal: 0, b: 0, sum: 0 };
    found.set(name, row);
    row[one === other ? "equal" : one > other === higher ? "a" : "b"]++;
    row.sum += (one - other) * data.scoreUnit;
  });
  return [...found].sort(([one], [other]) => one.localeCompare(other, "en", { numeric: true }));
}

function splitBar(data, row, a, b) {
  const total = row.a + row.equal + row.b;
  const part = (count, run) => {
    const piece = make("span", { class: `s${run % 8}` });
    piece.style.width = `${(100 * count) / total}%`;
    return piece;
  };
  const middle = make("span");
  middle.style.cssText = `width: ${(100 * row.equal) / total}%; background: none`;
  return make("div", { class: "split", "aria-hidden": "true" }, part(row.a, data.runOf[a]), middle,
    part(row.b, data.runOf[b]));
}

function groupTable(data, metric, a, b, title, group) {
  const rows = tally(data, metric, a, b, group).map(([name, row]) => {
    const total = row.a + row.equal + row.b;
    const cells = [total, row.a, row.equal, row.b, signed(row.sum / total)].map((value) => make("td", {}, String(value)));
    return make("tr", {}, make("th", { scope: "row" }, name), ...cells, make("td", {}, splitBar(data, row, a, b)));
  });
  const names = [title, data.unit, "A better", "equal", "B better", "mean A−B", "share"];
  const caption = `${data.metrics[metric].name} by ${title}`;
  return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" },
    make("table", { class: "plain" }, make("caption", { class: "visually-hidden" }, caption),
      make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...rows)));
}

/** The segments that carry most of A less B, in each direction. */
function carryingLists(data, metric, a, b) {
  const all = data.ids.map((_, n) => [carriedBy(data, metric, a, n) - carriedBy(data, metric, b, n), n]);
  all.sort((one, other) => other[0] - one[0]);
  const sum = (list) => list.reduce((total, [value]) => total + Math.abs(value), 0);
  const sides = [["up", all.filter(([value]) => value > 0)], ["down", all.filter(([value]) => value < 0).reverse()]];
  return sides.map(([side, list]) => {
    const top = list.slice(0, MOST_CARRYING);
    const share = list.length ? Math.round((100 * sum(top)) / sum(list)) : 0;
    const items = top.map(([value, n]) => make("li", {}, make("a", { href: `#${segmentAddress(data, n)}` }, data.ids[n]),
      ` ${value > 0 ? "+" : "−"}${Math.abs(value).toPrecision(2)}`));
    const words = side === "up" ? "raise A−B" : "lower A−B";
    return make("div", { class: "card" },
      make("h3", {}, `${counted(list.length, "segment")} ${words}; the first ${top.length} make ${share}% of that`),
      make("ol", {}, ...items));
  });
}

function makeDifferences(data) {
  const form = byId("pair"), place = byId("groups");
  const systems = data.systems.map((name, system) => [system, name]);
  const metrics = data.metrics.map((metric, at) => [at, metric.name]);
  const draw = () => {
    const metric = Number(byId("pair-metric").value), a = Number(byId("pair-a").value), b = Number(byId("pair-b").value);
    const { name, corpusKey, higher } = data.metrics[metric];
    if (a === b) {
      place.replaceChildren(make("p", {}, "Choose two different systems."));
      return;
    }
    const test = testOf(data, corpusKey, a, b);
    const verdict = test ? `Over the corpus A−B of ${corpusKey} is ${signed(test.difference, 4)} `
      + `(${signed(test.low, 4)} to ${signed(test.high, 4)}), ${pValue(test.p)}. ` : "";
    const direction = higher ? "more is better" : "less is better";
    place.replaceChildren(
      make("p", {}, `A is ${data.systems[a]}, B is ${data.systems[b]}; ${name}, ${direction}. ${verdict}`),
      ...groupings(data).map(([title, group]) => groupTable(data, metric, a, b, title, group)),
      make("h3", {}, "Segments that carry the difference"),
      make("p", { class: "note" }, "How much A−B of the corpus score falls or rises when the segment is left out."),
      make("div", { class: "cards" }, ...carryingLists(data, metric, a, b)));
  };
  form.append(labelledSelect("A", "pair-a", systems, draw), labelledSelect("B", "pair-b", systems, draw),
    labelledSelect("Metric", "pair-metric", metrics, draw));
  byId("pair-b").value = "1";
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  draw();
}
