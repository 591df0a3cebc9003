// Each page in a headless Chromium, over a made-up server.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { expectAccessible, expectSound, findChromium, launch, show } from "./browser.mjs";
import { HOSTILE, serve } from "./made_up.mjs";

const path = await findChromium();
const skip = path ? false : "there is no Chromium: `make test-dashboard` installs it where it may";
/** Views, and their headings. */
const VIEWS = [
  ["", "Overview"],
  ["sessions", "Sessions"],
  ["sessions/3", "iris cross validation"],
  ["sessions/2", "iris, with fold 3 broken"],
  ["sessions/2/tasks?state=failed", "iris, with fold 3 broken"],
  ["sessions/2/tasks/5198", "#5198"],
  ["sessions/3/tasks/12000", "#12000"],
  ["sessions/3/graph", "iris cross validation"],
  ["sessions/3/objects", "iris cross validation"],
  ["sessions/4", "a million"],
  ["sessions/4/tasks", "a million"],
  ["sessions/4/stream", "a million"],
  ["sessions/4/graph?group=main/training/fold1", "a million"],
  ["stream", "Task stream"],
  ["governors", "Governors"],
  ["governors/0", "node1.cluster"],
  ["governors/4", "node9.cluster"],
  ["compare?a=1&b=2", "Compare two sessions"],
  ["events", "Events"],
];

describe("pages", { skip }, () => {
  let browser, server;
  before(async () => {
    browser = await launch(path);
    server = await serve("busy");
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  for (const [dark, width] of [[false, 1360], [true, 1360], [false, 390], [true, 390]]) {
    test(`every view is whole, ${dark ? "dark" : "light"}, ${width} pixels wide`, async () => {
      const page = await browser.open({ dark, width });
      for (const [hash, heading] of VIEWS) {
        await show(page, server, hash, heading);
        await expectSound(page, server);
        await expectAccessible(page);
      }
      assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), dark ? "dark" : "light");
      await page.context().close();
    });
  }

  test("the overview says what goes on", async () => {
    const page = await browser.open();
    await show(page, server, "", "Overview");
    const figure = (label) => page.locator(".figure", { hasText: label }).locator("dd").innerText();
    assert.equal(await figure("Running"), "28 on 16 cpus");
    assert.equal(await figure("Failed"), "3 7,800 cancelled");
    assert.match(await figure("Time left"), /3 min 12 s/);
    await page.getByText("node4").waitFor();
    assert.match(await page.locator(".rows").innerText(), /fold 3 has no samples of class 2/);
    await page.context().close();
  });

  test("a failed session leads to its task, its traceback and its attempts", async () => {
    const page = await browser.open();
    await show(page, server, "sessions/2", "iris, with fold 3 broken");
    assert.match(await page.getByRole("region", { name: "Error of the session" }).innerText(), /Traceback/);
    await page.getByRole("link", { name: "failed tasks" }).click();
    await page.getByRole("link", { name: "#5198" }).click();
    assert.match(await page.getByRole("region", { name: "Error", exact: true }).innerText(), /models\/svm\.py", line 121/);
    assert.equal(await page.getByRole("region", { name: "stderr" }).innerText(), "WARNING: reaching max number of iterations\n");
    assert.equal(await page.getByRole("region", { name: "Attempts" }).locator("tr").count(), 2);
    await page.goBack();
    await page.getByRole("region", { name: "Tasks" }).waitFor();
    await page.context().close();
  });

  test("a waiting task says what it waits for", async () => {
    const page = await browser.open();
    await show(page, server, "sessions/3/tasks/12000", "#12000");
    assert.match(await page.locator(".card", { hasText: "Why it does not run" }).innerText(), /waits for #11960, #11980/);
    await page.context().close();
  });

  test("filters of the task table are part of the address and asked of the server", async () => {
    const page = await browser.open();
    await show(page, server, "sessions/4/tasks", "a million");
    await page.getByRole("button", { name: "running" }).click();
    await page.getByRole("link", { name: "#700000" }).waitFor();
    assert.match(page.url(), /state=running/);
    await page.keyboard.press("/");
    await page.keyboard.type("training/");
    await page.getByText("No task is like that.").or(page.getByRole("region", { name: "Tasks" })).waitFor();
    await page.waitForURL(/name=training/);
    await page.getByRole("button", { name: "running" }).click();
    await page.getByRole("searchbox").fill("");
    await page.getByRole("button", { name: "took" }).click();
    await page.waitForURL(/sort=-seconds/);
    assert.ok(server.asked.some((line) => line.includes("sessions/4/tasks?") && line.includes("sort=-seconds")));
    await page.getByRole("button", { name: "on →" }).click();
    await page.getByText("page 2").waitFor();
    await page.getByRole("link", { name: "#100", exact: true }).waitFor();
    await page.context().close();
  });

  test("groups of names close and open", async () => {
    const page = await browser.open();
    await show(page, server, "sessions/3", "iris cross validation");
    const fold = page.getByRole("link", { name: "fold2" });
    assert.equal(await fold.count(), 2);
    await page.getByRole("button", { name: "Parts of main/training" }).click();
    assert.equal(await fold.count(), 1);
    await page.getByRole("button", { name: "Parts of main", exact: true }).click();
    assert.equal(await fold.count(), 0);
    await page.context().close();
  });

  test("the stream zooms with the keyboard, and a bar leads to its task", async () => {
    const page = await browser.open();
    await show(page, server, "stream", "Task stream");
    const canvas = page.locator(".stream canvas");
    await canvas.focus();
    const spans = () => server.asked.filter((line) => line.includes("/stream?")).map((line) => {
      const query = new URLSearchParams(line.slice(line.indexOf("?")));
      return Number(query.get("to")) - Number(query.get("from"));
    });
    for (let step = 0; step < 4; step++) await page.keyboard.press("w");
    // Twice of what is seen is asked for: 60 s, four times closer by 0.6.
    const wanted = 2 * 60 * 0.6 ** 4;
    await expectSoon(() => spans().some((span) => Math.abs(span - wanted) < 0.01));
    const box = await canvas.boundingBox();
    await page.mouse.move(box.x + 400, box.y + 60);
    for (let x = 120; x < box.width && !(await page.locator(".tip").isVisible()); x += 7) await page.mouse.move(box.x + x, box.y + 54);
    assert.match(await page.locator(".tip").innerText(), /governor 0, slot 0/);
    await page.mouse.down();
    await page.mouse.up();
    await page.waitForURL(/#\/sessions\/1\/tasks\/\d+/);
    await page.context().close();
  });

  test("the graph opens a group into its parts", async () => {
    const page = await browser.open();
    await show(page, server, "sessions/3/graph", "iris cross validation");
    await page.getByText("3 groups · 2 edges").waitFor();
    await page.getByText("The groups as a list").click();
    await page.getByRole("region", { name: "Nodes" }).getByRole("link", { name: "main" }).click();
    await page.getByText("2 groups · 1 edge").waitFor();
    await page.context().close();
  });

  test("a million tasks take less than 200 MB", async () => {
    const page = await browser.open();
    for (const hash of ["sessions/4", "sessions/4/tasks", "sessions/4/stream", "sessions/4/graph?group=main/training/fold1", "sessions/4/objects"]) {
      await show(page, server, hash, "a million");
    }
    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable");
    await session.send("HeapProfiler.collectGarbage");
    const { metrics } = await session.send("Performance.getMetrics");
    const used = metrics.find((one) => one.name === "JSHeapUsedSize").value;
    assert.ok(used < 200e6, `${used} bytes`);
    await page.context().close();
  });

  test("keys go to pages, turn the theme and tell of themselves", async () => {
    const page = await browser.open();
    await show(page, server, "", "Overview");
    await page.keyboard.press("4");
    await page.getByRole("heading", { level: 1, name: "Governors" }).waitFor();
    await page.keyboard.press("t");
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    await page.keyboard.press("?");
    await page.getByRole("heading", { name: "Keys" }).waitFor();
    await expectAccessible(page);
    await page.keyboard.press("Escape");
    await page.getByRole("heading", { name: "Keys" }).waitFor({ state: "hidden" });
    await page.context().close();
  });
});

/** Serves `scenario` while `body` runs. */
async function withServer(scenario, body) {
  const server = await serve(scenario);
  try {
    await body(server);
  } finally {
    await server.stop();
  }
}

/** Waits until `holds` does; the bound is against hanging only. */
async function expectSoon(holds) {
  const end = Date.now() + 30_000;
  while (!holds()) {
    assert.ok(Date.now() < end, String(holds));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("other servers", { skip }, () => {
  let browser;
  before(async () => void (browser = await launch(path)));
  after(async () => browser?.close());

  test("without a session every page says so", () =>
    withServer("none", async (server) => {
      const page = await browser.open();
      for (const [hash, heading, text] of [
        ["", "Overview", "No session yet."],
        ["sessions", "Sessions", "No session yet."],
        ["stream", "Task stream", "No task ran in this time."],
        ["governors", "Governors", "No governor: tasks wait until one joins."],
        ["compare", "Compare two sessions", "There is nothing to compare yet"],
        ["events", "Events", "No such event."],
      ]) {
        await show(page, server, hash, heading);
        await page.getByText(text).first().waitFor();
        await expectSound(page, server);
        await expectAccessible(page);
      }
      await page.context().close();
    }));

  test("what does not exist is said", () =>
    withServer("busy", async (server) => {
      const page = await browser.open();
      await page.goto(`${server.address}#/sessions/99`);
      await page.getByText("there is no such thing").waitFor();
      await page.goto(`${server.address}#/sessions/1/tasks/99999`);
      await page.getByText("there is no such thing").waitFor();
      for (const hash of ["nowhere", "sessions/x", "sessions/1/nothing", "%", "sessions/%ff"]) {
        await page.goto(`${server.address}#/${hash}`);
        await page.getByText("There is no such page.").waitFor();
      }
      await page.context().close();
    }));

  test("names are text, whatever is in them", () =>
    withServer("hostile", async (server) => {
      for (const width of [1360, 390]) {
        const page = await browser.open({ width });
        const views = ["", "sessions", "stream", "governors", "governors/0", "compare?a=5&b=6", "events", "sessions/6"];
        for (let session = 5; session < 5 + HOSTILE.length; session++) views.push(`sessions/${session}`);
        for (const view of ["tasks", "tasks/3", "tasks/4", "tasks/398", "stream", "graph", "objects"]) views.push(`sessions/6/${view}`);
        for (const hash of views) {
          await page.goto(`${server.address}#/${hash}`);
          await page.getByRole("heading", { level: 1 }).waitFor();
          await page.locator(".loading").waitFor({ state: "detached" });
          await expectSound(page, server);
          assert.equal(await page.evaluate(() => window.broken), undefined);
          assert.equal(await page.locator("main img, main script").count(), 0);
          const controls = await page.evaluate(() => /[\u0000-\u0008\u001b\u202a-\u202e]/.test(document.body.innerText));
          assert.ok(!controls, `${hash} shows control characters`);
        }
        await page.goto(`${server.address}#/sessions/6/tasks`);
        await page.getByRole("link", { name: HOSTILE[0] }).first().waitFor();
        await page.context().close();
      }
    }));

  test("a server that has gone is said, and found again", () =>
    withServer("busy", async (server) => {
      const page = await browser.open();
      await show(page, server, "", "Overview");
      await server.stop();
      await page.getByRole("alert").getByText("The server does not answer.").waitFor();
      assert.match(await page.getByRole("alert").innerText(), /What you see is of \d\d:\d\d:\d\d/);
      assert.match(await page.locator(".figures").innerText(), /726\.3K/);
      await expectAccessible(page);
      const again = await serve("busy", server.port);
      try {
        await page.getByRole("alert").waitFor({ state: "detached" });
      } finally {
        await page.context().close();
        await again.stop();
      }
    }));

  for (const [scenario, said] of [["finished", "finished"], ["broken", "broken off"]]) {
    test(`a ${scenario} log is shown as one`, () =>
      withServer(scenario, async (server) => {
        const page = await browser.open();
        await show(page, server, "", "Overview");
        await page.locator(".server").getByText(said).waitFor();
        assert.equal(await page.getByRole("note").count(), scenario === "broken" ? 1 : 0);
        await page.getByText("Ran for").waitFor();
        await show(page, server, "stream", "Task stream");
        assert.equal(await page.getByRole("button", { name: "10 min" }).count(), 0);
        await show(page, server, "sessions/3", "iris cross validation");
        assert.equal(await page.getByRole("button", { name: "Close", exact: true }).count(), 0);
        await expectSound(page, server);
        await page.context().close();
      }));
  }

  test("nothing is asked while nobody looks", () =>
    withServer("finished", async (server) => {
      const page = await browser.open();
      await show(page, server, "", "Overview");
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
        document.dispatchEvent(new Event("visibilitychange"));
      });
      const lives = () => server.asked.filter((line) => line.includes("/live")).length;
      const before = lives();
      await page.evaluate(() => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => false });
        document.dispatchEvent(new Event("visibilitychange"));
      });
      await expectSoon(() => lives() === before + 1);
      await page.context().close();
    }));
});
