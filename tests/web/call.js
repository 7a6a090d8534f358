/**
 * Call functions of the page, as tests/web/test_computation.py asks for on stdin: each
 * line a list of [module, function, arguments]. Pictures and files travel in base64.
 */

import { createInterface } from "node:readline";

const PAGE = new URL("../../ferjax/web/page/", import.meta.url);

/** @type {(key: string, value: any) => any} */
const revived = (key, value) => {
  if (value?.bytes !== undefined) return new Uint8Array(Buffer.from(value.bytes, "base64"));
  if (value?.base64 === undefined) return value;
  return { ...value, data: new Uint8ClampedArray(Buffer.from(value.base64, "base64")) };
};

/** @type {(key: string, value: any) => any} */
const written = (key, value) => {
  if (value instanceof Uint8ClampedArray) return Buffer.from(value).toString("base64");
  if (value instanceof Float32Array) return [...value];
  return Number.isFinite(value) || typeof value !== "number" ? value : String(value);
};

/** @param {[string, string, any[]][]} calls */
async function answers(calls) {
  const results = [];
  for (const [module, name, given] of calls) {
    const { [name]: called } = await import(new URL(module, PAGE).href);
    try {
      results.push({ result: called(...given) });
    } catch (error) {
      results.push({ error: error.message });
    }
  }
  return results;
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answers(JSON.parse(line, revived)), written)}\n`);
}
