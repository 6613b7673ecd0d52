import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../scripts/embedded-postgres.js';
import { EmbeddedPostgresError } from '../../scripts/postgres/embedded-postgres-error.js';
import { temporaryFolder, type TemporaryFolder } from './temporary-folder.js';

/** A crash of the server, not of the machine: what PostgreSQL has written is there without fsync, too. */
const SETTINGS = { fsync: 'off', shared_buffers: '32MB', max_connections: 40 };

type Settings = Readonly<Record<string, string | number>>;

/** A PostgreSQL server of a test's own that stops, dies and comes back at the same address, with its data. */
export class RestartablePostgres implements AsyncDisposable {
  private constructor(
    private server: EmbeddedPostgres,
    private readonly root: string,
    private readonly settings: Settings,
    private readonly ownFolder: TemporaryFolder | undefined,
  ) {}

  /** @param folder where the data lies, a temporary one by default */
  static async start(settings: Settings = {}, folder?: string): Promise<RestartablePostgres> {
    const ownFolder = folder === undefined ? await temporaryFolder() : undefined;
    const root = join(folder ?? (ownFolder as TemporaryFolder).path, 'postgres');
    const all = { ...SETTINGS, ...settings };
    return new RestartablePostgres(await startEmbeddedPostgres({ folder: root, settings: all }), root, all, ownFolder);
  }

  get pid(): number {
    return this.server.pid;
  }

  /** Of a database, the superuser's by default. */
  url(database = 'postgres'): string {
    const url = new URL(this.server.url);
    url.pathname = `/${database}`;
    return url.href;
  }

  async stop(): Promise<void> {
    await this.server.stop();
  }

  /** Ends the postmaster as the kernel's out-of-memory killer would. */
  async kill(): Promise<void> {
    process.kill(this.server.pid, 'SIGKILL');
    await this.server.exited;
  }

  /** On the same port. */
  async start(): Promise<void> {
    for (;;) {
      try {
        this.server = await startEmbeddedPostgres({ folder: this.root, port: this.server.port, settings: this.settings });
        return;
      } catch (error) {
        // The backends of a killed postmaster take a moment to notice.
        if (!(error instanceof EmbeddedPostgresError) || !/shared memory block|is in use/.test(error.message)) throw error;
      }
    }
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Comes back as a standby that has no primary: readable, in recovery. `SELECT pg_promote()` ends that. */
  async restartAsStandby(): Promise<void> {
    await this.stop();
    await writeFile(join(this.root, 'data', 'standby.signal'), '');
    await this.start();
  }

  /** Copies the stopped server's data, as a backup of the machine would. */
  async backup(): Promise<void> {
    await this.copy('data', 'backup');
  }

  /** Puts the backup in the data's place; the server must be stopped. */
  async restore(): Promise<void> {
    await this.copy('backup', 'data');
  }

  private async copy(from: string, to: string): Promise<void> {
    await rm(join(this.root, to), { recursive: true, force: true });
    await promisify(execFile)('cp', ['-a', join(this.root, from), join(this.root, to)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.stop();
    await this.ownFolder?.[Symbol.asyncDispose]();
  }
}
