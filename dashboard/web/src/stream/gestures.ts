// Pointers, wheel and keys on the canvas of the task stream, as changes of what is shown.

import { GUTTER } from "./layout";

export interface Moves {
  /** Moves by a part of the width. */
  pan: (part: number) => void;
  /** Zooms by a factor (less than 1: closer) about a part of the width. */
  zoom: (factor: number, about: number) => void;
  /** Scrolls the rows by pixels; whether there was anything to scroll. */
  scroll: (pixels: number) => boolean;
  whole: () => void;
  hover: (at: { x: number; y: number } | null) => void;
  click: (x: number, y: number) => void;
}

const KEYS: Record<string, (moves: Moves) => void> = {
  ArrowLeft: (moves) => moves.pan(-0.15),
  ArrowRight: (moves) => moves.pan(0.15),
  ArrowUp: (moves) => void moves.scroll(-60),
  ArrowDown: (moves) => void moves.scroll(60),
  a: (moves) => moves.pan(-0.15),
  d: (moves) => moves.pan(0.15),
  w: (moves) => moves.zoom(0.6, 0.5),
  s: (moves) => moves.zoom(1 / 0.6, 0.5),
  "+": (moves) => moves.zoom(0.6, 0.5),
  "-": (moves) => moves.zoom(1 / 0.6, 0.5),
  "0": (moves) => moves.whole(),
  Home: (moves) => moves.whole(),
};

/** Listens on `canvas`; what comes back stops that. */
export function listen(canvas: HTMLCanvasElement, moves: Moves): () => void {
  const control = new AbortController();
  const { signal } = control;
  const pointers = new Map<number, { x: number; y: number }>();
  let travelled = 0;
  let apart = 0;
  const place = (event: MouseEvent) => {
    const frame = canvas.getBoundingClientRect();
    return { x: event.clientX - frame.left, y: event.clientY - frame.top };
  };
  const inner = () => Math.max(1, canvas.clientWidth - GUTTER);
  const part = (x: number) => Math.min(1, Math.max(0, (x - GUTTER) / inner()));
  const distance = () => {
    const [one, other] = [...pointers.values()];
    return one && other ? Math.abs(one.x - other.x) : 0;
  };

  canvas.addEventListener(
    "pointerdown",
    (event) => {
      pointers.set(event.pointerId, place(event));
      canvas.setPointerCapture(event.pointerId);
      if (pointers.size === 1) travelled = 0;
      apart = distance();
    },
    { signal },
  );
  canvas.addEventListener(
    "pointermove",
    (event) => {
      const at = place(event);
      const before = pointers.get(event.pointerId);
      if (!before) return moves.hover(at);
      pointers.set(event.pointerId, at);
      travelled += Math.abs(at.x - before.x) + Math.abs(at.y - before.y);
      if (pointers.size === 2) {
        const now = distance();
        const middle = [...pointers.values()].reduce((sum, one) => sum + one.x, 0) / 2;
        if (apart > 10 && now > 10) moves.zoom(apart / now, part(middle));
        apart = now;
      } else if (travelled > 4) {
        moves.hover(null);
        moves.pan((before.x - at.x) / inner());
        moves.scroll(before.y - at.y);
      }
    },
    { signal },
  );
  const up = (event: PointerEvent) => {
    const at = place(event);
    if (pointers.delete(event.pointerId) && event.type === "pointerup" && travelled <= 4) moves.click(at.x, at.y);
  };
  canvas.addEventListener("pointerup", up, { signal });
  canvas.addEventListener("pointercancel", up, { signal });
  canvas.addEventListener("pointerleave", () => moves.hover(null), { signal });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) {
        moves.zoom(Math.exp(Math.max(-0.5, Math.min(0.5, event.deltaY * 0.004))), part(place(event).x));
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        moves.pan((event.deltaX || event.deltaY) / inner());
      } else if (!moves.scroll(event.deltaY)) {
        return;
      }
      event.preventDefault();
    },
    { signal, passive: false },
  );
  canvas.addEventListener(
    "keydown",
    (event) => {
      const act = KEYS[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      act(moves);
    },
    { signal },
  );
  return () => control.abort();
}
