// What the pages may cost: bytes, time and jumps. The figures are printed. On a machine that tests much else at once the time
// is several times what it is alone: so the quickest of some first loads counts, each with an empty cache, and beside each a page
// with nothing but a word and a style is loaded, which tells how slow the machine is now.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";

import { House, launch, open, until } from "./house.mjs";

const FIRST_LOAD_KB = 60;
const PAINT_MS = 500;
const SHIFT = 0.1;
const PICTURES = 10_000;
const LOADS_MAX = 5;
/** How long a page with a word takes on a machine that does nothing else. */
const WORD_MS = 100;

let house, browser, word;

before(async () => {
  word = createServer(({ url }, answer) => {
    const [kind, text] = url === "/" ? ["html", "<!doctype html><link rel=stylesheet href=style><h1>a word</h1>"] : ["css", "h1 { color: red }"];
    answer.writeHead(200, { "content-type": `text/${kind}` }).end(text);
  });
  await new Promise((resolve) => word.listen(0, "127.0.0.1", resolve));
  [house, browser] = await Promise.all([House.started(), launch()]);
  await house.send({ prompt: "a fox", num_images: 70 });
  await house.done(70);
  await house.send({ prompt: "wolf, steps of 500 ms", steps: 100 });
  await until("it runs", async () => (await house.get("status")).daemon.render?.job_id === 2);
});

after(async () => {
  await browser?.close();
  word?.close();
  await house?.end();
});

/**
 * Counts from before the first script of each page. The shift is the largest of a window, as browsers' vendors define it: shifts
 * that follow each other within a second, over five seconds at the most, but for those that a click or a key has caused.
 */
function measure() {
  window.measured = { paint: 0, shift: 0 };
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.measured.paint = entry.startTime;
  }).observe({ type: "largest-contentful-paint", buffered: true });
  let began = 0, last = 0, sum = 0;
  new PerformanceObserver((list) => {
    for (const { hadRecentInput, startTime, value } of list.getEntries()) {
      if (hadRecentInput) continue;
      const is_same = startTime - last < 1000 && startTime - began < 5000;
      if (!is_same) [began, sum] = [startTime, 0];
      [last, sum] = [startTime, sum + value];
      window.measured.shift = Math.max(window.measured.shift, sum);
    }
  }).observe({ type: "layout-shift", buffered: true });
}

/** When the largest part of a page was painted that is loaded for the first time. */
async function paint(url) {
  const page = await open(browser);
  await page.addInitScript(measure);
  await page.goto(url);
  // By then nothing larger is to come.
  await page.waitForTimeout(500);
  const paint = await until("it is painted", () => page.evaluate(() => window.measured.paint));
  await page.context().close();
  return paint;
}

/** The quickest of some first loads, and how much slower than usual the machine is meanwhile. */
async function quickest(url) {
  const [paints, words] = [[], []];
  const found = () => ({ least: Math.min(...paints), slowness: Math.max(1, Math.min(...words) / WORD_MS) });
  const suffices = ({ least, slowness }) => least < PAINT_MS * slowness;
  while (paints.length < LOADS_MAX && !suffices(found())) {
    words.push(await paint(`http://127.0.0.1:${word.address().port}/`));
    paints.push(await paint(url));
  }
  return found();
}

for (const where of ["/", "/queue", "/gallery", "/history", "/memory", "/system"]) {
  test(`${where} is small, quick and does not jump`, async () => {
    const page = await open(browser);
    await page.addInitScript(measure);
    const bodies = [];
    let refills = 0;
    page.on("response", (answer) => {
      const { pathname } = new URL(answer.url());
      if (pathname === "/live/now") refills++;
      const is_first = pathname === where || pathname.startsWith("/assets/");
      if (is_first) bodies.push(answer.body());
    });
    await page.goto(house.url + where);
    // What is filled anew must not jump either; the first time all else has been loaded.
    await until("the head was filled anew", () => refills >= 3);
    const { shift } = await page.evaluate(() => window.measured);
    const loaded = await Promise.all(bodies);
    const bytes = loaded.reduce((sum, body) => sum + gzipSync(body).length, 0);
    const nodes = await page.evaluate(() => document.querySelectorAll("*").length);
    await page.context().close();
    const kb = bytes / 1000;
    const { least, slowness } = await quickest(house.url + where);
    console.log(
      `${where}: ${kb.toFixed(1)} KB compressed in ${loaded.length} files, largest paint ${least.toFixed(0)} ms (slowness ${slowness.toFixed(1)}), ` +
        `layout shift ${shift.toFixed(4)}, ${nodes} elements`,
    );
    assert.ok(loaded.length >= 3, "page, style and script are counted");
    assert.ok(kb < FIRST_LOAD_KB, `${kb} KB`);
    assert.ok(least < PAINT_MS * slowness, `${least} ms where all takes ${slowness} times as long`);
    assert.ok(shift <= SHIFT, `${shift}`);
    assert.ok(nodes < 3000, `${nodes} elements`);
  });
}

test("ten thousand pictures are scrolled through, and few of them are in the document at a time", async (t) => {
  const many = await House.started();
  t.after(() => many.end());
  await many.send({ prompt: "a fox" });
  await many.done(1);
  await many.multiply(PICTURES);
  const page = await open(browser);
  await page.addInitScript(measure);
  await page.goto(many.url + "/gallery");
  const first = page.locator("ul.grid input[name=choose]").first();
  await first.check();
  const began = Date.now();
  const seen = await page.evaluate(async () => {
    const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
    let nodes = 0;
    for (let still = 0; still < 60; ) {
      const before = scrollY;
      scrollBy(0, 2000);
      await frame();
      nodes = Math.max(nodes, document.querySelectorAll("*").length);
      const is_end = scrollY === before && !document.querySelector("[data-older]");
      still = is_end ? still + 1 : 0;
    }
    const tiles = document.querySelectorAll("ul.grid li[data-key]");
    return { nodes, last: tiles[tiles.length - 1].dataset.key, ...window.measured };
  });
  const seconds = (Date.now() - began) / 1000;
  console.log(
    `${PICTURES} pictures scrolled in ${seconds.toFixed(1)} s: ${seen.nodes} elements at most, layout shift ${seen.shift.toFixed(4)}`,
  );
  assert.equal(seen.last, "1.1", "the oldest one is reached");
  assert.ok(seen.shift <= SHIFT, `${seen.shift}`);
  assert.ok(seen.nodes < 3000, `${seen.nodes} elements`);
  // What was ticked at the other end is far away, and sent all the same.
  const sent = await page.evaluate(() => new FormData(document.querySelector("#chosen")).getAll("choose"));
  assert.deepEqual(sent, [`1.${PICTURES}`]);
  await page.evaluate(() => scrollTo(0, 0));
  await first.waitFor();
  assert.equal(await first.isChecked(), true, "it stands where it was");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});
