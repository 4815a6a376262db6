// Starts what the page has: theme, tables, curves' legend, reloading, explorer, differences.

function makeThemeButton() {
  const root = document.documentElement, key = "nlg-score-theme";
  // A page opened from a file may have no storage.
  const stored = (use) => { try { return use(localStorage); } catch { return null; } };
  const theme = stored((storage) => storage.getItem(key));
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  byId("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    stored((storage) => storage.setItem(key, root.dataset.theme));
    announce(`${root.dataset.theme} colours`);
  });
}

function makeLegend() {
  for (const box of document.querySelectorAll("[data-toggle]")) {
    box.addEventListener("change", () => {
      for (const curve of document.querySelectorAll(`.curve[data-run="${box.dataset.toggle}"]`)) {
        curve.style.display = box.checked ? "" : "none";
      }
    });
  }
}

function makeReloading() {
  const seconds = Number(document.documentElement.dataset.refresh);
  if (!seconds) return;
  setInterval(() => {
    if (byId("refreshing").checked && !document.hidden) location.reload();
  }, 1000 * seconds);
}

async function start() {
  document.documentElement.classList.add("scripted");
  makeThemeButton();
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  if (byId("find-run")) makeFindable(byId("find-run"), document.querySelector("table.sortable"));
  makeLegend();
  makeReloading();
  const data = await unpack("data");
  if (!data) return;
  if (byId("baseline")) {
    byId("baseline").addEventListener("change", (event) => showTests(data, event.target.selectedIndex));
    showTests(data, byId("baseline").selectedIndex);
  }
  makeExplorer(data);
  if (byId("differences")) makeDifferences(data);
}

start();
