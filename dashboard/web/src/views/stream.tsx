// The task stream: what each slot did, over time.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Stream, Throughput } from "../api";
import { useAnswer } from "../asking";
import { nameColour, stateColour } from "../colour";
import { bytes, clip, count, moment, named, plain, span } from "../format";
import { useLive } from "../live";
import { Choice, Empty, Failure, Loading, Name, useWidth } from "../parts";
import { go, link, type Route } from "../route";
import { draw, drawMap, type Picture } from "../stream/draw";
import { listen, type Moves } from "../stream/gestures";
import { AXIS, GUTTER, barAt, rowAt, rows, shares, timeOf, type Range } from "../stream/layout";
import { useDark } from "../theme";
import { SessionHead } from "./sessions";

const FOLLOW = [
  ["10", "10 s"],
  ["60", "1 min"],
  ["600", "10 min"],
  ["all", "All"],
] as const;
const STATES = ["finished", "running", "failed", "cancelled"] as const;
const SPAN_MIN = 2e-6;

interface Tip {
  x: number;
  y: number;
  title: string;
  lines: string[];
}

/** A canvas of `width` by `height` pixels of the page, sharp on each screen. */
function prepare(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

function tipOf(picture: Picture, width: number, x: number, y: number): Tip | null {
  const { stream, range } = picture;
  const row = y > AXIS && x > GUTTER ? rowAt(picture.rows, y - AXIS + picture.scroll) : null;
  if (!row) return null;
  const time = range.from + ((x - GUTTER) * (range.to - range.from)) / (width - GUTTER);
  const pixel = ((time - stream.from) * stream.width) / (stream.to - stream.from);
  if (row.kind === "governor") {
    const bar = stream.transfers[row.index]?.bars.find((one) => pixel >= one[0] && pixel < one[1] + 1);
    return bar ? { x, y, title: `${bytes(bar[2])} came`, lines: [`${count(bar[3])} objects, to governor ${row.governor}`] } : null;
  }
  const bar = barAt(stream, stream.slots[row.index]?.bars ?? [], time);
  if (!bar) return null;
  const [first, last, name, state, tasks, session, task, fill] = bar;
  const took = timeOf(stream, last + 1) - timeOf(stream, first);
  const lines = [
    tasks > 1 ? `${count(tasks)} tasks in ${span(took)}, ${fill} % busy; the longest: #${task}` : `#${task} · ${STATES[state]} · ≈ ${span(took)}`,
    `session ${session} · governor ${row.governor}, slot ${row.slot}`,
    moment(timeOf(stream, first)),
  ];
  return { x, y, title: clip(plain(named(stream.names[name] ?? "")), 80), lines };
}

function MiniMap({ session, all, range, onRange }: { session: number | null; all: Range; range: Range; onRange: (range: Range) => void }) {
  const [width, setWidth] = useState(0);
  const frame = useWidth<HTMLDivElement>(setWidth);
  const canvas = useRef<HTMLCanvasElement>(null);
  const dark = useDark();
  const { value } = useAnswer<Throughput>("throughput", { session, points: 400 }, 3000);
  const drag = useRef<number | null>(null);
  useEffect(() => {
    const context = canvas.current && width > 0 && prepare(canvas.current, width, 44);
    if (context && value) drawMap(context, value, all, range, width, 44);
  }, [value, all.from, all.to, range.from, range.to, width, dark]);
  const time = (event: PointerEvent) => {
    const box = canvas.current!.getBoundingClientRect();
    return all.from + (Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (all.to - all.from));
  };
  const show = (event: PointerEvent) => {
    if (drag.current === null) return;
    const [one, other] = [drag.current, time(event)];
    const least = (all.to - all.from) * 0.004;
    if (Math.abs(one - other) > least) onRange({ from: Math.min(one, other), to: Math.max(one, other) });
  };
  return (
    <div class="minimap" ref={frame}>
      <canvas
        ref={canvas}
        aria-hidden="true"
        style={{ width: `${width}px`, height: "44px" }}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          drag.current = time(event);
        }}
        onPointerMove={show}
        onPointerUp={(event) => {
          const started = drag.current;
          show(event);
          drag.current = null;
          const at = time(event);
          // A click moves the window there.
          if (started !== null && Math.abs(started - at) <= (all.to - all.from) * 0.004) {
            const half = (range.to - range.from) / 2;
            onRange({ from: at - half, to: at + half });
          }
        }}
      />
    </div>
  );
}

export function StreamView({ session, route }: { session: number | null; route: Route }) {
  const { live } = useLive();
  const dark = useDark();
  const status = live?.status;
  const running = status?.state === "running";
  const given = { from: Number(route.parameters.from), to: Number(route.parameters.to) };
  const [range, setRange] = useState<Range | null>(given.to > given.from ? given : null);
  const [follow, setFollow] = useState<string>("60");
  const [size, setSize] = useState(0);
  const frame = useWidth<HTMLDivElement>(setSize);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [scroll, setScroll] = useState(0);
  const [tip, setTip] = useState<Tip | null>(null);
  const [pointer, setPointer] = useState<number | null>(null);
  const [highlight, setHighlight] = useState<string | null>(null);
  const [wanted, setWanted] = useState<Range | null>(range);

  const all: Range | null = status ? { from: status.server.started, to: Math.max(status.time, status.server.started + 0.001) } : null;
  const wholeLog = follow === "all" || !running;
  const now = status ? Math.ceil(status.time) : 0;
  const shown: Range | null = range ?? (all && (wholeLog ? all : { from: now - Number(follow), to: now }));

  // Of a range that somebody moves, a bit more than is seen, once the movement rests.
  useEffect(() => {
    const timer = setTimeout(() => setWanted(range), 70);
    return () => clearTimeout(timer);
  }, [range]);
  const margin = wanted ? (wanted.to - wanted.from) / 2 : 0;
  const bounds = wanted
    ? { from: wanted.from - margin, to: wanted.to + margin }
    : shown && !range
      ? shown
      : null;
  const pixels = Math.min(4000, Math.max(100, Math.round((size - GUTTER) * (wanted ? 2 : 1)) || 1200));
  const { value: stream, error } = useAnswer<Stream>(
    bounds && size > 0 ? "stream" : null,
    { session, from: bounds?.from, to: bounds?.to, width: pixels },
    1000,
  );

  const placed = useMemo(() => (stream ? rows(stream) : { rows: [], height: 0 }), [stream]);
  const height = Math.min(placed.height + AXIS + 2, Math.max(260, innerHeight - 330));
  const scrollMax = Math.max(0, placed.height + AXIS + 2 - height);
  const hosts = useMemo(() => new Map((live?.governors ?? []).map((one) => [one.id, one.host])), [live]);
  const picture: Picture | null =
    stream && shown
      ? { stream, rows: placed.rows, range: shown, scroll: Math.min(scroll, scrollMax), dark, highlight, hosts, pointer }
      : null;

  useEffect(() => {
    if (!picture || !canvas.current || size === 0) return;
    const request = requestAnimationFrame(() => {
      const context = canvas.current && prepare(canvas.current, size, height);
      if (context) draw(context, picture, size, height);
    });
    return () => cancelAnimationFrame(request);
  });

  const current = useRef({ shown, picture, size, scrollMax, all });
  current.current = { shown, picture, size, scrollMax, all };
  const moves = useRef<Moves>({
    pan: (part) => {
      const { shown } = current.current;
      if (!shown) return;
      const by = part * (shown.to - shown.from);
      setRange({ from: shown.from + by, to: shown.to + by });
    },
    zoom: (factor, about) => {
      const { shown, all } = current.current;
      if (!shown || !all) return;
      const long = Math.min((all.to - all.from) * 1.5 + 1, Math.max(SPAN_MIN, (shown.to - shown.from) * factor));
      const at = shown.from + (shown.to - shown.from) * about;
      setRange({ from: at - long * about, to: at + long * (1 - about) });
    },
    scroll: (pixels) => {
      const { scrollMax } = current.current;
      setScroll((now) => Math.min(scrollMax, Math.max(0, Math.min(now, scrollMax) + pixels)));
      return scrollMax > 0;
    },
    whole: () => {
      setRange(null);
      setFollow("all");
    },
    hover: (at) => {
      const { picture, size } = current.current;
      setPointer(at ? at.x : null);
      setTip(at && picture ? tipOf(picture, size, at.x, at.y) : null);
    },
    click: (x, y) => {
      const { picture, size } = current.current;
      const row = picture && x > GUTTER ? rowAt(picture.rows, y - AXIS + picture.scroll) : null;
      if (!picture || row?.kind !== "slot") return;
      const time = picture.range.from + ((x - GUTTER) * (picture.range.to - picture.range.from)) / (size - GUTTER);
      const bar = barAt(picture.stream, picture.stream.slots[row.index]?.bars ?? [], time);
      if (bar) go(link(["sessions", bar[5], "tasks", bar[6]]));
    },
  });
  const hasRows = placed.rows.length > 0;
  useEffect(() => (canvas.current ? listen(canvas.current, moves.current) : undefined), [hasRows]);

  const legend = stream && shown ? shares(stream, shown) : [];
  const busy = legend.reduce((sum, [, share]) => sum + share, 0);
  const body = (
    <>
      <div class="filters">
        {running && (
          <Choice
            label="Time shown"
            value={(range ? "" : follow) as "all"}
            options={FOLLOW as never}
            onChange={(value) => {
              setRange(null);
              setFollow(value);
            }}
          />
        )}
        <div class="choice" role="group" aria-label="Zoom">
          <button type="button" onClick={() => moves.current.zoom(0.5, 0.5)} aria-label="Closer">
            +
          </button>
          <button type="button" onClick={() => moves.current.zoom(2, 0.5)} aria-label="Farther">
            −
          </button>
          <button type="button" onClick={() => moves.current.pan(-0.4)} aria-label="Earlier">
            ←
          </button>
          <button type="button" onClick={() => moves.current.pan(0.4)} aria-label="Later">
            →
          </button>
          {!running && (
            <button type="button" onClick={() => moves.current.whole()}>
              All
            </button>
          )}
        </div>
        <span class="note n">
          {shown && `${moment(shown.from)} – ${moment(shown.to)} · ${span(shown.to - shown.from)}`}
          {stream && hasRows && ` · slots ${Math.round(busy * 100)} % busy`}
        </span>
      </div>
      <Failure error={error} />
      {all && shown && <MiniMap session={session} all={all} range={shown} onRange={setRange} />}
      <div class="stream" ref={frame}>
        {!stream && !error && <Loading />}
        {stream && !hasRows && <Empty>No task ran in this time.</Empty>}
        {hasRows && (
          <canvas
            ref={canvas}
            tabIndex={0}
            role="img"
            aria-label={`Task stream: ${stream?.slots.length} slots. Arrow keys move, plus and minus zoom, 0 shows all. The names below say what took the time.`}
            style={{ width: `${size}px`, height: `${height}px` }}
          />
        )}
        {tip && (
          <div class="tip" style={{ left: `${Math.min(tip.x + 14, Math.max(0, size - 270))}px`, top: `${tip.y + 16}px` }}>
            <b>
              <bdi>{tip.title}</bdi>
            </b>
            {tip.lines.map((line) => (
              <span key={line}>{line}</span>
            ))}
          </div>
        )}
      </div>
      {stream && legend.length > 0 && (
        <ul class="legend names" aria-label="Names by their share of the time of all slots">
          {legend.slice(0, 16).map(([index, share]) => {
            const name = stream.names[index] ?? "";
            return (
              <li key={index}>
                <button
                  type="button"
                  aria-pressed={highlight === name}
                  onClick={() => setHighlight(highlight === name ? null : name)}
                >
                  <i class="dot" style={{ background: nameColour(name, dark) }} />
                  <Name text={name} length={40} /> <b class="n">{(share * 100).toFixed(share < 0.1 ? 1 : 0)} %</b>
                </button>
              </li>
            );
          })}
          {legend.length > 16 && <li class="note">{legend.length - 16} more names</li>}
          <li class="note">
            <i class="dot" style={{ background: stateColour("failed") }} /> failed
          </li>
        </ul>
      )}
      {stream && stream.folded > 0 && <p class="note">{count(stream.folded)} tasks of this time are only counted and not drawn.</p>}
    </>
  );
  return session === null ? (
    <>
      <h1>Task stream</h1>
      {body}
    </>
  ) : (
    <SessionHead id={session} view="stream">
      {body}
    </SessionHead>
  );
}
