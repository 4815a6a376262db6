// The data lie in the page deflated, in base64; n-best lists apart, since few readers open one.

async function unpack(id) {
  const element = byId(id);
  if (!element) return null;
  const text = atob(element.textContent);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).json();
}

let nBestLists = null;

/** Hypotheses of one output, [[text, score], …]; null where there is one only. */
async function nBest(system, segment) {
  nBestLists ??= unpack("n-best");
  const lists = await nBestLists;
  return lists?.[system]?.[segment] ?? null;
}

function hasNBest() {
  return byId("n-best") !== null;
}

/** A segment's score by a metric, null where it has none. */
function scoreOf(data, metric, system, segment) {
  const whole = data.scores[metric][system][segment];
  return whole === null ? null : whole * data.scoreUnit;
}

/** How much a segment carries of a system's corpus score. */
function carriedBy(data, metric, system, segment) {
  return (data.carried[metric][system][segment] ?? 0) * data.carryUnit;
}
