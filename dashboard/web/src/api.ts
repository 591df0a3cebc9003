// What the server answers under /api/v1 (docs/dashboard.md describes the routes), and how it is asked.

export type State = "waiting" | "ready" | "running" | "finished" | "failed" | "cancelled" | "lost";
export const STATES: State[] = ["finished", "running", "ready", "waiting", "failed", "cancelled", "lost"];
export type Counts = Record<State, number>;

export interface Status {
  time: number;
  sequence: number;
  state: "running" | "finished" | "broken";
  server: { name: string | null; version: string; started: number; ended: number | null; address: string | null };
  governors: number;
  cpus: number;
  tasks: Counts;
  sessions: { open: number; failed: number; closed: number };
  rate: number;
  time_left: number | null;
  log: { path: string; bytes: number; dropped_samples: number; folded_tasks: number; error: string | null } | null;
  /** What this server lets its owner do: "close", "cancel". */
  actions: string[];
}

export interface Group {
  name: string;
  depth: number;
  tasks: Counts;
  seconds: number;
}

export interface Session {
  id: number;
  name: string;
  state: "open" | "failed" | "closed";
  created: number;
  closed: number | null;
  tasks: Counts;
  seconds: number;
  bytes: number;
  error: string | null;
}

export interface SessionWhole extends Session {
  error_text: string | null;
  groups: Group[];
  groups_left_out: number;
}

export interface TaskRow {
  id: number;
  name: string;
  kind: string;
  state: State;
  governor: number | null;
  slot: number | null;
  ready: number | null;
  assigned: number | null;
  started: number | null;
  finished: number | null;
  seconds: number | null;
  attempts: number;
  error_line: string | null;
}

export interface TaskWhole extends TaskRow {
  session: number;
  spec: unknown;
  cpus: number;
  info: unknown;
  inputs: { task: number | null; object: number; label: string | null; size: number | null }[];
  outputs: { object: number; label: string | null; size: number | null; state: string; governors: number[] }[];
  error: string | null;
  debug: string | null;
  stdout: string | null;
  stderr: string | null;
  waits_for: number[];
  waits_for_count: number;
  consumers: number[];
  history: {
    attempt: number;
    governor: number | null;
    slot: number | null;
    started: number | null;
    finished: number | null;
    state: State;
    error: string | null;
  }[];
  why?: string | null;
}

export interface Graph {
  level: "groups" | "tasks";
  group: string;
  nodes: { id: number; name: string; count: number; states: Counts; seconds: number; leaf: boolean }[];
  edges: { from: number; to: number; count: number }[];
  left_out: number;
}

export interface ObjectRow {
  id: number;
  task: number | null;
  label: string | null;
  size: number;
  state: string;
  governors: number[];
  made: number | null;
  dropped: number | null;
}

export interface Governor {
  id: number;
  host: string;
  state: "alive" | "suspect" | "lost" | "left";
  cpus: number;
  joined: number;
  lost: number | null;
  reason: string | null;
  running: number;
  load: number | null;
  memory: number | null;
  memory_budget: number | null;
  net_in: number | null;
  net_out: number | null;
  spilled: number;
  tasks: number;
  executors: number;
  topology: unknown;
}

export type Series = (number | null)[];
export interface Samples {
  times: number[];
  load: Series;
  memory: Series;
  net_in: Series;
  net_out: Series;
  disk: Series;
  running: Series;
}

/** First and last pixel, name, state, tasks, session, task, percent of the pixels that was busy. */
export type Bar = [number, number, number, number, number, number, number, number];
export interface Stream {
  from: number;
  to: number;
  width: number;
  names: string[];
  slots: { governor: number; slot: number; bars: Bar[] }[];
  transfers: { governor: number; bars: [number, number, number, number][] }[];
  folded: number;
}

export interface Throughput {
  times: number[];
  step: number;
  finished: Series;
  failed: Series;
  running: Series;
}

export interface LogEvent {
  id: number;
  time: number;
  type: string;
  session: number | null;
  task: number | null;
  governor: number | null;
  object: number | null;
  text: string | null;
  value: number | null;
}

export interface Live {
  status: Status;
  governors: Governor[];
  session: SessionWhole | null;
  resync: boolean;
}

/** The server's answer was an error; `status` is that of HTTP, 0 when there was none. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

type Parameters = Record<string, string | number | null | undefined>;

export function query(parameters: Parameters): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? "?" + new URLSearchParams(given.map(([key, value]) => [key, String(value)])) : "";
}

/** Asks for `path` below /api/v1. */
export async function ask<T>(path: string, parameters: Parameters = {}, options: RequestInit = {}): Promise<T> {
  let reply: Response;
  try {
    reply = await fetch("/api/v1/" + path + query(parameters), options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("The server does not answer.", 0);
  }
  if (reply.ok) return reply.status === 204 ? (undefined as T) : reply.json();
  const said = await reply.json().catch(() => null);
  throw new ApiError(said?.error?.message ?? `${reply.status} ${reply.statusText}`, reply.status);
}

export const noCounts = (): Counts => ({ waiting: 0, ready: 0, running: 0, finished: 0, failed: 0, cancelled: 0, lost: 0 });
export const total = (counts: Counts): number => STATES.reduce((sum, state) => sum + counts[state], 0);
