import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { projectRoot } from '../scripts/project-root.js';
import { runAudit } from './audit.js';
import { formatAudit } from './audit-report.js';
import { type DeltaOptions, runDelta } from './delta.js';
import { KEY_TYPES, type KeyType } from './delta-data.js';
import { formatDelta } from './delta-report.js';
import { runDrift } from './drift.js';
import { formatDrift } from './drift-report.js';
import { runFanout } from './fanout.js';
import { formatFanout } from './fanout-report.js';
import { runFull } from './full.js';
import { runIdentity } from './identity.js';
import { formatIdentity } from './identity-report.js';
import { runIdle } from './idle.js';
import { formatIdle } from './idle-report.js';
import { runLedger } from './ledger.js';
import { formatLedger } from './ledger-report.js';
import { type ReadersOptions, runReaders } from './readers.js';
import { formatReaders } from './readers-report.js';
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
  identity      what it costs to know who asks: polls with access tokens beside polls by MAC, tokens per second, sync/now over TLS, revocation
  ledger        what devices' receipts cost, and proofs of a ledger with ten million of them
  fanout        1000 devices of 20 scopes that ask at once, and what the store grows by for scopes that share rows
  triggers      what change capture costs those that write: single-row statements with and without it
  delta         what a change costs a device that holds the rest, from one row to a tenth of them, beside logical replication
  drift         what it costs to verify a device's rows, and to find and put right one that was altered
  readers       what those that read the mirror notice of many syncs, and what grows meanwhile
  slow-readers  a healthy device's syncs beside 200 downloads that are not read
  audit         every statement of the dashboards on 90 days of audit, one device for every 10,000 requests, and the pruning of a day
  all           all but slow-readers, audit and ledger, each into its block of docs/benchmarks.md; --with-long: these too

  --rows     rows of the table, at least 1000 (default 1000000; fanout: 10000 of each scope; triggers, readers: 100000; identity, slow-readers: 200000; audit: 10000000 requests; ledger: 10000000 leaves); full also measures the services' memory at a tenth of it
  --rounds   measurements of each way, interleaved (default 3; triggers: 9; delta: 1); readers has none but its syncs
  --keys     delta: type of the table's key, bigint (default), uuid, text, or all of them one after another
  --devices  delta: how many ask at once (default 200)
  --syncs    readers: how many (default 100)
  --changed  readers: rows that change before each (default 1000)
  --json     one JSON document in place of the table
  --write    puts the table into the case's block of docs/benchmarks.md as well`;

const PAGE = join(projectRoot, 'docs/benchmarks.md');

interface Case {
  rows: number;
  rounds: number;
  /** Not part of `all` unless asked for. */
  isLong: boolean;
  /** @returns the report, and the same for people */
  run: (options: CaseOptions) => Promise<{ report: object; text: string }>;
}

/** Each case takes of them what it needs. */
type CaseOptions = DeltaOptions & ReadersOptions;

const CASES: Record<string, Case> = {
  full: caseOf(runFull, formatFull, { rows: 1_000_000 }),
  idle: caseOf(runIdle, formatIdle, { rows: 1_000_000 }),
  identity: caseOf(runIdentity, formatIdentity, { rows: 200_000 }),
  ledger: caseOf(runLedger, formatLedger, { rows: 10_000_000, isLong: true }),
  fanout: caseOf(runFanout, formatFanout, { rows: 10_000 }),
  triggers: caseOf(runTriggers, formatTriggers, { rows: 100_000, rounds: 9 }),
  // As long as each change costs its whole table, three rounds would take ten minutes.
  delta: caseOf(runDelta, formatDelta, { rows: 1_000_000, rounds: 1 }),
  drift: caseOf(runDrift, formatDrift, { rows: 1_000_000 }),
  readers: caseOf(runReaders, formatReaders, { rows: 100_000 }),
  'slow-readers': caseOf(runSlowReaders, formatSlowReaders, { rows: 200_000, isLong: true }),
  audit: caseOf(runAudit, formatAudit, { rows: 10_000_000, isLong: true }),
};

/** Options of a single case. */
const CASE_OF_OPTION = { keys: 'delta', devices: 'delta', syncs: 'readers', changed: 'readers' } as const;

function caseOf<Report extends object>(
  run: (options: CaseOptions) => Promise<Report>,
  format: (report: Report) => string,
  { rows, rounds = 3, isLong = false }: { rows: number; rounds?: number; isLong?: boolean },
): Case {
  const runAndFormat = async (options: CaseOptions) => {
    const report = await run(options);
    return { report, text: format(report) };
  };
  return { rows, rounds, isLong, run: runAndFormat };
}

/** A command line that means nothing. */
class UsageError extends Error {}

interface CommandLine extends Pick<CaseOptions, 'keys' | 'devices' | 'syncs' | 'changed'> {
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
    const { report, text } = await run({
      ...wanted,
      rows: wanted.rows ?? rows,
      rounds: wanted.rounds ?? rounds,
      say,
      signal: interruption.signal,
    });
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
        keys: { type: 'string' },
        devices: { type: 'string' },
        syncs: { type: 'string' },
        changed: { type: 'string' },
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
    for (const [option, itsCase] of Object.entries(CASE_OF_OPTION)) {
      if (values[option as keyof typeof CASE_OF_OPTION] !== undefined && name !== itsCase)
        throw new Error(`--${option} is for ${itsCase}.`);
    }
    return {
      names: isAll ? Object.keys(CASES).filter((each) => values['with-long'] || !CASES[each]!.isLong) : [name],
      rows: wholeNumber('rows', values.rows, 1000),
      rounds: wholeNumber('rounds', values.rounds, 1),
      keys: keyTypes(values.keys ?? 'bigint'),
      devices: wholeNumber('devices', values.devices, 1) ?? 200,
      syncs: wholeNumber('syncs', values.syncs, 1) ?? 100,
      changed: wholeNumber('changed', values.changed, 1) ?? 1000,
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

function keyTypes(text: string): readonly KeyType[] {
  const types = KEY_TYPES.filter((type) => text === type || text === 'all');
  if (types.length === 0) throw new Error(`--keys must be ${KEY_TYPES.join(', ')} or all.`);
  return types;
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof UsageError;
  process.stderr.write(isUsage ? `${error.message}\n\n${USAGE}\n` : `bench: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
