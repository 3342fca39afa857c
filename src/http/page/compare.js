// @ts-check
// One picture above the other, with a slider between them.

const divide = /** @type {HTMLInputElement | null} */ (document.getElementById("divide"));
const both = document.getElementById("compare");

function show() {
  if (!both || !divide) return;
  both.classList.add("above");
  const second = /** @type {HTMLElement | null} */ (both.children[1]);
  if (second) second.style.clipPath = `inset(0 0 0 ${divide.value}%)`;
}

divide?.addEventListener("input", show);
show();
