import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { connect, query } from './support/sync-pair.js';
import { startTestServer, type TestServer } from './support/postgres.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { waypost, waypostJson } from './support/waypost.js';

const ROOT = join(import.meta.dirname, '..');
const run = promisify(execFile);

let server: TestServer;
let url: string;

beforeAll(async () => {
  server = await startTestServer();
  url = (await server.createDatabase('cli')).url;
  await query(url, 'CREATE SCHEMA waypost; CREATE TABLE waypost.manifests (manifest_id text, document json)');
});

afterAll(() => server?.[Symbol.asyncDispose]());

const UNREACHABLE = 'postgres://waypost:s3cr3t%21@127.0.0.1:9/db';

test.each<[string, string[], boolean, RegExp]>([
  ['an unknown command', ['stats'], false, /unknown command 'stats' \(Did you mean status\?\)\nSee: waypost --help/],
  ['an unknown option', ['devices', '--stat', 'x'], false, /unknown option '--stat' \(Did you mean --state\?\)\nSee: waypost help devices/],
  ['a missing argument', ['history'], false, /missing required argument 'device'\nSee: waypost help history/],
  ['an argument too many', ['verify', 'x'], false, /too many arguments/],
  ['an unknown state', ['devices', '--state', 'dead'], true, /--state "dead" is not a state of devices\.\nStates are failing/],
  ['no database', ['devices'], false, /CONFIG_INVALID {2}DATABASE_URL is not set\.\nSet it to the database of central/],
  ['a URL that is none', ['devices', '--database-url', 'nonsense'], false, /--database-url is not a URL such as/],
  ['a bad MAC', ['history', '48:b0'], true, /MAC_INVALID {2}"48:b0" is not a MAC address\.\nWrite six hex pairs/],
  ['neither a manifest nor a device', ['manifest', 'nope'], true, /"nope" is neither a manifest id nor a MAC address\.\nGive a manifest/],
  ['a bad duration', ['devices', '--older-than', 'long'], true, /--older-than "long" is not a duration/],
  ['the other side’s database', ['verify'], true, /is the database of central, and this command looks at that of a device/],
  ['no plan', ['plan', 'check'], true, /No plan is given\.\nGive --plan/],
])('%s is wrong usage: exit status 2, with a hint', async (_, args, withDatabase, message) => {
  const { code, out, err } = await waypost(args, withDatabase ? { DATABASE_URL: url } : {});
  expect({ code, out }).toEqual({ code: 2, out: '' });
  expect(err).toMatch(message);
});

test('help says which commands write, and has a text for each group', async () => {
  const { out } = await waypost(['--help']);
  const writing = ['adopt TABLE…', 'release TABLE', 'capture install', 'capture remove', 'capture trust'];
  writing.push('device add', 'device approve', 'device rotate', 'device revoke', 'key add', 'key revoke');
  writing.push('keys rotate', 'keys export-root', 'store check --repair');
  const sentence = /These change a database:([^.]+)\./.exec(out)?.[1] ?? '';
  expect(sentence.match(/`[^`]+`/g)).toEqual(writing.map((command) => `\`${command}\``));
  for (const group of ['plan', 'capture', 'store', 'device', 'key', 'keys', 'ledger', 'certs'])
    expect(out).toMatch(new RegExp(`^  ${group}( \\[command\\])? {2,}\\S`, 'm'));
});

test.each(['central', 'edge'] as const)(
  'status of %s beside the other side’s service is wrong usage, and says whose is whose',
  async (side) => {
    const service = createHttpServer((_request, response) => response.writeHead(side === 'central' ? 200 : 404).end('{}')).listen(
      0,
      '127.0.0.1',
    );
    await once(service, 'listening');
    const own = side === 'central' ? url : (await server.createDatabase('cli_edge')).url;
    if (side === 'edge') await query(own, 'CREATE SCHEMA waypost; CREATE TABLE waypost.edge_sync_state (key text)');
    try {
      const { port } = service.address() as AddressInfo;
      const { code, err } = await waypost(['status', '--url', `http://127.0.0.1:${port}`], { DATABASE_URL: own });
      const [here, there] = side === 'central' ? ['central-api', 'edge-service'] : ['edge-service', 'central-api'];
      expect(code).toBe(2);
      expect(err).toContain(`is the database of ${here}, but http://127.0.0.1:${port} is ${there}.`);
    } finally {
      service.close();
    }
  },
);

test('--timeout also bounds connecting: a server that never answers is given up sooner than by default', async () => {
  const sockets: Socket[] = [];
  const silent = createServer((socket) => void sockets.push(socket.on('error', () => undefined))).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const DATABASE_URL = `postgres://waypost@127.0.0.1:${(silent.address() as AddressInfo).port}/db`;
  const byDefault = waypost(['devices'], { DATABASE_URL });
  const soon = waypost(['devices', '--timeout', '100ms'], { DATABASE_URL });
  expect(await Promise.race([byDefault.then(() => 'by default'), soon.then(({ code }) => code)])).toBe(3);
  silent.close();
  for (const socket of sockets) socket.destroy();
  await byDefault;
});

/** Those that share a class with the service: they start half a second later. */
const LOADING_NEST: Record<string, readonly string[]> = { 'central-api': ['plan check', 'plan explain'], 'edge-service': ['verify'] };

test.each(Object.entries(LOADING_NEST))('no command of %s loads Nest, but %j', async (app, expected) => {
  const commands = pathToFileURL(join(import.meta.dirname, '..', 'dist', app, 'apps', app, 'src', 'cli', 'commands.js')).href;
  const script = `
    import { registerHooks } from 'node:module';
    let loadsNest = false;
    registerHooks({
      load: (url, context, next) => {
        loadsNest ||= url.includes('/@nestjs/');
        return next(url, context);
      },
    });
    const { commands } = await import('${commands}');
    await commands[process.argv[1]]?.();
    console.log(JSON.stringify({ names: Object.keys(commands), loadsNest }));`;
  const load = async (...name: string[]): Promise<{ names: string[]; loadsNest: boolean }> =>
    JSON.parse((await run(process.execPath, ['--input-type=module', '--eval', script, ...name])).stdout) as never;
  const loading: string[] = [];
  for (const name of (await load()).names) if ((await load(name)).loadsNest) loading.push(name);
  expect(loading).toEqual(expected);
});

test('wrong usage is one JSON document too', async () => {
  expect(await waypostJson(['history'])).toMatchObject({
    code: 2,
    json: { error: { code: 'USAGE_INVALID', hint: 'See: waypost help history' } },
  });
});

test('a database that is not reached: exit status 3, and no password in any form', async () => {
  for (const args of [['status'], ['devices', '--json'], ['verify', '--central-database-url', UNREACHABLE]]) {
    const { code, out, err } = await waypost(args, { DATABASE_URL: UNREACHABLE });
    expect(code).toBe(3);
    expect(out + err).toContain('DATABASE_UNAVAILABLE');
    expect(out + err).toContain('127.0.0.1:9/db');
    expect(out + err).not.toContain('s3cr3t');
  }
});

test('a refused password is not repeated', async () => {
  await query(url, `CREATE ROLE clerk LOGIN PASSWORD 'right'`);
  const wrong = Object.assign(new URL(url), { username: 'clerk', password: 'wr0ng-pass' });
  const { code, out, err } = await waypost(['status'], { DATABASE_URL: wrong.href });
  expect(code).toBe(3);
  expect(err).toContain('password authentication failed');
  expect(out + err).not.toContain('wr0ng-pass');
});

test('a query that takes too long is given up: exit status 3', async () => {
  const holder = await connect(url);
  await holder.query('BEGIN; LOCK TABLE waypost.manifests IN ACCESS EXCLUSIVE MODE');
  const { code, json } = await waypostJson(['manifest', '01JD8Y2M3N4P5Q6R7S8T9VWXYZ', '--timeout', '200ms'], { DATABASE_URL: url });
  await holder.end();
  expect({ code, json }).toMatchObject({
    code: 3,
    json: { error: { code: 'DEADLINE_EXCEEDED', hint: expect.stringContaining('--timeout') } },
  });
});

test('help of each command has examples and is plain in a pipe', async () => {
  const { code, out } = await waypost(['--help']);
  expect(code).toBe(0);
  for (const command of ['status', 'devices', 'history', 'manifest', 'diff', 'verify', 'plan', 'completion'])
    expect(out).toContain(`\n  ${command} `);
  const help = await waypost(['help', 'verify']);
  expect(help.out).toContain('$ waypost verify --central-url');
  expect(help.out).not.toContain('\u001b');
  expect((await waypost(['plan', 'explain', '--help'])).out).toContain('$ waypost plan explain 48:b0:2d:e9:c3:b7');
});

test('an image with one service knows every command, and says where the others are', async () => {
  await using folder = await temporaryFolder();
  for (const part of ['bin', 'dist/edge-service', 'package.json']) {
    await mkdir(join(folder.path, part, '..'), { recursive: true });
    await cp(join(ROOT, part), join(folder.path, part), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), join(folder.path, 'node_modules'));
  const edge = (args: string[]): Promise<{ stdout: string; stderr: string }> =>
    run(process.execPath, [join(folder.path, 'bin', 'waypost.mjs'), ...args], { env: { ...process.env, DATABASE_URL: url } });
  expect((await edge(['--help'])).stdout).toContain('devices');
  const refusal: unknown = await edge(['devices']).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: 2, stderr: expect.stringContaining('belongs to central-api, which is not installed here') });
});

/** What bash offers when TAB is pressed at the end of these words. */
async function completed(...words: string[]): Promise<string[]> {
  const { out } = await waypost(['completion', 'bash']);
  const script = `${out}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _waypost; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await run('bash', ['-c', script, 'bash', 'waypost', ...words]);
  return stdout.split('\n').filter((line) => line !== '');
}

test('bash completes commands, options and values', async () => {
  expect(await completed('')).toEqual(expect.arrayContaining(['status', 'devices', 'plan', 'completion', 'help']));
  expect(await completed('man')).toEqual(['manifest']);
  expect(await completed('plan', '')).toEqual(['check', 'explain', '--help']);
  expect(await completed('plan', 'check', '--pl')).toEqual(['--plan']);
  expect(await completed('devices', '--state', 'silent,fa')).toEqual(['silent,failing']);
  expect(await completed('completion', 'z')).toEqual(['zsh']);
  await run('bash', ['-n', '-c', (await waypost(['completion', 'bash'])).out]);
});
