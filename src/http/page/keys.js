// @ts-check
// Keys for what is done often. Single characters get in the way of whoever dictates, so they can be turned off.

import { recall, remember } from "./kept.js";

const OFF = "zimaged-single-keys-off";

const list = /** @type {HTMLDialogElement | null} */ (document.getElementById("keys"));
const single = /** @type {HTMLInputElement | null} */ (document.getElementById("single-keys"));
const opener = document.getElementById("open-keys");

/** What is pressed, or gets the focus, by a key. @type {Record<string, string>} */
const MEANT = {
  "?": "#open-keys",
  "/": "#prompt, input[type=search]",
  ArrowLeft: "a[rel=prev]",
  ArrowRight: "a[rel=next]:not([data-older])",
  s: ".sides button.star",
};

/** @param {string} key */
function meant(key) {
  const place = /^[1-9]$/.test(key) ? `header nav li:nth-child(${key}) a` : MEANT[key];
  return place ? /** @type {HTMLElement | null} */ (document.querySelector(place)) : null;
}

/** A box of the list has the focus for a moment after the list is closed. @param {EventTarget | null} target */
const isField = (target) =>
  target instanceof Element && target.checkVisibility() && target.matches("input, textarea, select");

document.addEventListener("keydown", (event) => {
  const { key, target, ctrlKey, altKey, metaKey, isComposing } = event;
  if (!single?.checked || list?.open || isField(target) || ctrlKey || altKey || metaKey || isComposing) return;
  const element = meant(key);
  if (!element) return;
  event.preventDefault();
  if (isField(element)) element.focus();
  else element.click();
});

opener?.addEventListener("click", () => list?.showModal());
single?.addEventListener("change", () => remember(OFF, single.checked ? null : "off"));
if (single) single.checked = recall(OFF) === null;
