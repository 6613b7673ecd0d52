import { ENROLLMENT_TOKEN, normalizeMac, parseTableName, quoteTable } from '@waypost/contracts';
import { byteSize, databaseUrl, durationMs, integer, portNumber, readConfig, retentionMs, telemetryShape } from '@waypost/runtime';
import { z } from 'zod';
import { identityDir } from './identity/identity-options.js';
import { centralShape, checkCentral } from './central/central-variables.js';

const mac = z.string().transform((text, context) => {
  try {
    return normalizeMac(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'must be a MAC address such as 48:b0:2d:e9:c3:b7' });
    return z.NEVER;
  }
});

/** Commas within quotes belong to a name. */
const LISTED_NAME = /(?:"(?:[^"]|"")*"|[^,"])+/g;

/** By quoteTable. */
function tableNames(text: string, context: z.RefinementCtx): ReadonlySet<string> {
  const names = (text.match(LISTED_NAME) ?? []).map((name) => name.trim()).filter((name) => name !== '');
  try {
    return new Set(names.map((name) => quoteTable(parseTableName(name))));
  } catch (error) {
    context.addIssue({ code: 'custom', message: `must be tables such as users,sales.areas: ${(error as Error).message}` });
    return z.NEVER;
  }
}

const variables = z.object({
  DATABASE_URL: databaseUrl.describe(
    'The device’s database. Its role creates schema `waypost` and the mirror tables, and owns them ([rights](deploy.md))',
  ),
  ...centralShape,
  DEVICE_MAC: mac.describe('Which device this is: its MAC address in any usual notation'),
  ENROLLMENT_TOKEN: z
    .string()
    .optional()
    .transform((text) => text?.trim() || undefined)
    .refine((token) => token === undefined || ENROLLMENT_TOKEN.test(token), { message: 'must be what waypost device add printed: wpe_…' })
    .describe('One-time secret from `waypost device add`: with it the device [enrolls](security.md#enrollment) at its first request'),
  IDENTITY_DIR: identityDir,
  PORT: portNumber.default(8081).describe('Port of the HTTP server'),
  HOST: z
    .string()
    .default('127.0.0.1')
    .describe('Address that it listens on. `POST /api/sync/now` asks for no password: other machines reach it only if this says so'),
  SYNC_INTERVAL: durationMs
    .refine((ms) => ms === 0 || ms >= 1000, { message: 'must be 0 (only on demand) or at least 1s' })
    .default(5 * 60_000)
    .describe('Time from the end of one cycle to the start of the next, ± 10 %; `0`: only on demand'),
  SCRUB_INTERVAL: durationMs
    .refine((ms) => ms === 0 || ms >= 60_000, { message: 'must be 0 (only on demand) or at least 1m' })
    .default(24 * 3_600_000)
    .describe(
      'Time from the end of one [scrub](operations.md#scrub) of all mirrored rows to the start of the next, ± 10 %; `0`: only on demand',
    ),
  SCHEMA_VERSION: integer(0, 2 ** 31 - 1)
    .default(1)
    .describe('Manifests of another schema version are refused'),
  LOAD_STRATEGY: z
    .enum(['auto', 'truncate', 'merge'], { error: 'must be auto, truncate or merge' })
    .default('auto')
    .describe(
      '`auto` fills empty tables and merges into the others, so that readers never wait; `merge`; `truncate` ([limits](operations.md#load-strategies))',
    ),
  SCHEMA_MODE: z
    .enum(['managed', 'manual'], { error: 'must be managed or manual' })
    .default('managed')
    .describe(
      '`managed`: changes of central’s tables that lose nothing are made on the device by themselves; `manual`: each of them waits for the tables’ owner ([schema changes](operations.md#schema-changes))',
    ),
  ADOPT_TABLES: z
    .string()
    .default('')
    .transform((text, context): '*' | ReadonlySet<string> => (text.trim() === '*' ? '*' : tableNames(text, context)))
    .describe(
      'Tables with rows of the device that are handed over to Waypost, such as `users,areas`, or `*` for all: [adopt](cli.md#adopt)',
    ),
  SIDE_EFFECT_TABLES: z
    .string()
    .default('')
    .transform(tableNames)
    .describe(
      'Tables of the device that triggers of mirrored tables may write to, such as `app.change_log`; others are protected (`SIDE_EFFECT`)',
    ),
  DOWNLOAD_DIR: z.string().default('./var/downloads').describe('Folder for chunk streams until they are loaded; survives restarts'),
  MIN_FREE_DISK: byteSize
    .default(64 << 20)
    .describe('With less free space for downloads `/health` is 503; below ten times that it is degraded'),
  AUDIT_RETENTION: retentionMs
    .prefault('30d')
    .describe('How long single cycles are [kept](operations.md#retention) in the audit; `0`: for ever'),
  LOCK_TIMEOUT: durationMs
    .refine((ms) => ms >= 10, { message: 'must be at least 10ms' })
    .default(2000)
    .describe('How long a load waits for a locked row or table before it steps back and retries'),
  STALL_TIMEOUT: durationMs
    .refine((ms) => ms >= 100, { message: 'must be at least 100ms' })
    .default(30_000)
    .describe('A transfer without progress for this long is aborted and resumed; also the deadline of an acknowledgement'),
  DOWNLOAD_DEADLINE: durationMs
    .refine((ms) => ms >= 100, { message: 'must be at least 100ms' })
    .default(6 * 3_600_000)
    .describe('For all downloads of one cycle; what has arrived is kept, and the next cycle resumes'),
  REQUEST_TIMEOUT: durationMs
    .refine((ms) => ms >= 100, { message: 'must be at least 100ms' })
    .default(10 * 60_000)
    .describe('For central to build a manifest and for the manifest to arrive'),
  ...telemetryShape,
});

/** Every variable that an edge knows. */
export const configSchema = variables.superRefine(checkCentral, { when: () => true }); // beside the faults of single variables

export type EdgeConfig = z.infer<typeof configSchema>;

/** @throws WaypostError CONFIG_INVALID that names every faulty variable */
export function readEdgeConfig(env: NodeJS.ProcessEnv): EdgeConfig {
  return readConfig(configSchema, env);
}
