// @ts-check
// Tells when the queue is done, whoever wants that. The browser is asked for leave when the box is ticked, never before.

import { recall, remember } from "./kept.js";

const WANTED = "zimaged-notice";

const wanted = /** @type {HTMLInputElement | null} */ (document.getElementById("notice"));
const head = document.querySelector("header [data-live]");

function show() {
  if (!wanted || !head) return;
  wanted.checked = recall(WANTED) !== null && Notification.permission === "granted";
  // Else a page that nobody sees asks for nothing.
  head.toggleAttribute("data-unseen", wanted.checked);
}

const isBusy = () => head?.querySelector("[data-busy]")?.getAttribute("data-busy") === "true";

function watch() {
  let was_busy = isBusy();
  const look = () => {
    const is_busy = isBusy();
    // By its tag it is one, however many pages are open.
    if (was_busy && !is_busy && wanted?.checked) new Notification(wanted.dataset.done ?? "", { tag: "zimaged-done" });
    was_busy = is_busy;
  };
  if (head) new MutationObserver(look).observe(head, { attributes: true, childList: true, subtree: true });
}

wanted?.addEventListener("change", async () => {
  if (wanted.checked) await Notification.requestPermission();
  remember(WANTED, wanted.checked ? "on" : null);
  show();
});

if ("Notification" in window && wanted?.labels?.[0]) {
  wanted.labels[0].hidden = false;
  show();
  watch();
}
