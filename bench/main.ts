import { parseArgs } from 'node:util';
import { runAudit } from './audit.js';
import { formatAudit } from './audit-report.js';
import { runFanout } from './fanout.js';
import { formatFanout } from './fanout-report.js';
import { type FullOptions, runFull } from './full.js';
import { runIdle } from './idle.js';
import { formatIdle } from './idle-report.js';
import { formatFull } from './report.js';
import { runSlowReaders } from './slow-readers.js';
import { formatSlowReaders } from './slow-readers-report.js';
import { runTriggers } from './triggers.js';
import { formatTriggers } from './triggers-report.js';

const USAGE = `Usage: npm run bench -- <case> [--rows n] [--rounds n] [--json]

  full          a device's first sync (request → build → download → verified commit → ack) beside plain COPY and logical replication
  idle          what a device costs that is up to date: sync/now, and polls per second beside a bare route
  slow-readers  a healthy device's syncs beside 200 downloads that nobody reads
  audit         every statement of the dashboards on 90 days of audit, one device for every 10,000 requests, and the pruning of a day

  --rows    rows of the table, at least 1000 (default 1000000; slow-readers: 200000; audit: 10000000 requests); full also measures the services' memory at a tenth of it
  --rounds  measurements of each way, interleaved (default 3)
  --json    one JSON document in place of the table`;

const CASES = {
  full: { rows: '1000000', run: async (options: FullOptions, json: boolean) => print(await runFull(options), json, formatFull) },
  idle: { rows: '1000000', run: async (options: FullOptions, json: boolean) => print(await runIdle(options), json, formatIdle) },
  fanout: { rows: '10000', run: async (options: FullOptions, json: boolean) => print(await runFanout(options), json, formatFanout) },
  triggers: { rows: '100000', run: async (options: FullOptions, json: boolean) => print(await runTriggers(options), json, formatTriggers) },
  'slow-readers': {
    rows: '200000',
    run: async (options: FullOptions, json: boolean) => print(await runSlowReaders(options), json, formatSlowReaders),
  },
  audit: { rows: '10000000', run: async (options: FullOptions, json: boolean) => print(await runAudit(options), json, formatAudit) },
};

/** A command line that means nothing. */
class UsageError extends Error {}

interface CommandLine {
  name: keyof typeof CASES;
  rows: number;
  rounds: number;
  json: boolean;
}

/** Exit status: 0 also where a target was missed, for this is a report; 1 when something failed or data differ; 2 for a wrong command line. */
async function main(): Promise<void> {
  const { name, rows, rounds, json } = readCommandLine(process.argv.slice(2));
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interruption.abort());
  // Progress goes to stderr: stdout belongs to the report.
  const say = (line: string): void => void process.stderr.write(`bench: ${line}\n`);
  await CASES[name].run({ rows, rounds, say, signal: interruption.signal }, json);
}

function print<Report>(report: Report, json: boolean, format: (report: Report) => string): void {
  process.stdout.write(json ? `${JSON.stringify(report, undefined, 2)}\n` : format(report));
}

function readCommandLine(args: string[]): CommandLine {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        rows: { type: 'string' },
        rounds: { type: 'string', default: '3' },
        json: { type: 'boolean', default: false },
      },
    });
    const name = positionals.join(' ') as CommandLine['name'];
    if (!Object.hasOwn(CASES, name)) throw new Error(`There is no case "${name}".`);
    return {
      name,
      rows: wholeNumber('rows', values.rows ?? CASES[name].rows, 1000),
      rounds: wholeNumber('rounds', values.rounds, 1),
      json: values.json,
    };
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

function wholeNumber(name: string, text: string, min: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > 100_000_000) throw new Error(`--${name} must be a whole number of at least ${min}.`);
  return value;
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof UsageError;
  process.stderr.write(isUsage ? `${error.message}\n\n${USAGE}\n` : `bench: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
