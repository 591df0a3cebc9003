// Lines over time, drawn by uPlot.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Series } from "./api";
import { styled } from "./colour";
import { clockTime } from "./format";
import { useDark } from "./theme";

export interface Line {
  label: string;
  /** The variable of the style sheet that has the colour. */
  colour: string;
  values: Series;
  fill?: boolean;
  /** Drawn to a scale of its own, at the right. */
  right?: boolean;
}

const FONT = "11px system-ui, sans-serif";

function options(lines: Line[], format: (value: number) => string, max: number | undefined, height: number): Omit<uPlot.Options, "width"> {
  const grid = { stroke: styled("--grid"), width: 1 };
  const range = (_plot: uPlot, _low: number, high: number | null): [number, number] => [0, max ?? Math.max(1, (high ?? 1) * 1.08)];
  const axis = { stroke: styled("--faint"), grid, ticks: { show: false }, font: FONT };
  return {
    height,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { x: { time: true }, y: { range }, right: { range } },
    axes: [
      { ...axis, values: (_plot, splits) => splits.map(clockTime), space: 80, size: 28 },
      { ...axis, size: 56, values: (_plot, splits) => splits.map(format), space: 32 },
      ...(lines.some((line) => line.right)
        ? [{ ...axis, grid: { show: false }, scale: "right", side: 1 as const, size: 44, values: (_plot: uPlot, splits: number[]) => splits.map(format) }]
        : []),
    ],
    series: [
      {},
      ...lines.map((line): uPlot.Series => {
        const colour = styled(line.colour);
        return {
          label: line.label,
          scale: line.right ? "right" : "y",
          stroke: colour,
          width: 1.5,
          points: { show: false },
          ...(line.fill ? { fill: `color-mix(in srgb, ${colour} 18%, transparent)` } : {}),
        };
      }),
    ],
  };
}

/** Lines with one legend that shows the values at the pointer, and else the last ones. */
export function Chart({
  label,
  times,
  lines,
  format,
  max,
  height = 160,
}: {
  label: string;
  times: number[];
  lines: Line[];
  format: (value: number) => string;
  max?: number;
  height?: number;
}) {
  const frame = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLUListElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shown = useRef({ times, lines, format });
  shown.current = { times, lines, format };
  const dark = useDark();
  const shape = lines.map((line) => line.label).join("|") + dark + max;

  const fillLegend = () => {
    const { lines, times, format } = shown.current;
    const index = plot.current?.cursor.idx ?? times.length - 1;
    legend.current?.querySelectorAll("b").forEach((element, line) => {
      const value = lines[line]?.values[index];
      element.textContent = value === null || value === undefined ? "–" : format(value);
    });
    const at = times[index];
    const time = legend.current?.querySelector("time");
    if (time) time.textContent = at === undefined ? "" : clockTime(at);
  };

  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const made = new uPlot(
      { ...options(shown.current.lines, (value) => shown.current.format(value), max, height), width: element.clientWidth || 300, hooks: { setCursor: [fillLegend] } },
      [shown.current.times, ...shown.current.lines.map((line) => line.values)],
      element,
    );
    plot.current = made;
    fillLegend();
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, height]);
  useEffect(() => {
    plot.current?.setData([times, ...lines.map((line) => line.values)]);
    fillLegend();
  }, [times, lines]);

  return (
    <figure class="chart" aria-label={label}>
      <ul class="legend" ref={legend}>
        {lines.map((line) => (
          <li key={line.label}>
            <i class="dot" style={{ background: `var(${line.colour})` }} />
            {line.label} <b class="n" />
          </li>
        ))}
        <li class="at">
          <time />
        </li>
      </ul>
      <div ref={frame} class="plot" role="img" aria-label={label} />
    </figure>
  );
}
