// A daemon in a folder of its own, and a browser that looks at it.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import * as os from "node:os";
import * as path from "node:path";

export const ROOT = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../..");
/** Where `run.sh` has put the packages, and where screenshots go. */
export const KEPT = path.join(ROOT, "target/browser");
const PROGRAM = process.env.ZIMAGED_PROGRAM ?? path.join(ROOT, "target/debug/zimaged");

const require = createRequire(path.join(KEPT, "package.json"));
const { chromium } = require("playwright-core");
/** The checker's script, to be run inside a page. */
export const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** How long anything may take on a loaded machine before a test gives up. */
export const PATIENCE_MS = 60_000;

/** Waits until `look` finds something. */
export async function until(what, look, patience_ms = PATIENCE_MS) {
  const deadline = Date.now() + patience_ms;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A port that nobody has, below those that the system gives away by itself. */
async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const bound = new Promise((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    if (await bound) {
      await new Promise((resolve) => server.close(resolve));
      return port;
    }
  }
}

export class House {
  /** A running daemon; `more` stands in its configuration. */
  static async started(more = 'engine = "fake"\n[model]\npath = "model"\n[worker]\nbackoff = "10ms"\n') {
    const house = new House();
    house.folder = fs.mkdtempSync(path.join(os.tmpdir(), "zimaged-browser-"));
    house.port = await freePort();
    house.url = `http://127.0.0.1:${house.port}`;
    fs.mkdirSync(path.join(house.folder, "model"));
    const text = `${more}\n[http]\nlisten = "127.0.0.1:${house.port}"\n`;
    fs.writeFileSync(path.join(house.folder, "daemon.toml"), text);
    await house.start();
    return house;
  }

  /** Starts the daemon, and waits until it answers and its model is loaded. */
  async start() {
    const log = fs.openSync(path.join(this.folder, "log"), "a");
    const file = path.join(this.folder, "daemon.toml");
    this.daemon = spawn(PROGRAM, ["--config", file, "run"], { stdio: ["ignore", "ignore", log] });
    fs.closeSync(log);
    const is_ready = () => fetch(`${this.url}/ready`).then((it) => it.ok).catch(() => false);
    await until(`ready: ${this.log()}`, is_ready);
  }

  log() {
    return fs.readFileSync(path.join(this.folder, "log"), "utf8");
  }

  async stop(signal = "SIGTERM") {
    const ended = once(this.daemon, "exit");
    this.daemon.kill(signal);
    await ended;
  }

  async end() {
    await this.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  async get(where) {
    const answer = await fetch(`${this.url}/api/v1/${where}`);
    return answer.json();
  }

  /** Sends a job; its id. */
  async send(job) {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(job);
    const answer = await fetch(`${this.url}/api/v1/jobs`, { method: "POST", headers, body });
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).jobs[0].job;
  }

  /** Has the daemon find so many copies of its first picture in its history, as if they had been made. */
  async multiply(count) {
    await this.stop();
    const script = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
def names(table, *others):
    return ", ".join(row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[1] not in ("id", *others))
renders, attempts = names("renders", "position"), names("attempts", "render_id")
numbers = "WITH RECURSIVE n (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < ?)"
db.execute(f"{numbers} INSERT INTO renders (position, {renders}) SELECT n, {renders} FROM n, renders WHERE id = 1", [int(sys.argv[2])])
db.execute(f"INSERT INTO attempts (render_id, {attempts}) SELECT r.id, a.* FROM (SELECT id FROM renders WHERE id > 1) r, (SELECT {attempts} FROM attempts WHERE id = 1) a")
db.commit()
`;
    const { status, stderr } = spawnSync("python3", ["-c", script, path.join(this.folder, "state/zimaged.sqlite"), String(count)]);
    if (status !== 0) throw new Error(String(stderr));
    await this.start();
  }

  /** Waits until so many pictures are done, with patience for each of them. */
  async done(count, patience_ms = PATIENCE_MS) {
    for (let made = 0; made < count; ) {
      const look = async () => {
        const { renders } = await this.get("renders?state=done&limit=500");
        return renders.length > made && renders.length;
      };
      made = await until(`picture ${made + 1} of ${count}`, look, patience_ms);
    }
  }
}

export function launch() {
  return chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
}

/** A page of its own cookies. What its scripts and its policy complain of is in `page.complaints`. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("console", (message) => {
    // That a daemon is away is no mistake of the page.
    const is_mistake = message.type() === "error" && !message.text().includes("ERR_CONNECTION");
    if (is_mistake) page.complaints.push(message.text());
  });
  return page;
}
