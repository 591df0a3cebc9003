// Two sessions beside each other: where one took longer.

import { total, type Session, type SessionWhole } from "../api";
import { useAnswer } from "../asking";
import { bytes, clip, count, plain, span } from "../format";
import { useLive } from "../live";
import { Empty, Failure, Loading, Name, StateBar, StateTag, TableFrame } from "../parts";
import { link, replace, type Route } from "../route";

interface Pair {
  name: string;
  one: { count: number; seconds: number; failed: number } | null;
  other: { count: number; seconds: number; failed: number } | null;
}

/** Groups of both, by name; those whose cpu time differs most come first. */
function pairs(one: SessionWhole, other: SessionWhole): Pair[] {
  const made = new Map<string, Pair>();
  for (const [key, session] of [["one", one], ["other", other]] as const) {
    for (const group of session.groups) {
      const pair = made.get(group.name) ?? { name: group.name, one: null, other: null };
      pair[key] = { count: total(group.tasks), seconds: group.seconds, failed: group.tasks.failed };
      made.set(group.name, pair);
    }
  }
  const change = (pair: Pair) => Math.abs((pair.one?.seconds ?? 0) - (pair.other?.seconds ?? 0));
  return [...made.values()].sort((a, b) => change(b) - change(a));
}

/** `plainly`: neither more nor less is better. */
function Difference({ from, to, text, plainly }: { from: number; to: number; text: (value: number) => string; plainly?: boolean }) {
  const change = to - from;
  if (change === 0) return <span class="faint">–</span>;
  const ratio = from > 0 && to > 0 ? ` (×${(to / from).toFixed(to / from < 10 ? 2 : 0)})` : "";
  const even = from > 0 && Math.abs(change) / from < 0.02;
  return (
    <span class={even || plainly ? "faint" : change > 0 ? "worse" : "better"}>
      {change >= 0 ? "+" : "−"}
      {text(Math.abs(change))}
      {ratio}
    </span>
  );
}

/** More is less, from the middle: a bar to the right is time that the second one took on top. */
function Beam({ change, most }: { change: number; most: number }) {
  const wide = `${(50 * Math.abs(change)) / (most || 1)}%`;
  return (
    <div class="beam" aria-hidden="true">
      <i class={change > 0 ? "worse" : "better"} style={change > 0 ? { left: "50%", width: wide } : { right: "50%", width: wide }} />
    </div>
  );
}

function Choose({ label, value, sessions, onChange }: { label: string; value: string; sessions: Session[]; onChange: (value: string) => void }) {
  return (
    <label>
      {label}{" "}
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        <option value="">choose</option>
        {sessions.map((one) => (
          <option key={one.id} value={String(one.id)}>
            {`${one.id}: ${clip(plain(one.name || "(no name)"), 40)}`}
          </option>
        ))}
      </select>
    </label>
  );
}

function Sides({ one, other }: { one: SessionWhole; other: SessionWhole }) {
  const now = useLive().live?.status.time ?? 0;
  const took = (session: SessionWhole) => Math.max(0, (session.closed ?? now) - session.created);
  const facts: [string, number, number, (value: number) => string, boolean?][] = [
    ["time from open to close", took(one), took(other), span],
    ["cpu time", one.seconds, other.seconds, span],
    ["tasks", total(one.tasks), total(other.tasks), count, true],
    ["failed", one.tasks.failed, other.tasks.failed, count],
    ["data made", one.bytes, other.bytes, bytes, true],
  ];
  const all = pairs(one, other);
  const most = Math.max(1e-9, ...all.map((pair) => Math.abs((pair.other?.seconds ?? 0) - (pair.one?.seconds ?? 0))));
  const head = (session: SessionWhole) => (
    <>
      <a href={link(["sessions", session.id])}>
        <Name text={session.name || `session ${session.id}`} length={40} />
      </a>{" "}
      <StateTag state={session.state} />
    </>
  );
  return (
    <>
      <TableFrame label="Both sessions">
        <table>
          <thead>
            <tr>
              <td />
              <th class="n">{head(one)}</th>
              <th class="n">{head(other)}</th>
              <th class="n">difference</th>
            </tr>
          </thead>
          <tbody>
            {facts.map(([label, a, b, text, plainly]) => (
              <tr key={label}>
                <td>{label}</td>
                <td class="n">{text(a)}</td>
                <td class="n">{text(b)}</td>
                <td class="n">
                  <Difference from={a} to={b} text={text} plainly={plainly} />
                </td>
              </tr>
            ))}
            <tr>
              <td>progress</td>
              <td>
                <StateBar counts={one.tasks} />
              </td>
              <td>
                <StateBar counts={other.tasks} />
              </td>
              <td />
            </tr>
          </tbody>
        </table>
      </TableFrame>
      <h2>Cpu time by name</h2>
      <TableFrame label="Cpu time by name">
        <table>
          <thead>
            <tr>
              <th>name</th>
              <th class="n">tasks</th>
              <th class="n">first</th>
              <th class="n">second</th>
              <th class="n">difference</th>
              <th class="grow">less · more</th>
            </tr>
          </thead>
          <tbody>
            {all.slice(0, 300).map((pair) => {
              const [a, b] = [pair.one?.seconds ?? 0, pair.other?.seconds ?? 0];
              const [m, n] = [pair.one?.count ?? 0, pair.other?.count ?? 0];
              return (
                <tr key={pair.name}>
                  <td>
                    <Name text={pair.name} length={60} dot />
                  </td>
                  <td class="n">{m === n ? count(m) : `${count(m)} → ${count(n)}`}</td>
                  <td class="n">{pair.one ? span(a) : ""}</td>
                  <td class="n">{pair.other ? span(b) : ""}</td>
                  <td class="n">
                    <Difference from={a} to={b} text={span} />
                  </td>
                  <td>
                    <Beam change={b - a} most={most} />
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </TableFrame>
    </>
  );
}

export function Compare({ route }: { route: Route }) {
  const { value: list, error } = useAnswer<{ sessions: Session[] }>("sessions", { limit: 200 }, 5000);
  const sessions = list?.sessions ?? [];
  const { a = "", b = "" } = route.parameters;
  const one = useAnswer<SessionWhole>(a ? `sessions/${Number(a)}` : null, {}, 3000);
  const other = useAnswer<SessionWhole>(b ? `sessions/${Number(b)}` : null, {}, 3000);
  const show = (change: Record<string, string>) => replace(link(["compare"], { a, b, ...change }));
  return (
    <>
      <h1>Compare two sessions</h1>
      <div class="filters">
        <Choose label="First" value={a} sessions={sessions} onChange={(value) => show({ a: value })} />
        <Choose label="Second" value={b} sessions={sessions} onChange={(value) => show({ b: value })} />
        <button type="button" disabled={!a && !b} onClick={() => show({ a: b, b: a })}>
          ⇄ swap
        </button>
      </div>
      <Failure error={error ?? one.error ?? other.error} />
      {!list && !error && <Loading />}
      {list && sessions.length < 2 && <Empty>There is nothing to compare yet: it takes two sessions.</Empty>}
      {sessions.length >= 2 && (!a || !b) && <Empty>Choose two sessions, such as yesterday's run and today's.</Empty>}
      {a && b && one.value && other.value && <Sides one={one.value} other={other.value} />}
    </>
  );
}
