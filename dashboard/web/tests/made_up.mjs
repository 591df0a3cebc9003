// A made-up server: the contract of /api/v1 over data that follows from numbers, so that a million tasks cost no memory.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const STATIC = join(dirname(fileURLToPath(import.meta.url)), "../../static");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const CSP = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const BEGIN = 1764312000;

/** Names that somebody may give; the page shows them as text. */
export const HOSTILE = [
  `<script>window.broken=1</script><img src=x onerror="window.broken=1">`,
  `'; DROP TABLE tasks; --`,
  "\u001b[2J\u001b[31mred\u0007",
  "\u202eesrever\u202c right to left \u05e9\u05dc\u05d5\u05dd",
  "x".repeat(10_000),
  "javascript:window.broken=1",
  "a/../../b//c/",
  "",
];

const counts = (given = {}) => ({ waiting: 0, ready: 0, running: 0, finished: 0, failed: 0, cancelled: 0, lost: 0, ...given });
const add = (all) => all.reduce((sum, one) => Object.fromEntries(Object.keys(sum).map((key) => [key, sum[key] + one[key]])), counts());

/** A number in 0..1 that follows from `seed`. */
function draw(seed) {
  let value = (seed + 0x9e3779b9) | 0;
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return ((value ^ (value >>> 16)) >>> 0) / 2 ** 32;
}

const FOLDS = 4;
const GROUPS = [
  ["prepare/load", "run", 0.4],
  ["prepare/scale", "py/scale", 0.8],
  ...Array.from({ length: FOLDS }, (_, fold) => [`main/training/fold${fold}`, "py/train", 4]),
  ...Array.from({ length: FOLDS }, (_, fold) => [`main/testing/fold${fold}`, "py/test", 1.2]),
  ["report", "buildin/concat", 0.1],
];
const EDGES = [
  [0, 1],
  ...Array.from({ length: FOLDS }, (_, fold) => [1, 2 + fold]),
  ...Array.from({ length: FOLDS }, (_, fold) => [2 + fold, 2 + FOLDS + fold]),
  ...Array.from({ length: FOLDS }, (_, fold) => [2 + FOLDS + fold, 2 + 2 * FOLDS]),
];

const ERROR = `RuntimeError: fold 3 has no samples of class 2

Traceback (most recent call last):
  File "train.py", line 48, in train
    model.fit(samples, labels)
  File "models/svm.py", line 121, in fit
    raise RuntimeError(f"fold {fold} has no samples of class {missing}")
RuntimeError: fold 3 has no samples of class 2`;

/** One session: `size` tasks, the part `done` of which is over. */
class Session {
  constructor(id, name, size, done, state, begun) {
    Object.assign(this, { id, name, size, done, state, begun });
    this.over = Math.floor(size * done);
    this.running = state === "open" ? Math.min(14, size - this.over) : 0;
    this.failed = state === "failed" ? 3 : 0;
    this.took = state === "open" ? null : 240 + draw(id) * 60;
  }

  nameOf(task) {
    return this.names ? this.names[task % this.names.length] : this.groupOf(task)[0];
  }

  groupOf(task) {
    return GROUPS[Math.min(GROUPS.length - 1, Math.floor((task * GROUPS.length) / this.size))];
  }

  stateOf(task) {
    if (this.failed && task >= this.over - this.failed && task < this.over) return "failed";
    if (task < this.over) return "finished";
    if (task < this.over + this.running) return "running";
    if (this.state === "failed") return "cancelled";
    return task < this.over + this.running + this.size * 0.05 ? "ready" : "waiting";
  }

  counts(from = 0, to = this.size) {
    const inside = (low, high) => Math.max(0, Math.min(to, high) - Math.max(from, low));
    const end = this.over + this.running;
    const ready = Math.min(this.size, Math.ceil(end + this.size * 0.05));
    const rest = this.state === "failed" ? { cancelled: inside(end, this.size) } : { ready: inside(end, ready), waiting: inside(ready, this.size) };
    return counts({ finished: inside(0, this.over - this.failed), failed: inside(this.over - this.failed, this.over), running: inside(this.over, end), ...rest });
  }

  row(task) {
    const [, kind, mean] = this.groupOf(task);
    const state = this.stateOf(task);
    const ran = ["finished", "failed", "running"].includes(state);
    const seconds = mean * (0.5 + draw(task + this.id * 7919));
    const started = this.begun + 5 + (task / this.size) * 200;
    return {
      id: task,
      name: this.nameOf(task),
      kind,
      state,
      governor: ran ? task % 4 : null,
      slot: ran ? Math.floor(task / 4) % 4 : null,
      ready: state === "waiting" ? null : started - 0.8,
      assigned: ran ? started - 0.3 : null,
      started: ran ? started : null,
      finished: ran && state !== "running" ? started + seconds : null,
      seconds: ran && state !== "running" ? seconds : null,
      attempts: state === "failed" ? 2 : ran ? 1 : 0,
      error_line: state === "failed" ? ERROR.split("\n")[0] : null,
    };
  }

  brief() {
    const all = this.counts();
    const bad = this.state === "failed";
    return {
      id: this.id,
      name: this.name,
      state: this.state,
      created: this.begun,
      closed: this.took === null ? null : this.begun + this.took,
      tasks: all,
      seconds: all.finished * 2.1,
      bytes: all.finished * 40_000,
      error: bad ? `task ${this.over - 1} (main/training/fold3) has failed: ${ERROR.split("\n")[0]}` : null,
    };
  }

  whole() {
    const groups = new Map();
    const put = (name, tasks, seconds) => {
      const parts = name.split("/");
      for (let depth = 1; depth <= parts.length; depth++) {
        const prefix = parts.slice(0, depth).join("/");
        const before = groups.get(prefix) ?? { name: prefix, depth, tasks: counts(), seconds: 0 };
        groups.set(prefix, { ...before, tasks: add([before.tasks, tasks]), seconds: before.seconds + seconds });
      }
    };
    if (this.names) this.names.forEach((name, index) => put(name, counts({ finished: 3 + index }), 2 + index));
    else {
      GROUPS.forEach(([name, , mean], index) => {
        const [from, to] = [index, index + 1].map((at) => Math.ceil((at * this.size) / GROUPS.length));
        const tasks = this.counts(from, to);
        put(name, tasks, tasks.finished * mean * (1 + 0.3 * (draw(this.id * 31 + index) - 0.5)));
      });
    }
    const listed = [...groups.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    const error_text = this.state === "failed" ? `task ${this.over - 1} (main/training/fold3) has failed: ${ERROR}` : null;
    return { ...this.brief(), error_text, groups: listed, groups_left_out: 0 };
  }

  task(id) {
    const row = this.row(id);
    const bad = row.state === "failed";
    const waits = row.state === "waiting";
    return {
      ...row,
      session: this.id,
      spec: { kind: row.kind, cpus: 1, retries: 1, configuration: "svm-train -c 4 -g 0.1 {samples} {model}" },
      cpus: 1,
      info: row.state === "finished" ? { accuracy: 0.9733, host: "node2" } : null,
      inputs: id ? [{ task: id - 1, object: id - 1, label: "samples", size: 1_400_000 }, { task: null, object: 900_000, label: this.names ? HOSTILE[0] : "labels", size: 12_000 }] : [],
      outputs: [{ object: id, label: "model", size: row.state === "finished" ? 40_960 : null, state: row.state === "finished" ? "made" : "none", governors: row.state === "finished" ? [id % 4] : [] }],
      error: bad ? ERROR : null,
      debug: null,
      stdout: row.state === "finished" ? "optimization finished, #iter = 403\nnu = 0.22\n" : null,
      stderr: bad ? "\u001b[33mWARNING\u001b[0m: reaching max number of iterations\n" : null,
      waits_for: waits ? [Math.max(0, id - 40), Math.max(1, id - 20)] : [],
      waits_for_count: waits ? 2 : 0,
      consumers: [id + 1],
      history: bad ? [1, 2].map((attempt) => ({ attempt, governor: attempt, slot: 0, started: row.started - 3 * (2 - attempt), finished: row.started + 1, state: "failed", error: ERROR.split("\n")[0] })) : [],
    };
  }

  tasks(query) {
    const limit = Number(query.get("limit") ?? 100);
    const states = new Set((query.get("state") ?? "").split(",").filter(Boolean));
    const name = query.get("name") ?? "";
    const fits = (row) => (!states.size || states.has(row.state)) && (!name || (name.endsWith("/") ? row.name.startsWith(name) : row.name.includes(name)));
    const found = [];
    let at = Number(query.get("after") ?? 0);
    // Only a failed task lies far behind.
    if (states.size === 1 && states.has("failed")) at = Math.max(at, this.over - this.failed);
    for (; at < this.size && found.length < limit; at++) {
      const row = this.row(at);
      if (fits(row)) found.push(row);
    }
    const total = states.size || name ? null : this.size;
    return { tasks: found, total, next: at < this.size ? String(at) : null };
  }

  graph(group) {
    if (group && GROUPS.some(([name]) => name === group)) {
      const index = GROUPS.findIndex(([name]) => name === group);
      const from = Math.ceil((index * this.size) / GROUPS.length);
      const to = Math.min(from + 2000, Math.ceil(((index + 1) * this.size) / GROUPS.length));
      const nodes = [];
      const edges = [];
      for (let task = from; task < to; task++) {
        nodes.push({ id: task, name: this.nameOf(task), count: 1, states: counts({ [this.stateOf(task)]: 1 }), seconds: 1, leaf: true });
        if (task >= from + 12) edges.push({ from: task - 12 + Math.floor(draw(task) * 3), to: task, count: 1 });
      }
      return { level: "tasks", group, nodes, edges, left_out: Math.max(0, Math.floor(this.size / GROUPS.length) - 2000) };
    }
    const prefix = group ? group + "/" : "";
    const depth = prefix.split("/").length;
    const listed = this.whole().groups.filter((one) => one.name.startsWith(prefix) && one.depth === depth);
    const nodes = listed.map((one, id) => ({ id, name: one.name, count: Object.values(one.tasks).reduce((a, b) => a + b), states: one.tasks, seconds: one.seconds, leaf: false }));
    const place = (name) => nodes.findIndex((node) => name === node.name || name.startsWith(node.name + "/"));
    const edges = new Map();
    for (const [a, b] of this.names ? [] : EDGES) {
      const [from, to] = [place(GROUPS[a][0]), place(GROUPS[b][0])];
      if (from >= 0 && to >= 0 && from !== to) edges.set(`${from} ${to}`, { from, to, count: (edges.get(`${from} ${to}`)?.count ?? 0) + 100 });
    }
    return { level: "groups", group: group ?? "", nodes, edges: [...edges.values()], left_out: 0 };
  }
}

function governors(scenario) {
  if (scenario === "none") return [];
  const made = Array.from({ length: 4 }, (_, id) => ({
    id,
    host: scenario === "hostile" ? HOSTILE[id] : `node${id + 1}.cluster`,
    state: "alive",
    cpus: 4,
    joined: BEGIN + id,
    lost: null,
    reason: null,
    running: 4 - (id === 3 ? 2 : 0),
    load: 0.95 - id * 0.2,
    memory: (2 + id * 1.6) * 2 ** 30,
    memory_budget: 7.5 * 2 ** 30,
    net_in: 4e6 * id,
    net_out: 9e6 / (id + 1),
    spilled: id === 3 ? 3e8 : 0,
    tasks: 120_000 + id,
    executors: 4,
    topology: id === 0 ? { packages: 1, cores: 4, caches: ["L3 16 MiB", "L2 1 MiB x4"] } : null,
  }));
  made.push({ ...made[1], id: 4, host: "node9.cluster", state: "lost", running: 0, load: null, memory: null, net_in: null, net_out: null, lost: BEGIN + 80, reason: "nothing was heard of it for 60 s" });
  return made;
}

function sessionsOf(scenario) {
  if (scenario === "none") return [];
  const made = [
    new Session(1, "iris, yesterday", 13_000, 1, "closed", BEGIN),
    new Session(2, "iris, with fold 3 broken", 13_000, 0.4, "failed", BEGIN + 20),
    new Session(3, "iris cross validation", 13_000, 0.62, "open", BEGIN + 40),
    new Session(4, "a million", 1_000_000, 0.7, "open", BEGIN + 60),
  ];
  if (scenario === "hostile") {
    HOSTILE.forEach((name, index) => made.push(Object.assign(new Session(5 + index, name, 400, 1, index === 1 ? "failed" : "closed", BEGIN), { names: HOSTILE })));
  }
  return made;
}

function stream(scenario, query, sessions, now) {
  const from = Number(query.get("from") ?? BEGIN);
  const to = Number(query.get("to") ?? now);
  const width = Number(query.get("width") ?? 1200);
  const names = scenario === "hostile" ? HOSTILE : GROUPS.map(([name]) => name);
  const scale = width / (to - from);
  const slots = [];
  const session = Number(query.get("session") ?? sessions[0]?.id ?? 1);
  for (let governor = 0; sessions.length && governor < 4; governor++) {
    for (let slot = 0; slot < 4; slot++) {
      const bars = [];
      const mean = 2.4;
      let step = Math.floor((Math.max(from, BEGIN) - BEGIN) / mean);
      for (let at = BEGIN + step * mean; at < Math.min(to, now); step++, at = BEGIN + step * mean) {
        const seed = governor * 100_003 + slot * 1009 + step;
        const long = mean * (0.35 + 0.63 * draw(seed));
        const first = Math.max(0, Math.floor((at - from) * scale));
        const last = Math.min(width - 1, Math.ceil((at + long - from) * scale) - 1);
        if (last < 0 || last < first) continue;
        const before = bars.at(-1);
        const phase = Math.min(names.length - 1, Math.floor((((at - BEGIN) % 240) / 240) * names.length + draw(seed + 7) * 1.5));
        const state = at + long > now ? 1 : draw(seed + 3) > 0.992 ? 2 : 0;
        if (before && before[1] >= first) before[4]++;
        else bars.push([first, last, phase, state, 1, session, step * 16 + governor * 4 + slot, 100]);
      }
      slots.push({ governor, slot, bars });
    }
  }
  const transfers = slots.length ? [0, 1, 2, 3].map((governor) => ({ governor, bars: Array.from({ length: 14 }, (_, index) => [Math.floor(((index + draw(governor * 50 + index)) * width) / 15), Math.floor(((index + draw(governor * 50 + index)) * width) / 15) + 5, Math.floor(1e7 * draw(index + governor)), 3]) })) : [];
  return { from, to, width, names, slots, transfers, folded: 0 };
}

/** Serves `scenario` ("busy", "none", "finished", "broken", "hostile") on a free port, or `port`. */
export function serve(scenario = "busy", port = 0) {
  const sessions = sessionsOf(scenario);
  const asked = [];
  const streams = new Set();
  const live = !["finished", "broken"].includes(scenario);
  const begun = Date.now() / 1000;
  const now = () => BEGIN + 300 + (live ? Date.now() / 1000 - begun : 0);
  const status = () => {
    const tasks = sessions.length ? add(sessions.map((one) => one.counts())) : counts();
    const number = (state) => sessions.filter((one) => one.state === state).length;
    const alive = governors(scenario).filter((one) => one.state === "alive");
    return {
      time: now(),
      sequence: live ? Math.floor(now() * 4) : 77,
      state: live ? "running" : scenario,
      server: { name: null, version: "0.1.0", started: BEGIN, ended: scenario === "finished" ? BEGIN + 300 : null, address: "127.0.0.1:7210" },
      governors: alive.length,
      cpus: alive.length * 4,
      tasks,
      sessions: { open: number("open"), failed: number("failed"), closed: number("closed") },
      rate: sessions.length && live ? 1840.5 : 0,
      time_left: sessions.length && live ? 192 : null,
      log: { path: "rain-log/events.rain", bytes: 48_000_000, dropped_samples: scenario === "broken" ? 12 : 0, folded_tasks: 0, error: null },
      actions: live ? ["close", "cancel"] : [],
    };
  };
  const find = (id) => sessions.find((one) => one.id === Number(id));
  const state = (session) => ({ status: status(), governors: governors(scenario), session: session ? (find(session)?.whole() ?? null) : null, resync: false });

  const routes = [
    [/^status$/, () => status()],
    [/^sessions$/, (query) => {
      const wanted = query.get("state");
      const listed = sessions.map((one) => one.brief()).reverse().filter((one) => !wanted || one.state === wanted);
      return { sessions: listed.slice(0, Number(query.get("limit") ?? 100)), next: null };
    }],
    [/^sessions\/(\d+)$/, (_, id) => find(id)?.whole()],
    [/^sessions\/(\d+)\/tasks$/, (query, id) => find(id)?.tasks(query)],
    [/^sessions\/(\d+)\/tasks\/(\d+)$/, (_, id, task) => (Number(task) < (find(id)?.size ?? 0) ? find(id).task(Number(task)) : undefined)],
    [/^sessions\/(\d+)\/graph$/, (query, id) => find(id)?.graph(query.get("group"))],
    [/^sessions\/(\d+)\/objects$/, (_, id) => find(id) && {
      objects: Array.from({ length: 40 }, (_, index) => ({ id: index, task: index === 3 ? null : index, label: find(id).names ? HOSTILE[index % HOSTILE.length] : "model", size: Math.floor(8e7 / (index + 1)), state: index % 7 === 6 ? "dropped" : "made", governors: [index % 4], made: BEGIN + index, dropped: index % 7 === 6 ? BEGIN + 90 : null })),
      next: null,
    }],
    [/^governors$/, () => ({ governors: governors(scenario) })],
    [/^governors\/(\d+)\/samples$/, (_, id) => {
      const times = Array.from({ length: 150 }, (_, index) => BEGIN + index * 2);
      const wave = (shift, size) => times.map((_, index) => size * (0.5 + 0.4 * Math.sin(index / 9 + shift) + 0.1 * draw(index)));
      return { times, load: wave(Number(id), 1), memory: wave(1, 6e9), net_in: wave(2, 3e7), net_out: wave(3, 2e7), disk: wave(5, 8e7), running: wave(0, 4) };
    }],
    [/^stream$/, (query) => stream(scenario, query, sessions, now())],
    [/^throughput$/, (query) => {
      const points = Number(query.get("points") ?? 300);
      const from = Number(query.get("from") ?? BEGIN);
      const step = Math.max(0.001, (now() - from) / points);
      const times = Array.from({ length: sessions.length ? points : 0 }, (_, index) => from + index * step);
      const rate = (index) => Math.max(0, 1500 + 700 * Math.sin(index / 21) + 500 * draw(index));
      return { times, step, finished: times.map((_, index) => Math.round(rate(index) * step)), failed: times.map((_, index) => (index % 61 === 60 ? 2 : 0)), running: times.map((_, index) => 12 + Math.round(4 * draw(index + 5))) };
    }],
    [/^events$/, (query) => ({
      events: Array.from({ length: sessions.length ? 60 : 0 }, (_, index) => ({ id: index, time: BEGIN + index, type: ["SessionNew", "Submit", "TaskFailed", "GovernorNew"][index % 4], session: 1 + (index % 4), task: index % 4 === 2 ? index : null, governor: index % 4 === 3 ? index % 3 : null, object: null, text: scenario === "hostile" ? HOSTILE[index % HOSTILE.length] : index % 4 === 2 ? ERROR.split("\n")[0] : null, value: null })),
      next: query.get("after") ? null : "60",
    })],
  ];

  const server = createServer(async (request, reply) => {
    const url = new URL(request.url, "http://made.up");
    asked.push(`${request.method} ${request.url}`);
    const send = (code, type, body) => {
      reply.writeHead(code, { "content-type": type, "content-security-policy": CSP, "cache-control": "no-store" });
      reply.end(body);
    };
    const json = (code, value) => send(code, "application/json", JSON.stringify(value));
    if (!url.pathname.startsWith("/api/v1/")) {
      const name = url.pathname === "/" ? "index.html" : url.pathname.slice(1);
      const type = TYPES[name.slice(name.lastIndexOf("."))];
      const body = /^[a-z.]+$/.test(name) && type ? await readFile(join(STATIC, name)).catch(() => null) : null;
      return body ? send(200, type, body) : send(404, "text/plain", "not here\n");
    }
    const path = url.pathname.slice("/api/v1/".length);
    if (path === "live") {
      reply.writeHead(200, { "content-type": "text/event-stream", "content-security-policy": CSP });
      const push = () => reply.write(`event: state\nid: ${status().sequence}\ndata: ${JSON.stringify(state(url.searchParams.get("session")))}\n\n`);
      push();
      const timer = live ? setInterval(push, 500) : null;
      streams.add(reply);
      request.on("close", () => {
        clearInterval(timer);
        streams.delete(reply);
      });
      return;
    }
    if (request.method === "DELETE" || request.method === "POST") return json(200, {});
    for (const [pattern, answer] of routes) {
      const match = pattern.exec(path);
      if (!match) continue;
      const value = answer(url.searchParams, ...match.slice(1));
      return value === undefined ? json(404, { error: { code: "not_found", message: "there is no such thing" } }) : json(200, value);
    }
    json(404, { error: { code: "not_found", message: "there is no such route" } });
  });
  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => {
      const stop = () =>
        new Promise((done) => {
          for (const one of streams) one.destroy();
          server.close(done);
          server.closeAllConnections();
        });
      resolve({ address: `http://127.0.0.1:${server.address().port}/`, port: server.address().port, asked, stop });
    });
  });
}
