// @ts-check
// The form of a job: sizes by one click, and what the server says of it while it is filled in.

const QUIET_MS = 250;

const form = /** @type {HTMLFormElement | null} */ (document.querySelector("form[data-check]"));
const advice = document.getElementById("advice");

/** @param {string} name */
const field = (name) => /** @type {HTMLInputElement} */ (form?.elements.namedItem(name));

/** Puts the prompt's length where the prompt is. */
function place() {
  const length = document.querySelector("#advice #prompt-length");
  document.getElementById("prompt-note")?.replaceChildren(...(length ? [length] : []));
}

/** Marks the fields that the advice names. */
function mark() {
  const named = [...document.querySelectorAll("#advice [data-key]")];
  // A key inside of a table is written in the field of that table.
  const keys = new Set(named.map((item) => item.getAttribute("data-key")?.split(".")[0]));
  for (const input of form?.querySelectorAll("input, textarea, select") ?? []) {
    const key = input.getAttribute("data-keep") ?? input.getAttribute("name");
    input.setAttribute("aria-invalid", String(keys.has(key)));
  }
}

/** Shows which of the sizes is chosen. */
function press() {
  for (const button of form?.querySelectorAll("button[data-width]") ?? []) {
    const { width, height } = /** @type {HTMLElement} */ (button).dataset;
    const is_chosen = field("width").value === width && field("height").value === height;
    button.setAttribute("aria-pressed", String(is_chosen));
  }
}

let asked = 0;

async function check() {
  if (!form || !advice) return;
  const mine = ++asked;
  // Files are kept when they are chosen, and named by what they are kept as.
  const texts = [...new FormData(form)].filter(([, value]) => typeof value === "string");
  const body = new URLSearchParams(/** @type {[string, string][]} */ (texts));
  const answer = await fetch(form.dataset.check ?? "", { method: "POST", body }).catch(() => null);
  if (answer?.ok && mine === asked) {
    advice.innerHTML = await answer.text();
    place();
    mark();
  }
}

let timer = 0;

function soon() {
  press();
  clearTimeout(timer);
  timer = setTimeout(check, QUIET_MS);
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

form?.addEventListener("input", soon);
form?.addEventListener("click", (event) => {
  const button = /** @type {HTMLElement} */ (event.target).closest("button[data-width]");
  if (!(button instanceof HTMLElement)) return;
  event.preventDefault();
  field("width").value = button.dataset.width ?? "";
  field("height").value = button.dataset.height ?? "";
  soon();
});
form?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
press();
check();
