// All that is known of one task.

import { useState } from "preact/hooks";
import { ApiError, ask, type TaskWhole } from "../api";
import { useAnswer } from "../asking";
import { bytes, clip, exact, moment, plain, span } from "../format";
import { useLive } from "../live";
import { Card, Details, Empty, Failure, Loading, Name, StateTag, TableFrame, TaskLink, Text } from "../parts";
import { link } from "../route";

/** How the time until the end divides: waiting for a cpu, on its way, running. */
function Spans({ task }: { task: TaskWhole }) {
  const { ready, assigned, started, finished } = task;
  const now = useLive().live?.status.time ?? null;
  const steps: [string, string, number | null, number | null][] = [
    ["ready", "waited for a place", ready, assigned ?? started],
    ["waiting", "waited at the governor", assigned, started],
    ["running", "ran", started, finished ?? (task.state === "running" ? now : null)],
  ];
  const known = steps.filter(([, , from, to]) => from !== null && to !== null && to >= from);
  const all = known.reduce((sum, [, , from, to]) => sum + to! - from!, 0);
  if (known.length === 0 || all <= 0) return null;
  return (
    <div class="spans">
      <div class="bar large" aria-hidden="true">
        {known.map(([state, label, from, to]) => (
          <i key={label} style={{ flexGrow: (to! - from!) / all, background: `var(--${state})` }} />
        ))}
      </div>
      <ul class="legend">
        {known.map(([state, label, from, to]) => (
          <li key={label}>
            <i class="dot" style={{ background: `var(--${state})` }} />
            {label} <b class="n">{span(to! - from!)}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}

function WhyNot({ task }: { task: TaskWhole }) {
  if (task.state !== "waiting" && task.state !== "ready") return null;
  const others = task.waits_for_count - task.waits_for.length;
  return (
    <Card title="Why it does not run" wide>
      {task.why && <p>{plain(task.why)}</p>}
      {task.waits_for.length > 0 ? (
        <p>
          It waits for{" "}
          {task.waits_for.map((other, index) => (
            <span key={other}>
              {index > 0 && ", "}
              <TaskLink session={task.session} task={other} />
            </span>
          ))}
          {others > 0 && ` and ${others} more`}.
        </p>
      ) : (
        !task.why && <p>It waits for no other task: it is ready, and cpus are busy or there is no governor.</p>
      )}
    </Card>
  );
}

function Cancel({ task }: { task: TaskWhole }) {
  const { live } = useLive();
  const [said, setSaid] = useState<string | null>(null);
  const over = !["waiting", "ready", "running"].includes(task.state);
  if (over || !live?.status.actions.includes("cancel")) return null;
  const cancel = async () => {
    if (!confirm(`Cancel task ${task.id}, and all that needs its outputs?`)) return;
    try {
      await ask(`sessions/${task.session}/tasks/${task.id}/cancel`, {}, { method: "POST" });
      setSaid("cancelling");
    } catch (error) {
      setSaid(error instanceof ApiError ? error.message : String(error));
    }
  };
  return said ? (
    <span class="note">{said}</span>
  ) : (
    <button type="button" class="danger" onClick={cancel}>
      Cancel
    </button>
  );
}

function Data({ task }: { task: TaskWhole }) {
  return (
    <>
      <Card title={`Inputs (${task.inputs.length})`}>
        {task.inputs.length === 0 && <Empty>None.</Empty>}
        {task.inputs.length > 0 && (
          <TableFrame label="Inputs">
            <table>
              <tbody>
                {task.inputs.map((input, index) => (
                  <tr key={index}>
                    <td>
                      <Name text={input.label || `input ${index}`} length={40} />
                    </td>
                    <td>{input.task === null ? "constant" : <>of <TaskLink session={task.session} task={input.task} /></>}</td>
                    <td class="n">{bytes(input.size)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableFrame>
        )}
      </Card>
      <Card title={`Outputs (${task.outputs.length})`}>
        {task.outputs.length === 0 && <Empty>None.</Empty>}
        {task.outputs.length > 0 && (
          <TableFrame label="Outputs">
            <table>
              <tbody>
                {task.outputs.map((output, index) => (
                  <tr key={index}>
                    <td>
                      <Name text={output.label || `output ${index}`} length={40} />
                    </td>
                    <td>{output.state}</td>
                    <td>
                      {output.governors.length > 0 && "on "}
                      {output.governors.map((governor) => (
                        <a key={governor} href={link(["governors", governor])}>
                          {governor}{" "}
                        </a>
                      ))}
                    </td>
                    <td class="n">{bytes(output.size)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableFrame>
        )}
        {task.consumers.length > 0 && (
          <p class="note">
            Read by{" "}
            {task.consumers.slice(0, 20).map((other) => (
              <span key={other}>
                <TaskLink session={task.session} task={other} />{" "}
              </span>
            ))}
            {task.consumers.length > 20 && "…"}
          </p>
        )}
      </Card>
    </>
  );
}

const written = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value, null, 2));

export function Task({ session, id }: { session: number; id: number }) {
  const { value: task, error } = useAnswer<TaskWhole>(`sessions/${session}/tasks/${id}`, {}, 1500);
  return (
    <>
      <div class="title">
        <h1>
          <a class="up" href={link(["sessions", session, "tasks"])}>
            Session {session} / Tasks /
          </a>{" "}
          #{id} {task && <Name text={task.name} length={80} dot />}
        </h1>
        {task && <StateTag state={task.state} />}
        {task && <Cancel task={task} />}
      </div>
      <Failure error={error} />
      {!task && !error && <Loading />}
      {task && (
        <>
          <dl class="facts">
            <div>
              <dt>kind</dt>
              <dd>{clip(plain(task.kind), 80)}</dd>
            </div>
            <div>
              <dt>cpus</dt>
              <dd>{task.cpus}</dd>
            </div>
            <div>
              <dt>where</dt>
              <dd>
                {task.governor === null ? "–" : <a href={link(["governors", task.governor])}>governor {task.governor}</a>}
                {task.slot === null ? "" : `, slot ${task.slot}`}
              </dd>
            </div>
            <div>
              <dt>started</dt>
              <dd title={exact(task.started)}>{moment(task.started)}</dd>
            </div>
            <div>
              <dt>took</dt>
              <dd>{span(task.seconds)}</dd>
            </div>
            {task.started !== null && (
              <div>
                <dt>look</dt>
                <dd>
                  <a
                    href={link(["stream"], {
                      from: (task.started - Math.max(0.01, (task.seconds ?? 1) * 0.6)).toFixed(4),
                      to: ((task.finished ?? task.started + 1) + Math.max(0.01, (task.seconds ?? 1) * 0.6)).toFixed(4),
                    })}
                  >
                    in the stream
                  </a>
                </dd>
              </div>
            )}
          </dl>
          <Spans task={task} />
          <div class="cards">
            {task.error && (
              <Card title="Error" wide>
                <Text label="Error" text={task.error} bad />
              </Card>
            )}
            <WhyNot task={task} />
            <Data task={task} />
            {task.history.length > 1 && (
              <Card title={`Attempts (${task.history.length})`} wide>
                <TableFrame label="Attempts">
                  <table>
                    <tbody>
                      {task.history.map((one) => (
                        <tr key={one.attempt}>
                          <td class="n">{one.attempt}</td>
                          <td>
                            <StateTag state={one.state} />
                          </td>
                          <td>{one.governor === null ? "" : `governor ${one.governor}, slot ${one.slot ?? "–"}`}</td>
                          <td>{moment(one.started)}</td>
                          <td class="n">{one.started !== null && one.finished !== null ? span(one.finished - one.started) : ""}</td>
                          <td class="row-error">{one.error && clip(plain(one.error), 200)}</td>
                        </tr>
                      ))}
                    </tbody>
                  </table>
                </TableFrame>
              </Card>
            )}
            {(["stderr", "stdout", "debug"] as const).map(
              (key) =>
                task[key] && (
                  <Card key={key} title={key} wide>
                    <Text label={key} text={task[key]} />
                  </Card>
                ),
            )}
            {task.info !== null && (
              <Card title="Info">
                <Text label="Info" text={written(task.info)} />
              </Card>
            )}
            {task.spec !== null && (
              <Card title="Specification">
                <Details summary="as it was submitted" open>
                  <Text label="Specification" text={written(task.spec)} />
                </Details>
              </Card>
            )}
          </div>
        </>
      )}
    </>
  );
}
