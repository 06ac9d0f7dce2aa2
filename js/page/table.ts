// Tables of rows: real ones, in the DOM, a page at a time.

import { h } from "./dom.js";

export interface Column {
  name: string;
  /** Numbers stand right. */
  number?: boolean;
}

export interface Cell {
  text: string;
  class?: string;
}

/** A table with a caption for those who do not see where it stands. */
export function table(caption: string, columns: Column[], rows: Cell[][]): HTMLElement {
  return h(
    "div",
    { class: "table", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "quiet" }, caption),
      h("thead", {}, h("tr", {}, ...columns.map((c) => h("th", { scope: "col", class: c.number ? "number" : undefined }, c.name)))),
      h(
        "tbody",
        {},
        ...rows.map((row) =>
          h("tr", {}, ...row.map((cell, i) => h("td", { class: [columns[i]?.number ? "number" : "", cell.class ?? ""].join(" ").trim() || undefined }, cell.text))),
        ),
      ),
    ),
  );
}

/** `rows 101–200 of 1,234` with buttons to go on and back. */
export function pager(from: number, size: number, total: number, what: string, go: (from: number) => void): HTMLElement | null {
  if (total <= size) return null;
  const n = (v: number) => v.toLocaleString("en-US");
  const step = (label: string, to: number, off: boolean) =>
    h("button", { type: "button", disabled: off, on: { click: () => go(to) } }, label);
  return h(
    "p",
    { class: "pager" },
    step("Back", Math.max(0, from - size), from === 0),
    h("span", {}, `${what} ${n(from + 1)}–${n(Math.min(from + size, total))} of ${n(total)}`),
    step("On", from + size, from + size >= total),
  );
}
