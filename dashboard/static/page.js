"use strict";

const PERIOD_MS = 1000;
const number = new Intl.NumberFormat("en");
const element = (id) => document.getElementById(id);
let before = null;

function cell(content, name) {
  const made = document.createElement("td");
  made.append(content);
  if (name) made.className = name;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function fill(table, rows, empty) {
  element(table).hidden = rows.length === 0;
  element(empty).hidden = rows.length > 0;
  element(table).tBodies[0].replaceChildren(...rows);
}

function session(of) {
  const bar = document.createElement("progress");
  bar.max = Math.max(of.tasks, 1);
  bar.value = of.finished;
  bar.title = `${number.format(of.finished)} of ${number.format(of.tasks)}`;
  return row(cell(of.id), cell(of.name || "–"), cell(of.state, of.state), cell(bar), cell(number.format(of.tasks), "n"));
}

function governor(of) {
  const figure = (value) => cell(number.format(value), "n");
  return row(cell(of.id), figure(of.cpus), figure(of.tasks_unfinished), figure(of.tasks_finished));
}

function show(status, at) {
  const sum = (key) => status.governors.reduce((total, one) => total + one[key], 0);
  const finished = sum("tasks_finished");
  const since = new Date(status.started * 1000).toLocaleString();
  element("server").textContent = `${status.version} on ${status.listen}, process ${status.pid}, since ${since}`;
  element("running").textContent = number.format(sum("tasks_unfinished"));
  element("finished").textContent = number.format(finished);
  element("cpus").textContent = number.format(sum("cpus"));
  element("clients").textContent = number.format(status.clients);
  if (before && finished >= before.finished) {
    const rate = (finished - before.finished) / ((at - before.at) / 1000);
    element("rate").textContent = number.format(Math.round(rate));
  }
  before = { finished, at };
  fill("sessions", status.sessions.map(session), "no-sessions");
  fill("governors", status.governors.map(governor), "no-governors");
}

async function look() {
  try {
    const reply = await fetch("api/status");
    if (!reply.ok) throw new Error(reply.statusText);
    show(await reply.json(), performance.now());
    element("lost").hidden = true;
  } catch {
    element("lost").hidden = false;
  }
  setTimeout(look, document.hidden ? 5 * PERIOD_MS : PERIOD_MS);
}

look();
