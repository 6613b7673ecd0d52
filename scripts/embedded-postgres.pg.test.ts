import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { temporaryFolder } from '../test/support/temporary-folder.js';
import { startEmbeddedPostgres, type EmbeddedPostgresOptions } from './embedded-postgres.js';
import { findHome } from './postgres/home.js';
import { commandLine, hasExited, isAlive } from './postgres/processes.js';
import { findDatabaseUser } from './postgres/run-as.js';
import { withClient } from './with-client.js';
import { projectRoot } from './project-root.js';

const COMPILED = join(projectRoot, 'dist/scripts/scripts/embedded-postgres.js');

const start = (options: EmbeddedPostgresOptions) => startEmbeddedPostgres({ ...options, settings: { fsync: 'off', ...options.settings } });

const query = (url: string, sql: string): Promise<Record<string, unknown>[]> =>
  withClient(url, async (client) => (await client.query<Record<string, unknown>>(sql)).rows);

/** Starts a server from a process of its own, and gives both pids. */
async function startFromChild(folder: string) {
  const script = `
    const { startEmbeddedPostgres } = await import(${JSON.stringify(COMPILED)});
    const server = await startEmbeddedPostgres({ folder: ${JSON.stringify(folder)}, settings: { fsync: 'off' } });
    console.log(server.pid);
    setInterval(() => undefined, 60_000);`;
  const starter = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(starter.stdout), 'line')) as [string];
  return { starter, serverPid: Number(line) };
}

/** The shells that end a server of that folder with its starter. */
async function watchersOf(folder: string): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
  const lines = await Promise.all(pids.map(async (pid) => ({ pid, line: await commandLine(pid) })));
  return lines.filter(({ line }) => line[0] === '/bin/sh' && line.at(-1)?.startsWith(folder)).map(({ pid }) => pid);
}

test('a started server answers, and stop leaves no process', async () => {
  await using folder = await temporaryFolder();
  await using server = await start({ folder: folder.path });
  const [row] = await query(
    server.url,
    `SELECT current_setting('server_encoding') AS encoding, current_setting('server_version') AS version`,
  );
  expect(row).toEqual({ encoding: 'UTF8', version: server.version });
  await server.stop();
  expect(await isAlive(server.pid)).toBe(false);
  await expect(query(server.url, 'SELECT 1')).rejects.toThrow('ECONNREFUSED');
});

test('stop ends open sessions, and may be called twice', async () => {
  await using folder = await temporaryFolder();
  const server = await start({ folder: folder.path });
  const client = new pg.Client({ connectionString: server.url });
  client.on('error', () => undefined);
  await client.connect();
  await client.query('BEGIN; CREATE TABLE never_committed (id int)');
  await Promise.all([server.stop(), server.stop()]);
  await server.stop();
  expect(await isAlive(server.pid)).toBe(false);
});

test('a second start keeps the data and the password, and takes the settings given', async () => {
  await using folder = await temporaryFolder();
  const first = await start({ folder: folder.path });
  await query(first.url, `CREATE TABLE kept AS SELECT 'yes' AS answer`);
  await first.stop();
  await using second = await start({ folder: folder.path, port: first.port, settings: { work_mem: '7MB' } });
  expect(second.url).toBe(first.url);
  expect(await query(second.url, `SELECT answer, current_setting('work_mem') AS work_mem FROM kept`)).toEqual([
    { answer: 'yes', work_mem: '7MB' },
  ]);
});

test('a killed process takes its server along', async () => {
  await using folder = await temporaryFolder();
  const { starter, serverPid } = await startFromChild(folder.path);
  starter.kill('SIGKILL');
  expect(await hasExited(serverPid, 60_000)).toBe(true);
  expect(await readFile(join(folder.path, 'server.log'), 'utf8')).toContain('received fast shutdown request');
  expect(await watchersOf(folder.path)).toEqual([]);
});

test('a server that is stopped or killed leaves no process that watches it', async () => {
  await using folder = await temporaryFolder();
  const stopped = await start({ folder: folder.path });
  const first = await watchersOf(folder.path);
  expect(first).toHaveLength(1);
  await stopped.stop();
  expect(await hasExited(first[0] as number, 60_000)).toBe(true);

  await using killed = await start({ folder: folder.path });
  const second = await watchersOf(folder.path);
  expect(second).toHaveLength(1);
  process.kill(killed.pid, 'SIGKILL');
  expect(await hasExited(second[0] as number, 60_000)).toBe(true);
});

test('a server that was left behind is replaced', async () => {
  await using folder = await temporaryFolder();
  const { starter, serverPid } = await startFromChild(folder.path);
  for (const watcher of await watchersOf(folder.path)) process.kill(watcher, 'SIGKILL');
  starter.kill('SIGKILL');
  await once(starter, 'exit');
  expect(await isAlive(serverPid)).toBe(true);
  await using server = await start({ folder: folder.path });
  expect(await isAlive(serverPid)).toBe(false);
  expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('a server whose starter still lives is left alone, with a message that names the starter', async () => {
  await using folder = await temporaryFolder();
  const { starter, serverPid } = await startFromChild(folder.path);
  try {
    await expect(start({ folder: folder.path })).rejects.toThrow(`in use by process ${starter.pid}`);
    expect(await isAlive(serverPid)).toBe(true);
  } finally {
    starter.kill('SIGKILL');
    await once(starter, 'exit');
    await (await start({ folder: folder.path })).stop();
  }
});

test('a postmaster.pid that names an unrelated process is ignored, and the process lives on', async () => {
  await using folder = await temporaryFolder();
  await (await start({ folder: folder.path })).stop();
  const bystander = spawn(process.execPath, ['--eval', 'setInterval(() => undefined, 60_000)'], { stdio: 'ignore' });
  try {
    await writeFile(
      join(folder.path, 'data', 'postmaster.pid'),
      `${bystander.pid}\n${join(folder.path, 'data')}\n0\n1\n\n127.0.0.1\n\nready\n`,
    );
    await using server = await start({ folder: folder.path });
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  } finally {
    bystander.kill();
    await once(bystander, 'exit');
  }
});

test('what an interrupted initdb left is made again', async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, 'data-unfinished', 'base'), { recursive: true });
  await writeFile(join(folder.path, 'data-unfinished', 'PG_VERSION'), '18\n');
  await mkdir(join(folder.path, 'data', 'base'), { recursive: true });
  await using server = await start({ folder: folder.path });
  expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('data of another major version is refused, not touched', async () => {
  await using folder = await temporaryFolder();
  await mkdir(join(folder.path, 'data'), { recursive: true });
  await writeFile(join(folder.path, 'data', 'PG_VERSION'), '15\n');
  await expect(start({ folder: folder.path })).rejects.toThrow(/was made by PostgreSQL 15, the installed one is 18/);
});

const asRoot = process.getuid?.() === 0 ? test : test.skip;
asRoot('data of another user is refused with the way out', async () => {
  await using folder = await temporaryFolder();
  await (await start({ folder: folder.path })).stop();
  await chown(join(folder.path, 'data'), 54_321, 54_321);
  await expect(start({ folder: folder.path })).rejects.toThrow(/belongs to user 54321/);
});

asRoot('a folder that the database user cannot enter is replaced by one that is the same at every start', async () => {
  await using folder = await temporaryFolder();
  const clone = join(folder.path, 'closed', 'clone');
  await mkdir(clone, { recursive: true });
  await chmod(join(folder.path, 'closed'), 0o700);
  const user = await findDatabaseUser();
  const home = await findHome(join(clone, 'var'), user);
  try {
    expect(home).toEqual({ folder: expect.stringMatching(/^\/(var\/lib|tmp)\/waypost.*clone-[0-9a-f]{8}$/), relocated: true });
    expect(await findHome(join(clone, 'var'), user)).toEqual(home);
    await using server = await start({ folder: join(home.folder, 'central-db') });
    expect(await query(server.url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  } finally {
    await rm(home.folder, { recursive: true, force: true });
  }
});

test('a bad setting fails with the last lines of the log', async () => {
  await using folder = await temporaryFolder();
  await expect(start({ folder: folder.path, settings: { wal_compression: 'no-such-method' } })).rejects.toThrow(/wal_compression/);
});

test('a busy port fails with the reason', async () => {
  await using folder = await temporaryFolder();
  const squatter = createServer().listen(0, '127.0.0.1');
  await once(squatter, 'listening');
  const { port } = squatter.address() as { port: number };
  try {
    await expect(start({ folder: folder.path, port })).rejects.toThrow(/Address already in use/);
  } finally {
    squatter.close();
  }
});
