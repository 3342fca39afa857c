// The pages' scripts against the types in their comments. Users need no compiler: the scripts are sent as they are written.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { test } from "node:test";

import { KEPT, ROOT } from "./house.mjs";

const PAGE = path.join(ROOT, "src/http/page");
const OPTIONS = ["--allowJs", "--checkJs", "--noEmit", "--strict", "--noUnusedLocals", "--target", "es2022", "--module", "es2022"];

test("the scripts hold to their types", () => {
  const scripts = fs.readdirSync(PAGE).filter((name) => name.endsWith(".js"));
  assert.ok(scripts.length > 5, String(scripts));
  for (const name of scripts) assert.match(fs.readFileSync(path.join(PAGE, name), "utf8"), /^\/\/ @ts-check\n/, name);
  const compiler = path.join(KEPT, "node_modules/typescript/bin/tsc");
  // Browsers load each as a module, also those that take nothing from another.
  const all = [compiler, ...OPTIONS, "--moduleDetection", "force", ...scripts.map((name) => path.join(PAGE, name))];
  const { status, stdout, stderr } = spawnSync(process.execPath, all, { encoding: "utf8" });
  assert.equal(status, 0, stdout + stderr);
});
