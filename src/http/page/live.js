// @ts-check
// Keeps parts of a page true: each element with data-live is filled anew from that address, once a
// second, while the page is seen.

const PAUSE_MS = 1000;

/** @param {Node} node */
const keyOf = (node) => (node instanceof HTMLElement ? node.dataset.key : undefined);

/**
 * @param {Node | undefined} one
 * @param {Node} other
 */
const isSameKind = (one, other) => one instanceof Element && other instanceof Element && one.tagName === other.tagName;

/**
 * Makes `old` like `fresh` and touches only what differs: so the focus, what was typed and pictures
 * stay. What has a key is never made something else: a button under the pointer stays its job's.
 * @param {Element} old
 * @param {Element} fresh
 */
function become(old, fresh) {
  for (const name of old.getAttributeNames()) {
    // What somebody has unfolded stays so.
    const is_used = name === "open" && old instanceof HTMLDetailsElement;
    if (!is_used && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  fill(old, fresh);
}

/**
 * @param {Element} old
 * @param {ParentNode} fresh
 */
function fill(old, fresh) {
  let place = 0;
  for (const wanted of fresh.childNodes) {
    const key = keyOf(wanted);
    const known = [...old.children].find((child) => key !== undefined && keyOf(child) === key);
    let there = old.childNodes[place++];
    if (known && known !== there) {
      old.insertBefore(known, there ?? null);
      there = known;
    }
    if (there?.isEqualNode(wanted)) continue;
    if (isSameKind(there, wanted) && keyOf(there) === key) become(/** @type {Element} */ (there), /** @type {Element} */ (wanted));
    else if (there && keyOf(there) === undefined) there.replaceWith(wanted.cloneNode(true));
    else old.insertBefore(wanted.cloneNode(true), there ?? null);
  }
  while (old.childNodes.length > place) old.lastChild?.remove();
}

/** @param {HTMLElement} element */
async function renew(element) {
  const answer = await fetch(element.dataset.live ?? "", { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  fill(element, fresh.content);
  element.removeAttribute("aria-busy");
}

async function forever() {
  for (;;) {
    // Of a page that nobody sees only what is watched all the same.
    const wanted = document.hidden ? "[data-live][data-unseen]" : "[data-live]";
    const elements = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(wanted));
    for (const element of elements) {
      // A daemon that is started again answers later.
      await renew(element).catch(() => element.setAttribute("aria-busy", "true"));
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

forever();
