// The log, event by event.

import { useState } from "preact/hooks";
import type { LogEvent } from "../api";
import { useAnswer } from "../asking";
import { clip, exact, moment, plain } from "../format";
import { Empty, Failure, Loading, TableFrame, TaskLink } from "../parts";
import { link, replace, type Route } from "../route";
import { Pager } from "./sessions";

const KINDS: [string, string][] = [
  ["", "all events"],
  ["SessionNew,SessionFailed,SessionClosed,Submit", "sessions"],
  ["TaskFailed,TaskRetried,TaskLost,TaskCancelled", "what went wrong"],
  ["GovernorNew,GovernorSuspect,GovernorLost,GovernorLeft,ExecutorStarted,ExecutorEnded", "governors, executors"],
  ["ObjectMade,ObjectMoved,ObjectSpilled,ObjectDropped", "objects"],
];

export function Events({ route }: { route: Route }) {
  const { type = "", session = "" } = route.parameters;
  const [pages, setPages] = useState<string[]>([]);
  const { value, error } = useAnswer<{ events: LogEvent[]; next: string | null }>(
    "events",
    { type, session, limit: 200, after: pages.at(-1) },
    2000,
  );
  const show = (change: Record<string, string>) => {
    setPages([]);
    replace(link(["events"], { type, session, ...change }));
  };
  return (
    <>
      <h1>Events</h1>
      <div class="filters">
        <label>
          Show{" "}
          <select value={type} onChange={(event) => show({ type: event.currentTarget.value })}>
            {KINDS.map(([key, text]) => (
              <option key={key} value={key}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <label>
          of session{" "}
          <input
            class="filter short"
            inputMode="numeric"
            value={session}
            onChange={(event) => show({ session: event.currentTarget.value.replace(/\D/g, "") })}
          />
        </label>
      </div>
      <Failure error={error} />
      {!value && !error && <Loading />}
      {value && value.events.length === 0 && <Empty>No such event.</Empty>}
      {value && value.events.length > 0 && (
        <TableFrame label="Events">
          <table>
            <thead>
              <tr>
                <th class="n">id</th>
                <th>time</th>
                <th>event</th>
                <th class="n">session</th>
                <th class="n">task</th>
                <th class="n">governor</th>
                <th class="grow">text</th>
              </tr>
            </thead>
            <tbody>
              {value.events.map((one) => (
                <tr key={one.id}>
                  <td class="n faint">{one.id}</td>
                  <td title={exact(one.time)}>{moment(one.time)}</td>
                  <td>{one.type}</td>
                  <td class="n">{one.session === null ? "" : <a href={link(["sessions", one.session])}>{one.session}</a>}</td>
                  <td class="n">{one.session !== null && one.task !== null && <TaskLink session={one.session} task={one.task} />}</td>
                  <td class="n">{one.governor === null ? "" : <a href={link(["governors", one.governor])}>{one.governor}</a>}</td>
                  <td>{one.text === null ? (one.value ?? "") : clip(plain(one.text), 300)}</td>
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
