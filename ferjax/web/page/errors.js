/** What went wrong, in a sentence for people. */
export class AnalysisError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "AnalysisError";
  }
}
