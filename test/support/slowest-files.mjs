const NAMED = 3;

/** A Jest reporter: names the files of tests that took longest, at the end of a run of several. */
export default class SlowestFiles {
  /**
   * @param {unknown} _contexts
   * @param {import('@jest/reporters').AggregatedResult} results
   */
  onRunComplete(_contexts, { testResults }) {
    if (testResults.length <= NAMED) return;
    const slowest = testResults.toSorted((one, other) => secondsOf(other) - secondsOf(one)).slice(0, NAMED);
    const root = `${process.cwd()}/`;
    const names = slowest.map((file) => `${file.testFilePath.replace(root, '')} (${secondsOf(file).toFixed(0)} s)`);
    process.stderr.write(`Slowest:     ${names.join(', ')}\n`);
  }
}

/** @param {import('@jest/reporters').TestResult} result */
function secondsOf({ perfStats: { start, end } }) {
  return (end - start) / 1000;
}
