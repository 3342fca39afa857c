// @ts-check
// The gallery without its ends: older pictures come when one scrolls towards them, and what is far from the window
// leaves the document, so that ten thousand pictures cost no more than a few hundred. A star is given without leaving
// the page.

/** So far beyond the window pages are kept and fetched, in pixels. */
const NEAR = "1200px";

/** Before a page that did not come is asked for again. */
const PAUSE_MS = 1000;

const older = /** @type {HTMLAnchorElement | null} */ (document.querySelector("[data-older]"));
const form = /** @type {HTMLFormElement | null} */ (document.querySelector("#chosen"));

/** The content of pages that are far away. @type {WeakMap<Element, string>} */
const put_away = new WeakMap();

/** What is ticked, also on pages that are far away. @type {Set<string>} */
const chosen = new Set();

const pages = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      const page = /** @type {HTMLElement} */ (target);
      const content = put_away.get(page);
      if (isIntersecting && content !== undefined) {
        page.innerHTML = content;
        page.style.height = "";
        put_away.delete(page);
      } else if (!isIntersecting && content === undefined && !page.contains(document.activeElement)) {
        // Not rounded: what stands below must not move.
        page.style.height = `${page.getBoundingClientRect().height}px`;
        put_away.set(page, page.innerHTML);
        page.replaceChildren();
      }
    }
  },
  { rootMargin: NEAR },
);

/** Puts the next page behind the last one; whether there is another one after it. */
async function fetchOlder() {
  const answer = await fetch(older?.href ?? "", { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  const page = next.querySelector("[data-page]");
  if (page) {
    const last = [...document.querySelectorAll("[data-page]")].at(-1);
    last?.after(page);
    pages.observe(page);
  }
  const address = next.querySelector("[data-older]")?.getAttribute("href");
  if (address) older?.setAttribute("href", address);
  else older?.remove();
  return Boolean(address);
}

let fetching = false;

const end = new IntersectionObserver(
  async (entries) => {
    // Several at once are what happened in turn: the last one is how it stands.
    if (!entries.at(-1)?.isIntersecting || fetching || !older) return;
    fetching = true;
    // What is not seen does not jump when a page comes before it, and neither does the paragraph around it.
    const around = /** @type {HTMLElement} */ (older.parentElement);
    around.style.visibility = "hidden";
    const has_more = await fetchOlder().catch(() => null);
    // A daemon that does not answer leaves the link, which works by itself, and is asked again later.
    if (has_more === null) {
      around.style.visibility = "";
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    fetching = false;
    // It is told again where it stands, though that may not have changed.
    end.disconnect();
    if (has_more !== false) end.observe(older);
  },
  { rootMargin: NEAR },
);

document.addEventListener("change", ({ target }) => {
  if (!(target instanceof HTMLInputElement) || target.name !== "choose") return;
  // As an attribute it is put away with the page.
  target.toggleAttribute("checked", target.checked);
  if (target.checked) chosen.add(target.value);
  else chosen.delete(target.value);
});

form?.addEventListener("formdata", ({ formData }) => {
  const there = new Set(formData.getAll("choose"));
  for (const picture of chosen) if (!there.has(picture)) formData.append("choose", picture);
});

document.addEventListener("click", async (event) => {
  const button = event.target instanceof Element ? event.target.closest("button.star") : null;
  if (!(button instanceof HTMLButtonElement)) return;
  event.preventDefault();
  const has_star = button.getAttribute("aria-pressed") === "true";
  const method = has_star ? "DELETE" : "PUT";
  const answer = await fetch(`api/v1/renders/${button.value}/star`, { method }).catch(() => null);
  if (!answer?.ok) return;
  button.setAttribute("aria-pressed", String(!has_star));
  button.setAttribute("formaction", has_star ? "queue/star" : "queue/unstar");
});

for (const page of document.querySelectorAll("[data-page]")) pages.observe(page);
if (older) end.observe(older);
