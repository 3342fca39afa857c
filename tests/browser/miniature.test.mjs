// The same pages with the model that comes with the program. Its screenshots are those of the README.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import * as path from "node:path";
import { after, before, test } from "node:test";

import { House, KEPT, launch, open } from "./house.mjs";

const SHAPES = ["red circle", "blue square", "yellow triangle", "green circle", "purple square", "red triangle"];
const GROUNDS = ["white", "black"];

/** For a picture of a build that is not optimised, on a machine that does much else. */
const RENDERING_MS = 180_000;

/** What is promised of somebody's first picture, from the daemon's start on. */
const FIRST_PICTURE_MS = 60_000;
const TRIES_MAX = 3;

let house, browser;

before(async () => {
  [house, browser] = await Promise.all([House.started(""), launch()]);
  fs.mkdirSync(path.join(KEPT, "readme"), { recursive: true });
});

after(async () => {
  await browser?.close();
  await house?.end();
});

/** A screenshot for the README. */
async function shoot(page, name) {
  await page.screenshot({ path: path.join(KEPT, "readme", `${name}.png`) });
}

/** A first picture is made by the page of a new daemon; after how many milliseconds from its start it is seen. */
async function firstPicture() {
  const page = await open(browser);
  const began = Date.now();
  const fresh = await House.started("");
  try {
    await page.goto(fresh.url);
    await page.fill("#prompt", "a red circle on a white background");
    await page.getByRole("button", { name: "Render" }).click();
    await page.waitForURL("**/queue");
    await fresh.done(1, RENDERING_MS);
    await page.getByRole("link", { name: "Gallery" }).first().click();
    await page.getByRole("link", { name: "a red circle" }).first().click();
    await page.waitForFunction(() => document.querySelector("main img")?.naturalWidth > 1);
    const took = Date.now() - began;
    console.log(`a first picture: seen ${(took / 1000).toFixed(1)} s after the daemon's start`);
    assert.deepEqual(page.complaints, []);
    return took;
  } finally {
    await page.context().close();
    await fresh.end();
  }
}

test("within a minute of the daemon's start a first picture is made by the page, and seen", async () => {
  // On a machine that does much else a try may take longer.
  for (let tries = 1; (await firstPicture()) >= FIRST_PICTURE_MS; tries++) assert.ok(tries < TRIES_MAX, "it was never kept");
});

test("the miniature's pictures are made by the form and shown", async () => {
  const page = await open(browser, { viewport: { width: 1180, height: 760 } });
  const prompts = SHAPES.flatMap((shape) => GROUNDS.map((ground) => `a ${shape} on a ${ground} background`));
  await page.goto(house.url);
  await page.fill("#prompt", prompts.join("\n"));
  await page.getByLabel("Each line is a prompt of its own").check();
  await page.fill("#seed", "1");
  await page.locator("#advice", { hasText: "as asked" }).waitFor();
  await page.getByRole("button", { name: "Render" }).click();
  await page.waitForURL("**/queue");
  await house.done(prompts.length, RENDERING_MS);
  await page.goto(house.url + "/gallery");
  const broken = () => [...document.images].filter((image) => !image.complete || image.naturalWidth === 0).length;
  await page.waitForFunction(() => [...document.images].every((image) => image.complete));
  assert.equal(await page.evaluate(broken), 0, "every small copy is a picture");
  assert.equal(await page.locator("ul.grid li[data-key]").count(), prompts.length);
  await shoot(page, "gallery");
  await page.goto(house.url + "/memory");
  assert.ok((await page.locator("circle.point").count()) > 0, "what was measured is drawn");
  await shoot(page, "memory");
  await page.goto(`${house.url}/?prompt=a+red+circle+on+a+white+background&seed=7&num_images=4`);
  await page.locator("#advice", { hasText: "takes about" }).waitFor();
  // Before it is sent each size says what it takes, by the pictures that were made.
  assert.equal(await page.locator(".presets .forecast", { hasText: "≈" }).count(), 6);
  await shoot(page, "create");
  await house.send({ prompt: "a red circle on a white background", seed: 5, steps: 100, num_images: 4 });
  await house.send({ prompt: "a green circle on a black background", num_images: 8, tags: ["night"], priority: -1 });
  await page.goto(house.url + "/queue");
  const looks = page.locator(".preview img");
  await looks.waitFor();
  await page.waitForFunction(() => document.querySelector(".preview img")?.naturalWidth > 1);
  const half_done = () => /step [2-9]\d\/100/.test(document.querySelector("header .live").textContent);
  await page.waitForFunction(half_done, null, { timeout: RENDERING_MS });
  await shoot(page, "queue");
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});

test("a prompt's tokens are told while it is typed, and the end that is not read", async () => {
  const page = await open(browser, { locale: "zh-CN", viewport: { width: 1180, height: 760 } });
  await page.goto(house.url + "/?seed=7&num_images=4");
  const note = page.locator("#prompt-note");
  await page.locator("#prompt").pressSequentially("a red circle on a white background");
  await note.getByText(/^词元数: \d+ \/ 512$/).waitFor();
  await page.locator("#advice", { hasText: "4 张图片" }).waitFor();
  await shoot(page, "create-zh");
  await page.fill("#prompt", "a red circle ".repeat(300) + "and an owl at its end");
  await note.getByText("模型读不到末尾这一段").waitFor();
  await page.fill("#prompt", "");
  await note.locator("#prompt-length").waitFor({ state: "detached" });
  assert.deepEqual(page.complaints, []);
  await page.context().close();
});
