import { WaypostError } from '@waypost/contracts';
import pg from 'pg';
import type { Side } from './side.js';

const CONNECT_TIMEOUT_MS = 10_000;
/** A command never waits long for an ALTER TABLE. */
const LOCK_TIMEOUT_MS = 5000;

export interface DatabaseOptions {
  url: string;
  /** Which variable or option gave it, for error messages. */
  source: string;
  statementTimeoutMs: number;
}

/** Reads a database of either side in a read-only session, through one connection. */
export class CommandDatabase implements AsyncDisposable {
  /** Of one connection; for code that the services use too. */
  readonly pool: pg.Pool;
  /** `host:port/database`, without user and password. */
  readonly address: string;

  /** Connects at the first query. @throws WaypostError CONFIG_INVALID when the URL is none */
  constructor(private readonly options: DatabaseOptions) {
    const url = URL.parse(options.url);
    if (!url || !/^postgres(ql)?:$/.test(url.protocol)) {
      throw new WaypostError('CONFIG_INVALID', {
        detail: `${options.source} is not a URL such as postgres://user:password@host:5432/database.`,
      });
    }
    this.address = `${url.hostname || 'localhost'}:${url.port || '5432'}${url.pathname}`;
    this.pool = new pg.Pool({
      connectionString: options.url,
      application_name: 'waypost-cli',
      max: 1,
      connectionTimeoutMillis: Math.max(1, Math.min(CONNECT_TIMEOUT_MS, options.statementTimeoutMs)),
      // The pool awaits it, though its types do not say so.
      onConnect: (client): unknown => client.query(readOnlySession(options.statementTimeoutMs)),
    });
    this.pool.on('error', () => undefined); // the next query reports it
  }

  /** @throws WaypostError DEADLINE_EXCEEDED, LOCK_TIMEOUT, CONFIG_INVALID, DATABASE_UNAVAILABLE; errors of the SQL itself as pg throws them */
  readonly query = async <Row extends object>(sql: string, values: unknown[] = []): Promise<Row[]> => {
    try {
      return (await this.pool.query(sql, values)).rows as Row[];
    } catch (error) {
      throw this.explain(error);
    }
  };

  /** Runs `work` with the pool, for instance several statements in one snapshot. @throws WaypostError as query */
  async run<T>(work: (pool: pg.Pool) => Promise<T>): Promise<T> {
    try {
      return await work(this.pool);
    } catch (error) {
      throw this.explain(error);
    }
  }

  /** Which service's database this is, by Waypost's own tables. */
  async side(): Promise<Side | undefined> {
    const [row] = await this.query<{ central: boolean; edge: boolean }>(
      `SELECT to_regclass('waypost.manifests') IS NOT NULL AS central, to_regclass('waypost.edge_sync_state') IS NOT NULL AS edge`,
    );
    if (row?.central) return 'central';
    return row?.edge ? 'edge' : undefined;
  }

  /** @throws WaypostError CONFIG_INVALID when this is the other side's database, or has no tables of Waypost */
  async mustBe(wanted: Side): Promise<void> {
    const actual = await this.side();
    if (actual === wanted) return;
    const detail =
      actual === undefined
        ? `${this.address} has no tables of Waypost: no service has run on it yet.`
        : `${this.address} is the database of ${NAMES[actual]}, and this command looks at that of ${NAMES[wanted]}.`;
    throw new WaypostError('CONFIG_INVALID', { detail, hint: `Point ${this.options.source} at the database of ${NAMES[wanted]}.` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pool.end();
  }

  private explain(error: unknown): unknown {
    if (error instanceof WaypostError && error.code !== 'DATABASE_UNAVAILABLE') return error;
    const state = (error as { code?: unknown }).code;
    const message = (error as Error).message || String(state);
    if (state === '57014') {
      return new WaypostError('DEADLINE_EXCEEDED', {
        detail: `A query took longer than ${this.options.statementTimeoutMs / 1000} s on ${this.address}.`,
        hint: 'Give it more time with --timeout, such as --timeout 10m.',
        cause: error,
      });
    }
    if (state === '55P03') return new WaypostError('LOCK_TIMEOUT', { detail: message, cause: error });
    if (state === '42501') {
      return new WaypostError('CONFIG_INVALID', {
        detail: `${message} (${this.address}).`,
        hint: 'The role needs USAGE on schema waypost and SELECT on its tables, and on the tables of the plan.',
        cause: error,
      });
    }
    // The database answered, with an error of the query itself.
    if (typeof state === 'string' && /^(22|42|25)/.test(state)) return error;
    return new WaypostError('DATABASE_UNAVAILABLE', {
      detail: `${this.address}: ${message.replace(/^No connection to the database: /, '')}`,
      hint: `Check ${this.options.source}, and that the server runs and accepts connections from here.`,
      cause: error,
    });
  }
}

const NAMES: Record<Side, string> = { central: 'central', edge: 'a device' };

function readOnlySession(statementTimeoutMs: number): string {
  return `
    SET default_transaction_read_only = on;
    SET statement_timeout = ${statementTimeoutMs};
    SET lock_timeout = ${LOCK_TIMEOUT_MS};
    SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET standard_conforming_strings = on`;
}
