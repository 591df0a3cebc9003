// Answers of the server as states of a view: asked again when the log has gone on, at most every few seconds.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, ask } from "./api";
import { useLive } from "./live";

export interface Answer<T> {
  value: T | null;
  error: ApiError | null;
  again: () => void;
}

type Parameters = Record<string, string | number | null | undefined>;

/**
 * What `path` gives; null asks for nothing. Keeps showing the answer before while a newer one is on its way.
 * `period_ms`: the least time between two requests for the same.
 */
export function useAnswer<T>(path: string | null, parameters: Parameters = {}, period_ms = 2000): Answer<T> {
  const [state, setState] = useState<{ key: string; value: T | null; error: ApiError | null }>({
    key: "",
    value: null,
    error: null,
  });
  const [turn, setTurn] = useState(0);
  const { live } = useLive();
  const sequence = live?.status.sequence ?? 0;
  const key = path === null ? "" : path + "?" + JSON.stringify(parameters);
  const asked = useRef({ key: "", sequence: -1, at: 0, turn: 0 });
  const running = useRef<AbortController | null>(null);

  useEffect(() => () => running.current?.abort(), []);
  useEffect(() => {
    if (path === null) return;
    const before = asked.current;
    const fresh = before.key !== key || before.turn !== turn;
    if (!fresh && (before.sequence === sequence || running.current)) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const go = async () => {
      running.current?.abort();
      const controller = new AbortController();
      running.current = controller;
      asked.current = { key, sequence, at: Date.now(), turn };
      try {
        const value = await ask<T>(path, parameters, { signal: controller.signal });
        if (!controller.signal.aborted) setState({ key, value, error: null });
      } catch (error) {
        if (!controller.signal.aborted && error instanceof ApiError) {
          setState((shown) => ({ key, value: shown.key === key ? shown.value : null, error }));
        }
      } finally {
        if (running.current === controller) running.current = null;
      }
    };
    if (fresh) void go();
    else timer = setTimeout(go, Math.max(0, before.at + period_ms - Date.now()));
    return () => clearTimeout(timer);
  }, [key, sequence, turn, state]);
  const again = () => setTurn((value) => value + 1);
  return { value: state.value, error: state.key === key ? state.error : null, again };
}
