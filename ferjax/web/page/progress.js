/** How much of what is loaded has arrived. */

export class Progress {
  #loaded = 0;
  #total = 0;
  #report;

  /** @param {(loaded: number, total: number) => void} report in bytes; a total of 0 is not known */
  constructor(report) {
    this.#report = report;
  }

  /**
   * Return the content of an answer.
   *
   * @param {Response} response
   * @returns {Promise<Uint8Array>}
   */
  async read(response) {
    // Of what travels compressed the length says something else.
    const length = response.headers.has("content-encoding")
      ? 0
      : Number(response.headers.get("content-length"));
    this.#total += length || 0;
    if (!response.body || !length) return new Uint8Array(await response.arrayBuffer());
    const parts = [];
    let size = 0;
    const reader = response.body.getReader();
    for (
      let { done, value } = await reader.read();
      !done && value;
      { done, value } = await reader.read()
    ) {
      parts.push(value);
      size += value.length;
      this.#loaded += value.length;
      this.#report(this.#loaded, this.#total);
    }
    const content = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      content.set(part, at);
      at += part.length;
    }
    return content;
  }
}
