// Places for the nodes of a graph: in layers from left to right, so that edges lead to the right where they can.

import type { Graph } from "../api";

export interface Placed {
  x: number;
  y: number;
}

export interface Layout {
  places: Placed[];
  node: { width: number; height: number };
  width: number;
  height: number;
  /** Pairs of indices into `places`, and the count of each. */
  edges: [number, number, number][];
}

const SWEEPS = 6;
/** Nodes one below the other; a layer with more gets several columns. */
const COLUMN_MAX = 36;

/** The layer of each node: the longest way to it, edges that close a circle left out. */
function layers(count: number, following: number[][]): number[] {
  const state = new Uint8Array(count);
  const order: number[] = [];
  const forward: [number, number][] = [];
  for (let start = 0; start < count; start++) {
    if (state[start]) continue;
    const stack: [number, number][] = [[start, 0]];
    state[start] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1]!;
      const next = following[top[0]]![top[1]++];
      if (next === undefined) {
        state[top[0]] = 2;
        order.push(top[0]);
        stack.pop();
      } else if (state[next] !== 1) {
        forward.push([top[0], next]);
        if (!state[next]) {
          state[next] = 1;
          stack.push([next, 0]);
        }
      }
    }
  }
  const layer = new Array<number>(count).fill(0);
  const out = Array.from({ length: count }, () => [] as number[]);
  for (const [from, to] of forward) out[from]!.push(to);
  for (const node of order.reverse()) for (const next of out[node]!) layer[next] = Math.max(layer[next]!, layer[node]! + 1);
  return layer;
}

export function layout(graph: Graph): Layout {
  const tasks = graph.level === "tasks";
  const node = tasks ? { width: 120, height: 24 } : { width: 196, height: 52 };
  const [gapX, gapY] = tasks ? [44, 8] : [76, 18];
  const index = new Map(graph.nodes.map((one, at) => [one.id, at]));
  const edges: [number, number, number][] = [];
  const following = graph.nodes.map(() => [] as number[]);
  const preceding = graph.nodes.map(() => [] as number[]);
  for (const { from, to, count } of graph.edges) {
    const [a, b] = [index.get(from), index.get(to)];
    if (a === undefined || b === undefined || a === b) continue;
    edges.push([a, b, count]);
    following[a]!.push(b);
    preceding[b]!.push(a);
  }
  const layer = layers(graph.nodes.length, following);
  const columns: number[][] = [];
  layer.forEach((at, one) => (columns[at] ??= []).push(one));
  // Nodes go to where the middle of their neighbours is.
  const rank = new Float64Array(graph.nodes.length);
  columns.forEach((column) => column.forEach((one, at) => (rank[one] = at / column.length)));
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const near = sweep % 2 ? following : preceding;
    for (const column of sweep % 2 ? [...columns].reverse() : columns) {
      const middle = new Map(
        column.map((one) => {
          const others = near[one]!;
          return [one, others.length ? others.reduce((sum, other) => sum + rank[other]!, 0) / others.length : rank[one]!];
        }),
      );
      column.sort((a, b) => middle.get(a)! - middle.get(b)! || a - b);
      column.forEach((one, at) => (rank[one] = (at + 0.5) / column.length));
    }
  }
  const places = new Array<Placed>(graph.nodes.length);
  const tallest = Math.min(COLUMN_MAX, Math.max(1, ...columns.map((column) => column.length)));
  const height = tallest * (node.height + gapY) - gapY;
  let x = 0;
  for (const column of columns) {
    const parts = Math.ceil(column.length / COLUMN_MAX);
    const inPart = Math.ceil(column.length / parts);
    column.forEach((one, at) => {
      const rows = Math.min(inPart, column.length - Math.floor(at / inPart) * inPart);
      const top = (height - (rows * (node.height + gapY) - gapY)) / 2;
      places[one] = { x: x + Math.floor(at / inPart) * (node.width + gapY), y: top + (at % inPart) * (node.height + gapY) };
    });
    x += parts * (node.width + gapY) - gapY + gapX;
  }
  return { places, node, width: Math.max(node.width, x - gapX), height, edges };
}
