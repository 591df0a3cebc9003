// One stream of server-sent events a page; none while nobody looks at it.

import { useEffect, useState } from "preact/hooks";
import { ApiError, ask, query, type Live, type Status } from "./api";

export interface View {
  live: Live | null;
  /** When the last state came, by this machine's clock; 0 before the first. */
  at: number;
  /** The server does not answer. */
  gone: boolean;
  /** The browser shows no token that the server knows. */
  stranger: boolean;
}

let view: View = { live: null, at: 0, gone: false, stranger: false };
let source: EventSource | null = null;
let session: number | null = null;
let retry: ReturnType<typeof setTimeout> | undefined;
let pause = 1000;
const listeners = new Set<(view: View) => void>();

function set(change: Partial<View>) {
  view = { ...view, ...change };
  for (const listener of listeners) listener(view);
}

/** Whether an error of the stream means that the token is not known (any more). */
async function findOut() {
  try {
    await ask<Status>("status");
  } catch (error) {
    if (error instanceof ApiError) set({ stranger: error.status === 401, gone: error.status !== 401 });
  }
}

function close() {
  source?.close();
  source = null;
  clearTimeout(retry);
}

function open() {
  close();
  if (document.hidden) return;
  source = new EventSource("/api/v1/live" + query({ session }));
  source.addEventListener("state", (event) => {
    pause = 1000;
    set({ live: JSON.parse((event as MessageEvent<string>).data), at: Date.now(), gone: false, stranger: false });
  });
  source.onerror = () => {
    close();
    void findOut();
    retry = setTimeout(open, pause);
    pause = Math.min(pause * 1.6, 15_000);
  };
}

document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));

/** The newest state; with a session, that session's as well while the caller is shown. */
export function useLive(wanted?: number): View {
  const [shown, setShown] = useState(view);
  useEffect(() => {
    listeners.add(setShown);
    setShown(view);
    return () => void listeners.delete(setShown);
  }, []);
  useEffect(() => {
    if (wanted === undefined) return;
    session = wanted;
    open();
    return () => {
      session = null;
      open();
    };
  }, [wanted]);
  return shown;
}

export const start = open;
