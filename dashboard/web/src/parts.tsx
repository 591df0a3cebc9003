// Small pieces that several views are made of.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { STATES, total, type ApiError, type Counts, type State } from "./api";
import { nameColour, stateColour } from "./colour";
import { clip, count, named, percent, plain, span } from "./format";
import { link } from "./route";
import { useDark } from "./theme";

/** A name that somebody has given: shown as text, however it looks, and never longer than `length`. */
export function Name({ text, length = 120, dot = false }: { text: string; length?: number; dot?: boolean }) {
  const dark = useDark();
  const shown = plain(named(text));
  return (
    <bdi class="name" title={shown.length > length ? clip(shown, 2000) : undefined}>
      {dot && <i class="dot" style={{ background: nameColour(text, dark) }} />}
      {clip(shown, length)}
    </bdi>
  );
}

const STATE_SIGNS: Record<string, string> = {
  finished: "✓",
  closed: "✓",
  failed: "✕",
  lost: "✕",
  cancelled: "–",
  running: "▸",
  open: "▸",
  alive: "▸",
  ready: "○",
  waiting: "·",
  suspect: "?",
  left: "–",
};

export function StateTag({ state }: { state: string }) {
  return (
    <span class={`tag ${state}`}>
      <span aria-hidden="true">{STATE_SIGNS[state] ?? "•"}</span> {state}
    </span>
  );
}

export function describe(counts: Counts): string {
  const parts = STATES.filter((state) => counts[state] > 0).map((state) => `${count(counts[state])} ${state}`);
  return parts.join(", ") || "no tasks";
}

/** Tasks by state as parts of one bar. */
export function StateBar({ counts, large = false }: { counts: Counts; large?: boolean }) {
  const all = total(counts);
  return (
    <div class={large ? "bar large" : "bar"} role="img" aria-label={describe(counts)} title={describe(counts)}>
      {STATES.filter((state) => counts[state] > 0).map((state) => (
        <i key={state} style={{ flexGrow: counts[state] / all, background: stateColour(state) }} />
      ))}
    </div>
  );
}

export function StateLegend({ counts, to }: { counts: Counts; to?: (state: State) => string }) {
  return (
    <ul class="legend">
      {STATES.filter((state) => counts[state] > 0).map((state) => (
        <li key={state}>
          <i class="dot" style={{ background: stateColour(state) }} />
          {to ? <a href={to(state)}>{state}</a> : state} <b class="n">{count(counts[state])}</b>
        </li>
      ))}
    </ul>
  );
}

/** A part of a whole, such as memory of its budget. */
export function Meter({ part, label, text, warn }: { part: number | null; label: string; text?: string; warn?: boolean }) {
  if (part === null) return <span class="faint">–</span>;
  const width = `${Math.min(100, Math.max(0, part * 100))}%`;
  return (
    <span class="meter" title={label}>
      <span class="track" role="img" aria-label={label}>
        <i class={warn ? "warn" : ""} style={{ width }} />
      </span>
      <span class="n">{text ?? `${Math.round(part * 100)} %`}</span>
    </span>
  );
}

export function Card({
  title,
  aside,
  children,
  wide,
}: {
  title: ComponentChildren;
  aside?: ComponentChildren;
  children: ComponentChildren;
  wide?: boolean;
}) {
  return (
    <section class={wide ? "card wide" : "card"}>
      <header>
        <h2>{title}</h2>
        {aside && <div class="aside">{aside}</div>}
      </header>
      {children}
    </section>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Failure({ error }: { error: ApiError | null }) {
  return error ? (
    <p class="failure" role="alert">
      {plain(error.message)}
    </p>
  ) : null;
}

/** What is shown while the first answer is on its way. */
export const Loading = () => <p class="empty loading">Loading…</p>;

export function Choice<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <div class="choice" role="group" aria-label={label}>
      {options.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={key === value} onClick={() => onChange(key)}>
          {text}
        </button>
      ))}
    </div>
  );
}

/** A wide table in a frame of its own that scrolls; the keyboard reaches it. */
export function TableFrame({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <div class="table-frame" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

export function TaskLink({ session, task, children }: { session: number; task: number; children?: ComponentChildren }) {
  return <a href={link(["sessions", session, "tasks", task])}>{children ?? `#${task}`}</a>;
}

export const Tasks = ({ counts }: { counts: Counts }) => (
  <span class="n" title={describe(counts)}>
    {count(counts.finished)} of {count(total(counts))} · {percent(counts.finished, total(counts))}
  </span>
);

export const Seconds = ({ value }: { value: number | null }) => <span class="n">{span(value)}</span>;

/** Calls `act` with the width of an element whenever that changes. */
export function useWidth<E extends HTMLElement>(act: (width: number, height: number) => void) {
  const element = useRef<E>(null);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => entry && act(entry.contentRect.width, entry.contentRect.height));
    if (element.current) observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return element;
}

export function Details({ summary, open, children }: { summary: string; open?: boolean; children: ComponentChildren }) {
  return (
    <details open={open}>
      <summary>{summary}</summary>
      {children}
    </details>
  );
}

/** Output of a task, or an error: as it is, in a frame of its own. */
export function Text({ label, text, bad }: { label: string; text: string; bad?: boolean }) {
  const clean = text.replace(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, "").replace(/[\u0000-\u0008\u000b-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\u00b7");
  return (
    <pre class={bad ? "text bad" : "text"} tabIndex={0} aria-label={label} role="region">
      {clean}
    </pre>
  );
}

export type Props<E extends keyof JSX.IntrinsicElements> = JSX.IntrinsicElements[E];
