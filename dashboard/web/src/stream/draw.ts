// Draws the task stream on its canvas.

import type { Stream } from "../api";
import { nameColour, styled } from "../colour";
import { clip, clockTime, named, plain, span } from "../format";
import { AXIS, GUTTER, ticks, timeOf, type Range, type Row } from "./layout";

export interface Picture {
  stream: Stream;
  rows: Row[];
  range: Range;
  /** Pixels of the rows that are above the upper edge. */
  scroll: number;
  dark: boolean;
  /** The name that stands out, or null. */
  highlight: string | null;
  hosts: Map<number, string>;
  pointer: number | null;
}

function tickLabel(at: number, step: number): string {
  if (step >= 1) return clockTime(at);
  const digits = Math.min(6, Math.ceil(-Math.log10(step)));
  return clockTime(at) + (at % 1).toFixed(digits).slice(1);
}

function drawAxis(context: CanvasRenderingContext2D, picture: Picture, width: number, height: number) {
  const { range } = picture;
  const scale = (width - GUTTER) / (range.to - range.from);
  const marks = ticks(range, width - GUTTER);
  const step = marks.length > 1 ? marks[1]! - marks[0]! : range.to - range.from;
  context.fillStyle = styled("--panel");
  context.fillRect(0, 0, width, AXIS);
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const at of marks) {
    const x = Math.round(GUTTER + (at - range.from) * scale) + 0.5;
    context.strokeStyle = styled("--grid");
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
    context.fillStyle = styled("--faint");
    context.fillText(tickLabel(at, step), x + 4, AXIS / 2);
  }
  context.textAlign = "right";
  context.fillText(span(range.to - range.from), GUTTER - 10, AXIS / 2);
}

export function draw(context: CanvasRenderingContext2D, picture: Picture, width: number, height: number) {
  const { stream, rows, range, scroll, dark, highlight, hosts } = picture;
  const colours = stream.names.map((name) => nameColour(name, dark));
  const [failed, cancelled, text, faint, line, stripe] = ["--failed", "--cancelled", "--text", "--faint", "--line", "--stripe"].map(styled) as [string, string, string, string, string, string];
  const scale = (width - GUTTER) / (range.to - range.from);
  const x = (pixel: number) => GUTTER + (timeOf(stream, pixel) - range.from) * scale;
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  drawAxis(context, picture, width, height);
  context.save();
  context.beginPath();
  context.rect(0, AXIS, width, height - AXIS);
  context.clip();
  context.textBaseline = "middle";
  for (const row of rows) {
    const top = AXIS + row.top - scroll;
    if (top + row.height < AXIS || top > height) continue;
    if (row.kind === "governor") {
      context.fillStyle = stripe;
      context.fillRect(0, top, width, row.height);
      context.fillStyle = text;
      context.textAlign = "left";
      const host = hosts.get(row.governor);
      const title = clip(plain(host ?? `governor ${row.governor}`), 13);
      context.fillText(title, 8, top + row.height / 2);
      const bars = stream.transfers[row.index]?.bars ?? [];
      const most = bars.reduce((most, bar) => Math.max(most, bar[2]), 1);
      context.fillStyle = faint;
      for (const [first, last, bytes] of bars) {
        const [left, right] = [Math.max(GUTTER, x(first)), x(last + 1)];
        if (right < GUTTER || left > width) continue;
        const size = 2 + 10 * Math.sqrt(bytes / most);
        context.fillRect(left, top + row.height - 3 - size, Math.max(1, right - left), size);
      }
      continue;
    }
    if (row.height >= 11) {
      context.fillStyle = faint;
      context.textAlign = "right";
      context.fillText(String(row.slot), GUTTER - 10, top + row.height / 2);
    }
    const gap = row.height >= 7 ? 1 : 0;
    for (const [first, last, name, state, , , , fill] of stream.slots[row.index]?.bars ?? []) {
      const left = Math.max(GUTTER, x(first));
      const right = x(last + 1);
      if (right < GUTTER || left > width) continue;
      const bright = highlight === null || stream.names[name] === highlight;
      context.globalAlpha = (bright ? 1 : 0.12) * (state === 1 ? 0.55 : 0.25 + (0.75 * fill) / 100);
      context.fillStyle = state === 2 ? failed : state === 3 ? cancelled : (colours[name] ?? faint);
      const wide = Math.max(1, right - left - (right - left > 3 ? 0.5 : 0));
      context.fillRect(left, top + gap, wide, row.height - gap);
      context.globalAlpha = 1;
      if (wide > 46 && row.height >= 14 && bright) {
        context.save();
        context.beginPath();
        context.rect(left, top, Math.min(wide, width - left) - 3, row.height);
        context.clip();
        context.fillStyle = state === 2 || !dark ? "#fff" : "#10151d";
        context.textAlign = "left";
        context.fillText(plain(named(stream.names[name] ?? "")), left + 5, top + row.height / 2 + 0.5);
        context.restore();
      }
    }
  }
  context.strokeStyle = line;
  context.beginPath();
  context.moveTo(GUTTER - 0.5, AXIS);
  context.lineTo(GUTTER - 0.5, height);
  context.stroke();
  context.restore();
  if (picture.pointer !== null && picture.pointer > GUTTER) {
    context.strokeStyle = styled("--accent");
    context.globalAlpha = 0.6;
    context.beginPath();
    context.moveTo(picture.pointer + 0.5, 0);
    context.lineTo(picture.pointer + 0.5, height);
    context.stroke();
    context.globalAlpha = 1;
  }
}

/** The whole log in one strip: finished tasks over time, what is shown below as a window. */
export function drawMap(
  context: CanvasRenderingContext2D,
  values: { times: number[]; finished: (number | null)[]; failed: (number | null)[]; step: number },
  all: Range,
  range: Range,
  width: number,
  height: number,
) {
  const scale = width / (all.to - all.from);
  context.clearRect(0, 0, width, height);
  const most = values.finished.reduce<number>((most, one) => Math.max(most, one ?? 0), 1);
  values.times.forEach((time, index) => {
    const x = (time - all.from) * scale;
    const wide = Math.max(1, values.step * scale - 0.5);
    const tall = ((values.finished[index] ?? 0) / most) * (height - 6);
    context.fillStyle = styled("--running");
    context.globalAlpha = 0.55;
    context.fillRect(x, height - tall, wide, tall);
    context.globalAlpha = 1;
    if (values.failed[index]) {
      context.fillStyle = styled("--failed");
      context.fillRect(x, 0, Math.max(2, wide), 4);
    }
  });
  const left = Math.max(0, (range.from - all.from) * scale);
  const right = Math.min(width, (range.to - all.from) * scale);
  context.fillStyle = styled("--panel");
  context.globalAlpha = 0.72;
  context.fillRect(0, 0, left, height);
  context.fillRect(right, 0, width - right, height);
  context.globalAlpha = 1;
  context.strokeStyle = styled("--accent");
  context.lineWidth = 1.5;
  context.strokeRect(left + 0.75, 0.75, Math.max(2, right - left - 1.5), height - 1.5);
  context.lineWidth = 1;
}
