// OpenAI's own client for JavaScript against the real daemon: that it speaks its protocol.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import * as path from "node:path";
import { after, before, test } from "node:test";

import { House, KEPT } from "./house.mjs";

const require = createRequire(path.join(KEPT, "package.json"));
const OpenAI = require("openai");
const PNG = [0x89, 0x50, 0x4e, 0x47];

let house, client;

before(async () => {
  house = await House.started();
  client = new OpenAI({ baseURL: `${house.url}/v1`, apiKey: "none" });
});

after(() => house?.end());

const bytes = (picture) => Buffer.from(picture.b64_json, "base64");

test("pictures are generated, with our own keys beside the usual ones", async () => {
  const models = await client.models.list();
  assert.deepEqual(models.data.map((model) => model.id), ["fake"]);
  const made = await client.images.generate({ prompt: "a fox", n: 2, size: "128x64", model: "gpt-image-2", seed: 5, steps: 3 });
  assert.equal(made.data.length, 2);
  for (const picture of made.data) assert.deepEqual([...bytes(picture).subarray(0, 4)], PNG);
  assert.deepEqual(made.zimaged.seeds, [5, 6]);
});

test("a stream ends with the picture", async () => {
  const kinds = [];
  for await (const event of await client.images.generate({ prompt: "a fox", stream: true })) kinds.push(event.type);
  assert.equal(kinds.at(-1), "image_generation.completed");
});

test("a picture is begun with, and what is wrong is told as the client knows it", async () => {
  const made = await client.images.generate({ prompt: "a fox", size: "64x64" });
  const image = await OpenAI.toFile(bytes(made.data[0]), "fox.png", { type: "image/png" });
  const edited = await client.images.edit({ image, prompt: "a hat", size: "64x64" });
  assert.equal(edited.data.length, 1);
  await assert.rejects(client.images.generate({ prompt: "a fox", n: 11 }), (error) => error.status === 400 && error.param === "n");
  await assert.rejects(client.images.generate({ prompt: "a fox, invalid" }), (error) => error.status === 500);
  const failed = await house.get("renders?state=failed");
  assert.equal(failed.renders.length, 1, "asked for once, and not three times");
});
