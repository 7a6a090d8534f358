/**
 * Call functions of the page, as tests/web/test_computation.py asks for on stdin: a list of
 * [module, function, arguments]. Pictures travel with their data in base64.
 */

import { readFileSync } from "node:fs";

const PAGE = new URL("../../ferjax/web/page/", import.meta.url);

/** @type {(key: string, value: any) => any} */
const revived = (key, value) =>
  value?.base64 === undefined
    ? value
    : { ...value, data: new Uint8ClampedArray(Buffer.from(value.base64, "base64")) };

/** @type {(key: string, value: any) => any} */
const written = (key, value) => {
  if (value instanceof Uint8ClampedArray) return Buffer.from(value).toString("base64");
  if (value instanceof Float32Array) return [...value];
  return Number.isFinite(value) || typeof value !== "number" ? value : String(value);
};

const calls = JSON.parse(readFileSync(0, "utf8"), revived);
const results = [];
for (const [module, name, given] of calls) {
  const { [name]: called } = await import(new URL(module, PAGE).href);
  try {
    results.push({ result: called(...given) });
  } catch (error) {
    results.push({ error: `${error.name}: ${error.message}` });
  }
}
process.stdout.write(JSON.stringify(results, written));
