// Words of two texts compared: which are in a longest common subsequence, and which reference is nearest.

const WORD = /[\p{L}\p{N}]+(?:['’.,-][\p{L}\p{N}]+)*|[^\s\p{L}\p{N}]/gu;

/** Words and signs of a text with their places: [{text, start, end}, …]. */
function wordsOf(text) {
  return [...text.matchAll(WORD)].map((match) => ({
    text: match[0].toLowerCase(), start: match.index, end: match.index + match[0].length,
  }));
}

/** Which of `words` are in a longest common subsequence with `others`: a list of booleans. */
function common(words, others) {
  const width = others.length + 1;
  const length = new Uint16Array((words.length + 1) * width);
  for (let row = words.length - 1; row >= 0; row--) {
    for (let column = others.length - 1; column >= 0; column--) {
      const at = row * width + column;
      length[at] = words[row].text === others[column].text
        ? length[at + width + 1] + 1
        : Math.max(length[at + width], length[at + 1]);
    }
  }
  const shared = new Array(words.length).fill(false);
  for (let row = 0, column = 0; row < words.length && column < others.length;) {
    const at = row * width + column;
    if (words[row].text === others[column].text) {
      shared[row++] = true;
      column++;
    } else if (length[at + width] >= length[at + 1]) row++;
    else column++;
  }
  return shared;
}

const MOST_WORDS = 400; // longer texts are shown without marks: the comparison is quadratic

/** The reference that shares the largest part of its and the text's words, and which words it shares. */
function nearestReference(text, references) {
  const words = wordsOf(text);
  let best = { place: -1, words, shared: [], share: -1 };
  if (words.length > MOST_WORDS) return best;
  references.forEach((reference, place) => {
    const others = wordsOf(reference);
    if (others.length > MOST_WORDS) return;
    const shared = common(words, others);
    const share = (2 * shared.filter(Boolean).length) / Math.max(1, words.length + others.length);
    if (share > best.share) best = { place, words, shared, share };
  });
  return best;
}

/** The text as nodes, words that the nearest reference hasn't in <mark>. */
function marked(text, nearest) {
  if (nearest.place < 0) return [text];
  const nodes = [];
  let done = 0;
  for (let place = 0; place < nearest.words.length; place++) {
    if (nearest.shared[place]) continue;
    const start = nearest.words[place].start;
    while (place + 1 < nearest.words.length && !nearest.shared[place + 1]) place++;
    const end = nearest.words[place].end;
    nodes.push(text.slice(done, start), make("mark", {}, text.slice(start, end)));
    done = end;
  }
  nodes.push(text.slice(done));
  return nodes;
}
