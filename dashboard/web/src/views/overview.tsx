// What happens just now, at a glance.

import { useState } from "preact/hooks";
import { total, type Governor, type Session, type Status, type Throughput } from "../api";
import { useAnswer } from "../asking";
import { Chart } from "../chart";
import { bytes, clip, compact, count, many, plain, rate, span } from "../format";
import { useLive } from "../live";
import { Card, Choice, Empty, Failure, Loading, Name, StateBar, StateLegend, StateTag, Tasks, describe } from "../parts";
import { link } from "../route";

function Figure({ label, value, note, tone }: { label: string; value: string; note?: string; tone?: string }) {
  return (
    <div class={`figure ${tone ?? ""}`}>
      <dt>{label}</dt>
      <dd>
        {value} {note && <small>{note}</small>}
      </dd>
    </div>
  );
}

function Figures({ status }: { status: Status }) {
  const { tasks } = status;
  const over = status.state !== "running";
  const bad = tasks.failed + tasks.lost;
  const ran = (status.server.ended ?? status.time) - status.server.started;
  return (
    <dl class="figures">
      <Figure label="Running" value={compact(tasks.running)} note={`on ${count(status.cpus)} cpus`} tone={tasks.running ? "running" : ""} />
      <Figure label="Ready" value={compact(tasks.ready)} />
      <Figure label="Waiting" value={compact(tasks.waiting)} />
      <Figure label="Finished" value={compact(tasks.finished)} note={over ? "" : `${rate(status.rate)}/s`} tone={tasks.finished ? "finished" : ""} />
      <Figure label="Failed" value={compact(bad)} note={tasks.cancelled ? `${compact(tasks.cancelled)} cancelled` : ""} tone={bad ? "failed" : ""} />
      {over ? (
        <Figure label="Ran for" value={span(ran)} />
      ) : (
        <Figure label="Time left" value={status.time_left === null ? "–" : "≈ " + span(Math.round(status.time_left))} />
      )}
    </dl>
  );
}

const RANGES = [
  ["300", "5 min"],
  ["3600", "1 h"],
  ["", "All"],
] as const;

function Rates({ status }: { status: Status }) {
  const live = status.state === "running";
  const [range, setRange] = useState<string>(live ? "300" : "");
  // Whole steps, so that not every state that comes asks anew.
  const step = Number(range || 600) / 300;
  const from = range && live ? Math.floor((status.time - Number(range)) / step) * step : null;
  const { value, error } = useAnswer<Throughput>("throughput", { from, points: 240 }, 1000 * step);
  return (
    <Card
      title="Throughput"
      wide
      aside={live && <Choice label="Time shown" value={range as "" | "300" | "3600"} options={RANGES} onChange={setRange} />}
    >
      <Failure error={error} />
      {value && value.times.length > 0 ? (
        <Chart
          label="Tasks finished and failed a second, and tasks running, over time"
          times={value.times}
          lines={[
            { label: "finished/s", colour: "--finished", values: value.finished.map((n) => n === null ? null : n / value.step), fill: true },
            { label: "failed/s", colour: "--failed", values: value.failed.map((n) => n === null ? null : n / value.step) },
            { label: "running (right)", colour: "--running", values: value.running, right: true },
          ]}
          format={(value) => (Number.isInteger(value) ? compact(value) : rate(value))}
          height={190}
        />
      ) : (
        <Empty>Nothing has run yet.</Empty>
      )}
    </Card>
  );
}

function Sessions({ status }: { status: Status }) {
  const { value, error } = useAnswer<{ sessions: Session[] }>("sessions", { limit: 8 }, 1000);
  const all = status.sessions.open + status.sessions.failed + status.sessions.closed;
  return (
    <Card title="Sessions" aside={<a href={link(["sessions"])}>all {count(all)}</a>}>
      <Failure error={error} />
      {!value ? (
        <Loading />
      ) : value.sessions.length === 0 ? (
        <Empty>
          No session yet. A client opens one: <code>with Client() as client, client.new_session("name") as session: …</code>
        </Empty>
      ) : (
        <ul class="rows">
          {value.sessions.map((session) => (
            <li key={session.id}>
              <a class="row-title" href={link(["sessions", session.id])}>
                <Name text={session.name || `session ${session.id}`} length={48} />
              </a>
              <StateTag state={session.state} />
              <StateBar counts={session.tasks} />
              <Tasks counts={session.tasks} />
              {session.error && <p class="row-error">{clip(plain(session.error), 160)}</p>}
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Governors({ governors, over }: { governors: Governor[]; over: boolean }) {
  const shown = governors.filter((one) => one.state === "alive" || one.state === "suspect");
  const gone = governors.length - shown.length;
  return (
    <Card title="Governors" aside={<a href={link(["governors"])}>details</a>}>
      {shown.length === 0 && !over && <Empty>No governor: tasks wait until one joins.</Empty>}
      {over && <p>{many(governors.length, "governor")} took part.</p>}
      <ul class="governor-grid">
        {shown.slice(0, 256).map((one) => {
          const load = one.cpus ? one.running / one.cpus : 0;
          const memory = one.memory === null ? "" : `, ${bytes(one.memory)} of ${bytes(one.memory_budget)}`;
          const text = `${plain(one.host)} (${one.id}): ${one.running} running on ${one.cpus} cpus${memory}${one.state === "suspect" ? ", not heard of" : ""}`;
          return (
            <li key={one.id}>
              <a href={link(["governors", one.id])} title={text} aria-label={text} class={one.state}>
                <span class="column">
                  <i style={{ height: `${Math.min(100, load * 100)}%` }} />
                </span>
                <span class="host">{clip(plain(one.host), 14)}</span>
              </a>
            </li>
          );
        })}
      </ul>
      {!over && (gone > 0 || shown.length > 256) && (
        <p class="note">
          {shown.length > 256 && `${count(shown.length - 256)} more. `}
          {gone > 0 && `${count(gone)} gone.`}
        </p>
      )}
    </Card>
  );
}

function LogNotes({ status }: { status: Status }) {
  const { log } = status;
  if (!log) return <p class="note">The event log is off: tasks that are over are not shown, only figures of what is.</p>;
  return (
    <p class="note">
      Event log <code>{plain(log.path)}</code>, {bytes(log.bytes)}.
      {log.dropped_samples > 0 && ` ${count(log.dropped_samples)} samples were left out under load.`}
      {log.folded_tasks > 0 && ` ${count(log.folded_tasks)} finished tasks are only counted.`}
      {log.error && <strong class="bad"> {plain(log.error)}</strong>}
    </p>
  );
}

export function Overview() {
  const { live } = useLive();
  if (!live) return <Loading />;
  const { status, governors } = live;
  return (
    <>
      <h1>Overview</h1>
      <Figures status={status} />
      {total(status.tasks) > 0 && (
        <div class="all-tasks">
          <StateBar counts={status.tasks} large />
          <StateLegend counts={status.tasks} />
          <span class="sr">{describe(status.tasks)}</span>
        </div>
      )}
      <div class="cards">
        <Rates status={status} />
        <Sessions status={status} />
        <Governors governors={governors} over={status.state !== "running"} />
      </div>
      <LogNotes status={status} />
    </>
  );
}
