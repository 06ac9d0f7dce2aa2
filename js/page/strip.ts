// Counts per window as bars: final ones solid, provisional ones hatched and dashed, so that a filling window is never taken
// for an outage. Between the two stands the watermark.

import { fill, h } from "./dom.js";
import { clock, number, span } from "./format.js";

export interface Bar {
  start: number;
  end: number;
  state: "provisional" | "final";
  total: number | bigint | string;
  late?: number | bigint | string;
  /** Opened by a clock that runs ahead. */
  ahead?: boolean;
  keys: number;
}

/** Bars that fit beside each other on a wide screen. */
const BARS_MAX = 48;
/** So many of them have their time below. */
const LABELS_MAX = 10;

/** A strip of windows. With `select`, each bar is one choice of a group. */
export class Strip {
  readonly element = h("div", { class: "strip" });
  readonly #name: string;
  readonly #select: ((start: number) => void) | undefined;

  constructor(name: string, select?: (start: number) => void) {
    this.#name = name;
    this.#select = select;
  }

  /** Draws the last bars; `chosen` is the start of the window that is looked at. */
  draw(all: Bar[], measure: string, chosen?: number): void {
    const bars = all.slice(-BARS_MAX);
    const top = Math.max(1, ...bars.map((b) => Number(b.total)));
    const focused = this.element.contains(document.activeElement);
    const firstOpen = bars.findIndex((b) => b.state === "provisional");
    const columns: Node[] = [];
    bars.forEach((bar, i) => {
      if (i === firstOpen && i > 0) columns.push(h("span", { class: "line", "aria-hidden": "true", title: "the watermark" }));
      columns.push(this.#column(bar, top, measure, i, bars, chosen));
    });
    const group = h("div", { class: "bars", role: this.#select ? "radiogroup" : "img", "aria-label": this.#summary(bars, measure) }, ...columns);
    const cut = all.length > bars.length ? `the last ${bars.length} of ${number(all.length)} windows, ` : "";
    const legend = h(
      "p",
      { class: "legend" },
      `${cut}${measure} per window (UTC) `,
      h("span", { class: "key final" }),
      " final ",
      h("span", { class: "key provisional" }),
      " provisional",
      bars.some((b) => Number(b.late ?? 0) > 0) && h("span", { class: "late" }, "  ◆ late"),
      bars.some((b) => b.ahead) && h("span", { class: "ahead" }, "  ▲ clock ahead"),
    );
    const before = this.element.querySelector(".bars");
    const scrolled = before && before.scrollLeft + before.clientWidth < before.scrollWidth - 2 ? before.scrollLeft : undefined;
    fill(this.element, [group, legend]);
    // The newest windows are what one looks for; who went back stays there.
    group.scrollLeft = scrolled ?? group.scrollWidth;
    if (focused) this.element.querySelector<HTMLElement>('[aria-checked="true"]')?.focus();
  }

  #summary(bars: Bar[], measure: string): string {
    const open = bars.filter((b) => b.state === "provisional").length;
    return `${this.#name}: ${measure} in ${bars.length} windows, ${open} of them provisional`;
  }

  #column(bar: Bar, top: number, measure: string, i: number, bars: Bar[], chosen: number | undefined): HTMLElement {
    const late = bar.late && Number(bar.late) > 0 ? `, ${number(bar.late)} late` : "";
    const label = `${span(bar.start, bar.end)} UTC, ${bar.state}: ${number(bar.total)} ${measure}, ${number(bar.keys)} keys${late}${bar.ahead ? ", opened by a clock ahead" : ""}`;
    const step = Math.ceil(bars.length / LABELS_MAX);
    const block = h("span", { class: `block ${bar.state}` });
    // The height is set through the object model: the page's policy allows no style attributes.
    block.style.height = `${Math.max(1.5, (Number(bar.total) / top) * 100)}%`;
    const content = [h("span", { class: "room" }, block), h("span", { class: "when" }, (bars.length - 1 - i) % step === 0 ? clock(bar.start) : "")];
    if (late) content[0]!.append(h("span", { class: "late" }, "◆"));
    if (bar.ahead) content[0]!.append(h("span", { class: "ahead" }, "▲"));
    if (!this.#select) return h("span", { class: "column", title: label }, ...content);
    const isChosen = bar.start === chosen;
    const select = this.#select;
    const move = (event: KeyboardEvent) => {
      const to = { ArrowLeft: i - 1, ArrowRight: i + 1, Home: 0, End: bars.length - 1 }[event.key];
      const bar = to === undefined ? undefined : bars[to];
      if (!bar) return;
      event.preventDefault();
      select(bar.start);
    };
    return h(
      "button",
      {
        type: "button", class: "column", role: "radio", "aria-checked": String(isChosen), "aria-label": label, title: label,
        tabindex: isChosen ? "0" : "-1", on: { click: () => select(bar.start), keydown: move },
      },
      ...content,
    );
  }
}
