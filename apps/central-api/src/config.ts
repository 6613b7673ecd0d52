import { resolve } from 'node:path';
import {
  byteSize,
  databaseUrl,
  durationMs,
  integer,
  networks,
  portNumber,
  readConfig,
  retentionMs,
  telemetryShape,
  type TlsFiles,
} from '@waypost/runtime';
import { z } from 'zod';

export const snapshotStore = z.string().transform((text, context) => {
  if (text.startsWith('file:')) return { kind: 'file' as const, folder: resolve(text.slice('file:'.length).replace(/^\/\/(?=\/)/, '')) };
  context.addIssue({ code: 'custom', message: 'must be file:<folder>, such as file:./var/snapshots; other stores are not there yet' });
  return z.NEVER;
});

export const auditRetention = retentionMs.prefault('90d');

/** PostgreSQL and Node take 0 for no limit at all. */
const atLeast1ms = durationMs.refine((ms) => ms >= 1, { message: 'must be at least 1ms' });

const ONE_ALONE = 'is not set: set TLS_CERT and TLS_KEY both, or neither';

const limitOrOff = z.union([z.literal('off').transform(() => Infinity), integer(1, 1_000_000_000)], {
  error: 'must be off or a whole number, such as 300',
});

const SHORTEST_CANARY_MS = 1000;

/** `off` sets no limit: nothing can lose more than all of its rows. */
const fractionOrOff = z.string().transform((text, context) => {
  const fraction = text.trim() === 'off' ? Infinity : /^\d*\.?\d+$/.test(text.trim()) ? Number(text) : NaN;
  if (fraction > 0 && (fraction <= 1 || fraction === Infinity)) return fraction;
  context.addIssue({ code: 'custom', message: 'must be off or a fraction above 0 and up to 1, such as 0.5' });
  return z.NEVER;
});

const variables = z.object({
  DATABASE_URL: databaseUrl.describe(
    'The central database. Its role needs SELECT on the plan’s tables and schema `waypost` for its own ([rights](deploy.md))',
  ),
  SYNC_PLAN: z.string().describe('Path of the [plan](sync-plan.md)’s YAML file'),
  PORT: portNumber.prefault('8080').describe('Port of the HTTP server'),
  HOST: z.string().default('0.0.0.0').describe('Address that it listens on; the default is every address of the machine'),
  AUTH: z
    .enum(['device', 'mac'], { error: 'must be device or mac' })
    .default('device')
    .describe(
      '`device`: only [enrolled devices](security.md#enrollment) get an answer. `mac`: a device that has never enrolled may name its MAC instead, as anyone can who knows it',
    ),
  TOKEN_TTL: durationMs
    .refine((ms) => ms >= 10_000 && ms <= 86_400_000, { message: 'must be from 10s to 24h' })
    .prefault('10m')
    .describe('How long an access token of a device is valid; the device renews it by itself'),
  TLS_CERT: z
    .string()
    .optional()
    .describe('Path of the server’s certificate in PEM, its issuers after it. With it central speaks [HTTPS](deploy.md#tls) alone'),
  TLS_KEY: z
    .string()
    .optional()
    .describe('Path of the certificate’s private key in PEM, which other users may not read. Both files are read again when they change'),
  TLS_CLIENT_AUTH: z
    .enum(['off', 'optional', 'require'], { error: 'must be off, optional or require' })
    .default('off')
    .describe(
      'Whether devices show [client certificates](security.md#client-certificates) on TLS connections, which they get from central by themselves. `require`: an access token alone opens nothing',
    ),
  TRUST_PROXY: networks
    .optional()
    .describe(
      'Addresses and networks of proxies in front of central, separated by commas: their X-Forwarded-For says where a request comes from. Without it all devices behind a proxy have one address for the [limits](security.md#limits)',
    ),
  FAILED_ATTEMPTS_LIMIT: limitOrOff
    .prefault('300')
    .describe(
      'Failed attempts of one address in a minute, of each kind, from which more are refused (`TOO_MANY_REQUESTS`); `off`: none. A device with a valid key or access token [is not concerned](security.md#limits)',
    ),
  ENROLLMENT_LIMIT: limitOrOff.prefault('300').describe('Enrollments of one address in a minute, failed ones or not; `off`: any number'),
  METRICS_TOKEN: z
    .string()
    .optional()
    .transform((text) => text?.trim() || undefined)
    .refine((token) => token === undefined || /^[\w.~+/=-]{16,256}$/.test(token), {
      message: 'must be 16 to 256 letters, digits or one of . ~ + / = - _',
    })
    .describe(
      'Secret that a scraper sends as `Authorization: Bearer …`: `/metrics` and the details of `/health` then need it, or an [API key](security.md#api-keys)',
    ),
  ADMIN_PORT: portNumber
    .optional()
    .describe(
      'Port of a second listener, plain HTTP, for [operators](security.md#what-is-public): `/metrics` and `/api/status` are then there alone',
    ),
  ADMIN_HOST: z.string().default('127.0.0.1').describe('Address of that listener'),
  SNAPSHOT_STORE: snapshotStore
    .prefault('file:./var/snapshots')
    .describe('Where [snapshots](operations.md#the-chunk-store) are stored: `file:<folder>`, shared by all replicas'),
  SNAPSHOT_RETENTION: durationMs.prefault('0s').describe('How long the store keeps a table that no live manifest names'),
  SNAPSHOT_RETENTION_COUNT: integer(0, 1_000_000).prefault('1000').describe('How many such tables it keeps at most'),
  BASE_RETENTION: durationMs
    .prefault('7d')
    .describe(
      'How long the store keeps a table that a device holds after the device last said so: from it the next change is sent as a [delta](operations.md#the-chunk-store)',
    ),
  SNAPSHOT_STORE_LIMIT: byteSize
    .prefault('0')
    .describe(
      'Size of all packs together. At the limit SNAPSHOT_RETENTION counts as 0, then writes are refused (`STORAGE_FAILED`). `0`: no limit',
    ),
  MANIFEST_TTL: durationMs.prefault('24h').describe('How long a manifest can be downloaded; a slower device asks again and resumes'),
  MAX_SHRINK: fractionOrOff
    .prefault('0.5')
    .describe(
      'Part of its rows that a table may lose in one step before an operator [consents](operations.md#shares-that-shrink); `off`: all',
    ),
  MAX_CONCURRENT_BUILDS: integer(1, 64).prefault('4').describe('Snapshot transactions at one time'),
  BUILD_QUEUE_TIMEOUT: durationMs.prefault('30s').describe('How long a request waits for one of them before `CENTRAL_BUSY`'),
  BUILD_TIMEOUT: atLeast1ms.prefault('30m').describe('A longer snapshot is cancelled (`SNAPSHOT_TOO_SLOW`), in PostgreSQL too'),
  LOCK_TIMEOUT: durationMs.prefault('30s').describe('How long a snapshot waits for a table that is being altered'),
  MAX_CONCURRENT_PAYLOADS: integer(1, 64).prefault('2').describe('Requests with `payload` at one time, beside the builds'),
  PAYLOAD_TIMEOUT: atLeast1ms.prefault('10m').describe('How long one of them may take'),
  MAX_DOWNLOADS: integer(1, 100_000).prefault('500').describe('Chunk streams at one time; more are refused (`CENTRAL_BUSY`)'),
  MAX_DOWNLOADS_PER_DEVICE: integer(1, 1000).prefault('4').describe('Chunk streams of one device; with one more it loses its oldest'),
  DOWNLOAD_DEADLINE: atLeast1ms.prefault('6h').describe('A longer chunk stream is aborted; the device resumes it'),
  MAX_CONNECTIONS: integer(1, 1_000_000).prefault('2000').describe('More connections are closed unanswered'),
  STALL_TIMEOUT: atLeast1ms.prefault('60s').describe('A receiver that takes nothing for this long is disconnected'),
  SHADOW_READS: z
    .union([z.literal('off').transform(() => 0), integer(1, 1_000_000_000)], { error: 'must be off or a whole number, such as 1000' })
    .prefault('1000')
    .describe(
      'With `changes: triggers`, one answer “unchanged” in this many is compared with the tables, and each table once a day; `off`: none',
    ),
  CANARY_INTERVAL: z
    .union(
      [z.literal('off').transform(() => 0), durationMs.refine((ms) => ms >= SHORTEST_CANARY_MS, { message: 'must be off or at least 1s' })],
      {
        error: 'must be off or a duration, such as 1h',
      },
    )
    .prefault('1h')
    .describe(
      'With `changes: triggers`, how often central [tests the capture](sync-plan.md#change-capture), besides at its start; `off`: never',
    ),
  AUDIT_RETENTION: auditRetention.describe(
    'How long requests, manifests and acknowledgements are [kept](operations.md#retention); `0`: for ever',
  ),
  MIN_FREE_DISK: byteSize
    .prefault('64MiB')
    .describe('With less free space for snapshots `/health` is 503; below ten times that it is degraded'),
  DEVICE_STALE_AFTER: atLeast1ms
    .prefault('1h')
    .describe('Age of a device’s verified state from which it counts as stale in [the fleet’s numbers](observability.md#metrics)'),
  DEVICE_SILENT_AFTER: atLeast1ms.prefault('24h').describe('Time without a request from which a device counts as silent'),
  ...telemetryShape,
});

/** Every variable that central knows. */
export const schema = variables.superRefine(
  ({ AUTH, TLS_CERT, TLS_KEY, TLS_CLIENT_AUTH }, context) => {
    const complain = (variable: string, message: string) => context.addIssue({ code: 'custom', path: [variable], message });
    if ((TLS_CERT === undefined) !== (TLS_KEY === undefined)) complain(TLS_KEY === undefined ? 'TLS_KEY' : 'TLS_CERT', ONE_ALONE);
    if (TLS_CLIENT_AUTH !== 'off' && TLS_CERT === undefined)
      complain('TLS_CLIENT_AUTH', 'needs TLS_CERT and TLS_KEY: devices show certificates on TLS connections alone');
    if (TLS_CLIENT_AUTH === 'require' && AUTH === 'mac')
      complain('TLS_CLIENT_AUTH', 'is require, but AUTH=mac lets devices in that have no certificate: set AUTH=device');
  },
  { when: () => true }, // beside the faults of single variables
);

export type Config = z.infer<typeof schema>;

/** Of the certificate to serve; undefined for plain HTTP. */
export function tlsFilesOf({ TLS_CERT, TLS_KEY, TLS_CLIENT_AUTH }: Config): TlsFiles | undefined {
  if (TLS_CERT === undefined || TLS_KEY === undefined) return undefined;
  return { certFile: TLS_CERT, keyFile: TLS_KEY, asksForCertificates: TLS_CLIENT_AUTH !== 'off' };
}

/** @throws WaypostError CONFIG_INVALID that names every faulty variable */
export function readCentralConfig(env: NodeJS.ProcessEnv = process.env): Config {
  return readConfig(schema, env);
}
