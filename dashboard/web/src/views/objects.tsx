// Objects of a session: the largest first.

import { useState } from "preact/hooks";
import type { ObjectRow } from "../api";
import { useAnswer } from "../asking";
import { bytes, exact, moment } from "../format";
import { Choice, Empty, Failure, Loading, Name, TableFrame, TaskLink } from "../parts";
import { link, replace, type Route } from "../route";
import { Pager, SessionHead } from "./sessions";

const SORTS = [
  ["-size", "Largest"],
  ["-made", "Newest"],
  ["id", "By id"],
] as const;

export function Objects({ id, route }: { id: number; route: Route }) {
  const sort = route.parameters.sort ?? "-size";
  const [pages, setPages] = useState<string[]>([]);
  const { value, error } = useAnswer<{ objects: ObjectRow[]; next: string | null }>(
    `sessions/${id}/objects`,
    { sort, limit: 100, after: pages.at(-1) },
    2000,
  );
  const largest = Math.max(1, ...(value?.objects.map((one) => one.size) ?? []));
  return (
    <SessionHead id={id} view="objects">
      <div class="filters">
        <Choice
          label="Order"
          value={sort as "-size"}
          options={SORTS as never}
          onChange={(wanted) => (setPages([]), replace(link(["sessions", id, "objects"], { sort: wanted })))}
        />
      </div>
      <Failure error={error} />
      {!value && !error && <Loading />}
      {value && value.objects.length === 0 && <Empty>No object was made yet.</Empty>}
      {value && value.objects.length > 0 && (
        <TableFrame label="Objects">
          <table>
            <thead>
              <tr>
                <th class="n">id</th>
                <th>label</th>
                <th>made by</th>
                <th class="share">size</th>
                <th>state</th>
                <th>on governors</th>
                <th>made</th>
                <th>dropped</th>
              </tr>
            </thead>
            <tbody>
              {value.objects.map((one) => (
                <tr key={one.id} class={one.state === "dropped" ? "gone" : ""}>
                  <td class="n">{one.id}</td>
                  <td>{one.label ? <Name text={one.label} length={50} /> : ""}</td>
                  <td>{one.task === null ? "constant" : <TaskLink session={id} task={one.task} />}</td>
                  <td class="share">
                    <i style={{ width: `${(100 * one.size) / largest}%` }} />
                    <span class="n">{bytes(one.size)}</span>
                  </td>
                  <td>{one.state}</td>
                  <td>
                    {one.governors.map((governor) => (
                      <a key={governor} href={link(["governors", governor])}>
                        {governor}{" "}
                      </a>
                    ))}
                  </td>
                  <td title={exact(one.made)}>{moment(one.made)}</td>
                  <td title={exact(one.dropped)}>{one.dropped === null ? "" : moment(one.dropped)}</td>
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
