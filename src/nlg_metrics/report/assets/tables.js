// Tables whose headings sort, and what the tests against a chosen run say in the score cells.

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      sortRows(table.tBodies[0], column, down ? -1 : 1);
      announce(`Sorted by ${button.textContent}, ${down ? "descending" : "ascending"}`);
    });
  });
}

/** Sort rows by a column: numbers as numbers, empty cells last either way. */
function sortRows(body, column, sign) {
  const rows = [...body.rows].map((row) => [row.cells[column].dataset.sort, row]);
  const numeric = rows.every(([text]) => text === "" || Number.isFinite(Number(text)));
  rows.sort(([one], [other]) => {
    if (one === "" || other === "") return (one === "") - (other === "");
    return sign * (numeric ? Number(one) - Number(other) : one.localeCompare(other));
  });
  body.append(...rows.map(([, row]) => row));
}

/** The test of system `a` less system `b`: {difference, p, low, high}; null where there is none. */
function testOf(data, key, a, b) {
  const found = data.tests[a < b ? `${a}-${b}` : `${b}-${a}`]?.[key];
  if (!found) return null;
  const [difference, p, low, high] = found;
  return a < b ? { difference, p, low, high } : { difference: -difference, p, low: -high, high: -low };
}

const SIGNIFICANT = 0.05;

/** Write the tests against one system into the table of runs. */
function showTests(data, baseline) {
  for (const cell of document.querySelectorAll("#runs td[data-metric]")) {
    cell.querySelector(".test")?.remove();
    const system = data.runOf.indexOf(Number(cell.parentNode.dataset.run));
    const key = cell.dataset.metric;
    const test = system < 0 || system === baseline ? null : testOf(data, key, system, baseline);
    if (!test) continue;
    const higher = data.metrics.find((metric) => metric.corpusKey === key)?.higher ?? true;
    const better = test.difference > 0 === higher;
    const sure = test.p < SIGNIFICANT && test.difference !== 0;
    const verdict = sure ? (better ? "▲ " : "▼ ") : "";
    const words = `${verdict}${signed(test.difference, 4)}, ${pValue(test.p)}`;
    const interval = `interval ${signed(test.low, 4)} to ${signed(test.high, 4)}`;
    cell.append(make("span", { class: `test${sure ? (better ? " up" : " down") : ""}`, title: interval }, words));
  }
}

/** A search field that hides the rows of a table without its text. */
function makeFindable(field, table) {
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let count = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      if (!row.hidden) count++;
    }
    announce(counted(count, "run"));
  });
}
