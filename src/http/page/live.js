// @ts-check
// Keeps parts of a page true: each element with data-live is filled anew from that address, once a
// second, while the page is seen.

const PAUSE_MS = 1000;

/** @param {HTMLElement} element */
async function renew(element) {
  const answer = await fetch(element.dataset.live ?? "", { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  const text = await answer.text();
  // What is being used stays: a button keeps its focus, a field what was typed.
  const is_used = element.contains(document.activeElement);
  if (!is_used && text !== element.dataset.text) {
    element.innerHTML = text;
    element.dataset.text = text;
  }
  element.removeAttribute("aria-busy");
}

async function forever() {
  for (;;) {
    const elements = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-live]"));
    for (const element of document.hidden ? [] : elements) {
      // A daemon that is started again answers later.
      await renew(element).catch(() => element.setAttribute("aria-busy", "true"));
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

forever();
