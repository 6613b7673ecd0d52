import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Type } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Problem } from '@waypost/contracts';
import pg from 'pg';
import pino from 'pino';
import type { CircuitLimits } from '../src/central/central-options.js';
import { readEdgeConfig } from '../src/config.js';
import type { StatusReport } from '../src/status/sync-status.js';
import { createEdgeApp } from '../src/http-app.js';
import { TEST_MAC } from './fake-central.js';

export interface SyncAnswer extends Partial<Omit<Problem, 'status'>> {
  httpStatus: number;
  status: string | number;
  cycleId: string;
  manifestId: string | null;
  downloadedBytes: number;
  tables: {
    name: string;
    rowCount: number;
    sha256: string;
    action: 'loaded' | 'unchanged';
    way?: string;
    reason?: string;
    downloadedBytes: number;
  }[];
  ack: string;
}

export interface ScrubAnswer {
  httpStatus: number;
  code?: string;
  id: string;
  tables: number;
  chunks: number;
  rows: number;
  drifts: { table: string; chunks: number; firstKey: string | null; lastKey: string | null }[];
  repair?: Omit<SyncAnswer, 'httpStatus'> & { error?: string };
}

/** Few retries, short delays. */
const TEST_LIMITS: CircuitLimits = { retries: 1, firstDelayMs: 1, maxDelayMs: 5, failuresToOpen: 1000, openMs: 50 };

interface EdgeOptions {
  databaseUrl: string;
  centralUrl: string;
  env?: Record<string, string>;
  limits?: Partial<CircuitLimits>;
  /** Gets each line of the log. */
  onLog?: (line: Record<string, unknown>) => void;
}

/** An edge service in this process, syncing on demand only. */
export class Edge implements AsyncDisposable {
  url = '';

  private constructor(
    private app: NestFastifyApplication,
    readonly databaseUrl: string,
    /** DOWNLOAD_DIR. */
    readonly folder: string,
    private readonly startApp: (changed?: Record<string, string>) => Promise<NestFastifyApplication>,
  ) {}

  static async start({ databaseUrl, centralUrl, env = {}, limits = {}, onLog }: EdgeOptions): Promise<Edge> {
    const folder = await mkdtemp(join(tmpdir(), 'waypost-edge-'));
    const settings = {
      DATABASE_URL: databaseUrl,
      CENTRAL_URL: centralUrl,
      DEVICE_MAC: TEST_MAC,
      SYNC_INTERVAL: '0',
      SCRUB_INTERVAL: '0',
      DOWNLOAD_DIR: folder,
      IDENTITY_DIR: join(folder, 'identity'),
      LOCK_TIMEOUT: '100ms',
      ...env,
    };
    const startApp = async (changed: Record<string, string> = {}): Promise<NestFastifyApplication> => {
      const config = readEdgeConfig({ ...settings, ...changed });
      const logger = onLog
        ? pino({ formatters: { level: (level) => ({ level }) } }, { write: (line) => onLog(JSON.parse(line) as Record<string, unknown>) })
        : pino({ level: process.env['TEST_LOG'] ?? 'silent' });
      const app = await createEdgeApp(config, logger, { ...TEST_LIMITS, ...limits });
      await app.listen(0, '127.0.0.1');
      return app;
    };
    const edge = new Edge(await startApp(), databaseUrl, folder, startApp);
    edge.url = await edge.app.getUrl();
    return edge;
  }

  /** A part of the service. */
  part<T>(type: Type<T>): T {
    return this.app.get(type);
  }

  async sync(body?: object): Promise<SyncAnswer> {
    const init = body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {};
    const response = await fetch(`${this.url}/api/sync/now`, { method: 'POST', ...init });
    return { httpStatus: response.status, ...((await response.json()) as Omit<SyncAnswer, 'httpStatus'>) };
  }

  async scrub(): Promise<ScrubAnswer> {
    const response = await fetch(`${this.url}/api/sync/scrub`, { method: 'POST' });
    return { httpStatus: response.status, ...((await response.json()) as Omit<ScrubAnswer, 'httpStatus'>) };
  }

  async status(): Promise<StatusReport> {
    return (await (await fetch(`${this.url}/api/sync/status`)).json()) as StatusReport;
  }

  /** Runs SQL in the device's database, in a connection of its own. */
  async query<Row extends object>(sql: string, parameters: unknown[] = []): Promise<Row[]> {
    return queryAt<Row>(this.databaseUrl, sql, parameters);
  }

  /** Paths of the chunk streams that wait to be completed or loaded. */
  async spooledFiles(): Promise<string[]> {
    const files = await readdir(this.folder, { recursive: true });
    return files.filter((file) => file.endsWith('.part')).map((file) => join(this.folder, file));
  }

  /** Ends the service and starts it again with the same database, files and settings, but for those given. */
  async restart(changed?: Record<string, string>): Promise<void> {
    await this.app.close();
    this.app = await this.startApp(changed);
    this.url = await this.app.getUrl();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.app.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

export async function queryAt<Row extends object>(url: string, sql: string, parameters: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql, parameters)).rows;
  } finally {
    await client.end();
  }
}
