// A headless Chromium, and what every page must hold in it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // Root has no sandbox; pages come from this machine only.
  ...(process.getuid() === 0 ? ["--no-sandbox"] : []),
];

/** Where Chromium is, or null. */
export async function findChromium() {
  for (const path of [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]) {
    if (path && (await readFile(path).then(() => true, () => false))) return path;
  }
  return null;
}

/** Starts a browser with a profile that goes with it. */
export async function launch(executablePath) {
  const profile = await mkdtemp(join(tmpdir(), "rain-chromium-"));
  const browser = await chromium.launch({ executablePath, args: [...FLAGS, `--disk-cache-dir=${profile}`] });
  return {
    /** A page of its own window; `faults` gets what goes wrong on it, `hosts` whom it asked. */
    async open({ width = 1360, height = 860, dark = false } = {}) {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light" });
      context.setDefaultTimeout(20_000);
      const page = await context.newPage();
      page.faults = [];
      page.hosts = new Set();
      page.on("pageerror", (error) => page.faults.push(`error: ${error.message}`));
      page.on("console", (message) => {
        if (message.type() === "error" || /Content Security Policy/.test(message.text())) page.faults.push(message.text());
      });
      page.on("dialog", (dialog) => {
        page.faults.push(`dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on("request", (request) => page.hosts.add(new URL(request.url()).host));
      return page;
    },
    async close() {
      await browser.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** Goes to a view and waits until it shows something. */
export async function show(page, server, hash, heading) {
  await page.goto(`${server.address}#/${hash}`);
  await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  await page.locator(".loading").waitFor({ state: "detached" });
}

/** Fails unless the page is whole: no error, no other host, not wider than the screen. */
export async function expectSound(page, server) {
  assert.deepEqual(page.faults, []);
  assert.deepEqual([...page.hosts], [new URL(server.address).host]);
  const [wide, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= screen, `${page.url()} is ${wide} pixels wide on a screen of ${screen}`);
}

/** Fails when axe finds something that keeps people from using the page. */
export async function expectAccessible(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const said = found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html).join(" | ")}`);
  assert.deepEqual(said, [], page.url());
}
