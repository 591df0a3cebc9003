// Where slots, transfers and bars of the task stream lie, in pixels of the canvas.

import type { Bar, Stream } from "../api";

export interface Range {
  from: number;
  to: number;
}

export interface Row {
  kind: "governor" | "slot";
  governor: number;
  slot: number;
  top: number;
  height: number;
  /** Index into `slots`, or into `transfers` (-1: none) for the row of a governor. */
  index: number;
}

export const GUTTER = 92;
export const AXIS = 24;

/** Rows from top to bottom, and their height together. Many slots get thin rows. */
export function rows(stream: Stream): { rows: Row[]; height: number } {
  const slots = stream.slots.length;
  const height = slots > 400 ? 4 : slots > 120 ? 7 : slots > 48 ? 11 : 18;
  const transfers = new Map(stream.transfers.map((one, index) => [one.governor, index]));
  const made: Row[] = [];
  let top = 0;
  let governor: number | null = null;
  stream.slots.forEach((slot, index) => {
    if (slot.governor !== governor) {
      governor = slot.governor;
      const head = 20;
      made.push({ kind: "governor", governor, slot: -1, top, height: head, index: transfers.get(governor) ?? -1 });
      top += head;
    }
    made.push({ kind: "slot", governor, slot: slot.slot, top, height, index });
    top += height;
  });
  return { rows: made, height: top };
}

/** The row at a height, by bisection. */
export function rowAt(rows: Row[], y: number): Row | null {
  let [low, high] = [0, rows.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const row = rows[middle]!;
    if (y < row.top) high = middle - 1;
    else if (y >= row.top + row.height) low = middle + 1;
    else return row;
  }
  return null;
}

/** From pixels of the answer to times. */
export const timeOf = (stream: Stream, pixel: number): number =>
  stream.from + (pixel * (stream.to - stream.from)) / stream.width;

/** The bar of a slot at a time; bars are in order. */
export function barAt(stream: Stream, bars: Bar[], time: number): Bar | null {
  const pixel = Math.floor(((time - stream.from) * stream.width) / (stream.to - stream.from));
  let [low, high] = [0, bars.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    const bar = bars[middle]!;
    if (pixel < bar[0]) high = middle - 1;
    else if (pixel > bar[1]) low = middle + 1;
    else return bar;
  }
  return null;
}

/** Names by the share of the busy time that they take in `range`: [name, share of all slots], the largest first. */
export function shares(stream: Stream, range: Range): [number, number][] {
  const scale = stream.width / (stream.to - stream.from);
  const first = (range.from - stream.from) * scale;
  const last = (range.to - stream.from) * scale;
  const sums = new Map<number, number>();
  for (const { bars } of stream.slots) {
    for (const [from, to, name, , , , , fill] of bars) {
      const inside = Math.min(to + 1, last) - Math.max(from, first);
      if (inside > 0) sums.set(name, (sums.get(name) ?? 0) + (inside * fill) / 100);
    }
  }
  const all = Math.max(1, (last - first) * stream.slots.length);
  return [...sums].map(([name, sum]): [number, number] => [name, sum / all]).sort((a, b) => b[1] - a[1]);
}

/** Times of the marks on the axis, and how they are written: as spans since `origin`. */
export function ticks(range: Range, pixels: number): number[] {
  const wanted = (range.to - range.from) / Math.max(2, pixels / 110);
  const power = 10 ** Math.floor(Math.log10(wanted));
  let step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= wanted) ?? wanted;
  if (wanted > 10) step = [15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400, 604800].find((one) => one >= wanted) ?? step;
  const made: number[] = [];
  for (let at = Math.ceil(range.from / step) * step; at <= range.to && made.length < 100; at += step) made.push(at);
  return made;
}
