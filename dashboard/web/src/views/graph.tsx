// The graph of a session, by groups of names; a group opens into its parts, and in the end into tasks.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { STATES, total, type Graph } from "../api";
import { useAnswer } from "../asking";
import { nameColour, styled } from "../colour";
import { clip, compact, count, many, named, percent, plain, span } from "../format";
import { layout, type Layout } from "../graph/layers";
import { Details, Empty, Failure, Loading, Name, StateBar, TableFrame, useWidth } from "../parts";
import { go, link, type Route } from "../route";
import { useDark } from "../theme";
import { SessionHead } from "./sessions";

interface Camera {
  x: number;
  y: number;
  scale: number;
}

/** The scale at which names can be read. */
const READABLE = 0.5;

const last = (name: string) => name.slice(name.lastIndexOf("/") + 1);

function drawGraph(context: CanvasRenderingContext2D, graph: Graph, made: Layout, camera: Camera, dark: boolean, hover: number | null, width: number, height: number) {
  const { node, places, edges } = made;
  context.clearRect(0, 0, width, height);
  context.save();
  context.translate(camera.x, camera.y);
  context.scale(camera.scale, camera.scale);
  const [line, accent, panel, text, faint] = ["--edge", "--accent", "--panel", "--text", "--faint"].map(styled) as [string, string, string, string, string];
  const most = Math.max(1, ...edges.map((edge) => edge[2]));
  const path = (from: number, to: number) => {
    const [a, b] = [places[from]!, places[to]!];
    const [x1, y1, x2, y2] = [a.x + node.width, a.y + node.height / 2, b.x, b.y + node.height / 2];
    const bend = Math.max(24, Math.abs(x2 - x1) / 2);
    context.beginPath();
    context.moveTo(x1, y1);
    if (edges.length > 8000) context.lineTo(x2, y2);
    else context.bezierCurveTo(x1 + bend, y1, x2 - bend, y2, x2, y2);
    context.stroke();
  };
  const near = new Set<number>();
  for (const [from, to, count] of edges) {
    const lit = hover === from || hover === to;
    if (lit) near.add(from).add(to);
    if (lit) continue;
    context.strokeStyle = line;
    context.globalAlpha = hover === null ? 1 : 0.35;
    context.lineWidth = graph.level === "tasks" ? 1 : 1 + 3 * Math.sqrt(count / most);
    path(from, to);
  }
  context.globalAlpha = 1;
  for (const [from, to, count] of edges) {
    if (hover !== from && hover !== to) continue;
    context.strokeStyle = accent;
    context.lineWidth = 1.5 + 3 * Math.sqrt(count / most);
    path(from, to);
  }
  const states = Object.fromEntries(STATES.map((state) => [state, styled(`--${state}`)]));
  const written = camera.scale > 0.38;
  graph.nodes.forEach((one, index) => {
    const { x, y } = places[index]!;
    const [left, top] = [x * camera.scale + camera.x, y * camera.scale + camera.y];
    if (left > width || top > height || left + node.width * camera.scale < 0 || top + node.height * camera.scale < 0) return;
    context.globalAlpha = hover === null || hover === index || near.has(index) ? 1 : 0.45;
    context.beginPath();
    context.roundRect(x, y, node.width, node.height, graph.level === "tasks" ? 5 : 8);
    context.fillStyle = panel;
    context.fill();
    context.lineWidth = hover === index ? 2 : 1;
    context.strokeStyle = hover === index ? accent : line;
    context.stroke();
    context.save();
    context.clip();
    const all = total(one.states) || 1;
    if (graph.level === "tasks") {
      const state = STATES.find((state) => one.states[state] > 0) ?? "waiting";
      context.fillStyle = states[state]!;
      context.fillRect(x, y, 6, node.height);
    } else {
      let at = x;
      for (const state of STATES) {
        const wide = (one.states[state] / all) * node.width;
        context.fillStyle = states[state]!;
        context.fillRect(at, y + node.height - 7, wide, 7);
        at += wide;
      }
      context.fillStyle = nameColour(one.name, dark);
      context.fillRect(x, y, 5, node.height - 7);
    }
    if (written) {
      context.fillStyle = text;
      context.textBaseline = "middle";
      if (graph.level === "tasks") {
        context.font = "11px system-ui, sans-serif";
        context.fillText(clip(plain(`#${one.id} ${last(one.name)}`), 18), x + 12, y + node.height / 2);
      } else {
        context.font = "600 13px system-ui, sans-serif";
        context.fillText(clip(plain(named(last(one.name))), 22), x + 14, y + 16);
        context.fillStyle = faint;
        context.font = "11px system-ui, sans-serif";
        context.fillText(`${compact(one.count)} tasks · ${percent(one.states.finished, all)} · ${span(one.seconds)}`, x + 14, y + 33);
      }
    }
    context.restore();
  });
  context.restore();
}

export function GraphView({ id, route }: { id: number; route: Route }) {
  const group = route.parameters.group ?? "";
  const { value: graph, error } = useAnswer<Graph>(`sessions/${id}/graph`, { group }, 2500);
  const dark = useDark();
  const [width, setWidth] = useState(0);
  const frame = useWidth<HTMLDivElement>(setWidth);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [camera, setCamera] = useState<Camera | null>(null);
  const [hover, setHover] = useState<number | null>(null);
  const height = Math.max(300, Math.min(innerHeight - 320, 760));

  // Places change with the shape of the graph only, not with the states in it.
  const shape = graph ? `${graph.group} ${graph.nodes.map((node) => node.id).join()} ${graph.edges.length}` : "";
  const made = useMemo(() => (graph && graph.nodes.length > 0 ? layout(graph) : null), [shape]);
  /** All of the graph in sight; not smaller than `least`, and then its beginning. */
  const whole = (least: number): Camera => {
    if (!made || !width) return { x: 0, y: 0, scale: 1 };
    const scale = Math.min(1.25, (width - 40) / made.width, (height - 40) / made.height);
    if (scale < least) return { scale: least, x: 20, y: (height - made.height * least) / 2 };
    return { scale, x: (width - made.width * scale) / 2, y: (height - made.height * scale) / 2 };
  };
  useEffect(() => setCamera(null), [made, width]);
  const shown = camera ?? whole(READABLE);
  const current = useRef({ shown, made, graph });
  current.current = { shown, made, graph };

  useEffect(() => {
    if (!graph || !made || !canvas.current || !width) return;
    const request = requestAnimationFrame(() => {
      const element = canvas.current;
      const context = element?.getContext("2d");
      if (!element || !context) return;
      const ratio = devicePixelRatio || 1;
      element.width = Math.round(width * ratio);
      element.height = Math.round(height * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      drawGraph(context, graph, made, shown, dark, hover, width, height);
    });
    return () => cancelAnimationFrame(request);
  });

  const nodeAt = (event: MouseEvent): number | null => {
    const { shown, made } = current.current;
    if (!made || !canvas.current) return null;
    const box = canvas.current.getBoundingClientRect();
    const x = (event.clientX - box.left - shown.x) / shown.scale;
    const y = (event.clientY - box.top - shown.y) / shown.scale;
    const found = made.places.findIndex((at) => x >= at.x && x <= at.x + made.node.width && y >= at.y && y <= at.y + made.node.height);
    return found < 0 ? null : found;
  };
  const zoom = (factor: number, x: number, y: number) => {
    const { shown } = current.current;
    const scale = Math.min(4, Math.max(0.02, shown.scale * factor));
    const real = scale / shown.scale;
    setCamera({ scale, x: x - (x - shown.x) * real, y: y - (y - shown.y) * real });
  };
  const target = (index: number): string => {
    const node = current.current.graph!.nodes[index]!;
    return graph?.level === "tasks" ? link(["sessions", id, "tasks", node.id]) : link(["sessions", id, "graph"], { group: node.name });
  };
  const drag = useRef<{ x: number; y: number; moved: number } | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const box = element.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY * 0.0018), event.clientX - box.left, event.clientY - box.top);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [made !== null]);

  const parts = group ? group.split("/") : [];
  return (
    <SessionHead id={id} view="graph">
      <div class="filters">
        <nav class="crumbs" aria-label="Groups">
          <a href={link(["sessions", id, "graph"])} aria-current={group ? undefined : "page"}>
            all
          </a>
          {parts.map((part, index) => (
            <span key={index}>
              {" / "}
              <a href={link(["sessions", id, "graph"], { group: parts.slice(0, index + 1).join("/") })}>
                <Name text={part} length={40} />
              </a>
            </span>
          ))}
        </nav>
        <div class="choice" role="group" aria-label="Zoom">
          <button type="button" aria-label="Closer" onClick={() => zoom(1.4, width / 2, height / 2)}>
            +
          </button>
          <button type="button" aria-label="Farther" onClick={() => zoom(1 / 1.4, width / 2, height / 2)}>
            −
          </button>
          <button type="button" onClick={() => setCamera(whole(0))}>
            Fit
          </button>
        </div>
        {graph && (
          <span class="note">
            {many(graph.nodes.length, graph.level.slice(0, -1))} · {many(graph.edges.length, "edge")}
            {graph.left_out > 0 && ` · ${count(graph.left_out)} more are not shown`}
          </span>
        )}
      </div>
      <Failure error={error} />
      {!graph && !error && <Loading />}
      {graph && graph.nodes.length === 0 && <Empty>No task here.</Empty>}
      <div ref={frame} class="graph">
        {made && graph && (
          <canvas
            ref={canvas}
            role="img"
            aria-label={`Graph of ${graph.nodes.length} ${graph.level}; the list below has them all`}
            style={{ width: `${width}px`, height: `${height}px`, cursor: hover === null ? "grab" : "pointer" }}
            onPointerDown={(event) => {
              event.currentTarget.setPointerCapture(event.pointerId);
              drag.current = { x: event.clientX, y: event.clientY, moved: 0 };
            }}
            onPointerMove={(event) => {
              const from = drag.current;
              if (!from) return setHover(nodeAt(event));
              const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
              drag.current = { x: event.clientX, y: event.clientY, moved: from.moved + Math.abs(dx) + Math.abs(dy) };
              setCamera({ ...shown, x: shown.x + dx, y: shown.y + dy });
            }}
            onPointerUp={(event) => {
              const moved = drag.current?.moved ?? 9;
              drag.current = null;
              const node = nodeAt(event);
              if (moved < 5 && node !== null) go(target(node));
            }}
            onPointerLeave={() => setHover(null)}
          />
        )}
      </div>
      {graph && graph.nodes.length > 0 && (
        <Details summary={`The ${graph.level} as a list`}>
          <TableFrame label="Nodes of the graph">
            <table>
              <tbody>
                {graph.nodes.slice(0, 500).map((node, index) => (
                  <tr key={node.id}>
                    <td>
                      <a href={target(index)}>
                        {graph.level === "tasks" && `#${node.id} `}
                        <Name text={node.name} length={80} dot />
                      </a>
                    </td>
                    <td class="grow">
                      <StateBar counts={node.states} />
                    </td>
                    <td class="n">{count(node.count)}</td>
                    <td class="n">{span(node.seconds)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </TableFrame>
        </Details>
      )}
    </SessionHead>
  );
}
