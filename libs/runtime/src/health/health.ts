import type { HealthIndicatorResult, HealthIndicatorService } from '@nestjs/terminus';
import { ERROR_KINDS, type ErrorCode, WaypostError } from '@waypost/contracts';
import type { DataSource } from 'typeorm';
import type { DiskSpace } from '../system/disk-space.js';
import { toWaypostError } from '../errors/to-waypost-error.js';
import { TtlCache } from './ttl-cache.js';
import { sqlStateOf, SqlState } from '../errors/sql-state.js';

/** What is wrong, safe to show to any client: no text of an error, which may name hosts, users or paths. */
export interface HealthFault extends Record<string, unknown> {
  code: ErrorCode;
  message: string;
  hint: string;
  /** SQLSTATE, or the code of the system's error. */
  state?: string;
}

/** A line of /health. */
type Check = ReturnType<HealthIndicatorService['check']>;

interface ProbeOptions {
  /** Used where the error has no code of its own. */
  code: ErrorCode;
  timeoutMs: number;
  /** How long an outcome is reused; by default only concurrent callers share it. */
  ttlMs?: number;
}

/** A check for /health with a time limit. `work` returns or throws what is wrong; concurrent callers share one run. */
export class Probe {
  private readonly outcome: TtlCache<HealthFault | null>;

  constructor(
    work: () => Promise<HealthFault | void>,
    private readonly options: ProbeOptions,
  ) {
    const { code, timeoutMs, ttlMs = 0 } = options;
    const tried = (): Promise<HealthFault | null> =>
      work().then(
        (found) => found ?? null,
        (error: unknown) => faultOf(error, code),
      );
    this.outcome = new TtlCache(tried, { ttlMs, timeoutMs });
  }

  /** Never throws. */
  async fault(): Promise<HealthFault | undefined> {
    const { code, timeoutMs } = this.options;
    const outcome = await this.outcome.get();
    if (outcome === undefined) return { code, message: `No answer within ${timeoutMs / 1000} s`, hint: ERROR_KINDS[code].hint };
    return outcome ?? undefined;
  }

  async report(check: Check): Promise<HealthIndicatorResult> {
    const fault = await this.fault();
    return fault ? check.down(fault) : check.up();
  }
}

function faultOf(error: unknown, fallback: ErrorCode): HealthFault {
  const known = toWaypostError(error);
  const { code, hint } = known.code === 'INTERNAL' ? new WaypostError(fallback) : known;
  const state = sqlStateOf(error instanceof WaypostError ? error.cause : error);
  return { code, message: ERROR_KINDS[code].title, hint, ...(state === undefined ? {} : { state }) };
}

/** Below this many times MIN_FREE_DISK the disk counts as degraded, though everything still works. */
const LOW_FACTOR = 10;

/** Down below `minFreeBytes`, degraded below ten times that. */
export function reportDisk(check: Check, space: DiskSpace | undefined, minFreeBytes: number): HealthIndicatorResult {
  if (!space) return check.down({ message: 'The disk does not tell its free space' });
  const facts = { ...space, minFreeBytes };
  if (space.freeBytes < minFreeBytes) return check.down({ ...facts, message: 'The disk is full: less than MIN_FREE_DISK is free' });
  if (space.freeBytes < LOW_FACTOR * minFreeBytes) return check.degraded({ ...facts, message: 'The disk is nearly full' });
  return check.up(facts);
}

/**
 * Finds missing migrations: they did not run yet, or the database was replaced by an older one while the service ran.
 * @throws errors of pg
 */
export async function findMigrationFault(dataSource: DataSource): Promise<HealthFault | undefined> {
  const table = `waypost.${dataSource.options.migrationsTableName}`;
  const rows = await dataSource.query<{ name: string }[]>(`SELECT name FROM ${table}`).catch((error: unknown) => {
    if (sqlStateOf(error) === SqlState.undefinedTable) return [];
    throw error;
  });
  const names = new Set(rows.map(({ name }) => name));
  const missing = dataSource.migrations.filter(({ name, constructor }) => !names.has(name ?? constructor.name)).length;
  return missing === 0 ? undefined : { ...NOT_MIGRATED, missing };
}

/** The fault until migrations have run. */
export const NOT_MIGRATED: HealthFault = {
  code: 'DATABASE_UNAVAILABLE',
  message: 'Migrations of Waypost’s tables have not run in this database',
  hint: 'They run when the service starts, as soon as the database is there. If it was replaced while the service ran, a device’s next cycle makes them again; restart central.',
};
