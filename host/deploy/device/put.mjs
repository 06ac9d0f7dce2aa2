#!/usr/bin/env node
// Puts the events of standard input, one JSON object a line, as one device does:
//
//   node put.mjs --pool eu-west-1:0123... --stream impressions-dev --device d-1 < events.ndjson
//
// Exit codes: 0 all taken, 1 some were not, 2 wrong usage or a line that is no JSON object (then nothing is put).
// AWS_ENDPOINT_URL_KINESIS and AWS_ENDPOINT_URL_COGNITO_IDENTITY name stand-ins.

import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { Device } from "./device.mjs";
import { kinesis } from "./kinesis.mjs";

const usage = (why) => {
  console.error(`put: ${why}`);
  process.exit(2);
};

const { values } = (() => {
  try {
    const string = { type: "string" };
    return parseArgs({
      options: {
        pool: string, stream: string, device: string, region: string,
        "record-events": { ...string, default: "1" }, patience: { ...string, default: "60" },
      },
    });
  } catch (error) {
    return usage(error.message);
  }
})();
for (const name of ["pool", "stream", "device"]) if (!values[name]) usage(`--${name} is missing`);
const number = (name) => {
  const found = Number(values[name]);
  return Number.isInteger(found) && found > 0 ? found : usage(`--${name}: expected a number above 0, found ${values[name]}`);
};
const [recordEvents, patienceS] = [number("record-events"), number("patience")];

const events = (await text(process.stdin)).split("\n").flatMap((line, at) => {
  if (line.trim() === "") return [];
  try {
    const event = JSON.parse(line);
    if (event !== null && typeof event === "object" && !Array.isArray(event)) return [event];
  } catch {
    // Said below.
  }
  return usage(`line ${at + 1}: expected a JSON object, found ${line.slice(0, 80)}`);
});

let lost = 0;
// HTTP/1.1: what is small and rare gains nothing by HTTP/2, and stand-ins speak nothing else.
const send = kinesis({ ...values, requestHandler: new NodeHttpHandler() });
const device = new Device({
  id: values.device,
  send,
  recordEvents,
  queueMax: Math.max(events.length, 1),
  onLost: (lines, why) => {
    lost += lines.length;
    console.error(`put: ${lines.length} given up: ${why}`);
  },
  onPause: (why, pauseMs) => console.error(`put: ${why}; again in ${Math.round(pauseMs)} ms`),
});
for (const event of events) device.add(event);
const late = setTimeout(() => device.close(), patienceS * 1_000);
await device.idle();
clearTimeout(late);
console.error(`put: ${events.length - lost - device.waiting} of ${events.length} events taken`);
process.exit(lost + device.waiting > 0 ? 1 : 0);
