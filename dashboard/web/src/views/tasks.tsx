// Tasks of a session as a table, with filters that are part of the address.

import { useEffect, useRef, useState } from "preact/hooks";
import { STATES, type State, type TaskRow } from "../api";
import { useAnswer } from "../asking";
import { stateColour } from "../colour";
import { clip, count, exact, moment, named, plain, span } from "../format";
import { Empty, Failure, Loading, Name, StateTag, TableFrame, TaskLink } from "../parts";
import { link, parse, replace, type Route } from "../route";
import { Pager, SessionHead } from "./sessions";

interface Column {
  key: string;
  label: string;
  numeric?: boolean;
  /** The order that a click asks for first. */
  sort?: string;
}

const COLUMNS: Column[] = [
  { key: "id", label: "id", numeric: true, sort: "id" },
  { key: "name", label: "name", sort: "name" },
  { key: "kind", label: "kind" },
  { key: "state", label: "state" },
  { key: "place", label: "governor : slot", numeric: true },
  { key: "started", label: "started", sort: "-started" },
  { key: "seconds", label: "took", numeric: true, sort: "-seconds" },
  { key: "attempts", label: "attempts", numeric: true },
];

const turned = (sort: string) => (sort.startsWith("-") ? sort.slice(1) : "-" + sort);

export function Tasks({ id, route }: { id: number; route: Route }) {
  const { state = "", name = "", governor = "", sort = "id" } = route.parameters;
  const [typed, setTyped] = useState(name);
  const [pages, setPages] = useState<string[]>([]);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const chosen = new Set(state.split(",").filter(Boolean));
  const path = `sessions/${id}/tasks`;
  const { value, error } = useAnswer<{ tasks: TaskRow[]; total: number | null; next: string | null }>(
    path,
    { state, name, governor, sort, limit: 100, after: pages.at(-1) },
    1500,
  );
  const show = (change: Record<string, string>) => {
    setPages([]);
    // What is typed comes here a little later: other filters may have changed meanwhile.
    replace(link(["sessions", id, "tasks"], { ...parse(location.hash).parameters, ...change }));
  };
  useEffect(() => setTyped(name), [name]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const type = (text: string) => {
    setTyped(text);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => show({ name: text }), 250);
  };
  const toggle = (one: State) => {
    const wanted = new Set(chosen);
    if (!wanted.delete(one)) wanted.add(one);
    show({ state: [...wanted].join(",") });
  };
  const filtered = state || name || governor;
  return (
    <SessionHead id={id} view="tasks">
      <div class="filters" role="search">
        <input
          type="search"
          class="filter"
          placeholder="name, or group/"
          aria-label="Name of the tasks"
          value={typed}
          onInput={(event) => type(event.currentTarget.value)}
        />
        <div class="chips" role="group" aria-label="States">
          {STATES.map((one) => (
            <button key={one} type="button" aria-pressed={chosen.has(one)} onClick={() => toggle(one)}>
              <i class="dot" style={{ background: stateColour(one) }} /> {one}
            </button>
          ))}
        </div>
        {governor && (
          <button type="button" onClick={() => show({ governor: "" })}>
            governor {plain(governor)} ✕
          </button>
        )}
        {value?.total !== null && value && <span class="note n">{count(value.total ?? 0)} tasks</span>}
      </div>
      <Failure error={error} />
      {!value && !error && <Loading />}
      {value && value.tasks.length === 0 && <Empty>{filtered ? "No task is like that." : "No task yet."}</Empty>}
      {value && value.tasks.length > 0 && (
        <TableFrame label="Tasks">
          <table>
            <thead>
              <tr>
                {COLUMNS.map((column) => {
                  const order = sort.replace("-", "") === column.key ? (sort.startsWith("-") ? "descending" : "ascending") : undefined;
                  return (
                    <th key={column.key} class={column.numeric ? "n" : ""} aria-sort={order}>
                      {column.sort ? (
                        <button type="button" class="sort" onClick={() => show({ sort: order ? turned(sort) : column.sort! })}>
                          {column.label} {order === "descending" ? "↓" : order ? "↑" : ""}
                        </button>
                      ) : (
                        column.label
                      )}
                    </th>
                  );
                })}
              </tr>
            </thead>
            <tbody>
              {value.tasks.map((task) => (
                <tr key={task.id}>
                  <td class="n">
                    <TaskLink session={id} task={task.id} />
                  </td>
                  <td>
                    <a href={link(["sessions", id, "tasks", task.id])} tabIndex={-1}>
                      <Name text={task.name} length={70} dot />
                    </a>
                    {task.error_line && <p class="row-error">{clip(plain(task.error_line), 160)}</p>}
                  </td>
                  <td>
                    <span class="kind">{clip(plain(named(task.kind)), 40)}</span>
                  </td>
                  <td>
                    <StateTag state={task.state} />
                  </td>
                  <td class="n">
                    {task.governor === null ? "" : <a href={link(["governors", task.governor])}>{task.governor}</a>}
                    {task.slot === null ? "" : ` : ${task.slot}`}
                  </td>
                  <td title={exact(task.started)}>{task.started === null ? "" : moment(task.started)}</td>
                  <td class="n">{task.seconds === null ? "" : span(task.seconds)}</td>
                  <td class="n">{task.attempts > 1 ? <b class="bad">{task.attempts}</b> : task.attempts || ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableFrame>
      )}
      <Pager next={value?.next ?? null} pages={pages} setPages={setPages} />
    </SessionHead>
  );
}
