// Cuts bytes into pieces of whole lines for the engine, as the host's file source does.
//
// ```text
// push:  ...}\n{...}\n{...        piece: {...}\n{...}\n        carry: {...
// ```
// Invariants
// - Which lines there are, and which of them are oversize, does not depend on how the bytes came.
// - Memory is bounded by what was pushed and LINE_BYTES_MAX.
//
// Not here: what is in a line (the engine).

/** A line with more bytes than this is not held: its beginning becomes a dead letter. As in the host. */
export const LINE_BYTES_MAX = 16 << 20;
/** So much of such a line is kept. */
export const OVERSIZE_PREFIX = 64 << 10;
/** A piece holds at most this many bytes, or one longer line. */
export const PIECE_BYTES = 1 << 20;

const NEWLINE = 10;

/** Whole lines, in parts that follow each other. Valid until the next push. */
export interface Piece {
  parts: Uint8Array[];
  length: number;
  /** Ordinal of the first line: its number in the input, from 0. */
  first: number;
  /** Lines in it. */
  lines: number;
  /** The beginning of one line that is too long. */
  oversize: boolean;
}

/** Keeps what is left of a line between two pushes. */
export class Lines {
  #carry: Uint8Array[] = [];
  #carried = 0;
  #next = 0;
  #begun = false;
  #oversize: Uint8Array | undefined;

  /** Lines given so far. */
  get count(): number {
    return this.#next;
  }

  /** The whole lines that are there now. The rest waits. */
  *push(chunk: Uint8Array): Generator<Piece> {
    let at = 0;
    if (this.#oversize || this.#carried > 0) {
      const newline = chunk.indexOf(NEWLINE);
      if (newline < 0) return this.#keep(chunk);
      at = newline + 1;
      yield this.#line(chunk.subarray(0, newline), chunk.subarray(0, at));
    }
    while (at < chunk.length) {
      const last = chunk.subarray(at, at + PIECE_BYTES).lastIndexOf(NEWLINE);
      if (last >= 0) {
        // No line in here can be too long, since a piece is not.
        yield this.#give([chunk.subarray(at, at + last + 1)]);
        at += last + 1;
        continue;
      }
      const newline = chunk.indexOf(NEWLINE, at);
      if (newline < 0) return this.#keep(chunk.subarray(at));
      yield this.#line(chunk.subarray(at, newline), chunk.subarray(at, newline + 1));
      at = newline + 1;
    }
  }

  /** The last line, where it has no newline. */
  *end(): Generator<Piece> {
    if (this.#oversize || this.#carried > 0) yield this.#line(new Uint8Array(0), new Uint8Array(0));
  }

  #keep(bytes: Uint8Array): void {
    if (this.#oversize) return;
    // A copy: the caller's buffer is the caller's.
    this.#carry.push(bytes.slice());
    this.#carried += bytes.length;
    if (this.#carried > LINE_BYTES_MAX) this.#oversize = prefix(this.#takeCarry());
  }

  /** The carried line with its end; `text` is that end without its newline. */
  #line(text: Uint8Array, whole: Uint8Array): Piece {
    if (!this.#oversize && this.#carried + text.length > LINE_BYTES_MAX) this.#oversize = prefix([...this.#takeCarry(), text]);
    if (this.#oversize) {
      const beginning = this.#oversize;
      this.#oversize = undefined;
      const parts = this.#withoutMark([beginning]);
      return { parts, length: size(parts), first: this.#next++, lines: 1, oversize: true };
    }
    return this.#give([...this.#takeCarry(), whole]);
  }

  #takeCarry(): Uint8Array[] {
    const carry = this.#carry;
    this.#carry = [];
    this.#carried = 0;
    return carry;
  }

  #give(given: Uint8Array[]): Piece {
    let lines = 0;
    for (const part of given) for (let i = 0; i < part.length; i++) if (part[i] === NEWLINE) lines++;
    const tail = given.filter((p) => p.length > 0).at(-1);
    if (tail && tail[tail.length - 1] !== NEWLINE) lines++;
    const parts = this.#withoutMark(given);
    const piece = { parts, length: size(parts), first: this.#next, lines, oversize: false };
    this.#next += lines;
    return piece;
  }

  /** A byte order mark at the very beginning belongs to no line. */
  #withoutMark(parts: Uint8Array[]): Uint8Array[] {
    if (this.#begun) return parts;
    this.#begun = true;
    const first = parts.length > 1 ? concat(parts) : (parts[0] ?? new Uint8Array(0));
    return [first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf ? first.subarray(3) : first];
  }
}

function size(parts: Uint8Array[]): number {
  return parts.reduce((n, p) => n + p.length, 0);
}

function concat(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(size(parts));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}

function prefix(parts: Uint8Array[]): Uint8Array {
  return concat(parts).slice(0, OVERSIZE_PREFIX);
}
