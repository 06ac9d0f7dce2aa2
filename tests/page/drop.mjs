// Opens the host's page in Chromium, drops a file on it as a person does, and keeps what the page then gives.
//
//   node drop.mjs PLAYWRIGHT CHROMIUM URL FILE OUT
//
// Writes OUT/rows, OUT/late and OUT/dead (the page's downloads) and OUT/page.png. Prints {digest, same, tiles} as JSON. Ends with an
// error when the browser complains about anything, its Content-Security-Policy included.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

const [playwright, executablePath, url, file, out] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(playwright);
const profile = mkdtempSync(join(tmpdir(), "plimsoll-chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  viewport: { width: 1280, height: 900 },
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  const wrong = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && wrong.push(`console: ${m.text()}`));
  page.on("pageerror", (e) => wrong.push(`error: ${e.message}`));
  page.on("response", (r) => r.status() >= 400 && wrong.push(`${r.status()} ${r.url()}`));
  // Records never leave the page: nobody but the host is asked, and nothing is sent to it.
  page.on("request", (r) => {
    if ((!r.url().startsWith(url) && !r.url().startsWith("blob:")) || r.method() !== "GET") wrong.push(`${r.method()} ${r.url()}`);
  });
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`));
  });
  await page.goto(url);
  await page.waitForSelector('.state[data-state="connected"]');
  await page.waitForSelector(".same");
  // The preview starts from the policy that the host runs.
  await page.waitForFunction(() => document.body.textContent.includes("running on the host: policy.toml"));

  // A file from the disk in a real drop: the input is only the way to a `File` of its name and bytes.
  await page.evaluate(() => {
    const input = document.createElement("input");
    input.type = "file";
    input.id = "dropped";
    document.body.append(input);
  });
  await page.setInputFiles("#dropped", file);
  await page.evaluate(() => {
    const input = document.getElementById("dropped");
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(input.files[0]);
    input.remove();
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  });
  const name = basename(file);
  await page.waitForFunction((n) => document.getElementById("status").textContent.startsWith(`${n}: `), name, { timeout: 120_000 });
  for (const [tab, to] of [["rows", "rows"], ["late", "late"], ["rejected", "dead"]]) {
    await page.click(`#tab-${tab}`);
    await page.waitForSelector(`#panel[aria-labelledby=tab-${tab}]`);
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
    await download.saveAs(join(out, to));
  }
  await page.click("#tab-rows");
  await page.waitForSelector("#panel[aria-labelledby=tab-rows]");
  await page.screenshot({ path: join(out, "page.png"), fullPage: true });
  const seen = await page.evaluate(() => ({
    digest: document.querySelector(".results code").title,
    same: document.querySelector(".same").textContent,
    tiles: document.querySelector(".results .tiles").textContent,
  }));
  assert.deepEqual(wrong, []);
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
}
