// The policy as text, with what the engine's own parser says about it below.

import { Preview, type Diagnostic } from "../src/browser.js";
import { textOf } from "../src/error.js";
import { fill, h, say } from "./dom.js";

/** The text is checked so long after the last key. */
const PAUSE_MS = 150;

export class Editor {
  readonly element = h("div", { class: "editor" });
  readonly #area = h("textarea", {
    id: "policy", spellcheck: "false", autocapitalize: "off", autocomplete: "off", wrap: "off", rows: "24",
    "aria-describedby": "diagnostics",
    on: { input: () => this.#later() },
  });
  readonly #found = h("div", { id: "diagnostics", class: "diagnostics" });
  readonly #explained = h("p", {});
  readonly #origin = h("small", {});
  readonly #changed: (valid: boolean) => void;
  #fileName = "";
  #timer = 0;
  #round = 0;

  /** `changed` is called when the text was checked. */
  constructor(changed: (valid: boolean) => void) {
    this.#changed = changed;
    fill(this.element, [
      h("label", { for: "policy" }, "Policy ", this.#origin),
      this.#area,
      this.#found,
      h("details", {}, h("summary", {}, "In plain words"), this.#explained),
    ]);
  }

  /** The text and the file name that tells its language. */
  get policy(): { text: string; fileName: string } {
    return { text: this.#area.value, fileName: this.#fileName };
  }

  /** Puts in another policy; `origin` says where it comes from. */
  set(text: string, fileName: string, origin: string): void {
    this.#area.value = text;
    this.#fileName = fileName;
    this.#origin.textContent = origin;
    void this.#check();
  }

  #later(): void {
    window.clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => void this.#check(), PAUSE_MS);
  }

  async #check(): Promise<void> {
    const round = ++this.#round;
    const { text, fileName } = this.policy;
    try {
      const found = await Preview.check(text, fileName);
      const explained = found.length === 0 ? await Preview.explain(text, fileName) : undefined;
      // Only the last text counts: answers may overtake each other.
      if (round !== this.#round) return;
      if (explained !== undefined) this.#explained.textContent = explained;
      this.#show(found, text);
      this.#changed(found.length === 0);
    } catch (e) {
      if (round !== this.#round) return;
      fill(this.#found, [h("p", { class: "bad" }, textOf(e))]);
      this.#changed(false);
    }
  }

  #show(found: Diagnostic[], text: string): void {
    const wasValid = this.#area.getAttribute("aria-invalid") !== "true";
    this.#area.setAttribute("aria-invalid", String(found.length > 0));
    if (found.length === 0) {
      fill(this.#found, [h("p", { class: "good" }, "Valid.")]);
      if (!wasValid) say("The policy is valid.");
      return;
    }
    const item = (d: Diagnostic) =>
      h("li", {},
        h("button", { type: "button", class: "place", on: { click: () => this.#select(d, text) } }, `line ${d.line}, column ${d.column}`),
        " ", d.message, d.hint ? h("span", { class: "mend" }, `, ${d.hint}`) : null);
    fill(this.#found, [h("ol", { class: "bad" }, ...found.map(item))]);
    if (wasValid) say(`The policy has ${found.length} ${found.length === 1 ? "error" : "errors"}.`);
  }

  #select(d: Diagnostic, text: string): void {
    this.#area.focus();
    this.#area.setSelectionRange(index(text, d.from), index(text, Math.max(d.to, d.from + 1)));
  }
}

/** Where a byte of the text's UTF-8 stands in the text. */
function index(text: string, byte: number): number {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, byte)).length;
}
