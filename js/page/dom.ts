// Elements from code. Texts go in as text only: keys and messages are data from strangers.

type Child = Node | string | number | bigint | null | undefined | false;

interface Props {
  class?: string;
  on?: Record<string, (event: never) => void>;
  [attribute: string]: unknown;
}

/** An element with attributes, listeners and children. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [type, listener] of Object.entries(value as Record<string, EventListener>)) element.addEventListener(type, listener);
    } else element.setAttribute(name, value === true ? "" : String(value));
  }
  fill(element, children);
  return element;
}

/** Replaces what is in an element. */
export function fill(element: Element, children: Child[]): void {
  element.replaceChildren(...children.filter((c) => c !== null && c !== undefined && c !== false).map((c) => (c instanceof Node ? c : String(c))));
}

/** Replaces what is in an element; the table in it stays where it was scrolled to, and keeps the focus. */
export function refill(element: Element, children: Child[]): void {
  const before = element.querySelector(".table");
  const [top, left, focused] = [before?.scrollTop ?? 0, before?.scrollLeft ?? 0, before !== null && before === document.activeElement];
  fill(element, children);
  const after = element.querySelector<HTMLElement>(".table");
  if (focused) after?.focus({ preventScroll: true });
  after?.scrollTo(left, top);
}

/** The element of the page with this id. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element #${id}`);
  return element;
}

/** Tells a screen reader, politely. */
export function say(text: string): void {
  byId("say").textContent = text;
}

/** Hands a file to the user. */
export function download(name: string, bytes: Uint8Array<ArrayBuffer>, type: string): void {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  h("a", { href: url, download: name }).click();
  // The browser takes the blob within the click; the delay is for those that do it a moment later.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
