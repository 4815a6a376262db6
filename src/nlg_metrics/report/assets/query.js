// Which segments are shown and in which order; no elements here.

/** What is chosen at the start, and so not written into the address. */
const EVERYTHING = {
  text: "", category: "", seen: "", problem: "", of: "", order: "data", metric: "0", a: "0", b: "1", down: "1",
  size: "20", page: "1",
};

const PROBLEMS = [
  ["any", "any slot error", true], ["none", "no slot error", true], ["missing", "missing slot", true],
  ["wrong", "wrong slot", true], ["added", "added slot", true], ["empty", "empty text", false],
  ["repeats", "repeats three words", false], ["unfinished", "no full stop at its end", false],
  ["alike", "all systems alike", false],
];
const KINDS = ["missing", "wrong", "added"];

/** Lower-case text of every segment, made at the first search. */
function textIndex(data) {
  data.index ??= data.ids.map((id, n) => [
    id, data.contexts[n].flat().join(" "), ...data.texts.map((texts) => texts[n]), ...data.references[n],
  ].join("\n").toLowerCase());
  return data.index;
}

function repeats(text) {
  const words = text.toLowerCase().split(/\s+/);
  const seen = new Set();
  for (let place = 0; place + 3 <= words.length; place++) {
    const three = words.slice(place, place + 3).join(" ");
    if (seen.has(three)) return true;
    seen.add(three);
  }
  return false;
}

/** Which outputs of a system repeat themselves, found at the first question. */
function repeating(data, system) {
  data.repeating ??= [];
  return data.repeating[system] ??= data.texts[system].map(repeats);
}

/** What searches need, made while nobody searches. */
function prepareQueries(data) {
  whenIdle(() => textIndex(data));
  data.systems.forEach((_, system) => whenIdle(() => repeating(data, system)));
}

/** Whether an output has a problem. */
function hasProblem(data, problem, system, segment) {
  const text = data.texts[system][segment];
  const errors = data.slotErrors?.[system][segment];
  if (problem === "any") return Boolean(errors);
  if (problem === "none") return !errors;
  if (problem === "empty") return text.trim() === "";
  if (problem === "repeats") return repeating(data, system)[segment];
  if (problem === "unfinished") return !/[.!?]["'”’)]?\s*$/.test(text);
  if (problem === "alike") return data.texts.every((texts) => texts[segment] === text);
  return Boolean(errors?.[KINDS.indexOf(problem)].length);
}

/** Numbers of the segments that a choice lets through, in the data's order. */
function filtered(data, choice) {
  let found = data.ids.map((_, n) => n);
  const wanted = choice.text.trim().toLowerCase();
  if (wanted) {
    const index = textIndex(data);
    found = found.filter((n) => index[n].includes(wanted));
  }
  if (choice.category) found = found.filter((n) => data.categories[n] === choice.category);
  if (choice.seen) found = found.filter((n) => data.seen[n] === (choice.seen === "seen"));
  if (choice.problem) {
    const systems = choice.of ? [Number(choice.of)] : data.systems.map((_, system) => system);
    const test = choice.problem === "none" ? "every" : "some";
    found = found.filter((n) => systems[test]((system) => hasProblem(data, choice.problem, system, n)));
  }
  return found;
}

/** What a segment is sorted by. */
function sortKey(data, choice) {
  const metric = Number(choice.metric), a = Number(choice.a), b = Number(choice.b);
  const score = (system, n) => scoreOf(data, metric, system, n) ?? 0;
  if (choice.order === "score") return (n) => score(a, n);
  if (choice.order === "difference") return (n) => score(a, n) - score(b, n);
  if (choice.order === "carried") return (n) => carriedBy(data, metric, a, n) - carriedBy(data, metric, b, n);
  if (choice.order === "disagreement") {
    return (n) => {
      const all = data.systems.map((_, system) => score(system, n));
      return Math.max(...all) - Math.min(...all);
    };
  }
  return (n) => n;
}

function sorted(data, choice, numbers) {
  if (choice.order === "data") return numbers;
  const key = sortKey(data, choice);
  const keys = new Map(numbers.map((n) => [n, key(n)]));
  const sign = choice.down === "1" ? -1 : 1;
  return numbers.slice().sort((one, other) => sign * (keys.get(one) - keys.get(other)) || one - other);
}
