// Where in the page one is: the part of the address after "#", as a path and its parameters.

import { useEffect, useState } from "preact/hooks";

export interface Route {
  path: string[];
  parameters: Record<string, string>;
}

export function parse(hash: string): Route {
  const [path = "", parameters = ""] = hash.replace(/^#\/?/, "").split("?");
  const decode = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return { path: path.split("/").filter(Boolean).map(decode), parameters: Object.fromEntries(new URLSearchParams(parameters)) };
}

export function link(path: (string | number)[], parameters: Record<string, string | number | null | undefined> = {}): string {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return "#/" + path.map((part) => encodeURIComponent(part)).join("/") + (text ? "?" + text : "");
}

export const go = (address: string): void => void (location.hash = address.replace(/^#/, ""));

/** Changes the address without a step for "back". */
export function replace(address: string) {
  history.replaceState(null, "", address);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parse(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parse(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
