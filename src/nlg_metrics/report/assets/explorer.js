// The outputs explorer: controls → segments → a page of them; the choice and a linked segment are in the address.

function makeExplorer(data) {
  const list = byId("segments"), pager = byId("pager");
  let page = 1, numbers = [], pages = 1, drawn = 0;

  function view() {
    return {
      metric: Number(byId("metric")?.value ?? 0),
      mark: byId("mark").checked,
      references: byId("open-references").checked,
    };
  }

  function find(choice) {
    numbers = sorted(data, choice, filtered(data, choice));
    pages = Math.max(1, Math.ceil(numbers.length / Number(choice.size)));
    page = Math.min(pages, Math.max(1, Math.floor(Number(choice.page)) || 1));
  }

  function draw(choice) {
    const size = Number(choice.size), first = (page - 1) * size;
    const shown = numbers.slice(first, first + size);
    const how = view();
    list.replaceChildren(...shown.map((n) => segmentElement(data, how, n)));
    drawn++;
    if (how.mark) markFrom(shown, 0, drawn);
    const number = (value) => value.toLocaleString("en");
    const total = `${number(data.ids.length)} ${data.unit}`;
    const found = numbers.length === data.ids.length ? `All ${total}` : `${number(numbers.length)} of ${total}`;
    const range = shown.length ? `, ${number(first + 1)} to ${number(first + shown.length)}` : "";
    byId("shown").textContent = found + range;
    byId("page-number").value = page;
    byId("page-number").max = pages;
    byId("pages").textContent = `of ${number(pages)}`;
    byId("previous").disabled = page === 1;
    byId("next").disabled = page === pages;
  }

  /** Comparing words takes longer than drawing: segment by segment, when the page is idle, until drawn anew. */
  function markFrom(shown, place, drawing) {
    whenIdle(() => {
      if (drawing !== drawn || place === shown.length) return;
      markSegment(data, list.children[place], shown[place]);
      markFrom(shown, place + 1, drawing);
    });
  }

  function show(choice) {
    find(choice);
    draw({ ...choice, page: String(page) });
  }

  function remember(choice) {
    const address = addressOf({ ...choice, page: String(page) });
    history.replaceState(null, "", address ? `#${address}` : location.pathname + location.search);
  }

  function changed() {
    const choice = readControls(1);
    show(choice);
    remember(choice);
  }

  function turn(to) {
    const choice = readControls(to);
    show(choice);
    remember(choice);
    byId("outputs").scrollIntoView();
    byId("shown").tabIndex = -1;
    byId("shown").focus({ preventScroll: true });
  }

  /** Show the page of the data's order that holds a segment, and go to it. */
  function goTo(n) {
    writeControls({ ...EVERYTHING, size: byId("size").value, metric: byId("metric")?.value ?? "0" });
    show(readControls(Math.floor(n / Number(byId("size").value)) + 1));
    const element = byId(segmentAddress(data, n));
    element.classList.add("linked");
    element.scrollIntoView({ block: "center" });
    element.focus({ preventScroll: true });
  }

  function follow() {
    const address = location.hash.slice(1);
    if (address.startsWith("seg-")) {
      const n = places.get(address);
      if (n !== undefined) return goTo(n);
      announce("No such segment on this page");
    }
    if (address.startsWith("outputs?")) {
      const choice = choiceOf(address);
      writeControls(choice);
      show({ ...readControls(choice.page) });
      byId("outputs").scrollIntoView();
    } else if (!list.childElementCount) show(readControls(1));
  }

  const places = new Map(data.ids.map((_, n) => [segmentAddress(data, n), n]));
  makeControls(byId("controls"), data, changed);
  byId("everything").addEventListener("click", () => {
    writeControls(EVERYTHING);
    changed();
  });
  pager.append(
    make("button", { type: "button", id: "previous", onclick: () => turn(page - 1) }, "← Previous"),
    make("label", {}, "Page ", make("input", { type: "number", id: "page-number", min: 1,
      onchange: (event) => turn(Number(event.target.value)) })),
    make("span", { id: "pages" }),
    make("button", { type: "button", id: "next", onclick: () => turn(page + 1) }, "Next →"));
  pager.hidden = false;
  writeControls(EVERYTHING);
  addEventListener("hashchange", follow);
  follow();
  prepareQueries(data);
}
