// Colours: of states they are variables of the style sheet; of names they follow from the name, the same in each view.

import type { State } from "./api";

export const stateColour = (state: State): string => `var(--${state})`;

/** Hues of OKLCH that can be told apart side by side; none is that of "failed" (25). */
const HUES = [255, 165, 70, 300, 125, 215, 335, 95, 275, 190, 50, 235, 145, 320, 110, 285];

function hash(text: string): number {
  let value = 2166136261;
  for (let index = 0; index < text.length; index++) {
    value = Math.imul(value ^ text.charCodeAt(index), 16777619);
  }
  value ^= value >>> 15;
  value = Math.imul(value, 0x85ebca6b);
  return (value ^ (value >>> 13)) >>> 0;
}

const SHADES = 3;
/** Which of the colours each name has; two names share one only when all are taken. */
const taken = new Map<string, number>();
const names = new Map<number, string>();

function slot(name: string): number {
  const known = taken.get(name);
  if (known !== undefined) return known;
  const all = HUES.length * SHADES;
  const value = hash(name);
  let found = value % all;
  for (let step = 0; step < all && names.has(found); step++) found = (found + 7) % all;
  taken.set(name, found);
  names.set(found, name);
  return found;
}

export function nameColour(name: string, dark: boolean): string {
  const found = slot(name);
  const hue = HUES[found % HUES.length]!;
  const shift = Math.floor(found / HUES.length) - 1;
  const [light, chroma] = dark ? [0.7 + shift * 0.09, 0.11] : [0.62 + shift * 0.1, 0.13];
  return `oklch(${light.toFixed(2)} ${chroma} ${hue})`;
}

/** The value of a colour of the style sheet, for canvases. */
export const styled = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
