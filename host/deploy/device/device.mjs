// A device's outbox: events wait here until the stream has taken them.
//
//   add(event) -> queue -> record (one event, or several lines) -> send -> taken: forgotten
//                   ^                                                |
//                   +------- pause, doubled and drawn by lot --------+ not now
//
// Invariants
// - Events leave in the order in which they came, one record at a time.
// - An event is forgotten once the stream has taken it, and otherwise only with a word to `onLost`: the queue was full, or the
//   record can never be taken.
// - At least once: a record whose answer was lost is sent again, and the stream then holds it twice.
//
// Not here: the stream (`kinesis.mjs`). Nothing of Node and nothing of a browser is asked for.

/** First pause after a failure; doubled with each further one. */
const PAUSE_MS_MIN = 1_000;
/** Longest pause: a service that comes back is not met by all devices at one moment. */
const PAUSE_MS_MAX = 300_000;
/** A stream's unit of cost: a record of up to 25 KiB costs as much as one of 25 bytes. */
const RECORD_BYTES_MAX = 25 * 1024;

/**
 * @typedef {object} DeviceOptions
 * @property {string} id  The partition key: one device's records stay in order, in one shard. 1 to 256 characters.
 * @property {(key: string, data: Uint8Array) => Promise<void>} send  Puts one record; what it throws may say `never: true`.
 * @property {number} [recordEvents]  Events of one record, as lines of it, where several wait. Default 1, which every host reads.
 * @property {number} [queueMax]  Events that may wait; beyond it the oldest is lost. Default 10,000.
 * @property {{ load(): string[], save(lines: string[]): void }} [store]  Keeps what waits over a restart. Default: memory only.
 * @property {(lines: string[], why: string) => void} [onLost]  Told of events that are given up.
 * @property {(why: unknown, pauseMs: number) => void} [onPause]  Told of a failure that is tried again.
 * @property {(ms: number, signal: AbortSignal) => Promise<void>} [sleep]  For tests.
 * @property {() => number} [random]  For tests: 0 to 1.
 */

export class Device {
  #options;
  /** @type {string[]} */
  #queue;
  /** How many at the front of the queue are on their way. */
  #away = 0;
  /** @type {Promise<void> | undefined} */
  #sending;
  #awake = new AbortController();
  #closed = false;

  /** @param {DeviceOptions} options */
  constructor(options) {
    if (typeof options.id !== "string" || options.id.length < 1 || options.id.length > 256) {
      throw new TypeError(`expected an id of 1 to 256 characters, found ${JSON.stringify(options.id)}`);
    }
    this.#options = {
      recordEvents: 1,
      queueMax: 10_000,
      store: { load: () => [], save: () => {} },
      onLost: () => {},
      onPause: () => {},
      sleep,
      random: Math.random,
      ...options,
    };
    this.#queue = this.#options.store.load();
    this.#go();
  }

  /** How many events wait. */
  get waiting() {
    return this.#queue.length;
  }

  /** Takes an event, whose time is in it: when it happened, not when it will be sent. Never waits and never throws for the network. */
  add(event) {
    this.#queue.push(JSON.stringify(event));
    const over = this.#queue.length - this.#options.queueMax;
    // The oldest that wait; what is on its way may be taken at this moment.
    if (over > 0) this.#options.onLost(this.#queue.splice(this.#away, over), "the queue is full");
    this.#options.store.save(this.#queue);
    this.#go();
  }

  /** The network may be back (in a browser: on `online`): ends the pause. */
  wake() {
    this.#awake.abort();
  }

  /** Resolves when nothing waits, or the device was closed. */
  async idle() {
    while (this.#sending) await this.#sending;
  }

  /** Sends nothing more; what waits stays in the store. */
  async close() {
    this.#closed = true;
    this.wake();
    await this.idle();
  }

  #go() {
    if (this.#sending || this.#closed || this.#queue.length === 0) return;
    this.#sending = this.#send().finally(() => {
      this.#sending = undefined;
      // What was added while the last answer was awaited.
      this.#go();
    });
  }

  async #send() {
    const { id, send, onPause, sleep, random } = this.#options;
    let failures = 0;
    while (this.#queue.length > 0 && !this.#closed) {
      const lines = this.#record();
      this.#away = lines.length;
      try {
        await send(id, new TextEncoder().encode(lines.join("\n")));
        failures = 0;
        this.#forget();
      } catch (error) {
        if (error?.never) {
          this.#forget();
          this.#options.onLost(lines, String(error));
          continue;
        }
        this.#away = 0;
        // Full jitter: anywhere between nothing and the doubled pause.
        const pauseMs = random() * Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(failures++, 20));
        onPause(error, pauseMs);
        this.#awake = new AbortController();
        if (!this.#closed) await sleep(pauseMs, this.#awake.signal);
      }
    }
  }

  /** The lines of the next record: as many as fit, at least one. */
  #record() {
    const lines = [];
    let bytes = 0;
    for (const line of this.#queue.slice(0, this.#options.recordEvents)) {
      bytes += new TextEncoder().encode(line).length + 1;
      if (lines.length > 0 && bytes > RECORD_BYTES_MAX) break;
      lines.push(line);
    }
    return lines;
  }

  #forget() {
    this.#queue.splice(0, this.#away);
    this.#away = 0;
    this.#options.store.save(this.#queue);
  }
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} */
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
