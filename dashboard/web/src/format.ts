// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(Math.round(value));
export const compact = (value: number): string => (Math.abs(value) < 10_000 ? count(value) : short.format(value));

export function rate(value: number): string {
  return value > 0 && value < 10 ? value.toFixed(1) : compact(value);
}

export function bytes(value: number | null): string {
  if (value === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A span of seconds: two units at most. */
export function span(seconds: number | null): string {
  if (seconds === null) return "–";
  if (seconds < 0) seconds = 0;
  if (seconds === 0) return "0 s";
  if (seconds < 1e-3) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  const all = Math.round(seconds);
  const [d, h, m, s] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return `${m} min ${s} s`;
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const clockTime = (time: number): string => clock.format(time * 1000);

/** Time of day, with the date when it is not today's. */
export function moment(time: number | null): string {
  if (time === null) return "–";
  const at = new Date(time * 1000);
  return at.toDateString() === new Date().toDateString() ? clock.format(at) : `${day.format(at)} ${clock.format(at)}`;
}

export const exact = (time: number | null): string => (time === null ? "" : new Date(time * 1000).toISOString());
/** A number of things, with their name. */
export const many = (number: number, thing: string): string => `${count(number)} ${thing}${number === 1 ? "" : "s"}`;
export const percent = (part: number, all: number): string => (all ? `${Math.floor((100 * part) / all)} %` : "–");

/** What stands where a name is empty. */
export const named = (name: string): string => name || "(no name)";

/** Control and direction characters take no part in how a line looks. */
export const plain = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, "\u00b7");

export const clip = (text: string, length: number): string => (text.length > length ? text.slice(0, length - 1) + "…" : text);
