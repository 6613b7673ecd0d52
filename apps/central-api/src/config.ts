import { resolve } from 'node:path';
import { byteSize, databaseUrl, durationMs, integer, portNumber, readConfig, retentionMs, telemetryShape } from '@waypost/runtime';
import { z } from 'zod';

export const snapshotStore = z.string().transform((text, context) => {
  if (text.startsWith('file:')) return { kind: 'file' as const, folder: resolve(text.slice('file:'.length).replace(/^\/\/(?=\/)/, '')) };
  context.addIssue({ code: 'custom', message: 'must be file:<folder>, such as file:./var/snapshots; other stores are not there yet' });
  return z.NEVER;
});

/** PostgreSQL and Node take 0 for no limit at all. */
const atLeast1ms = durationMs.refine((ms) => ms >= 1, { message: 'must be at least 1ms' });

const SHORTEST_CANARY_MS = 1000;

/** `off` sets no limit: nothing can lose more than all of its rows. */
const fractionOrOff = z.string().transform((text, context) => {
  const fraction = text.trim() === 'off' ? Infinity : /^\d*\.?\d+$/.test(text.trim()) ? Number(text) : NaN;
  if (fraction > 0 && (fraction <= 1 || fraction === Infinity)) return fraction;
  context.addIssue({ code: 'custom', message: 'must be off or a fraction above 0 and up to 1, such as 0.5' });
  return z.NEVER;
});

/** Every variable that central knows. */
export const schema = z.object({
  PORT: portNumber.prefault('8080'),
  HOST: z.string().default('0.0.0.0'),
  DATABASE_URL: databaseUrl,
  /** Path of the plan's YAML file. */
  SYNC_PLAN: z.string(),
  SNAPSHOT_STORE: snapshotStore.prefault('file:./var/snapshots'),
  /** How long the store keeps a table that no live manifest names any more, for those that come back and for `waypost diff`; and how many. */
  SNAPSHOT_RETENTION: durationMs.prefault('0s'),
  SNAPSHOT_RETENTION_COUNT: integer(0, 1_000_000).prefault('1000'),
  /** What all packs together may have: then SNAPSHOT_RETENTION counts as 0, and what is still too much is refused (STORAGE_FAILED). 0: no limit. */
  SNAPSHOT_STORE_LIMIT: byteSize.prefault('0'),
  ...telemetryShape,
  /** How long a manifest can be downloaded; a device that is slower asks again and resumes. */
  MANIFEST_TTL: durationMs.prefault('24h'),
  /** Which part of its rows a table of a share may lose in one step before an operator has to consent (waypost release); `off`: all of them. */
  MAX_SHRINK: fractionOrOff.prefault('0.5'),
  /** Snapshot transactions at one time; further requests wait up to BUILD_QUEUE_TIMEOUT. */
  MAX_CONCURRENT_BUILDS: integer(1, 64).prefault('4'),
  BUILD_QUEUE_TIMEOUT: durationMs.prefault('30s'),
  /** How long a snapshot may wait for a table that is being altered, before its connection goes to the next request. */
  LOCK_TIMEOUT: durationMs.prefault('30s'),
  /** A snapshot that takes longer is given up, and PostgreSQL's work for it with it. */
  BUILD_TIMEOUT: atLeast1ms.prefault('30m'),
  /** Requests with `payload` at one time, beside the builds: their transactions last as long as their receivers take. */
  MAX_CONCURRENT_PAYLOADS: integer(1, 64).prefault('2'),
  PAYLOAD_TIMEOUT: atLeast1ms.prefault('10m'),
  /** Chunk streams at one time; further ones are refused (CENTRAL_BUSY). */
  MAX_DOWNLOADS: integer(1, 100_000).prefault('500'),
  /** A device that opens more loses its oldest. */
  MAX_DOWNLOADS_PER_DEVICE: integer(1, 1000).prefault('4'),
  /** A chunk stream that is not taken in full by then is broken off; the device resumes it. */
  DOWNLOAD_DEADLINE: atLeast1ms.prefault('6h'),
  /** One answer "unchanged" in so many is compared with the tables, and each table once a day; `off`: none. */
  SHADOW_READS: z
    .union([z.literal('off').transform(() => 0), integer(1, 1_000_000_000)], { error: 'must be off or a whole number, such as 1000' })
    .prefault('1000'),
  /** How often central tries whether writes to captured tables are recorded, besides at its start; `off`: never. */
  CANARY_INTERVAL: z
    .union(
      [z.literal('off').transform(() => 0), durationMs.refine((ms) => ms >= SHORTEST_CANARY_MS, { message: 'must be off or at least 1s' })],
      {
        error: 'must be off or a duration, such as 1h',
      },
    )
    .prefault('1h'),
  /** Further connections are closed unanswered. */
  MAX_CONNECTIONS: integer(1, 1_000_000).prefault('2000'),
  /** How long single requests, manifests and acknowledgements are kept; 0 for ever. Hourly counts and the states of devices stay. */
  AUDIT_RETENTION: retentionMs.prefault('90d'),
  /** A receiver that takes nothing for so long is disconnected. */
  STALL_TIMEOUT: atLeast1ms.prefault('60s'),
  /** With less space than this for snapshots central is not ready. */
  MIN_FREE_DISK: byteSize.prefault('64MiB'),
  /** A device whose last verified state is older counts as stale in the fleet's numbers. */
  DEVICE_STALE_AFTER: atLeast1ms.prefault('1h'),
  /** A device that did not ask for so long counts as silent. */
  DEVICE_SILENT_AFTER: atLeast1ms.prefault('24h'),
});

export type Config = z.infer<typeof schema>;

/** @throws WaypostError CONFIG_INVALID that names every faulty variable */
export function readCentralConfig(env: NodeJS.ProcessEnv = process.env): Config {
  return readConfig(schema, env);
}

export const CONFIG = Symbol('central config');
