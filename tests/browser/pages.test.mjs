// Every page in both languages, both colour schemes and two widths: nobody is kept out (WCAG 2.2 AA,
// as far as axe can tell), and nothing is wider than the window.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import * as path from "node:path";
import { after, before, test } from "node:test";

import { AXE, House, KEPT, launch, open, until } from "./house.mjs";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

const PAGES = {
  create: "/?prompt=a+red+circle",
  mistakes: "/?prompt=fox&height=500&steps=none",
  // All that the form has, unfolded.
  form: "/?prompt=fox&lora=ink&init_image=0000&priority=1&window=22:00-07:00&matrix=steps+%3D+%5B2%5D",
  queue: "/queue",
  gallery: "/gallery",
  starred: "/gallery?starred=true",
  day: "/gallery?day=2020-01-01",
  picture: "/picture?job=1&n=1",
  failed: "/picture?job=2&n=1",
  compare: "/compare?a=1.1&b=1.2",
  history: "/history",
  memory: "/memory",
  reference: "/reference",
  system: "/system",
  about: "/about",
  missing: "/picture?job=99&n=1",
};

/** A phone, and a usual window. */
const WIDTHS = [390, 1280];

/** Of these the beginning is enough of a screenshot. */
const LONG = ["reference"];

let house, browser;

before(async () => {
  [house, browser] = await Promise.all([House.started(), launch()]);
  fs.mkdirSync(path.join(KEPT, "shots"), { recursive: true });
  fs.mkdirSync(path.join(house.folder, "loras"));
  fs.writeFileSync(path.join(house.folder, "loras/ink.safetensors"), "ink");
  await house.send({ prompt: ["a red circle on a green ground", "fox, oom once"], tags: ["zoo", "night"] });
  await house.send({ prompt: "fox, invalid" });
  await house.done(2);
  await fetch(`${house.url}/api/v1/renders/1.1/star`, { method: "PUT" });
  await house.send({ prompt: "a wolf, steps of 10000 ms", steps: 100, priority: 5 });
  await house.send({ prompt: "later", not_before: "2099-01-01 10:00", tags: ["zoo"] });
  await house.send({ prompt: ["one", "two", "three"] });
  fs.writeFileSync(path.join(house.folder, "jobs/bad.toml"), "prompt = 3\n");
  await until("the wolf runs", async () => (await house.get("status")).daemon.render?.job_id === 3);
});

after(async () => {
  await browser?.close();
  await house?.end();
});

/** What axe and the window's width have against the page. */
async function complaints(page, name) {
  const result = await page.evaluate((rules) => window.axe.run(document, { runOnly: rules }), RULES);
  const found = result.violations.map(
    ({ id, nodes }) => `${name}: ${id}: ${nodes[0].html.slice(0, 120)}: ${nodes[0].failureSummary}`,
  );
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (excess > 0) found.push(`${name}: ${excess} px wider than the window`);
  return found;
}

for (const locale of ["en-GB", "zh-CN"]) {
  for (const colorScheme of ["light", "dark"]) {
    test(`${locale}, ${colorScheme}: every page can be used by everybody`, async () => {
      const page = await open(browser, { locale, colorScheme, bypassCSP: true });
      const found = [];
      for (const [name, address] of Object.entries(PAGES)) {
        await page.goto(house.url + address);
        await page.addScriptTag({ content: AXE });
        for (const width of WIDTHS) {
          await page.setViewportSize({ width, height: 844 });
          const shot = `${name}-${locale.slice(0, 2)}-${colorScheme}-${width}`;
          found.push(...(await complaints(page, shot)));
          const fullPage = !LONG.includes(name) && (width < 500 || name === "form");
          await page.screenshot({ path: path.join(KEPT, "shots", `${shot}.png`), fullPage });
        }
      }
      await page.context().close();
      assert.deepEqual(found, []);
    });
  }
}
