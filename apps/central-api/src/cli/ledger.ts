import { open, readFile, rename, rm } from 'node:fs/promises';
import { type Answer, type CommandContext, ExitCode, formatCount, plural } from '@waypost/command-line';
import { checkBundle, formatVerifierKey, parseVerifierKey, WaypostError } from '@waypost/contracts';
import { queryOn, withClient, withTransaction } from '@waypost/runtime';
import { exportLedger } from '../read-models/export-ledger.js';
import { findDevice } from '../read-models/identities.js';
import { verifyLedger } from '../read-models/verify-ledger.js';
import { auditRetentionOf } from './audit-retention.js';

/** `waypost ledger verify`: whether entries, tree, checkpoints and audit agree. */
export async function ledgerVerify(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const named = context.option('device');
  const device = named === undefined ? undefined : await findDevice(context.database.query, named);
  const retentionMs = auditRetentionOf(context.env['AUDIT_RETENTION']);
  const report = await snapshot(context, (query) => verifyLedger(query, { deviceId: device?.id, retentionMs }));
  const { findings, size, entries, receipts, checkpoints, root } = report;
  const read = `${formatCount(entries)} of ${formatCount(size)} entries read, ${plural(receipts, 'receipt')}, ${plural(checkpoints, 'checkpoint')}.`;
  const text =
    findings.length === 0
      ? [context.paint('good', 'The ledger and the audit agree.'), read, ...(root === null ? [] : [`Root: ${root}`])].join('\n')
      : [
          context.paint('bad', `The ledger or the audit was altered: ${plural(findings.length, 'finding')}.`),
          context.table(
            [{ title: 'where' }, { title: 'what', elastic: true }],
            findings.map(({ place, finding }) => [place, finding]),
          ),
          read,
        ].join('\n');
  return { data: { device: device?.id ?? null, ...report }, text, exitCode: findings.length === 0 ? ExitCode.ok : ExitCode.finding };
}

/** `waypost ledger export`: a bundle of one device’s receipts, for someone who has no access to central. */
export async function ledgerExport(context: CommandContext): Promise<Answer> {
  await context.database.mustBe('central');
  const named = context.option('device');
  if (named === undefined) throw usage('Say which device: --device MAC.');
  const out = context.option('out');
  if (out === undefined) throw usage('Say where to write the bundle: --out FILE.');
  const device = await findDevice(context.database.query, named);
  const from = timeOf(context, 'from') ?? null;
  const to = timeOf(context, 'to') ?? new Date();
  const lines = await snapshot(context, (query) => writeLines(out, exportLedger(query, { deviceId: device.id, from, to })));
  const facts = { file: out, device: device.id, from: from?.toISOString() ?? null, to: to.toISOString(), entries: lines - 2 };
  const text = `${formatCount(facts.entries)} entries of the device ${device.id} are in ${out}.\nAnyone can judge it: waypost ledger check ${out}`;
  return { data: facts, text, exitCode: ExitCode.ok };
}

/** `waypost ledger check`: judges a bundle, without any database. */
export async function ledgerCheck(context: CommandContext): Promise<Answer> {
  const text = await readBundle(context.subject);
  const trusted = context.values('key').map(parseVerifierKey);
  const { faults, header, checkpoint, receipts, failures, polls } = checkBundle(text, trusted);
  const isGood = faults.length === 0;
  const keys = checkpoint?.signedBy.map(formatVerifierKey) ?? [];
  const data = {
    holds: isGood,
    faults,
    device: header?.device ?? null,
    from: header?.from ?? null,
    to: header?.to ?? null,
    size: checkpoint?.size ?? null,
    root: checkpoint?.root.toString('base64') ?? null,
    receipts,
    failures,
    polls,
    keys,
    keysTrusted: trusted.length > 0,
  };
  const lines = isGood
    ? [
        context.paint(
          'good',
          `The bundle holds: ${plural(receipts, 'receipt')} of the device ${header?.device ?? ''}, ${failures} of them of failures.`,
        ),
        ...(trusted.length > 0
          ? []
          : [`The ledger’s key is the one that the bundle names. Compare it with what central’s operator publishes:`, ...keys]),
      ]
    : [
        context.paint('bad', 'The bundle is refused.'),
        context.table(
          [
            { title: 'line', align: 'right' },
            { title: 'what', elastic: true },
          ],
          faults.map(({ line, fault }) => [String(line), fault]),
        ),
      ];
  return { data, text: lines.join('\n'), exitCode: isGood ? ExitCode.ok : ExitCode.finding };
}

/** All that is read is of one moment, while central goes on. */
async function snapshot<T>(context: CommandContext, work: (query: ReturnType<typeof queryOn>) => Promise<T>): Promise<T> {
  return context.database.run((pool) =>
    withClient(pool, (client) => withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', () => work(queryOn(client)))),
  );
}

/** The file is there as a whole, or not at all. @returns how many lines it has */
async function writeLines(path: string, lines: AsyncIterable<string>): Promise<number> {
  const part = `${path}.part`;
  try {
    const file = await open(part, 'w');
    let count = 0;
    try {
      for await (const line of lines) {
        await file.write(line);
        count += 1;
      }
    } finally {
      await file.close();
    }
    await rename(part, path);
    return count;
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    if (error instanceof WaypostError || (error as NodeJS.ErrnoException).path === undefined) throw error;
    throw new WaypostError('STORAGE_FAILED', { detail: (error as Error).message, cause: error });
  }
}

async function readBundle(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new WaypostError('CONFIG_INVALID', { detail: (cause as Error).message, hint: 'waypost ledger check BUNDLE', cause });
  }
}

function timeOf(context: CommandContext, name: 'from' | 'to'): Date | undefined {
  const text = context.option(name);
  if (text === undefined) return undefined;
  const time = new Date(text);
  if (!/^\d{4}-\d{2}-\d{2}/.test(text) || Number.isNaN(time.getTime())) throw usage(`--${name} ${JSON.stringify(text)} is not a time.`);
  return time;
}

function usage(detail: string): WaypostError {
  return new WaypostError('CONFIG_INVALID', {
    detail,
    hint: 'waypost ledger export --device 48:b0:2d:e9:c3:b7 --from 2026-01-01 --to 2026-02-01T00:00:00Z --out receipts.ndjson',
  });
}
