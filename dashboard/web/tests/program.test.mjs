// The pages of the real program, over a made-up log of a million tasks.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { expectAccessible, expectSound, findChromium, launch, show } from "./browser.mjs";

const TASKS = 1_000_000;
const top = join(dirname(fileURLToPath(import.meta.url)), "../../..");
const built = (name) => ["release", "debug"].map((kind) => join(top, "target", kind, name)).find((path) => existsSync(path));
const program = process.env.RAIN_BIN ?? built("rain");
const maker = built("examples/made_up_log");
const path = await findChromium();
const skip = path && program && maker ? false : "there is no Chromium, rain or made_up_log: `make test-dashboard` makes them";

const VIEWS = [
  ["", "Overview"],
  ["sessions", "Sessions"],
  ["sessions/1", "iris <cross validation>"],
  ["sessions/1/tasks", "iris <cross validation>"],
  ["sessions/1/tasks/700000", "#700000"],
  ["sessions/1/stream", "iris <cross validation>"],
  ["sessions/1/graph?group=main", "iris <cross validation>"],
  ["sessions/1/objects", "iris <cross validation>"],
  ["sessions/2", "a session that fails"],
  ["sessions/2/tasks?state=failed", "a session that fails"],
  ["sessions/4", "<script>"],
  ["sessions/4/tasks", "<script>"],
  ["stream", "Task stream"],
  ["governors", "Governors"],
  ["governors/0", "node0"],
  ["compare?a=1&b=2", "Compare two sessions"],
  ["events", "Events"],
];

describe("rain dashboard", { skip }, () => {
  let browser, directory, process, address, token;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "rain-log-"));
    const made = spawnSync(maker, [directory, String(TASKS)], { encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
    process = spawn(program, ["dashboard", directory, "--http-listen=0"], { stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface({ input: process.stdout })) {
      const found = /^look {2}(http:\S+\/)\?token=(\S+)$/.exec(line);
      if (!found) continue;
      [, address, token] = found;
      break;
    }
    assert.ok(address, "the program says where the page is");
    browser = await launch(path);
  });
  after(async () => {
    await browser?.close();
    if (process && process.exitCode === null) {
      const ended = new Promise((resolve) => process.once("exit", resolve));
      process.kill("SIGINT");
      await ended;
    }
    if (directory) await rm(directory, { recursive: true });
  });

  for (const dark of [false, true]) {
    test(`every view is whole, ${dark ? "dark" : "light"}`, async () => {
      const page = await browser.open({ dark });
      await page.goto(`${address}?token=${token}`);
      assert.ok(!page.url().includes(token));
      for (const [hash, heading] of VIEWS) {
        await show(page, { address }, hash, heading);
        await expectSound(page, { address });
        await expectAccessible(page);
        assert.equal(await page.locator(".failure[role=alert]").count(), 0, hash);
      }
      assert.equal(await page.locator("main img, main script").count(), 0);
      await page.context().close();
    });
  }

  test("the million is counted, found and walked through", async () => {
    const page = await browser.open();
    await page.goto(`${address}?token=${token}`);
    await show(page, { address }, "sessions/1/tasks", "iris <cross validation>");
    await page.getByText("1,000,000 tasks").waitFor();
    await page.getByRole("button", { name: "on →" }).click();
    await page.getByRole("link", { name: "#100", exact: true }).waitFor();
    await page.getByRole("button", { name: "took" }).click();
    await page.getByRole("columnheader", { name: "took" }).and(page.locator("[aria-sort=descending]")).waitFor();
    await show(page, { address }, "sessions/2", "a session that fails");
    assert.match(await page.getByRole("region", { name: "Error of the session" }).innerText(), /ZeroDivisionError/);
    await page.context().close();
  });

  const status = (path, headers) =>
    new Promise((resolve, reject) => {
      request(new URL(path, address), { headers }, (reply) => {
        reply.resume();
        resolve(reply.statusCode);
      })
        .on("error", reject)
        .end();
    });

  test("strangers are refused", async () => {
    const bearer = { authorization: `Bearer ${token}` };
    assert.equal(await status("/api/v1/status", bearer), 200);
    assert.equal(await status("/healthz", {}), 200);
    for (const path of ["/", "/api/v1/status", "/api/v1/live", "/metrics", "/?token=wrong"]) assert.equal(await status(path, {}), 401, path);
    assert.equal(await status("/api/v1/status", { authorization: "Bearer wrong" }), 401);
    assert.equal(await status("/api/v1/status", { ...bearer, host: "rain.example" }), 403);
    assert.equal(await status("/api/v1/status", { ...bearer, origin: "http://rain.example" }), 403);
    const page = await browser.open();
    await page.goto(address);
    assert.match(await page.locator("body").innerText(), /shows a Rain server to its owner/);
    await page.context().close();
  });
});
