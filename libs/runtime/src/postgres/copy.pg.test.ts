import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/support/postgres.js';
import { copyIn } from './copy-in.js';
import { copyOut, type CopyTaker } from './copy-out.js';

let server: TestServer;
let url: string;
let client: pg.Client;
const clients: pg.Client[] = [];
const proxies: Server[] = [];

beforeAll(async () => {
  server = await startTestServer();
  ({ url } = await server.createDatabase('copy'));
});

beforeEach(async () => {
  client = await open(url);
});

afterEach(async () => {
  for (const opened of clients.splice(0)) await opened.end().catch(() => undefined);
  for (const proxy of proxies.splice(0)) proxy.close();
});

afterAll(() => server?.[Symbol.asyncDispose]());

async function open(connectionString: string): Promise<pg.Client> {
  const opened = new pg.Client({ connectionString });
  opened.on('error', () => undefined);
  await opened.connect();
  clients.push(opened);
  return opened;
}

/** A connection whose bytes from the server arrive one at a time. */
async function openDripping(): Promise<pg.Client> {
  const { hostname, port } = new URL(url);
  const proxy = createServer({ noDelay: true }, (socket) => {
    const upstream = connect({ host: hostname, port: Number(port), noDelay: true });
    socket.pipe(upstream);
    socket.on('error', () => upstream.destroy());
    upstream.on('error', () => socket.destroy());
    void (async () => {
      for await (const bytes of upstream as AsyncIterable<Buffer>) {
        for (const byte of bytes) await new Promise((sent) => socket.write(Buffer.of(byte), () => setImmediate(sent)));
      }
      socket.end();
    })().catch(() => socket.destroy());
  });
  proxies.push(proxy);
  await new Promise<void>((listening) => proxy.listen(0, '127.0.0.1', listening));
  const through = new URL(url);
  through.hostname = '127.0.0.1';
  through.port = String((proxy.address() as AddressInfo).port);
  return open(through.href);
}

async function collect(from: pg.Client, query: string): Promise<string> {
  let text = '';
  await copyOut(from, `COPY (${query}) TO STDOUT`, (bytes) => void (text += bytes.toString()));
  return text;
}

const numbers = (last: number): string => Array.from({ length: last }, (_, at) => `${at + 1}\n`).join('');

async function expectUsable(same: pg.Client): Promise<void> {
  expect((await same.query<{ one: number }>('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
}

/** Of a connection that was ended: the next statement fails instead of waiting for ever, also where the socket has not noticed it yet. */
async function expectEnded(same: pg.Client): Promise<void> {
  await expect(same.query('SELECT 1')).rejects.toThrow(/Connection terminated|not queryable|Client was closed|ECONNRESET|EPIPE/);
}

describe('COPY to here', () => {
  test('hands over what PostgreSQL sends, in order, and leaves the connection usable', async () => {
    expect(await collect(client, 'SELECT generate_series(1, 100000)')).toBe(numbers(100_000));
    await expectUsable(client);
    expect(await collect(client, 'SELECT 1 WHERE false')).toBe('');
    await expectUsable(client);
  });

  test('messages may be split at any byte', async () => {
    const dripping = await openDripping();
    expect(await collect(dripping, 'SELECT generate_series(1, 300)')).toBe(numbers(300));
    await expectUsable(dripping);
  });

  test('notices between the rows are not data', async () => {
    await client.query(`CREATE FUNCTION pg_temp.loud(n int) RETURNS int LANGUAGE plpgsql AS
      $$ BEGIN RAISE NOTICE 'row %', n; RETURN n; END $$`);
    expect(await collect(client, 'SELECT pg_temp.loud(n) FROM generate_series(1, 2000) AS n')).toBe(numbers(2_000));
    await expectUsable(client);
  });

  test('a statement that fails at once, and one that fails in the middle', async () => {
    await expect(collect(client, 'SELECT * FROM nowhere')).rejects.toMatchObject({ code: '42P01' });
    await expectUsable(client);
    await expect(collect(client, 'SELECT 1 / (90000 - n) FROM generate_series(1, 100000) AS n')).rejects.toMatchObject({ code: '22012' });
    await expectUsable(client);
  });

  test.each([
    ['waits', 0],
    ['waits to the last', 1],
  ])('PostgreSQL waits while the taker %s', async (_, holdLast) => {
    const rows = 200_000;
    let taking = 0;
    let last = '';
    const take: CopyTaker = async (bytes) => {
      expect((taking += 1)).toBe(1);
      await new Promise((later) => setImmediate(later));
      last = bytes.toString();
      if (holdLast && last.endsWith(`${rows}\n`)) await new Promise((later) => setImmediate(later));
      taking -= 1;
    };
    await copyOut(client, `COPY (SELECT generate_series(1, ${rows})) TO STDOUT`, take);
    expect(taking).toBe(0);
    expect(last).toMatch(new RegExp(`${rows}\n$`));
    await expectUsable(client);
  });

  const failure = new Error('the disk is full');
  test.each<[string, string, CopyTaker]>([
    ['in the middle, at once', 'SELECT generate_series(1, 1000000)', () => raise(failure)],
    ['in the middle, later', 'SELECT generate_series(1, 1000000)', () => Promise.reject(failure)],
    ['at the end, later', 'SELECT 1', () => Promise.reject(failure)],
  ])('an error of the taker %s ends the COPY and the connection', async (_, query, take) => {
    await expect(copyOut(client, `COPY (${query}) TO STDOUT`, take)).rejects.toBe(failure);
    await expectEnded(client);
  });

  test('an abort ends the COPY and the connection, also while PostgreSQL is silent', async () => {
    const controller = new AbortController();
    const waiting = copyOut(client, 'COPY (SELECT pg_sleep(600)) TO STDOUT', () => undefined, controller.signal);
    const reason = new Error('the client went away');
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expectEnded(client);
    await expect(copyOut(client, 'COPY (SELECT 1) TO STDOUT', () => undefined, controller.signal)).rejects.toBe(reason);
  });

  test('a connection that breaks in the middle is an error, not an end', async () => {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const killer = await open(url);
    let killed = false;
    const copying = copyOut(client, 'COPY (SELECT generate_series(1, 10000000)) TO STDOUT', async () => {
      if (!killed) await killer.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
      killed = true;
    });
    await expect(copying).rejects.toThrow();
    expect(killed).toBe(true);
    await expectEnded(client);
  });
});

describe('COPY from here', () => {
  beforeEach(() => client.query('CREATE TEMP TABLE numbers (n int CHECK (n < 1000000))'));

  async function* pieces(...texts: string[]): AsyncGenerator<Buffer> {
    for (const text of texts) yield Buffer.from(text);
  }

  const COPY = 'COPY numbers FROM STDIN';
  const sum = async (): Promise<unknown> => (await client.query('SELECT count(*)::int, sum(n)::float8 FROM numbers')).rows[0];

  test('sends what the source yields, however it is cut', async () => {
    await copyIn(client, COPY, pieces('1\n2', '2\n', '', '3', '\n'));
    expect(await sum()).toEqual({ count: 3, sum: 26 });
    await copyIn(client, COPY, pieces());
    expect(await sum()).toEqual({ count: 3, sum: 26 });
  });

  test('more than any buffer holds', async () => {
    const block = numbers(50_000);
    await copyIn(client, COPY, pieces(...Array.from({ length: 20 }, () => block)));
    expect(await sum()).toEqual({ count: 1_000_000, sum: 20 * ((50_000 * 50_001) / 2) });
  });

  test('an error of the source fails the COPY, and the connection can be used further', async () => {
    const failure = new Error('chunk 3 is not what the index names');
    async function* failing(): AsyncGenerator<Buffer> {
      yield Buffer.from('1\n');
      throw failure;
    }
    await expect(copyIn(client, COPY, failing())).rejects.toBe(failure);
    expect(await sum()).toEqual({ count: 0, sum: null });
  });

  test('a row that PostgreSQL refuses ends the source', async () => {
    let closed = false;
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (let n = 1; ; n += 1) yield Buffer.from(`${n * 1000}\n`.repeat(1000));
      } finally {
        closed = true;
      }
    }
    await expect(copyIn(client, COPY, endless())).rejects.toMatchObject({ code: '23514' });
    await new Promise((later) => setImmediate(later));
    expect(closed).toBe(true);
    expect(await sum()).toEqual({ count: 0, sum: null });
  });

  test('a statement that fails before any data leaves the source untouched', async () => {
    let started = false;
    async function* untouched(): AsyncGenerator<Buffer> {
      started = true;
      yield Buffer.from('1\n');
    }
    await expect(copyIn(client, 'COPY nowhere FROM STDIN', untouched())).rejects.toMatchObject({ code: '42P01' });
    expect(started).toBe(false);
    await expectUsable(client);
  });

  test('a connection that breaks in the middle is an error', async () => {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const killer = await open(url);
    async function* killing(): AsyncGenerator<Buffer> {
      yield Buffer.from('1\n');
      await killer.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
      for (;;) yield Buffer.from('1\n'.repeat(10_000));
    }
    await expect(copyIn(client, COPY, killing())).rejects.toThrow();
    await expectEnded(client);
  });
});

function raise(error: Error): never {
  throw error;
}
