// Light or dark: as the system has it, or as chosen here.

import { useEffect, useState } from "preact/hooks";

const KEY = "rain-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function chosen(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export const isDark = (): boolean => (chosen() ?? (system.matches ? "dark" : "light")) === "dark";

function apply() {
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  for (const listener of listeners) listener();
}

export function toggleTheme() {
  const wanted = isDark() ? "light" : "dark";
  try {
    localStorage.setItem(KEY, wanted);
  } catch {
    // A browser that keeps nothing shows the system's theme.
  }
  apply();
}

export function useDark(): boolean {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    const listener = () => setDark(isDark());
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return dark;
}

system.addEventListener("change", apply);
apply();
