// @ts-check
// The form of a job: sizes by one click, and what the server says of it while it is filled in. What is in it is kept by
// the browser: a look at the queue loses nothing.

import { recall, remember } from "./kept.js";

const QUIET_MS = 250;
const KEPT = "zimaged-form";

const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-check]"));
const advice = document.getElementById("advice");

/** @param {string} name */
const field = (name) => /** @type {HTMLInputElement} */ (form?.elements.namedItem(name));

/** What a field asks for: what stands in it, else what stands in it in grey. @param {string} name */
const asked = (name) => Number(field(name).value || field(name).placeholder);

/** Puts what belongs to the prompt and to the sizes where these are. */
function place() {
  const length = document.querySelector("#advice #prompt-length");
  document.getElementById("prompt-note")?.replaceChildren(...(length ? [length] : []));
  for (const told of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#advice [data-size]"))) {
    const [width, height] = (told.dataset.size ?? "").split("x");
    form?.querySelector(`[data-width="${width}"][data-height="${height}"] .forecast`)?.replaceWith(told);
  }
}

/** Marks the fields that the advice names. */
function mark() {
  const named = [...document.querySelectorAll("#advice [data-key]")];
  // A key inside of a table is written in the field of that table.
  const keys = new Set(named.map((item) => item.getAttribute("data-key")?.split(".")[0]));
  for (const input of form?.querySelectorAll("input, textarea, select") ?? []) {
    const key = input.getAttribute("data-keep") ?? input.getAttribute("name") ?? "";
    input.setAttribute("aria-invalid", String(keys.has(key)));
  }
}

/** Shows which of the sizes is chosen, and whether the negative prompt counts. */
function show() {
  for (const button of form?.querySelectorAll("button[data-width]") ?? []) {
    const { width, height } = /** @type {HTMLElement} */ (button).dataset;
    const is_chosen = field("width").value === width && field("height").value === height;
    button.setAttribute("aria-pressed", String(is_chosen));
  }
  field("negative_prompt").closest(".field")?.classList.toggle("idle", asked("guidance") === 0);
}

let asking = new AbortController();

/** Only one question is on its way: the newest. */
async function check() {
  if (!form || !advice) return;
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  // Files are kept when they are chosen, and named by what they are kept as.
  const texts = [...new FormData(form)].filter(([, value]) => typeof value === "string");
  const body = new URLSearchParams(/** @type {[string, string][]} */ (texts));
  try {
    const answer = await fetch(form.dataset.check ?? "", { method: "POST", body, signal });
    if (!answer.ok) return;
    advice.innerHTML = await answer.text();
  } catch {
    // It was given up for a newer one, or the daemon is away.
    return;
  }
  place();
  mark();
}

let timer = 0;

function soon() {
  show();
  keepForm();
  clearTimeout(timer);
  timer = setTimeout(check, QUIET_MS);
}

/** Whether a field has something of its own. @param {HTMLInputElement | HTMLSelectElement} input */
function isSaid(input) {
  if (input instanceof HTMLSelectElement) return input.selectedIndex > 0;
  return input.type === "checkbox" ? input.checked : input.value !== "";
}

/** The fields that the browser keeps. Pictures are with the server, for an hour. */
function keptFields() {
  const all = /** @type {HTMLInputElement[]} */ ([...(form?.elements ?? [])]);
  return all.filter((input) => input.name && input.type !== "file" && !["init_image", "mask"].includes(input.name));
}

function keepForm() {
  const said = keptFields().filter(isSaid).map((input) => [input.name, input.value]);
  remember(KEPT, said.length ? JSON.stringify(said) : null);
}

/** What was kept; nothing where another page, or another version of this one, has written it. */
function recalled() {
  try {
    return new Map(JSON.parse(recall(KEPT) ?? "[]"));
  } catch {
    return new Map();
  }
}

/** Brings back what was kept, where the page has nothing of its own. */
function bringBack() {
  if (form?.dataset.untouched === undefined) return;
  const kept = recalled();
  for (const input of keptFields()) {
    const value = kept.get(input.name);
    if (value === undefined) continue;
    if (input.type === "checkbox") input.checked = true;
    else input.value = value;
    input.closest("details")?.setAttribute("open", "");
  }
}

// Sides are whole steps of what the model makes, in their ratio where that is to stay.
const lock = /** @type {HTMLInputElement | null} */ (document.getElementById("ratio"));
const step = Number(form?.dataset.granularity ?? 1);
let ratio = 1;

/** @param {number} side */
const snapped = (side) => String(Math.max(step, Math.round(side / step) * step));

const learnRatio = () => (ratio = asked("width") / asked("height"));

/** @param {string | number} width @param {string | number} height */
function setSize(width, height) {
  field("width").value = String(width);
  field("height").value = String(height);
  learnRatio();
  soon();
}

/** Has the other side follow this one. @param {EventTarget | null} side */
function follow(side) {
  const [width, height] = [asked("width"), asked("height")];
  if (!lock?.checked || !(ratio > 0)) return;
  if (side === field("width") && width > 0) field("height").value = snapped(width / ratio);
  if (side === field("height") && height > 0) field("width").value = snapped(height * ratio);
}

lock?.addEventListener("change", learnRatio);
document.getElementById("swap")?.addEventListener("click", () => setSize(asked("height"), asked("width")));
for (const name of ["width", "height"]) {
  field(name)?.addEventListener("change", () => {
    const side = Number(field(name).value);
    if (side > 0) field(name).value = snapped(side);
    soon();
  });
}

// A picture that is chosen, or dropped anywhere on the page, fills the form with its settings.
const chooser = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-settings]"));
const said = document.getElementById("picture-said");

/** @param {File | undefined} picture */
async function take(picture) {
  if (!picture || !chooser || !said) return;
  const headers = { "content-type": picture.type || "image/png" };
  const answer = await fetch(chooser.dataset.settings ?? "", { method: "POST", headers, body: picture }).catch(() => null);
  const told = await answer?.json().catch(() => null);
  said.textContent = answer?.ok ? picture.name : (told?.detail ?? "?");
  if (!answer?.ok) return;
  for (const [name, value] of Object.entries(told)) field(name).value = value === null ? "" : String(value);
  learnRatio();
  soon();
}

/**
 * Sends a picture to begin with, once: the form has what the server calls it from then on.
 * @param {HTMLInputElement} from
 */
async function keep(from) {
  const picture = from.files?.[0];
  const tick = field(from.dataset.keep ?? "");
  const told = from.parentElement?.querySelector("[role=status]");
  if (!picture || !told) return;
  const headers = { "content-type": picture.type || "image/png" };
  const answer = await fetch("api/v1/inputs", { method: "POST", headers, body: picture }).catch(() => null);
  const kept = await answer?.json().catch(() => null);
  told.textContent = answer?.ok ? picture.name : (kept?.detail ?? "?");
  from.setAttribute("aria-invalid", String(!answer?.ok));
  if (!answer?.ok) return;
  [tick.value, tick.checked, from.value] = [kept.input, true, ""];
  tick.labels?.forEach((label) => (label.hidden = false));
  soon();
}

for (const from of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("[data-keep]")))
  from.addEventListener("change", () => keep(from));

chooser?.addEventListener("change", () => take(chooser.files?.[0]));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer?.files[0]);
});

form?.addEventListener("input", (event) => {
  follow(event.target);
  soon();
});
form?.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("button[data-width]");
  if (!(button instanceof HTMLElement)) return;
  setSize(button.dataset.width ?? "", button.dataset.height ?? "");
});
form?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
document.getElementById("afresh")?.addEventListener("click", () => {
  remember(KEPT, null);
  location.assign("./");
});
bringBack();
show();
check();
