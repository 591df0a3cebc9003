// Governors, and one of them over time.

import { useMemo } from "preact/hooks";
import type { Governor, Samples, Series } from "../api";
import { useAnswer } from "../asking";
import { Chart } from "../chart";
import { bytes, clip, count, exact, moment, percent, plain, rate, span } from "../format";
import { useLive } from "../live";
import { Card, Details, Empty, Failure, Loading, Meter, StateTag, TableFrame, Text } from "../parts";
import { link } from "../route";

const speed = (value: number | null) => (value === null ? "–" : `${bytes(value)}/s`);
const busy = (one: Governor) => (one.cpus ? one.running / one.cpus : 0);

function Row({ one }: { one: Governor }) {
  const memory = one.memory !== null && one.memory_budget ? one.memory / one.memory_budget : null;
  const gone = one.state === "lost" || one.state === "left";
  return (
    <tr class={gone ? "gone" : ""}>
      <td class="n">
        <a href={link(["governors", one.id])}>{one.id}</a>
      </td>
      <td>
        <a href={link(["governors", one.id])} tabIndex={-1}>
          <bdi>{clip(plain(one.host), 60)}</bdi>
        </a>
        {one.reason && <p class="row-error">{clip(plain(one.reason), 160)}</p>}
      </td>
      <td>
        <StateTag state={one.state} />
      </td>
      <td>{gone ? "" : <Meter part={busy(one)} text={`${one.running} / ${one.cpus}`} label={`${one.running} tasks run on ${one.cpus} cpus`} />}</td>
      <td>{gone ? "" : <Meter part={one.load} label={`processors are busy: ${percent(one.load ?? 0, 1)}`} />}</td>
      <td>
        {gone ? "" : <Meter part={memory} label={`${bytes(one.memory)} of ${bytes(one.memory_budget)}`} warn={memory !== null && memory > 0.85} />}
      </td>
      <td class="n">{gone ? "" : speed(one.net_in)}</td>
      <td class="n">{gone ? "" : speed(one.net_out)}</td>
      <td class="n">{one.spilled ? bytes(one.spilled) : ""}</td>
      <td class="n">{count(one.tasks)}</td>
      <td class="n" title={exact(one.joined)}>{moment(one.joined)}</td>
    </tr>
  );
}

export function Governors() {
  const { live } = useLive();
  const governors = live?.governors ?? null;
  return (
    <>
      <h1>Governors</h1>
      {!governors && <Loading />}
      {governors && governors.length === 0 && <Empty>No governor: tasks wait until one joins.</Empty>}
      {governors && governors.length > 0 && (
        <TableFrame label="Governors">
          <table>
            <thead>
              <tr>
                <th class="n">id</th>
                <th>host</th>
                <th>state</th>
                <th>cpus in use</th>
                <th>load</th>
                <th>memory</th>
                <th class="n">net in</th>
                <th class="n">net out</th>
                <th class="n">spilled</th>
                <th class="n">tasks</th>
                <th class="n">joined</th>
              </tr>
            </thead>
            <tbody>
              {governors.map((one) => (
                <Row key={one.id} one={one} />
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
    </>
  );
}

const hasAny = (values: Series) => values.some((value) => value !== null);

function Lines({ samples, one }: { samples: Samples; one: Governor }) {
  const percents = useMemo(() => samples.load.map((value) => (value === null ? null : value * 100)), [samples]);
  if (samples.times.length === 0) return <Empty>No samples of this governor.</Empty>;
  const charts = [
    {
      title: "Cpus",
      lines: [{ label: "load, %", colour: "--running", values: percents, fill: true }],
      max: 100,
      format: (value: number) => `${Math.round(value)} %`,
    },
    { title: "Running", lines: [{ label: "tasks", colour: "--finished", values: samples.running, fill: true }], format: rate },
    {
      title: "Memory",
      lines: [{ label: "in use", colour: "--cancelled", values: samples.memory, fill: true }],
      max: one.memory_budget ?? undefined,
      format: (value: number) => bytes(value),
    },
    {
      title: "Network and disk",
      lines: [
        { label: "in", colour: "--running", values: samples.net_in },
        { label: "out", colour: "--ready", values: samples.net_out },
        { label: "disk", colour: "--cancelled", values: samples.disk },
      ],
      format: (value: number) => `${bytes(value)}/s`,
    },
  ];
  return (
    <>
      {charts
        .filter((chart) => chart.lines.some((line) => hasAny(line.values)))
        .map((chart) => (
          <Card key={chart.title} title={chart.title}>
            <Chart label={`${chart.title} over time`} times={samples.times} lines={chart.lines} format={chart.format} max={chart.max} />
          </Card>
        ))}
    </>
  );
}

export function GovernorView({ id }: { id: number }) {
  const { live } = useLive();
  const { value, error } = useAnswer<Samples>(`governors/${id}/samples`, { points: 300 }, 2000);
  const one = live?.governors.find((governor) => governor.id === id);
  return (
    <>
      <div class="title">
        <h1>
          <a class="up" href={link(["governors"])}>
            Governors /
          </a>{" "}
          {one ? <bdi>{clip(plain(one.host), 80)}</bdi> : id}
        </h1>
        {one && <StateTag state={one.state} />}
      </div>
      {live && !one && <Empty>There is no governor {id}.</Empty>}
      {one && (
        <dl class="facts">
          <div>
            <dt>id</dt>
            <dd>{one.id}</dd>
          </div>
          <div>
            <dt>cpus</dt>
            <dd>{one.cpus}</dd>
          </div>
          <div>
            <dt>running</dt>
            <dd>{one.running}</dd>
          </div>
          <div>
            <dt>finished</dt>
            <dd>{count(one.tasks)} tasks</dd>
          </div>
          <div>
            <dt>memory</dt>
            <dd>
              {bytes(one.memory)} of {bytes(one.memory_budget)}
            </dd>
          </div>
          <div>
            <dt>spilled</dt>
            <dd>{bytes(one.spilled)}</dd>
          </div>
          <div>
            <dt>executors</dt>
            <dd>{one.executors}</dd>
          </div>
          <div>
            <dt>joined</dt>
            <dd title={exact(one.joined)}>{moment(one.joined)}</dd>
          </div>
          {one.lost !== null && (
            <div>
              <dt>{one.state === "left" ? "left" : "lost"}</dt>
              <dd>
                {moment(one.lost)}, after {span(one.lost - one.joined)}
              </dd>
            </div>
          )}
        </dl>
      )}
      {one?.reason && (
        <p class="failure" role="note">
          {plain(one.reason)}
        </p>
      )}
      <Failure error={error} />
      <div class="cards">
        {value && one && <Lines samples={value} one={one} />}
        {one && one.topology !== null && (
          <Card title="Topology" wide>
            <Details summary="cpus, caches and memory of the machine">
              <Text label="Topology" text={typeof one.topology === "string" ? one.topology : JSON.stringify(one.topology, null, 2)} />
            </Details>
          </Card>
        )}
      </div>
    </>
  );
}
