// The page: what is around the views, and which of them is shown.

import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { moment, plain } from "./format";
import { start, useLive, type View } from "./live";
import { go, link, useRoute, type Route } from "./route";
import { toggleTheme, useDark } from "./theme";
import { Compare } from "./views/compare";
import { Events } from "./views/events";
import { GovernorView, Governors } from "./views/governors";
import { GraphView } from "./views/graph";
import { Objects } from "./views/objects";
import { Overview } from "./views/overview";
import { SessionHead, Sessions } from "./views/sessions";
import { StreamView } from "./views/stream";
import { Task } from "./views/task";
import { Tasks } from "./views/tasks";
import { Empty } from "./parts";

const PLACES: [string, string, string][] = [
  ["", "Overview", "1"],
  ["sessions", "Sessions", "2"],
  ["stream", "Task stream", "3"],
  ["governors", "Governors", "4"],
  ["compare", "Compare", "5"],
  ["events", "Events", "6"],
];

function Shown({ route }: { route: Route }) {
  const [first, second, third, fourth] = route.path;
  const id = Number(second);
  if (second !== undefined && !Number.isSafeInteger(id)) return <Empty>There is no such page.</Empty>;
  switch (first) {
    case undefined:
      return <Overview />;
    case "sessions":
      if (second === undefined) return <Sessions />;
      switch (third) {
        case undefined:
          return <SessionHead key={id} id={id} view="" />;
        case "tasks":
          return fourth === undefined ? <Tasks key={id} id={id} route={route} /> : <Task key={`${id} ${fourth}`} session={id} id={Number(fourth)} />;
        case "stream":
          return <StreamView key={id} session={id} route={route} />;
        case "graph":
          return <GraphView key={id} id={id} route={route} />;
        case "objects":
          return <Objects key={id} id={id} route={route} />;
      }
      break;
    case "stream":
      return <StreamView session={null} route={route} />;
    case "governors":
      return second === undefined ? <Governors /> : <GovernorView key={id} id={id} />;
    case "compare":
      return <Compare route={route} />;
    case "events":
      return <Events route={route} />;
  }
  return <Empty>There is no such page.</Empty>;
}

function Server({ view }: { view: View }) {
  const status = view.live?.status;
  if (!status) return null;
  const kind = view.gone ? "gone" : status.state;
  const text = { running: "live", finished: "finished", broken: "broken off", gone: "no answer" }[kind];
  return (
    <div class="server">
      <span class={`pulse ${kind}`} />
      <span>
        <b>{text}</b>
        <small>
          {plain(status.server.name ?? status.server.address ?? "")} · Rain {plain(status.server.version)}
        </small>
      </span>
    </div>
  );
}

function Banner({ view }: { view: View }) {
  if (view.stranger) {
    return (
      <p class="banner" role="alert">
        This browser does not show the server's token (any more): open the address that <code>rain status</code> prints.
      </p>
    );
  }
  if (view.gone) {
    return (
      <p class="banner" role="alert">
        The server does not answer.
        {view.at > 0 && ` What you see is of ${moment(view.at / 1000)}.`} The page goes on asking.
      </p>
    );
  }
  if (view.live?.status.state === "broken") {
    return (
      <p class="banner quiet" role="note">
        This log was broken off: the server was killed or its machine went down. What it wrote until {moment(view.live.status.time)} is here.
      </p>
    );
  }
  return null;
}

const HELP: [string, string][] = [
  ["1 … 6", "pages, as they are listed"],
  ["/", "the filter of the page"],
  ["t", "light or dark"],
  ["← → w s", "in the stream: move, closer, farther"],
  ["0", "in the stream: all of it"],
  ["Esc", "leave a field"],
  ["?", "this list"],
];

function Help({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl>
        {HELP.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={close}>
        Close
      </button>
    </dialog>
  );
}

function Page() {
  const route = useRoute();
  const view = useLive();
  const dark = useDark();
  const [help, setHelp] = useState(false);
  const main = useRef<HTMLElement>(null);
  const place = route.path[0] ?? "";
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      const element = event.target as HTMLElement;
      const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(element.tagName);
      if (event.key === "Escape" && typing) return element.blur();
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const found = PLACES.find(([, , shortcut]) => shortcut === event.key);
      if (found) go(link(found[0] ? [found[0]] : []));
      else if (event.key === "t") toggleTheme();
      else if (event.key === "?") setHelp(true);
      else if (event.key === "/") {
        event.preventDefault();
        document.querySelector<HTMLElement>(".filter")?.focus();
      }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
  const title = PLACES.find(([key]) => key === place)?.[1] ?? "Rain";
  useEffect(() => {
    document.title = `${title} – Rain`;
    scrollTo(0, 0);
  }, [title, route.path.join("/")]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        To the content
      </a>
      <header class="rail">
        <a class="brand" href="#/" aria-label="Rain, overview">
          <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
            <path d="M12 2.5c3.6 4.7 6.5 8.1 6.5 11.6a6.5 6.5 0 0 1-13 0C5.5 10.6 8.4 7.2 12 2.5z" fill="currentColor" />
            <path d="M9 14.500a3.200 3.200 0 0 0 3 3.200" fill="none" stroke="var(--panel)" stroke-width="1.600" stroke-linecap="round" />
          </svg>
          Rain
        </a>
        <nav aria-label="Pages">
          {PLACES.map(([key, text, shortcut]) => (
            <a key={key} href={link(key ? [key] : [])} aria-current={key === place ? "page" : undefined}>
              {text} <kbd aria-hidden="true">{shortcut}</kbd>
            </a>
          ))}
        </nav>
        <div class="foot">
          <Server view={view} />
          <div class="tools">
            <button type="button" onClick={toggleTheme} aria-label={dark ? "Light theme" : "Dark theme"} title="t">
              {dark ? "☀" : "☾"}
            </button>
            <button type="button" onClick={() => setHelp(true)} aria-label="Keys" title="?">
              ?
            </button>
          </div>
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        <Banner view={view} />
        <Shown route={route} />
      </main>
      <Help open={help} close={() => setHelp(false)} />
    </>
  );
}

start();
const root = document.getElementById("page");
if (root) render(<Page />, root);
