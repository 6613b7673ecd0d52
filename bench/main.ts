import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { projectRoot } from '../scripts/project-root.js';
import { runAudit } from './audit.js';
import { formatAudit } from './audit-report.js';
import { runFanout } from './fanout.js';
import { formatFanout } from './fanout-report.js';
import { type FullOptions, runFull } from './full.js';
import { runIdle } from './idle.js';
import { formatIdle } from './idle-report.js';
import { formatFull } from './report.js';
import { writeBlock } from './report-blocks.js';
import { runSlowReaders } from './slow-readers.js';
import { formatSlowReaders } from './slow-readers-report.js';
import { runTriggers } from './triggers.js';
import { formatTriggers } from './triggers-report.js';

const USAGE = `Usage: npm run bench -- <case> [--rows n] [--rounds n] [--json] [--write]
       npm run bench -- all [--rounds n] [--with-long]

  full          a device's first sync (request → build → download → verified commit → ack), snapshot built already or not, beside plain COPY and logical replication
  idle          what a device costs that is up to date: sync/now, and polls per second beside a bare route
  fanout        1000 devices of 20 scopes that ask at once, and what the store grows by for scopes that share rows
  triggers      what change capture costs those that write: single-row statements with and without it
  slow-readers  a healthy device's syncs beside 200 downloads that are not read
  audit         every statement of the dashboards on 90 days of audit, one device for every 10,000 requests, and the pruning of a day
  all           the first four, each into its block of docs/benchmarks.md; --with-long: the others too

  --rows    rows of the table, at least 1000 (default 1000000; fanout: 10000 of each scope; triggers: 100000; slow-readers: 200000; audit: 10000000 requests); full also measures the services' memory at a tenth of it
  --rounds  measurements of each way, interleaved (default 3; triggers: 9)
  --json    one JSON document in place of the table
  --write   puts the table into the case's block of docs/benchmarks.md as well`;

const PAGE = join(projectRoot, 'docs/benchmarks.md');

interface Case {
  rows: number;
  rounds: number;
  /** Not part of `all` unless asked for. */
  isLong: boolean;
  /** @returns the report, and the same for people */
  run: (options: FullOptions) => Promise<{ report: object; text: string }>;
}

const CASES: Record<string, Case> = {
  full: caseOf(runFull, formatFull, { rows: 1_000_000 }),
  idle: caseOf(runIdle, formatIdle, { rows: 1_000_000 }),
  fanout: caseOf(runFanout, formatFanout, { rows: 10_000 }),
  triggers: caseOf(runTriggers, formatTriggers, { rows: 100_000, rounds: 9 }),
  'slow-readers': caseOf(runSlowReaders, formatSlowReaders, { rows: 200_000, isLong: true }),
  audit: caseOf(runAudit, formatAudit, { rows: 10_000_000, isLong: true }),
};

function caseOf<Report extends object>(
  run: (options: FullOptions) => Promise<Report>,
  format: (report: Report) => string,
  { rows, rounds = 3, isLong = false }: { rows: number; rounds?: number; isLong?: boolean },
): Case {
  const runAndFormat = async (options: FullOptions) => {
    const report = await run(options);
    return { report, text: format(report) };
  };
  return { rows, rounds, isLong, run: runAndFormat };
}

/** A command line that means nothing. */
class UsageError extends Error {}

interface CommandLine {
  names: string[];
  rows: number | undefined;
  rounds: number | undefined;
  json: boolean;
  write: boolean;
}

/** Exit status: 0 also where a target was missed, for this is a report; 1 when something failed or data differ; 2 for a wrong command line. */
async function main(): Promise<void> {
  const { names, json, write, ...wanted } = readCommandLine(process.argv.slice(2));
  const interruption = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => interruption.abort());
  for (const name of names) {
    const { run, rows, rounds } = CASES[name]!;
    // Progress goes to stderr: stdout belongs to the report.
    const say = (line: string): void => void process.stderr.write(`bench: ${names.length > 1 ? `${name}: ` : ''}${line}\n`);
    const { report, text } = await run({ rows: wanted.rows ?? rows, rounds: wanted.rounds ?? rounds, say, signal: interruption.signal });
    process.stdout.write(json ? `${JSON.stringify(report, undefined, 2)}\n` : text);
    if (write) await writeBlock(PAGE, name, text);
  }
}

function readCommandLine(args: string[]): CommandLine {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        rows: { type: 'string' },
        rounds: { type: 'string' },
        json: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
        'with-long': { type: 'boolean', default: false },
      },
    });
    const name = positionals.join(' ');
    const isAll = name === 'all';
    if (!isAll && !Object.hasOwn(CASES, name)) throw new Error(`There is no case "${name}".`);
    if (isAll && (values.json || values.rows !== undefined))
      throw new Error('all takes neither --rows nor --json: it writes docs/benchmarks.md.');
    if (!isAll && values['with-long']) throw new Error('--with-long is for all.');
    return {
      names: isAll ? Object.keys(CASES).filter((each) => values['with-long'] || !CASES[each]!.isLong) : [name],
      rows: wholeNumber('rows', values.rows, 1000),
      rounds: wholeNumber('rounds', values.rounds, 1),
      json: values.json,
      write: values.write || isAll,
    };
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

function wholeNumber(name: string, text: string | undefined, min: number): number | undefined {
  if (text === undefined) return undefined;
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
