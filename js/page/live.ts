// The live panel: what the host is doing, over server-sent events.
//
// Invariants
// - One stream for each visible tab: a hidden one lets go, since browsers open six connections to a host at most.
// - Each event says how things stand; what was missed needs no replay.

import { byId, fill, h, refill, say } from "./dom.js";
import { clock, duration, number, percent, span, time } from "./format.js";
import { Strip, type Bar } from "./strip.js";
import { table } from "./table.js";

/** The host about itself. */
export interface Hello {
  version: string;
  module: string | null;
  policy: { name: string; sha256: string; keys: string[]; measures: { name: string; op: string }[]; weight: number | null };
  source: string;
  store: string;
  started: number;
}

interface Lane {
  name: string;
  state: string;
  reason: string | null;
  n: number;
  position: string | null;
  watermark: number | null;
  /** Left out of the policy's watermark: silent at its tip for the idle time-out. */
  idle: boolean;
  read: number;
  behind_ms: number | null;
}

/** An alarm that is open. */
interface Alarm {
  alarm: string;
  lane: string;
  since_ms: number;
  found: string;
}

interface Stats {
  now: number;
  state: string;
  reason: string | null;
  account: Record<string, number> & { reasons: Record<string, number> };
  rate: number;
  watermark: number | null;
  arrival: number | null;
  event: number | null;
  lag: { read_ms: number | null; commit_ms: number | null; watermark_ms: number | null; close_ms: number | null };
  alarms: Alarm[];
  rows_written: number;
  lanes: Lane[];
  lanes_total: number;
}

interface LiveWindow extends Bar {
  /** It begins after what event time is believed to be. */
  ahead: boolean;
  late: number | string;
  keys_beyond: number;
  rows: { key: string[]; overflow: boolean; values: (number | string | null)[] }[];
}

type Connection = "connecting" | "connected" | "reconnecting" | "paused" | "hidden";

const WORDS: Record<Connection, string> = {
  connecting: "connecting",
  connected: "connected",
  reconnecting: "connection lost, trying again",
  paused: "paused",
  hidden: "paused while the tab is hidden",
};
/** A stream that the browser gave up is opened again after this long. */
const AGAIN_MS = 2_000;

export class Live {
  readonly #told: (hello: Hello) => void;
  readonly #connection = h("span", { class: "state" });
  readonly #pause = h("button", { type: "button", on: { click: () => this.#toggle() } }, "Pause");
  readonly #about = h("p", { class: "about" });
  readonly #alarm = h("p", { class: "alarm", role: "alert", hidden: true });
  readonly #tiles = h("dl", { class: "tiles" });
  readonly #windows = h("div", { class: "windows" });
  readonly #strip = new Strip("Last windows", (start) => this.#choose(start));
  readonly #accounts = h("div", { class: "accounts" });
  readonly #lanesTitle = h("summary", {});
  readonly #lanesTable = h("div", {});
  readonly #lanes = h("details", { on: { toggle: () => this.#drawLanes() } }, this.#lanesTitle, this.#lanesTable);
  #stats: Stats | undefined;
  #hello: Hello | undefined;
  #all: LiveWindow[] = [];
  /** The window that the user chose; else the newest that no fast clock has opened is shown. */
  #chosen: number | undefined;
  #paused = false;
  #stream: EventSource | undefined;
  #timer: number | undefined;

  /** `told` is called with the host's hello. */
  constructor(told: (hello: Hello) => void) {
    this.#told = told;
    const section = byId("live");
    fill(section, [
      h("div", { class: "head" }, h("h2", { id: "live-title" }, "Live"), this.#connection, this.#pause),
      this.#about, this.#alarm, this.#tiles, this.#strip.element, this.#windows, this.#accounts, this.#lanes,
    ]);
    section.hidden = false;
    document.addEventListener("visibilitychange", () => this.#follow());
    this.#follow();
  }

  #toggle(): void {
    this.#paused = !this.#paused;
    this.#pause.textContent = this.#paused ? "Go on" : "Pause";
    this.#follow();
  }

  #follow(): void {
    const wanted = !this.#paused && !document.hidden;
    if (!wanted) {
      this.#close();
      this.#show(this.#paused ? "paused" : "hidden");
    } else if (!this.#stream) this.#open();
  }

  #open(): void {
    this.#show("connecting");
    const stream = new EventSource("live");
    this.#stream = stream;
    const on = <T>(type: string, use: (data: T) => void) =>
      stream.addEventListener(type, (event) => use(JSON.parse((event as MessageEvent<string>).data) as T));
    on<Hello>("hello", (hello) => {
      this.#show("connected");
      this.#hello = hello;
      this.#about.replaceChildren(...about(hello));
      this.#told(hello);
    });
    on<LiveWindow[]>("snapshot", (windows) => {
      this.#all = windows;
      this.#drawWindows();
    });
    on<Stats>("stats", (stats) => this.#drawStats(stats));
    stream.addEventListener("error", () => {
      this.#show("reconnecting");
      if (stream.readyState !== EventSource.CLOSED) return;
      this.#close();
      this.#timer = window.setTimeout(() => this.#follow(), AGAIN_MS);
    });
  }

  #close(): void {
    window.clearTimeout(this.#timer);
    this.#stream?.close();
    this.#stream = undefined;
  }

  #show(connection: Connection): void {
    if (this.#connection.dataset.state === connection) return;
    this.#connection.dataset.state = connection;
    this.#connection.textContent = WORDS[connection];
    say(`Live: ${WORDS[connection]}`);
  }

  #drawStats(s: Stats): void {
    const a = s.account;
    const share = (n: number | undefined) => percent(n ?? 0, a.read ?? 0);
    fill(this.#tiles, [
      ...tile("records/s", number(s.rate), "over 10 s"),
      ...tile("records", number(a.read), "since the start"),
      ...tile("late ◆", number(a.late), share(a.late), "late"),
      ...tile("rejected ✕", number(a.rejected), share(a.rejected), "rejected"),
      ...tile("clock ahead ▲", number(a.future), share(a.future), "future"),
      ...(a.filtered ? tile("filtered", number(a.filtered), share(a.filtered)) : []),
      ...tile("watermark, UTC", clockOrNone(s.watermark), s.watermark === null ? "not enough seen" : `${duration(s.lag.watermark_ms)} ago`, "water"),
      ...tile("commit lag", duration(s.lag.commit_ms), "until durable"),
      ...tile("behind the tip", duration(s.lag.read_ms), "reading"),
      ...tile("oldest open window", duration(s.lag.close_ms), "past its end"),
      ...tile("rows written", number(s.rows_written), s.state),
    ]);
    const open = s.alarms.map((a) => `alarm ${a.alarm} of lane ${a.lane}: ${a.found}`);
    const alarm = [...(s.reason === null ? [] : [`${s.state}: ${s.reason}`]), ...open].join("\n");
    this.#alarm.hidden = alarm === "";
    if (this.#alarm.textContent !== alarm) this.#alarm.textContent = alarm;
    fill(this.#accounts, [reasons(a.reasons)]);
    this.#stats = s;
    this.#drawLanes();
  }

  // The title stays the same element, so that it keeps the focus while numbers move.
  #drawLanes(): void {
    const s = this.#stats;
    if (!s) return;
    const cut = s.lanes_total > s.lanes.length ? ` (the first ${s.lanes.length})` : "";
    this.#lanesTitle.textContent = `${number(s.lanes_total)} ${s.lanes_total === 1 ? "lane" : "lanes"}${cut}`;
    if (!this.#lanes.open) return;
    const columns = [
      { name: "lane" }, { name: "state" }, { name: "records", number: true }, { name: "batch", number: true },
      { name: "watermark, UTC" }, { name: "behind", number: true }, { name: "position" },
    ];
    refill(this.#lanesTable, [table("Lanes", columns, s.lanes.map((l) => [
      { text: l.name }, { text: l.reason ? `${l.state}: ${l.reason}` : l.idle ? `${l.state}, not waited for` : l.state }, { text: number(l.read) }, { text: number(l.n) },
      { text: time(l.watermark) }, { text: duration(l.behind_ms) }, { text: l.position ?? "–", class: "break" },
    ]))]);
  }

  #choose(start: number): void {
    // Who chose the newest window goes on seeing the newest.
    this.#chosen = start === this.#newest()?.start ? undefined : start;
    this.#drawWindows();
  }

  /** What a clock ahead has opened says nothing about now, unless there is nothing else. */
  #newest(): LiveWindow | undefined {
    return this.#all.filter((w) => !w.ahead).at(-1) ?? this.#all.at(-1);
  }

  #drawWindows(): void {
    const hello = this.#hello;
    const shown = this.#all.find((w) => w.start === this.#chosen) ?? this.#newest();
    if (!hello || !shown) {
      fill(this.#windows, [h("p", { class: "hint" }, "No window yet: rows appear with the first batch that is committed.")]);
      return;
    }
    const { keys, measures, weight } = hello.policy;
    const measure = weight === null ? "rows" : (measures[weight]?.name ?? "rows");
    this.#strip.draw(this.#all, measure, shown.start);
    const cut = shown.keys > shown.rows.length || shown.keys_beyond > 0 ? `, the ${shown.rows.length} greatest of ${number(shown.keys)}${shown.keys_beyond > 0 ? " and more" : ""} keys` : "";
    const late = Number(shown.late) > 0 ? `, ${number(shown.late)} late beside them` : "";
    const ahead = shown.ahead ? " A clock that runs ahead has opened this window ▲." : "";
    const columns = [...keys.map((name) => ({ name })), ...measures.map(({ name }) => ({ name, number: true })), { name: "state" }];
    refill(this.#windows, [
      h("h3", {}, `${span(shown.start, shown.end)} UTC `, h("span", { class: `badge ${shown.state}` }, shown.state)),
      h("p", { class: "hint" }, `Totals since this host started${cut}${late}.${ahead}`),
      table("Rows of the window", columns, shown.rows.map((r) => [
        ...r.key.map((text) => ({ text, class: r.overflow ? "overflow" : "" })), ...r.values.map((v) => ({ text: number(v) })), { text: shown.state, class: shown.state },
      ])),
    ]);
  }
}

function about(hello: Hello): Node[] {
  const digest = hello.policy.sha256;
  return [
    h("span", {}, "policy ", h("b", {}, hello.policy.name), " ", h("code", { title: digest }, digest.slice(0, 12))),
    h("span", {}, `${hello.source} → ${hello.store}`),
    h("span", {}, `since ${time(hello.started)} UTC`),
  ];
}

/** A watermark's time of day, to the second. */
export function clockOrNone(ms: number | null): string {
  return ms === null ? "none yet" : clock(Math.floor(ms / 1_000) * 1_000);
}

/** A figure with its name and a word below. */
export function tile(name: string, figure: string, below = "", kind = ""): HTMLElement[] {
  return [h("div", { class: `tile ${kind}`.trim() }, h("dt", {}, name), h("dd", {}, figure, h("small", {}, below)))];
}

/** Rejected records by reason, as a line; nothing if there are none. */
export function reasons(by: Record<string, number | bigint>): HTMLElement | null {
  const all = Object.entries(by);
  if (all.length === 0) return null;
  return h("p", { class: "reasons" }, "Rejected: ", ...all.map(([name, n]) => h("span", { class: "reason" }, `${name.replaceAll("_", " ")} ${number(n)}`)));
}
