// The preview panel: a policy tried on a file, by the engine that production runs, in a worker of this page.
//
// Invariants
// - Records never leave the page: the file goes to the worker and nowhere else.
// - What is shown belongs to one run: a run that another one overtook shows nothing.

import { PreviewWorker } from "../src/worker.js";
import { PlimsollError, textOf } from "../src/error.js";
import type { Account, DeadRecord, Row } from "../src/types.js";
import { byId, download, fill, h, say } from "./dom.js";
import { Editor } from "./editor.js";
import { duration, number, percent, span, time } from "./format.js";
import { clockOrNone, reasons, tile } from "./live.js";
import { SAMPLE_POLICY, sampleRecords } from "./sample.js";
import { Strip } from "./strip.js";
import { pager, table, type Cell, type Column } from "./table.js";

/** Rows on one page of a table. */
const PAGE_ROWS = 100;
/** After a change of the policy a file up to this size is run again by itself. */
const AGAIN_BYTES_MAX = 64 << 20;
/** Of a rejected record so many characters are shown. */
const RAW_SHOWN = 200;

type View = "rows" | "late" | "rejected";

interface Data {
  name: string;
  blob: Blob;
}

interface Result {
  preview: PreviewWorker;
  took: number;
  counts: { rows: number; late: number; dead: number };
  account: Account;
}

export class PreviewPanel {
  readonly #editor = new Editor((valid) => this.#policyChanged(valid));
  readonly #file = h("input", {
    type: "file", id: "file", accept: ".ndjson,.jsonl,.json,.log,.txt,.gz", class: "quiet",
    on: { change: () => this.#take(this.#file.files?.[0]) },
  });
  readonly #drop: HTMLElement;
  readonly #run = h("button", { type: "button", class: "main", disabled: true, on: { click: () => void this.#start() } }, "Run");
  readonly #stop = h("button", { type: "button", hidden: true, on: { click: () => this.#running?.abort() } }, "Stop");
  readonly #status = h("p", { class: "hint", id: "status" });
  readonly #bar = h("progress", { max: "1", value: "0", hidden: true, "aria-label": "Read so far" });
  readonly #results = h("div", { class: "results" });
  readonly #strip = new Strip("Preview");
  #data: Data | undefined;
  #valid = false;
  #running: AbortController | undefined;
  #result: Result | undefined;
  #view: View = "rows";

  constructor() {
    this.#drop = h("div", { class: "drop", id: "drop" },
      h("p", {}, "Drop an NDJSON file here (.gz too)"),
      h("p", {}, h("label", { for: "file", class: "button" }, "Open a file…"), this.#file, " ",
        h("button", { type: "button", on: { click: () => this.#useSample() } }, "Try sample records")),
      h("p", { class: "hint" }, "Records never leave the page."));
    fill(byId("preview"), [
      h("div", { class: "head" }, h("h2", { id: "preview-title" }, "Preview"), h("p", { class: "hint" }, "Try a policy on a file. The engine runs here, in your browser.")),
      h("div", { class: "columns" },
        this.#editor.element,
        h("div", { class: "side" }, this.#drop, h("p", { class: "actions" }, this.#run, this.#stop, this.#bar), this.#status, this.#results)),
    ]);
    this.#dropping();
    this.#editor.set(SAMPLE_POLICY, "impressions.toml", "an example");
  }

  /** Starts from another policy: the one that the host runs. */
  usePolicy(text: string, fileName: string): void {
    this.#editor.set(text, fileName, `running on the host: ${fileName}`);
  }

  #dropping(): void {
    const over = (event: DragEvent) => {
      event.preventDefault();
      this.#drop.classList.toggle("over", event.type === "dragover");
    };
    // The whole page takes a file: one that misses the field must not replace the page.
    for (const type of ["dragover", "dragleave", "drop"] as const) window.addEventListener(type, over);
    window.addEventListener("drop", (event) => this.#take(event.dataTransfer?.files[0]));
  }

  #take(file: File | undefined): void {
    if (!file) return;
    this.#data = { name: file.name, blob: file };
    // The same file may be chosen again after it was changed.
    this.#file.value = "";
    void this.#start();
  }

  #useSample(): void {
    this.#data = { name: "sample.ndjson", blob: sampleRecords() };
    void this.#start();
  }

  #policyChanged(valid: boolean): void {
    this.#valid = valid;
    this.#run.disabled = !valid || !this.#data;
    this.#results.classList.toggle("stale", !valid && this.#result !== undefined);
    if (valid && this.#data && this.#data.blob.size <= AGAIN_BYTES_MAX) void this.#start();
  }

  async #start(): Promise<void> {
    const data = this.#data;
    if (!data) return;
    if (!this.#valid) {
      this.#say(`${data.name} waits: the policy has errors.`);
      return;
    }
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    this.#run.disabled = true;
    this.#stop.hidden = this.#bar.hidden = false;
    this.#bar.value = 0;
    this.#say(`Reading ${data.name} (${bytes(data.blob.size)})…`);
    const began = performance.now();
    let preview: PreviewWorker | undefined;
    try {
      const { text, fileName } = this.#editor.policy;
      preview = await PreviewWorker.create(text, { fileName, name: data.name, worker });
      await preview.read(data.blob, {
        signal: running.signal,
        onProgress: (read) => {
          this.#bar.value = data.blob.size ? read / data.blob.size : 1;
        },
      });
      const [counts, account] = await Promise.all([preview.counts(), preview.account()]);
      if (this.#running !== running) return preview.dispose();
      const took = performance.now() - began;
      this.#result?.preview.dispose();
      this.#result = { preview, took, counts, account };
      preview = undefined;
      await this.#show(data);
      this.#say(`${data.name}: ${number(account.read)} records in ${duration(took)}.`);
    } catch (e) {
      preview?.dispose();
      if (this.#running !== running) return;
      this.#say(running.signal.aborted ? "Stopped." : textOf(e), !(running.signal.aborted));
      if (e instanceof PlimsollError && e.code !== "disposed") this.#results.classList.add("stale");
    } finally {
      if (this.#running === running) {
        this.#running = undefined;
        this.#stop.hidden = this.#bar.hidden = true;
        this.#run.disabled = !this.#valid;
      }
    }
  }

  #say(text: string, bad = false): void {
    this.#status.textContent = text;
    this.#status.classList.toggle("bad", bad);
    say(text);
  }

  async #show(data: Data): Promise<void> {
    const { preview, took, counts, account } = this.#result!;
    const { measures } = preview.policy;
    const counting = measures.findIndex((m) => m.op === "count");
    const weight = counting >= 0 ? counting : Math.max(0, measures.findIndex((m) => m.op === "sum"));
    const [windows, progress] = await Promise.all([preview.windows(weight), preview.progress()]);
    this.#strip.draw(windows, measures[weight]?.name ?? "rows");
    const read = Number(account.read);
    const share = (n: bigint | number) => percent(Number(n), read);
    fill(this.#results, [
      preview.arrival === "unknown"
        ? h("p", { class: "label" }, h("b", {}, "Arrival unknown: line order. "), "The records do not say when they arrived, so lateness is judged by the order of the lines. Production may differ.")
        : null,
      h("dl", { class: "tiles" },
        ...tile("records", number(account.read), `in ${duration(took)}`),
        ...tile("counted", number(account.counted), share(account.counted)),
        ...tile("late ◆", number(account.late), share(account.late), "late"),
        ...tile("rejected ✕", number(account.rejected), share(account.rejected), "rejected"),
        ...tile("clock ahead ▲", number(account.future), share(account.future), "future"),
        ...(account.filtered ? tile("filtered", number(account.filtered), share(account.filtered)) : []),
        ...tile("watermark, UTC", clockOrNone(progress.watermark), progress.watermark === null ? "not enough seen" : (time(progress.watermark).split(" ")[0] ?? ""), "water"),
        ...tile("windows", number(windows.length), `${number(windows.filter((w) => w.state === "final").length)} final`)),
      reasons(account.reasons),
      this.#strip.element,
      this.#tabs(counts),
      h("div", { id: "panel", role: "tabpanel", "aria-labelledby": `tab-${this.#view}` }),
      h("p", { class: "hint" }, "By engine ", h("code", { title: preview.engine.sha256 }, preview.engine.sha256.slice(0, 12)), ` (${preview.engine.version}), policy `, h("code", { title: preview.policy.sha256 }, preview.policy.sha256.slice(0, 12)), `, file ${data.name}.`),
    ]);
    this.#results.classList.remove("stale");
    await this.#turn(this.#view, 0);
  }

  #tabs(counts: Result["counts"]): HTMLElement {
    const names: [View, string][] = [["rows", `Rows ${number(counts.rows)}`], ["late", `Late ${number(counts.late)}`], ["rejected", `Set aside ${number(counts.dead)}`]];
    const turn = (view: View) => {
      void this.#turn(view, 0);
      document.getElementById(`tab-${view}`)?.focus();
    };
    const move = (event: KeyboardEvent) => {
      const at = names.findIndex(([view]) => view === this.#view);
      const to = { ArrowLeft: at + names.length - 1, ArrowRight: at + 1, Home: 0, End: names.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      turn(names[to % names.length]![0]);
    };
    return h("div", { class: "tabs" },
      h("div", { role: "tablist", "aria-label": "Results", on: { keydown: move } },
        ...names.map(([view, text]) => h("button", { type: "button", role: "tab", id: `tab-${view}`, "aria-controls": "panel", on: { click: () => turn(view) } }, text))),
      h("button", { type: "button", id: "download", on: { click: () => void this.#download() } }, "Download NDJSON"));
  }

  async #turn(view: View, from: number): Promise<void> {
    const result = this.#result;
    if (!result) return;
    this.#view = view;
    for (const tab of this.#results.querySelectorAll('[role="tab"]')) {
      const on = tab.id === `tab-${view}`;
      tab.setAttribute("aria-selected", String(on));
      tab.setAttribute("tabindex", on ? "0" : "-1");
    }
    const { preview, counts } = result;
    const range = { from, count: PAGE_ROWS };
    const total = { rows: counts.rows, late: counts.late, rejected: counts.dead }[view];
    let content: HTMLElement;
    if (total === 0) content = h("p", { class: "hint" }, { rows: "No rows.", late: "Nothing was late.", rejected: "Nothing was set aside." }[view]);
    else if (view === "rejected") content = deadTable(await preview.deadLetters(range));
    else content = rowTable(view, preview, await (view === "rows" ? preview.rows(range) : preview.lateRows(range)));
    // A run or a tab that came meanwhile has its own content.
    if (this.#result !== result || this.#view !== view) return;
    const panel = byId("panel");
    panel.setAttribute("aria-labelledby", `tab-${view}`);
    (byId("download") as HTMLButtonElement).hidden = total === 0;
    fill(panel, [content, pager(from, PAGE_ROWS, total, view === "rejected" ? "records" : "rows", (to) => void this.#turn(view, to))]);
  }

  async #download(): Promise<void> {
    const { preview } = this.#result!;
    const suffix = { rows: "", late: "-late", rejected: "-set-aside" }[this.#view];
    const bytes = { rows: () => preview.ndjson(), late: () => preview.lateNdjson(), rejected: () => preview.deadNdjson() }[this.#view];
    download(`${preview.policy.name}${suffix}.ndjson`, await bytes(), "application/x-ndjson");
  }
}

const worker = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "plimsoll" });

function rowTable(view: View, preview: PreviewWorker, rows: Row[]): HTMLElement {
  const { keys, measures } = preview.policy;
  const last = view === "rows" ? "state" : "arrival_day";
  const columns: Column[] = [...keys.map((name) => ({ name })), { name: "window, UTC" }, ...measures.map(({ name }) => ({ name, number: true })), { name: last.replace("_", " ") }];
  const cells = (row: Row): Cell[] => [
    ...keys.map((k) => (row.overflow ? { text: "(other keys)", class: "overflow" } : { text: text(row[k]) })),
    { text: span(row.window_start, row.window_end) },
    ...measures.map((m) => ({ text: figure(row[m.name]) })),
    { text: row[last] === null ? "unknown" : text(row[last]), class: view === "rows" ? text(row[last]) : "" },
  ];
  return table(view === "rows" ? "Rows" : "Late rows", columns, rows.map(cells));
}

function deadTable(dead: DeadRecord[]): HTMLElement {
  const columns = [{ name: "position" }, { name: "reason" }, { name: "why" }, { name: "bytes", number: true }, { name: "record" }];
  return table("Records set aside", columns, dead.map((d) => [
    { text: d.position, class: "break" }, { text: d.reason.replaceAll("_", " ") }, { text: d.detail }, { text: number(d.length) },
    { text: new TextDecoder().decode(d.raw.subarray(0, RAW_SHOWN)) + (d.raw.length > RAW_SHOWN ? "…" : ""), class: "raw" },
  ]));
}

function text(value: unknown): string {
  return value === null || value === undefined ? "null" : String(value);
}

function figure(value: unknown): string {
  return typeof value === "number" || typeof value === "bigint" || typeof value === "string" ? number(value) : "–";
}

function bytes(n: number): string {
  return n < 1 << 20 ? `${number(n / 1024)} KiB` : `${number(n / (1 << 20))} MiB`;
}
