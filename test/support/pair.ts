import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type pg from 'pg';
import { testPool } from './test-pool.js';
import type { Side } from './image-roles.js';
import type { TestServer } from './postgres.js';
import { post, Service } from './service.js';
import { type SharedTable, StateHistory } from './state-history.js';
import { temporaryFolder, type TemporaryFolder } from './temporary-folder.js';

const MAC = '48:b0:2d:e9:c3:b7';
/** After a single fault the next cycle heals, at the latest the one after. */
const CYCLES_TO_HEAL = 2;

export interface SyncAnswer {
  status: string | number;
  code?: string;
  manifestId: string | null;
}

interface PairOptions {
  /** SQL that creates and fills central's tables, and `devices(mac, site_id)`. */
  schema: string;
  tables: readonly SharedTable[];
  siteId: number;
  /** On top of the edge's own. */
  edgeEnv?: Record<string, string>;
  centralEnv?: Record<string, string>;
}

/**
 * Central and one device, both as built services in processes of their own, and a history of what central held. The services connect as the role
 * `waypost`; central's tables are their owner's.
 */
export class Pair implements AsyncDisposable {
  readonly services = {} as Record<Side, Service>;
  private port = '0';

  private constructor(
    readonly history: StateHistory,
    /** The superuser's, of both databases. */
    readonly pools: Record<Side, pg.Pool>,
    private readonly owner: pg.Pool,
    private readonly env: Record<Side, Record<string, string>>,
    private readonly folder: TemporaryFolder,
  ) {}

  static async start(server: TestServer, { schema, tables, siteId, edgeEnv = {}, centralEnv = {} }: PairOptions): Promise<Pair> {
    const folder = await temporaryFolder();
    const [central, edge] = [await server.createSide('central'), await server.createSide('edge')];
    const pools = { central: testPool(central.url, 4), edge: testPool(edge.url, 4) };
    const owner = testPool(central.ownerUrl, 4);
    const history = new StateHistory(tables, siteId, owner, pools.edge);
    const plan = join(folder.path, 'plan.yaml');
    await writeFile(plan, planOf(tables));
    const env = {
      central: {
        DATABASE_URL: central.serviceUrl,
        SYNC_PLAN: plan,
        SNAPSHOT_STORE: `file:${join(folder.path, 'snapshots')}`,
        ...centralEnv,
      },
      edge: {
        DATABASE_URL: edge.serviceUrl,
        DEVICE_MAC: MAC,
        SYNC_INTERVAL: '0',
        DOWNLOAD_DIR: join(folder.path, 'downloads'),
        IDENTITY_DIR: join(folder.path, 'identity'),
        ...edgeEnv,
      },
    };
    const pair = new Pair(history, pools, owner, env, folder);
    try {
      await history.change(schema);
      await pair.startService('central');
      await pair.startService('edge');
      return pair;
    } catch (error) {
      await pair[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Ends the service with SIGKILL, if it runs, and starts it. Central keeps its port. */
  async startService(side: Side, faults = ''): Promise<void> {
    await this.services[side]?.end('SIGKILL');
    const name = side === 'central' ? 'central-api' : 'edge-service';
    const where = side === 'central' ? { PORT: this.port } : { CENTRAL_URL: this.services.central.url };
    this.services[side] = await Service.start(name, { ...this.env[side], ...where, WAYPOST_FAULTS: faults });
    this.port = this.services.central.port;
  }

  /** Runs a cycle to its end. @returns undefined when the service died meanwhile */
  async sync(): Promise<SyncAnswer | undefined> {
    for (;;) {
      const answer = await post<SyncAnswer>(`${this.services.edge.url}/api/sync/now`).catch(() => undefined);
      // PostgreSQL has not noticed yet that the process before this one is gone: no cycle was run.
      if (answer?.body.code === 'SYNC_RUNNING') continue;
      return answer?.body;
    }
  }

  /** As after an update from a version that did not keep them: the next change of a table comes whole. */
  async forgetChunks(): Promise<void> {
    await this.pools.edge.query('DELETE FROM waypost.edge_table_chunks');
  }

  /** As with an emptied chunk store: central knows nothing of what the device holds. */
  async loseContents(): Promise<void> {
    await this.pools.central.query('DELETE FROM waypost.table_contents');
  }

  /**
   * Runs as many cycles as healing may take.
   * @returns how many it took, and what is wrong after the last; nothing where both sides are equal, everything is acknowledged once and
   * both audits say so
   */
  async heal(): Promise<{ cycles: number; problems: string[] }> {
    for (let cycles = 1; ; cycles += 1) {
      const answer = await this.sync();
      const problems = await this.findProblems();
      if (problems.length === 0) return { cycles, problems };
      if (cycles === CYCLES_TO_HEAL) return { cycles, problems: [...problems, `the last cycle answered ${JSON.stringify(answer)}`] };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.services.edge?.end('SIGKILL');
    await this.services.central?.end('SIGKILL');
    await Promise.all([this.pools.central.end(), this.pools.edge.end(), this.owner.end()]);
    await this.folder[Symbol.asyncDispose]();
  }

  private async findProblems(): Promise<string[]> {
    const problems: string[] = [];
    if (!(await this.history.isEqual())) problems.push('the device does not hold what central holds');
    const expectNone = async (side: Side, what: string, sql: string): Promise<void> => {
      const { rows } = await this.pools[side].query<object>(sql);
      if (rows.length > 0) problems.push(`${what}: ${JSON.stringify(rows)}`);
    };
    await expectNone('edge', 'cycles without an end', "SELECT id FROM waypost.edge_sync_log WHERE status = 'Running'");
    await expectNone('edge', 'failures without a reason', FAILED_WITHOUT_REASON);
    await expectNone('edge', 'acks that were not sent', 'SELECT manifest_id, last_error FROM waypost.edge_acks');
    await expectNone(
      'central',
      'refusals without a reason',
      "SELECT id FROM waypost.sync_requests WHERE status <> 'Issued' AND reason IS NULL",
    );
    await expectNone('central', 'acks without a reason', ACK_WITHOUT_REASON);
    await expectNone('central', 'acks of manifests that the audit does not know', ACK_WITHOUT_REQUEST);
    const applied = await this.pools.edge.query<{ manifest_id: string }>(APPLIED);
    const acknowledged = await this.pools.central.query<{ manifest_id: string }>(ACKNOWLEDGED);
    const [onEdge, onCentral] = [applied, acknowledged].map(({ rows }) => rows.map((row) => row.manifest_id).join(' '));
    if (onEdge !== onCentral) problems.push(`not each success is acknowledged once: applied ${onEdge}, acknowledged ${onCentral}`);
    return problems;
  }
}

const FAILED_WITHOUT_REASON = `
  SELECT id FROM waypost.edge_sync_log WHERE status = 'Failed' AND (error_code IS NULL OR error_text IS NULL OR completed_at IS NULL)`;
const ACK_WITHOUT_REASON = `
  SELECT manifest_id FROM waypost.sync_acknowledgements WHERE result = 'Failed' AND error_text IS NULL`;
const ACK_WITHOUT_REQUEST = `
  SELECT manifest_id FROM waypost.sync_acknowledgements
  EXCEPT SELECT manifest_id FROM waypost.sync_requests WHERE operation = 'request' AND status = 'Issued'`;
const APPLIED = `SELECT DISTINCT manifest_id FROM waypost.edge_sync_log WHERE status IN ('Success', 'Unchanged') ORDER BY 1`;
const ACKNOWLEDGED = `SELECT manifest_id FROM waypost.sync_acknowledgements WHERE result = 'Success' ORDER BY 1`;

function planOf(tables: readonly SharedTable[]): string {
  const entries = tables.map(({ name, where }) => `  - name: ${name}\n${where ? `    where: ${where}\n` : ''}`);
  return `version: 1\nschemaVersion: 1\nscope:\n  query: SELECT site_id FROM devices WHERE mac = :mac\ntables:\n${entries.join('')}`;
}
