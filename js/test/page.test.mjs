// The page in Chromium, under its Content-Security-Policy: no console error, no violation, the same rows as in Node.
//
// CHROMIUM names the browser (default /usr/bin/chromium). PLIMSOLL_SCREENSHOTS names a folder that gets pictures to look at.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";
import { Preview, engineInfo } from "plimsoll";
import { POLICY, records } from "./help.mjs";

const folder = fileURLToPath(new URL("../../target/plimsoll/page/", import.meta.url));
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const CSP =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
  "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".wasm": "application/wasm" };

let browser;
const profile = mkdtempSync(join(tmpdir(), "plimsoll-chromium-"));
before(async () => {
  assert.ok(existsSync(executablePath), `${executablePath} is missing: install Chromium (Debian: apt-get install chromium) or set CHROMIUM`);
  browser = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    viewport: { width: 1280, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
});
after(async () => {
  await browser?.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** Serves the page; `more` answers first. Gives its address. */
async function serve(t, { csp = CSP, more } = {}) {
  const server = createServer((request, response) => {
    response.setHeader("content-security-policy", csp);
    const path = request.url === "/" ? "/index.html" : request.url;
    if (more?.(path, response)) return;
    const file = join(folder, path.slice(1));
    if (!/^\/[\w.]+$/.test(path) || !existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(file)] }).end(readFileSync(file));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}/`;
}

/** Opens the page and collects all that must not be. */
async function open(t, url, expected = []) {
  const page = await browser.newPage();
  const wrong = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && wrong.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => wrong.push(`error: ${e.message}`));
  page.on("response", (r) => r.status() >= 400 && wrong.push(`${r.status()} ${r.url()}`));
  page.on("request", (r) => !r.url().startsWith(url) && !r.url().startsWith("blob:") && wrong.push(`a request to ${r.url()}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`));
  });
  await page.goto(url);
  t.after(async () => {
    await page.close();
    assert.deepEqual(wrong.filter((w) => !expected.some((e) => e.test(w))), []);
  });
  return page;
}

async function look(page, name) {
  const to = process.env.PLIMSOLL_SCREENSHOTS;
  if (to) await page.screenshot({ path: join(to, `${name}.png`), fullPage: true });
}

async function inNode(data, policy = POLICY) {
  const p = await Preview.create(policy);
  p.pushNdjson(data);
  p.end();
  const seen = { rows: p.ndjson(), late: p.lateNdjson(), counts: p.counts, account: p.account };
  p.dispose();
  return { ...seen, rows: Buffer.from(seen.rows).toString(), late: Buffer.from(seen.late).toString() };
}

async function downloaded(page) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  return readFileSync(await file.path(), "utf8");
}

const finished = (page, name) => page.waitForFunction((n) => document.getElementById("status").textContent.startsWith(`${n}: `), name);

test("a file gives the rows that it gives in Node, by the same engine", async (t) => {
  const page = await open(t, await serve(t));
  const { sha256 } = await engineInfo();
  await page.waitForSelector(".digest");
  assert.equal(await page.textContent(".digest"), `engine ${sha256.slice(0, 12)}`);
  assert.equal(await page.isVisible("#live"), false, "no host, no live panel");

  const data = records(20_000, 1);
  const want = await inNode(data);
  await page.fill("#policy", POLICY);
  await page.waitForSelector(".diagnostics .good");
  await page.setInputFiles("#file", { name: "events.ndjson", mimeType: "application/x-ndjson", buffer: Buffer.from(data) });
  await finished(page, "events.ndjson");
  assert.equal(await downloaded(page), want.rows);
  assert.match(await page.textContent(".label"), /Arrival unknown: line order/);
  assert.equal(await page.locator("#panel tbody tr").count(), 100, "the first hundred");
  await page.click(".pager button:last-child");
  await page.waitForFunction(() => document.querySelector(".pager span")?.textContent.startsWith("rows 101"));
  await look(page, "preview");

  await page.click("#tab-late");
  await page.waitForSelector("#tab-late[aria-selected=true]");
  assert.equal(await downloaded(page), want.late);
  await page.click("#tab-rejected");
  await page.waitForSelector("#panel td.raw");
  assert.equal(await page.textContent("#tab-rejected"), `Set aside ${want.counts.dead}`);
  assert.ok(want.account.rejected > 100);

  // The same file, packed and dropped.
  const drop = await page.evaluateHandle((bytes) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], "events.ndjson.gz"));
    return transfer;
  }, gzipSync(data).toString("base64"));
  await page.dispatchEvent("#drop", "drop", { dataTransfer: drop });
  await finished(page, "events.ndjson.gz");
  await page.click("#tab-rows");
  await page.waitForSelector("#tab-rows[aria-selected=true]");
  assert.equal(await downloaded(page), want.rows);
});

test("a wrong policy is marked at its place, and the last result stays, greyed", async (t) => {
  const page = await open(t, await serve(t));
  await page.click("text=Try sample records");
  await finished(page, "sample.ndjson");
  await look(page, "sample");
  assert.ok((await page.locator(".block.provisional").count()) > 0 && (await page.locator(".block.final").count()) > 10);
  const text = await page.inputValue("#policy");
  await page.fill("#policy", text.replace("[window]", "[windw]"));
  await page.waitForSelector("#policy[aria-invalid=true]");
  const first = page.locator(".diagnostics li").first();
  assert.match(await first.textContent(), /line \d+, column \d+ .*windw.*did you mean/);
  assert.ok(await page.locator(".results.stale").count());
  await first.locator("button").click();
  const selected = await page.evaluate(() => {
    const area = document.getElementById("policy");
    return area.value.slice(area.selectionStart, area.selectionEnd);
  });
  assert.equal(selected, "windw");
  await look(page, "wrong-policy");
  await page.fill("#policy", text);
  await page.waitForSelector(".results:not(.stale)");
});

test("records and keys are text, never markup; a file that cannot be read speaks", async (t) => {
  const page = await open(t, await serve(t));
  await page.fill("#policy", POLICY);
  await page.waitForSelector(".diagnostics .good");
  const evil = '<img src=x onerror="document.title=1">';
  const data = `${JSON.stringify({ ts: 1_700_000_000_000, placement: evil, v: 1 })}\n${evil}\n`;
  await page.setInputFiles("#file", { name: "evil.ndjson", mimeType: "text/plain", buffer: Buffer.from(data) });
  await finished(page, "evil.ndjson");
  assert.equal(await page.textContent("#panel td"), evil);
  await page.click("#tab-rejected");
  assert.equal(await page.textContent("#panel td.raw"), evil);
  assert.equal(await page.locator("#panel img").count(), 0);
  const cut = gzipSync(records(1_000, 3)).subarray(0, 2_000);
  await page.setInputFiles("#file", { name: "cut.gz", mimeType: "application/gzip", buffer: cut });
  await page.waitForFunction(() => /cut\.gz: the gzip data is damaged/.test(document.getElementById("status").textContent));
});

test("without leave for WebAssembly the page names the cure", async (t) => {
  const page = await open(t, await serve(t, { csp: CSP.replace(" 'wasm-unsafe-eval'", "") }), [/CSP|Content Security Policy/i, /wasm/i]);
  await page.waitForFunction(() => /'wasm-unsafe-eval'/.test(document.getElementById("engine").textContent));
});

test("it fits a telephone and the dark", async (t) => {
  const page = await open(t, await serve(t));
  await page.setViewportSize({ width: 360, height: 740 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.click("text=Try sample records");
  await finished(page, "sample.ndjson");
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= room, `${wide} px wide in ${room} px`);
  await look(page, "phone-dark");
});

test("everything is reached by keyboard, and has a name", async (t) => {
  const page = await open(t, await serve(t));
  await page.click("text=Try sample records");
  await finished(page, "sample.ndjson");
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, textarea, summary, [tabindex='0']")]
      .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels?.length || e.title))
      .map((e) => e.outerHTML),
  );
  assert.deepEqual(unnamed, []);
  await page.focus("#tab-rows");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector("#tab-late[aria-selected=true]");
  assert.equal(await page.evaluate(() => document.activeElement.id), "tab-late");
});

/** What Chromium says when a stream breaks off. */
const CUT = /ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|ERR_CONNECTION_(RESET|REFUSED)/;

/** What a host would say, on a stream that can be cut. */
function host(sha256) {
  const streams = new Set();
  const hello = {
    version: "0.1.0", module: sha256, source: "generator", store: "sqlite rows.db", started: Date.UTC(2026, 10, 23, 18),
    policy: { name: "test", sha256: "ab".repeat(32), keys: ["placement"], measures: [{ name: "events", op: "count" }], weight: 0 },
  };
  const window = (i, state) => ({
    start: Date.UTC(2026, 10, 23, 18, i), end: Date.UTC(2026, 10, 23, 18, i + 1), state, keys: 2, keys_beyond: 0, total: 700 + ((i * 37) % 90), late: i === 3 ? 4 : 0, ahead: false,
    rows: [{ key: ["<b>p-1</b>"], values: ["9007199254740993"] }, { key: ["p-2"], values: [3] }],
  });
  const stats = (read) => ({
    now: 0, state: "running", reason: null, rate: 166.7, watermark: Date.UTC(2026, 10, 23, 18, 8), arrival: 0, event: 0, rows_written: 120,
    account: { read, counted: read - 9, late: 4, future: 1, rejected: 4, filtered: 0, duplicate: 0, reasons: { bad_time: 3, malformed: 1 } },
    lag: { read_ms: 0, commit_ms: 420, watermark_ms: 600_000, close_ms: 601_000 }, lanes_total: 1, alarms: [],
    lanes: [{ name: "lane-0", state: "running", reason: null, n: 12, position: "events.ndjson:17", watermark: Date.UTC(2026, 10, 23, 18, 8), read, behind_ms: 0 }],
  });
  const tell = (to, event, data) => to.write(`event: ${event}\nretry: 200\ndata: ${JSON.stringify(data)}\n\n`);
  return {
    tell: (event, data) => streams.forEach((s) => tell(s, event, data)),
    stats,
    cut: () => streams.forEach((s) => s.destroy()),
    count: () => streams.size,
    answer(path, response) {
      if (path === "/index.html") {
        const page = readFileSync(join(folder, "index.html"), "utf8").replace('content="none"', 'content="here"');
        response.writeHead(200, { "content-type": "text/html" }).end(page);
      } else if (path === "/policy") {
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ name: "test", file_name: "test.toml", text: POLICY }));
      } else if (path === "/live") {
        response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
        streams.add(response);
        response.on("close", () => streams.delete(response));
        tell(response, "hello", hello);
        const ahead = { ...window(59, "provisional"), total: 1, ahead: true };
        tell(response, "snapshot", [...Array.from({ length: 10 }, (_, i) => window(i, i < 8 ? "final" : "provisional")), ahead]);
        tell(response, "stats", stats(1_000));
      } else return false;
      return true;
    },
  };
}

test("the live panel follows a host, pauses, and comes back after a break", async (t) => {
  const { sha256 } = await engineInfo();
  const h = host(sha256);
  const page = await open(t, await serve(t, { more: h.answer }), [CUT]);
  await page.waitForSelector('.state[data-state="connected"]');
  await page.waitForSelector(".same.yes");
  assert.equal(await page.inputValue("#policy"), POLICY, "the preview starts from the running policy");
  assert.equal(await page.locator("#live .block.provisional").count(), 3);
  const marks = page.locator("#live .room");
  assert.deepEqual(await marks.allTextContents(), ["", "", "", "◆", "", "", "", "", "", "", "▲"]);
  assert.match(await page.textContent("#live h3"), /18:09 – 18:10/, "not the window that a fast clock opened");
  assert.equal(await page.locator("#live .line").count(), 1, "the watermark stands between final and provisional");
  assert.equal(await page.textContent("#live .windows td"), "<b>p-1</b>");
  assert.match(await page.textContent("#live .windows"), /9,007,199,254,740,993/);
  assert.match(await page.textContent("#live .reasons"), /bad time 3/);
  assert.equal(await page.textContent("#live .badge"), "provisional");
  await page.locator('#live [aria-checked="true"]').press("End");
  await page.waitForFunction(() => /18:59.*19:00/.test(document.querySelector("#live h3").textContent));
  assert.match(await page.textContent("#live .windows"), /clock that runs ahead has opened this window/);
  await page.locator('#live [aria-checked="true"]').press("Home");
  await page.waitForSelector("#live .badge.final");
  await look(page, "live");

  // Numbers move under the reader's hands: focus stays.
  await page.focus("#live summary");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#live details .table");
  h.tell("stats", h.stats(2_000));
  await page.waitForFunction(() => document.querySelector("#live .tiles").textContent.includes("2,000"));
  assert.equal(await page.evaluate(() => document.activeElement.localName), "summary");
  assert.equal(await page.locator("#live .alarm").isVisible(), false);
  h.tell("stats", { ...h.stats(3_000), alarms: [{ alarm: "commit-lag", lane: "<b>lane-0</b>", since_ms: 0, found: "commit lag 12m" }] });
  await page.waitForSelector("#live .alarm");
  assert.equal(await page.textContent("#live .alarm"), "alarm commit-lag of lane <b>lane-0</b>: commit lag 12m");
  await page.click("#live >> text=Pause");
  await page.waitForSelector('.state[data-state="paused"]');
  await t.test("a paused page holds no stream", async () => {
    for (let i = 0; i < 100 && h.count() > 0; i++) await page.waitForTimeout(20);
    assert.equal(h.count(), 0);
  });
  await page.click("#live >> text=Go on");
  await page.waitForSelector('.state[data-state="connected"]');
  h.cut();
  await page.waitForSelector('.state[data-state="reconnecting"]');
  await page.waitForSelector('.state[data-state="connected"]');
});

test("another engine than the host's is said so", async (t) => {
  const h = host("cd".repeat(32));
  const page = await open(t, await serve(t, { more: h.answer }), [CUT]);
  await page.waitForSelector(".same.no");
  assert.match(await page.textContent(".same.no"), /not the host's engine \(cdcdcdcdcdcd\)/);
});
