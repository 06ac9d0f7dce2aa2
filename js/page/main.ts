// The page: live panel where a host stands behind it, preview panel always.

import { engineInfo, type EngineInfo } from "../src/browser.js";
import { textOf } from "../src/error.js";
import { byId, fill, h, say } from "./dom.js";
import { Live, type Hello } from "./live.js";
import { PreviewPanel } from "./preview.js";

let engine: EngineInfo | undefined;
let hello: Hello | undefined;

// The digest of what this page runs, and whether it is what the host runs.
function showEngine(): void {
  if (!engine) return;
  const { sha256, version } = engine;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(sha256);
      say("The digest is copied.");
    } catch {
      // Without leave to copy the digest is still there to be selected.
      say(sha256);
    }
  };
  fill(byId("engine"), [
    h("button", { type: "button", class: "digest", title: `SHA-256 of plimsoll.wasm ${version}: ${sha256}\nClick to copy`, on: { click: () => void copy() } }, `engine ${sha256.slice(0, 12)}`),
    comparison(sha256),
  ]);
}

function comparison(sha256: string): HTMLElement | null {
  if (!hello) return null;
  if (hello.module === null) return h("span", { class: "same unsure" }, "the host runs its native engine: not the same bytes");
  if (hello.module === sha256) return h("span", { class: "same yes" }, "same bytes as the host");
  return h("span", { class: "same no", title: hello.module }, `not the host's engine (${hello.module.slice(0, 12)}): a preview may differ; load the page again`);
}

const preview = new PreviewPanel();
engineInfo().then(
  (info) => {
    engine = info;
    showEngine();
  },
  (e: unknown) => fill(byId("engine"), [h("span", { class: "bad" }, textOf(e))]),
);

if (document.querySelector<HTMLMetaElement>('meta[name="plimsoll-host"]')?.content === "here") {
  byId("mode").textContent = "live";
  new Live((told) => {
    hello = told;
    showEngine();
  });
  fetch("policy")
    .then((answer) => answer.json() as Promise<{ text: string; file_name: string }>)
    .then((policy) => preview.usePolicy(policy.text, policy.file_name))
    .catch((e: unknown) => say(`The host's policy could not be read: ${textOf(e)}`));
}
