// @ts-check
// A job is dragged to another place. Its buttons do the same, for keyboards and fingers.

/** The job that is dragged. */
let dragged = "";

/** @param {Event} event */
const rowOf = (event) => (event.target instanceof Element ? event.target.closest("tr") : null);

/**
 * Whether the pointer is in the lower half of the row.
 * @param {DragEvent} event
 * @param {Element} row
 */
function isBelow(event, row) {
  const { top, height } = row.getBoundingClientRect();
  return event.clientY > top + height / 2;
}

function unmark() {
  for (const row of document.querySelectorAll(".drop-before, .drop-after")) row.classList.remove("drop-before", "drop-after");
}

document.addEventListener("dragstart", (event) => {
  const row = rowOf(event);
  if (!row || !(event.target instanceof Element) || !event.target.matches(".grip")) return;
  dragged = row.dataset.key ?? "";
  event.dataTransfer?.setData("text/plain", dragged);
  event.dataTransfer?.setDragImage(row, 0, 0);
});

document.addEventListener("dragover", (event) => {
  const row = rowOf(event);
  unmark();
  if (!dragged || !row?.dataset.key) return;
  event.preventDefault();
  row.classList.add(isBelow(event, row) ? "drop-after" : "drop-before");
});

document.addEventListener("drop", async (event) => {
  const row = rowOf(event);
  if (!dragged || !row?.dataset.key) return;
  event.preventDefault();
  const next = isBelow(event, row) ? row.nextElementSibling : row;
  // Where there are more jobs than are shown, nobody knows what the last one stands before.
  if (!next && !row.closest("[data-whole]")) return;
  const before = next instanceof HTMLElement ? (next.dataset.key ?? "") : "";
  const body = new URLSearchParams({ id: dragged, before });
  // The page shows by itself what came of it; its answer would lead to the page.
  await fetch("queue/move", { method: "POST", body, redirect: "manual" }).catch(() => null);
});

document.addEventListener("dragend", () => {
  dragged = "";
  unmark();
});
