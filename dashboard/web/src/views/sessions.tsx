// Sessions, and one of them with its progress by groups of names.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { ask, ApiError, type Group, type Session, type SessionWhole, type Status } from "../api";
import { useAnswer } from "../asking";
import { nameColour } from "../colour";
import { bytes, clip, count, exact, moment, plain, span } from "../format";
import { useLive } from "../live";
import { Card, Choice, Empty, Failure, Loading, Name, Seconds, StateBar, StateLegend, StateTag, TableFrame, Tasks, Text } from "../parts";
import { link } from "../route";
import { useDark } from "../theme";

const FILTERS = [
  ["", "All"],
  ["open", "Open"],
  ["failed", "Failed"],
  ["closed", "Closed"],
] as const;

export function Sessions() {
  const [state, setState] = useState<string>("");
  const [pages, setPages] = useState<string[]>([]);
  const after = pages.at(-1) ?? null;
  const { value, error } = useAnswer<{ sessions: Session[]; next: string | null }>("sessions", { state, limit: 50, after }, 1000);
  return (
    <>
      <div class="title">
        <h1>Sessions</h1>
        <Choice label="State" value={state as ""} options={FILTERS as never} onChange={(wanted) => (setState(wanted), setPages([]))} />
      </div>
      <Failure error={error} />
      {!value && !error && <Loading />}
      {value && value.sessions.length === 0 && <Empty>{state ? `No ${state} session.` : "No session yet."}</Empty>}
      {value && value.sessions.length > 0 && (
        <TableFrame label="Sessions">
          <table>
            <thead>
              <tr>
                <th class="n">id</th>
                <th>name</th>
                <th>state</th>
                <th class="grow">progress</th>
                <th class="n">tasks</th>
                <th class="n">cpu time</th>
                <th class="n">data</th>
                <th>created</th>
                <th class="n">took</th>
              </tr>
            </thead>
            <tbody>
              {value.sessions.map((one) => (
                <tr key={one.id}>
                  <td class="n">{one.id}</td>
                  <td>
                    <a href={link(["sessions", one.id])}>
                      <Name text={one.name || `session ${one.id}`} length={60} />
                    </a>
                    {one.error && <p class="row-error">{clip(plain(one.error), 120)}</p>}
                  </td>
                  <td>
                    <StateTag state={one.state} />
                  </td>
                  <td>
                    <StateBar counts={one.tasks} />
                  </td>
                  <td class="n">
                    <Tasks counts={one.tasks} />
                  </td>
                  <td class="n">{span(one.seconds)}</td>
                  <td class="n">{bytes(one.bytes)}</td>
                  <td title={exact(one.created)}>{moment(one.created)}</td>
                  <td class="n">{one.closed === null ? "" : span(one.closed - one.created)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
      <Pager next={value?.next ?? null} pages={pages} setPages={setPages} />
    </>
  );
}

export function Pager({ next, pages, setPages }: { next: string | null; pages: string[]; setPages: (pages: string[]) => void }) {
  if (!next && pages.length === 0) return null;
  return (
    <nav class="pager" aria-label="Parts of the list">
      <button type="button" disabled={pages.length === 0} onClick={() => setPages(pages.slice(0, -1))}>
        ← back
      </button>
      <span>page {pages.length + 1}</span>
      <button type="button" disabled={!next} onClick={() => next && setPages([...pages, next])}>
        on →
      </button>
    </nav>
  );
}

/** Title, state and the views of one session. */
export function SessionHead({ id, view, children }: { id: number; view: string; children?: ComponentChildren }) {
  const { live } = useLive(id);
  const first = useAnswer<SessionWhole>(`sessions/${id}`, {}, 5000);
  const fromStream = live?.session && live.session.id === id ? live.session : null;
  const session = fromStream ?? first.value;
  const views = [
    ["", "Progress"],
    ["tasks", "Tasks"],
    ["stream", "Stream"],
    ["graph", "Graph"],
    ["objects", "Objects"],
  ] as const;
  return (
    <>
      <div class="title">
        <h1>
          <a class="up" href={link(["sessions"])}>
            Sessions /
          </a>{" "}
          <Name text={session?.name || `session ${id}`} length={80} />
        </h1>
        {session && <StateTag state={session.state} />}
        {session?.state === "open" && live && <CloseButton id={id} status={live.status} />}
      </div>
      <nav class="tabs" aria-label="Views of the session">
        {views.map(([key, text]) => (
          <a key={key} href={link(key ? ["sessions", id, key] : ["sessions", id])} aria-current={key === view ? "page" : undefined}>
            {text}
          </a>
        ))}
      </nav>
      {!session && <Failure error={first.error} />}
      {children ?? (session ? <Progress session={session} /> : !first.error && <Loading />)}
    </>
  );
}

function CloseButton({ id, status }: { id: number; status: Status }) {
  const [said, setSaid] = useState<string | null>(null);
  if (!status.actions.includes("close")) return null;
  const close = async () => {
    if (!confirm(`Close session ${id}? Its tasks are stopped, its results dropped.`)) return;
    try {
      await ask(`sessions/${id}`, {}, { method: "DELETE" });
      setSaid("closing");
    } catch (error) {
      setSaid(error instanceof ApiError ? error.message : String(error));
    }
  };
  return said ? (
    <span class="note">{said}</span>
  ) : (
    <button type="button" class="danger" onClick={close}>
      Close
    </button>
  );
}

function Progress({ session }: { session: SessionWhole }) {
  const now = useLive().live?.status.time ?? session.created;
  const took = (session.closed ?? now) - session.created;
  return (
    <>
      {session.error_text && (
        <Card title="Why it failed" aside={<a href={link(["sessions", session.id, "tasks"], { state: "failed" })}>failed tasks</a>} wide>
          <Text label="Error of the session" text={session.error_text} bad />
        </Card>
      )}
      <div class="all-tasks">
        <StateBar counts={session.tasks} large />
        <StateLegend counts={session.tasks} to={(state) => link(["sessions", session.id, "tasks"], { state })} />
      </div>
      <dl class="facts">
        <div>
          <dt>created</dt>
          <dd title={exact(session.created)}>{moment(session.created)}</dd>
        </div>
        <div>
          <dt>{session.closed === null ? "for" : "took"}</dt>
          <dd>{span(took)}</dd>
        </div>
        <div>
          <dt>cpu time</dt>
          <dd>{span(session.seconds)}</dd>
        </div>
        <div>
          <dt>data made</dt>
          <dd>{bytes(session.bytes)}</dd>
        </div>
      </dl>
      <Groups session={session} />
    </>
  );
}

function Groups({ session }: { session: SessionWhole }) {
  const dark = useDark();
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const names = new Set(session.groups.map((group) => group.name));
  const parent = (name: string) => name.slice(0, Math.max(0, name.lastIndexOf("/")));
  const hidden = (name: string): boolean => {
    for (let up = parent(name); up; up = parent(up)) if (closed.has(up)) return true;
    return false;
  };
  const hasChildren = new Set<string>();
  for (const name of names) for (let up = parent(name); up; up = parent(up)) hasChildren.add(up);
  const toggle = (name: string) => {
    const changed = new Set(closed);
    if (!changed.delete(name)) changed.add(name);
    setClosed(changed);
  };
  if (session.groups.length === 0) return <Empty>No task yet.</Empty>;
  const longest = Math.max(...session.groups.map((group) => group.seconds), 1e-9);
  const row = (group: Group) => {
    const last = group.name.slice(group.name.lastIndexOf("/") + 1);
    const opens = hasChildren.has(group.name);
    return (
      <tr key={group.name}>
        <td>
          <span class="indent" style={{ paddingLeft: `${(group.depth - 1) * 1.25}rem` }}>
            {opens ? (
              <button
                type="button"
                class="fold"
                aria-expanded={!closed.has(group.name)}
                aria-label={`Parts of ${plain(clip(group.name, 80))}`}
                onClick={() => toggle(group.name)}
              >
                {closed.has(group.name) ? "▸" : "▾"}
              </button>
            ) : (
              <i class="dot" style={{ background: nameColour(group.name, dark) }} />
            )}
            <a href={link(["sessions", session.id, "tasks"], { name: opens ? group.name + "/" : group.name })}>
              <Name text={last} length={70} />
            </a>
          </span>
        </td>
        <td>
          <StateBar counts={group.tasks} />
        </td>
        <td class="n">
          <Tasks counts={group.tasks} />
        </td>
        <td class="n">{group.tasks.failed ? <b class="bad">{count(group.tasks.failed)}</b> : ""}</td>
        <td class="share">
          <i style={{ width: `${(100 * group.seconds) / longest}%` }} />
          <Seconds value={group.seconds} />
        </td>
      </tr>
    );
  };
  return (
    <TableFrame label="Progress by groups of names">
      <table class="groups">
        <thead>
          <tr>
            <th>tasks by name</th>
            <th class="grow">progress</th>
            <th class="n">finished</th>
            <th class="n">failed</th>
            <th>cpu time</th>
          </tr>
        </thead>
        <tbody>{session.groups.filter((group) => !hidden(group.name)).map(row)}</tbody>
      </table>
      {session.groups_left_out > 0 && <p class="note">{count(session.groups_left_out)} more groups.</p>}
    </TableFrame>
  );
}
