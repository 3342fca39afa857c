// What people do with the pages, from the first picture to a daemon that dies meanwhile.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { createServer, request } from "node:http";
import * as path from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { House, KEPT, launch, open, until } from "./house.mjs";

/** An open page shows what has happened within two seconds, in each of which it asks once. */
const SHOWN_MS = 2000;

/**
 * One second says little of a machine that tests much else. So what is promised is tried until it was kept once, so often at most;
 * and each time the page's answers are counted: one may have been on its way already, and one comes while the test looks.
 */
const TRIES_MAX = 5;
const ANSWERS_MAX = 4;

let browser, house, page;

before(async () => {
  browser = await launch();
});
after(() => browser?.close());
beforeEach(async () => {
  house = await House.started();
  page = await open(browser);
});
afterEach(async ({ name }) => {
  const { complaints } = page;
  await shoot(name);
  await page.context().close();
  await house.end();
  assert.deepEqual(complaints, [], "neither a script nor the page's policy complains");
});

/** How the page looked at the end of a journey: where one has failed, that says more than its message. */
async function shoot(name) {
  const file = `${name.slice(0, 80).replaceAll(/[^a-zA-Z0-9]+/g, "-")}.png`;
  await page.screenshot({ path: path.join(KEPT, "journeys", file) });
}

/** Waits until the page shows `text` in `place`, without being loaded anew. */
function shows(page, place, text) {
  return page.locator(place, { hasText: text }).first().waitFor();
}

/** Waits for what the page is to show soon, by what it asks for at `live/` and `part`; answers after how many milliseconds it did. */
async function soon(page, part, what, look) {
  let answers = 0;
  const count = (request) => {
    if (request.url() === `${house.url}/live/${part}`) answers++;
  };
  const ends = ["requestfinished", "requestfailed"];
  for (const end of ends) page.on(end, count);
  const began = Date.now();
  await look();
  for (const end of ends) page.off(end, count);
  const took = Date.now() - began;
  console.log(`${what}: shown after ${took} ms, by answer ${answers}`);
  assert.ok(answers <= ANSWERS_MAX, `${what}: by answer ${answers}`);
  return took;
}

/** Does `once`, which answers after how many milliseconds something was shown, until that was within two seconds. */
async function promptly(what, once) {
  const took = [];
  while (took.length < TRIES_MAX && !(took.at(-1) <= SHOWN_MS)) took.push(await once());
  assert.ok(took.at(-1) <= SHOWN_MS, `${what}: shown after ${took.join(", ")} ms`);
}

/** The step that the head of the page tells. */
async function step(page) {
  const text = await page.locator("header .live", { hasText: "step" }).innerText();
  return Number(/step (\d+)\//.exec(text)?.[1]);
}

/** Presses the tabulator until `text` has the focus. */
async function tabTo(page, text) {
  for (let presses = 0; presses < 100; presses++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => document.activeElement?.textContent?.trim());
    if (focused?.includes(text)) return;
  }
  assert.fail(`${text} cannot be reached by the tabulator`);
}

async function running(job) {
  await until(`job ${job} runs`, async () => (await house.get("status")).daemon.render?.job_id === job);
}

test("a first picture is made, found and made again with the keyboard alone", async () => {
  await page.goto(house.url);
  await page.keyboard.type("a red fox");
  await page.keyboard.press("Control+Enter");
  await page.waitForURL("**/queue");
  await house.done(1);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await tabTo(page, "Gallery");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/gallery");
  await tabTo(page, "a red fox");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/picture?*");
  await tabTo(page, "Use these settings");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/?prompt=a+red+fox*");
  await tabTo(page, "Large square");
  await page.keyboard.press("Space");
  assert.equal(await page.inputValue("#width"), "1024");
  assert.match(await page.locator("button[aria-pressed=true]").innerText(), /^Large square\n1024×1024/);
});

test("what is wrong is said at its field while it is typed, and what it costs before it is sent", async () => {
  await page.goto(house.url);
  await page.fill("#prompt", "a fox");
  await shows(page, "#advice", "1 picture");
  await page.fill("#height", "500");
  await page.locator("#height[aria-invalid=true]").waitFor();
  await page.fill("#height", "512");
  await page.locator("#height[aria-invalid=false]").waitFor();
  const command = await page.locator("#advice details").last().textContent();
  assert.ok(command.includes(house.url), "the request by curl has the real address");
});

test("while one types, one question at a time is on its way, and none for each letter", async () => {
  const asked = [];
  page.on("request", (request) => {
    if (request.url().endsWith("/create/check")) asked.push(request);
  });
  let hold = true;
  await page.route("**/create/check", (route) => (hold ? undefined : route.continue()));
  await page.goto(house.url);
  await until("the first question", () => asked.length === 1);
  const given_up = page.waitForEvent("requestfailed", (request) => request === asked[0]);
  await page.evaluate(() => {
    const prompt = document.querySelector("#prompt");
    for (const letter of "a red fox") {
      prompt.value += letter;
      prompt.dispatchEvent(new InputEvent("input", { bubbles: true }));
    }
  });
  await given_up;
  await until("the next question", () => asked.length === 2);
  assert.equal(new URLSearchParams(asked[1].postData()).get("prompt"), "a red fox");
  hold = false;
  await page.fill("#prompt", "two red foxes");
  await page.locator("#advice pre", { hasText: "two red foxes" }).first().waitFor({ state: "attached" });
  assert.equal(asked.length, 3);
  assert.equal(asked[1].failure()?.errorText, "net::ERR_ABORTED", "the older one was given up");
});

test("sides are swapped, keep their ratio where that is wanted, and are what the model makes", async () => {
  await page.goto(house.url);
  const sides = async () => [await page.inputValue("#width"), await page.inputValue("#height")].join();
  await page.getByRole("button", { name: "Landscape" }).click();
  assert.equal(await sides(), "1024,576");
  await page.getByRole("button", { name: "Swap" }).click();
  assert.equal(await sides(), "576,1024");
  assert.match(await page.locator("button[aria-pressed=true]").innerText(), /^Portrait/);
  await page.getByLabel("Keep the ratio").check();
  await page.fill("#height", "512");
  assert.equal(await sides(), "288,512");
  await page.getByLabel("Keep the ratio").uncheck();
  await page.fill("#width", "301");
  await page.locator("#height").focus();
  const { granularity } = await house.get("capabilities");
  assert.equal(Number(await page.inputValue("#width")) % granularity, 0, await sides());
});

test("a form that is left is found again as it was, until one starts afresh", async () => {
  await page.goto(house.url);
  await page.fill("#prompt", "a fox");
  await page.getByRole("button", { name: "Small square" }).click();
  await page.locator("summary", { hasText: "More" }).click();
  await page.selectOption("#format", "webp");
  await page.getByLabel("Choose in {a|b}").check();
  const negative = page.locator(".field.idle #negative_prompt");
  await negative.waitFor();
  await page.fill("#guidance", "2");
  await negative.waitFor({ state: "detached" });
  await page.getByRole("link", { name: "Queue", exact: true }).click();
  await page.getByRole("link", { name: "Create", exact: true }).click();
  await page.locator("details[open] #format").waitFor();
  const values = (names) => Promise.all(names.map((name) => page.inputValue(`#${name}`)));
  const names = ["prompt", "width", "height", "format", "guidance"];
  assert.deepEqual(await values(names), ["a fox", "512", "512", "webp", "2"]);
  assert.equal(await page.getByLabel("Choose in {a|b}").isChecked(), true);
  await page.goto(`${house.url}/?prompt=an+owl`);
  assert.deepEqual(await values(names), ["an owl", "", "", "png", ""], "what a link says stands alone");
  await page.getByRole("button", { name: "Start afresh" }).click();
  await page.waitForURL(`${house.url}/`);
  assert.deepEqual(await values(names), ["", "", "", "png", ""]);
});

test("keys lead to pages, pictures and a list of themselves, and can be turned off", async () => {
  await house.send({ prompt: "a fox", num_images: 2 });
  await house.done(2);
  await page.goto(`${house.url}/picture?job=1&n=1`);
  await page.keyboard.press("ArrowRight");
  await page.waitForURL("**/picture?job=1&n=2");
  await page.keyboard.press("s");
  await page.locator(".sides button.star[aria-pressed=true]").waitFor();
  await page.keyboard.press("ArrowLeft");
  await page.waitForURL("**/picture?job=1&n=1");
  await page.keyboard.press("?");
  const list = page.getByRole("dialog", { name: "Keys" });
  await list.waitFor();
  await page.keyboard.press("Escape");
  await list.waitFor({ state: "hidden" });
  await page.keyboard.press("3");
  await page.waitForURL("**/gallery");
  await page.keyboard.press("/");
  await page.keyboard.type("1/s?");
  assert.equal(await page.inputValue("input[type=search]"), "1/s?", "in a field a key is a letter");
  await page.getByRole("button", { name: "Keys" }).click();
  await page.getByLabel("Keys without Ctrl").uncheck();
  await page.getByRole("button", { name: "Close" }).click();
  await page.reload();
  await page.keyboard.press("1");
  await page.keyboard.press("?");
  assert.equal(await list.isVisible(), false);
  assert.ok(page.url().includes("/gallery"), page.url());
});

test("who has ticked it is told when the queue is done, and nobody is asked before", async () => {
  await page.context().grantPermissions(["notifications"]);
  await page.addInitScript(() => {
    window.told = [];
    window.asked = 0;
    window.Notification = class {
      static permission = "granted";
      static async requestPermission() {
        window.asked++;
      }
      constructor(text) {
        window.told.push(text);
      }
    };
  });
  const job = await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
  await running(job);
  await page.goto(house.url + "/system");
  assert.equal(await page.evaluate(() => window.asked), 0);
  await page.getByLabel("Tell me when the queue is done").check();
  await page.locator("header [data-unseen]").waitFor();
  assert.equal(await page.evaluate(() => window.asked), 1);
  await fetch(`${house.url}/api/v1/jobs/${job}/cancel`, { method: "POST" });
  await page.waitForFunction(() => window.told.length > 0);
  assert.deepEqual(await page.evaluate(() => window.told), ["zimaged: the queue is done"]);
  await page.goto(house.url + "/queue");
  assert.equal(await page.getByLabel("Tell me when the queue is done").isChecked(), true);
});

test("everything in the queue is cancelled in two steps", async () => {
  await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
  await house.send({ prompt: ["first", "second"] });
  await page.goto(house.url + "/queue");
  await page.locator("summary", { hasText: "Cancel everything" }).click();
  // What was unfolded stays so while the page is filled anew.
  for (let answers = 0; answers < 2; answers++) await page.waitForResponse("**/live/queue");
  await page.getByRole("button", { name: "Cancel all that is in the queue" }).click();
  await page.waitForURL("**/queue");
  await shows(page, "main", "Nothing waits.");
});

test("a reload in the middle and a second tab show the same step", async () => {
  const job = await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
  await running(job);
  const now = () => house.get("status").then((it) => it.daemon.render.step);
  const second = await page.context().newPage();
  await page.goto(house.url + "/queue");
  await promptly("a page that is loaded anew, and a second tab", async () => {
    const known = await now();
    const began = Date.now();
    await Promise.all([page.reload(), second.goto(house.url + "/system")]);
    for (const tab of [page, second]) assert.ok((await step(tab)) >= known, "no step is lost");
    return Date.now() - began;
  });
  // The second tab goes on by itself, too.
  await promptly("a step", async () => {
    const known = (await now()) + 1;
    await until("the next step", async () => (await now()) >= known);
    return soon(second, "now", "a step", () => until("the second tab shows it", async () => (await step(second)) >= known));
  });
});

test("a daemon that was killed is seen again by a page that stayed open, and nothing is lost", async () => {
  const job = await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
  await page.goto(house.url + "/queue");
  const busy = page.locator("header [aria-busy=true]");
  await promptly("a daemon's death and its next start", async () => {
    await running(job);
    await house.stop("SIGKILL");
    const death = await soon(page, "now", "the daemon's death", () => busy.waitFor());
    await house.start();
    await running(job);
    const start = await soon(page, "now", "the render after a restart", async () => {
      await busy.waitFor({ state: "detached" });
      await shows(page, "header .live", "Rendering");
    });
    return Math.max(death, start);
  });
});

test("what is running is cancelled in one tab and gone in the other", async () => {
  const second = await page.context().newPage();
  await second.goto(house.url + "/queue");
  await promptly("a cancelled job", async () => {
    const job = await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
    await running(job);
    await shows(second, "main", "wolf");
    await page.goto(house.url + "/queue");
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await page.waitForURL("**/queue");
    await until("it is cancelled", async () => (await house.get(`jobs/${job}`)).job.state === "cancelled");
    return soon(second, "queue", "a cancelled job", () => shows(second, "main", "Nothing waits."));
  });
});

test("a job is brought before another by its button", async () => {
  await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100, priority: 9 });
  await house.send({ prompt: "first" });
  const late = await house.send({ prompt: "second" });
  await page.goto(house.url + "/queue");
  const order = () => page.locator("tbody tr td:first-child").allInnerTexts();
  assert.deepEqual(await order(), ["1", "2", "3"]);
  await page.locator("tbody tr").nth(2).getByRole("button", { name: "Sooner" }).click();
  await until("it is before the other", async () => (await order()).join() === "1,3,2");
  assert.equal((await house.get(`jobs/${late}`)).job.priority, 1);
  assert.ok(page.url().endsWith("/queue"), "the button leads back to its page");
});

test("a job is dragged to its place, and the page stays", async () => {
  await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100, priority: 9 });
  for (const prompt of ["first", "second", "third"]) await house.send({ prompt });
  await page.goto(house.url + "/queue");
  const order = async () => (await page.locator("tbody tr td:first-child").allInnerTexts()).join();
  assert.equal(await order(), "1,2,3,4");
  const row = (job) => page.locator(`tr[data-key='${job}']`);
  await page.evaluate(() => (window.same = true));
  await row(4).locator(".grip").dragTo(row(3), { targetPosition: { x: 40, y: 4 } });
  await until("it is between them", async () => (await order()) === "1,2,4,3");
  await row(2).locator(".grip").dragTo(row(3), { targetPosition: { x: 40, y: 30 } });
  await until("it is the last", async () => (await order()) === "1,4,3,2");
  assert.equal(await page.evaluate(() => window.same), true, "it was not loaded anew");
});

test("a star is given in the gallery without leaving it, and found by it", async () => {
  await house.send({ prompt: ["a fox", "an owl"] });
  await house.done(2);
  await page.goto(house.url + "/gallery");
  const star = page.getByRole("button", { name: "Star 1.1" });
  await star.click();
  await page.locator("button.star[aria-pressed=true]").waitFor();
  assert.ok(page.url().endsWith("/gallery"), page.url());
  await page.reload();
  assert.equal(await star.getAttribute("aria-pressed"), "true");
  await page.getByLabel("With a star").check();
  await page.getByRole("button", { name: "Show" }).click();
  await page.waitForURL("**/gallery?*starred=true*");
  assert.equal(await page.locator("ul.grid li[data-key]").count(), 1);
  await page.getByRole("link", { name: "a fox" }).click();
  await star.click();
  await page.locator("button.star[aria-pressed=false]").waitFor();
});

test("pictures that are ticked are downloaded as one file", async () => {
  await house.send({ prompt: "a fox", num_images: 3 });
  await house.done(3);
  await page.goto(house.url + "/gallery");
  await page.getByLabel("Choose 1.2").check();
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download as zip" }).click();
  const file = fs.readFileSync(await (await download).path());
  assert.deepEqual([...file.subarray(0, 4)], [0x50, 0x4b, 3, 4]);
  const names = file.toString("latin1").match(/1\.\d-[^\0]+?\.png/g);
  assert.ok(names?.every((name) => name.startsWith("1.2-")), String(names));
});

test("a pause is told with its reason, and the links of the foot stay on their page", async () => {
  await page.goto(house.url + "/queue");
  await page.fill("input[name=reason]", "games");
  await page.getByRole("button", { name: "Pause" }).click();
  await shows(page, "header", "Paused: games");
  await page.getByRole("link", { name: "中文" }).click();
  await page.locator("html[lang=zh]").waitFor();
  await page.locator("footer a", { hasText: "深色" }).click();
  await page.locator("html[data-scheme=dark]").waitFor();
  assert.ok(page.url().endsWith("/queue"), page.url());
});

test("what is used of a page that keeps itself true stays as it is, and the rest goes on", async () => {
  const job = await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
  await running(job);
  await page.goto(house.url + "/queue");
  await page.locator("input[name=reason]").focus();
  await page.keyboard.type("gam");
  await house.send({ prompt: "second" });
  await soon(page, "queue", "a job that has come", () => shows(page, "main tbody tr:nth-child(2)", "http.toml"));
  await page.keyboard.type("es");
  assert.equal(await page.inputValue("input[name=reason]"), "games");
  assert.equal(await page.evaluate(() => document.activeElement.name), "reason");
  // A button that has the focus stays the button of its job.
  await page.locator("tr[data-key='2'] button", { hasText: "Cancel" }).focus();
  await house.send({ prompt: "third", priority: 5 });
  await page.locator("tbody tr:nth-child(2)[data-key='3']").waitFor();
  const focused = await page.evaluate(() => document.activeElement.closest("tr")?.dataset.key ?? "none");
  assert.ok(["2", "none"].includes(focused), focused);
});

test("two pictures are compared by a slider, and a picture that is chosen fills the form", async () => {
  const job = await house.send({ prompt: "a red fox", num_images: 2, seed: 41 });
  await house.done(2);
  await page.goto(`${house.url}/compare?a=${job}.1&b=${job}.2`);
  await page.fill("#divide", "25");
  const clipped = await page.evaluate(() => document.getElementById("compare").children[1].style.clipPath);
  assert.match(clipped, /25%/);
  const picture = Buffer.from(await (await fetch(`${house.url}/file?job=${job}&n=2`)).arrayBuffer());
  await page.goto(house.url);
  await page.setInputFiles("#picture", { name: "fox.png", mimeType: "image/png", buffer: picture });
  await page.locator("#picture-said", { hasText: "fox.png" }).waitFor();
  assert.equal(await page.inputValue("#prompt"), "a red fox");
  assert.equal(await page.inputValue("#seed"), "42");
});

test("a picture to begin with is kept when it is chosen, and every field is checked while it is filled in", async () => {
  const job = await house.send({ prompt: "a red fox", seed: 41 });
  await house.done(1);
  const picture = Buffer.from(await (await fetch(`${house.url}/file?job=${job}&n=1`)).arrayBuffer());
  await page.goto(house.url);
  await page.fill("#prompt", "a hat");
  await page.locator("summary", { hasText: "Begin with a picture" }).click();
  await page.setInputFiles("#init_image_file", { name: "notes.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await page.locator("#init_image_file[aria-invalid=true]").waitFor();
  // The browser tells of each request that was refused.
  page.complaints.length = 0;
  await page.setInputFiles("#init_image_file", { name: "fox.png", mimeType: "image/png", buffer: picture });
  const kept = page.getByLabel("The picture that was sent").first();
  await kept.waitFor();
  assert.equal(await kept.isChecked(), true);
  await page.fill("#strength", "0.5");
  await page.locator("summary", { hasText: "More" }).click();
  for (const [name, wrong, right] of [
    ["window", "22", "22:00-07:00"],
    ["not_after", "yesterday", "2099-01-01 10:00"],
    ["matrix", "steps = [0]", "steps = [2, 3]"],
  ]) {
    await page.fill(`#${name}`, wrong);
    await page.locator(`#${name}[aria-invalid=true]`).waitFor();
    await page.fill(`#${name}`, right);
    await page.locator(`#${name}[aria-invalid=false]`).waitFor();
  }
  await page.selectOption("#sampler", "res_multistep");
  await page.locator("#advice details pre", { hasText: "res_multistep" }).first().waitFor({ state: "attached" });
  assert.match(await page.locator("#advice").innerText(), /2 pictures/);
  for (const text of await page.locator("#advice pre").allTextContents()) {
    for (const line of ['window = "22:00-07:00"', 'sampler = "res_multistep"', "strength = 0.5", "[matrix]"]) {
      assert.ok(text.includes(line), `${line}: ${text}`);
    }
  }
  await page.fill("#window", "");
  await page.getByRole("button", { name: "Render" }).click();
  await page.waitForURL("**/queue");
  await house.done(3);
  const { renders } = await house.get("renders?limit=1");
  assert.equal(renders[0].strength, 0.5);
  await page.goto(`${house.url}/picture?job=2&n=1`);
  await page.getByRole("link", { name: "Use these settings" }).click();
  await kept.waitFor();
});

test("each fall down the ladder is told", async () => {
  await house.send({ prompt: "fox, oom once" });
  await house.done(1);
  await page.goto(house.url + "/memory");
  assert.equal(await page.locator("table").last().locator("tbody tr").count(), 1);
});

test("a prompt that is a script is a text on every page", async () => {
  await house.send({ prompt: "<script>alert(1)</script><img src=x onerror=alert(1)>" });
  await house.done(1);
  page.on("dialog", () => assert.fail("the prompt's script has run"));
  for (const where of ["/", "/queue", "/gallery", "/picture?job=1&n=1", "/?prompt=<script>alert(1)</script>"]) {
    await page.goto(house.url + where);
    assert.equal(await page.locator("main script:not([src]), img[src=x]").count(), 0, where);
  }
});

test("a page of another site can neither read nor change anything", async () => {
  const evil = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<p>evil</p>"));
  await new Promise((resolve) => evil.listen(0, "127.0.0.1", resolve));
  const stranger = await open(browser);
  await stranger.goto(`http://127.0.0.1:${evil.address().port}/`);
  const read = await stranger.evaluate(async (url) => {
    const tries = [
      fetch(`${url}/api/v1/status`),
      fetch(`${url}/api/v1/queue/pause`, { method: "POST" }),
      fetch(`${url}/queue/pause`, { method: "POST", mode: "no-cors", body: new URLSearchParams("reason=evil") }),
    ];
    const answers = await Promise.allSettled(tries);
    return answers.map((it) => (it.status === "rejected" ? "refused" : it.value.type));
  }, house.url);
  assert.deepEqual(read, ["refused", "refused", "refused"]);
  await stranger.evaluate((url) => {
    document.body.innerHTML = `<form method=post action="${url}/queue/pause"><input name=reason value=evil></form>`;
    document.forms[0].submit();
  }, house.url);
  await stranger.waitForURL(`${house.url}/**`);
  assert.equal((await house.get("status")).paused, null);
  await stranger.context().close();
  evil.close();
});

/** A server that hands what comes for `below` over to the daemon, as a proxy does; what was asked of it is in `asked`. */
async function proxy(below) {
  const server = createServer((from, answer) => {
    server.asked.push(from.url);
    if (!from.url.startsWith(below)) return answer.writeHead(404).end();
    const { method, headers } = from;
    const to = request(house.url + from.url.slice(below.length - 1), { method, headers }, (found) => {
      answer.writeHead(found.statusCode, found.headers);
      found.pipe(answer);
    });
    from.pipe(to.on("error", () => answer.destroy()));
  });
  server.asked = [];
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

test("below a path of a proxy the pages work, and ask for nothing beside it", async (t) => {
  const below = "/below/a/path/";
  const server = await proxy(below);
  t.after(() => server.closeAllConnections() ?? server.close());
  const host = `127.0.0.1:${server.address().port}`;
  await house.stop();
  // The last table of its configuration is `[http]`.
  fs.appendFileSync(path.join(house.folder, "daemon.toml"), `hosts = ["${host}"]\n`);
  await house.start();
  await page.goto(`http://${host}${below}`);
  await page.fill("#prompt", "a fox");
  await shows(page, "#advice", "1 picture");
  await page.getByRole("button", { name: "Render" }).click();
  await page.waitForURL(`**${below}queue`);
  await house.done(1);
  await page.getByRole("link", { name: "Gallery" }).first().click();
  await until("the small copy is shown", () => page.evaluate(() => document.querySelector("ul.grid img")?.naturalWidth > 0));
  await page.getByRole("button", { name: "Star 1.1" }).click();
  await page.locator("button.star[aria-pressed=true]").waitFor();
  await page.getByRole("link", { name: "a fox" }).click();
  await page.waitForURL(`**${below}picture?*`);
  for (const where of ["", "queue", "gallery", "history", "memory", "system", "about", "reference", "picture?job=1&n=1"]) {
    await page.goto(`http://${host}${below}${where}`);
    const away = await page.evaluate((start) => {
      const named = [...document.querySelectorAll("[href], [src], [action]")].map((it) => it.href || it.src || it.action);
      return named.filter((url) => String(url).startsWith(location.origin) && !String(url).startsWith(start));
    }, `http://${host}${below}`);
    assert.deepEqual(away, [], where);
  }
  await page.goto(`http://${host}${below}queue`);
  await page.getByRole("link", { name: "中文" }).click();
  await page.waitForURL(`**${below}queue`);
  await page.waitForResponse(`**${below}live/queue`);
  assert.deepEqual(server.asked.filter((it) => !it.startsWith(below)), []);
});

test("without JavaScript a job is sent, listed, cancelled and its picture found", async () => {
  const plain = await open(browser, { javaScriptEnabled: false });
  await plain.goto(house.url);
  await plain.fill("#prompt", "a fox");
  await plain.fill("#height", "500");
  await plain.getByRole("button", { name: "Render" }).click();
  assert.match(await plain.locator("#advice").innerText(), /height/i);
  assert.equal(await plain.inputValue("#prompt"), "a fox", "what was typed stays");
  await plain.fill("#height", "512");
  const pixel = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNocFAAAAIkAOGrWWInAAAAAElFTkSuQmCC", "base64");
  await plain.locator("summary", { hasText: "Begin with a picture" }).click();
  await plain.setInputFiles("#init_image_file", { name: "pixel.png", mimeType: "image/png", buffer: pixel });
  await plain.getByRole("button", { name: "Render" }).click();
  await plain.waitForURL("**/queue");
  await house.done(1);
  assert.match((await house.get("renders")).renders[0].init_image, /^[0-9a-f]{64}$/);
  await plain.goto(house.url + "/gallery");
  await plain.getByRole("button", { name: "Star 1.1" }).click();
  await plain.waitForURL("**/gallery");
  assert.equal(await plain.locator("button.star").getAttribute("aria-pressed"), "true");
  await plain.fill("input[name=day]", "2020-01-01");
  await plain.getByRole("button", { name: "Show" }).click();
  await plain.waitForURL("**/gallery?*day=2020-01-01*");
  assert.equal(await plain.locator("ul.grid li[data-key]").count(), 0);
  await plain.goto(house.url + "/gallery");
  await plain.getByRole("link", { name: "a fox" }).click();
  assert.match(await plain.locator("main").innerText(), /SHA-256/);
  await house.send({ prompt: "wolf, steps of 1000 ms", steps: 100 });
  await plain.goto(house.url + "/queue");
  await plain.getByRole("button", { name: "Cancel", exact: true }).click();
  await until("it is cancelled", async () => (await house.get("jobs/2")).job.state === "cancelled");
  await plain.context().close();
});
