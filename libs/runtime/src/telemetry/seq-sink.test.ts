import { Listener } from '../../../../test/support/listener.js';
import { until } from '../../../../test/support/until.js';
import { type SeqChange, type SeqLimits, SeqSink } from './seq-sink.js';

/** No answer is late, however busy the machine: what is late is sent again, and arrives twice. */
const QUICK: Partial<SeqLimits> = { batchMs: 1, requestMs: 60_000, firstDelayMs: 5, maxDelayMs: 20 };

let seq: Listener;
let sinks: SeqSink[] = [];
let changes: SeqChange[] = [];

beforeEach(async () => {
  seq = await Listener.start();
  changes = [];
});
afterEach(async () => {
  for (const sink of sinks) await sink.close(0);
  sinks = [];
  await seq[Symbol.asyncDispose]();
});

function open(limits: Partial<SeqLimits> = {}, url = seq.url): SeqSink {
  const sink = new SeqSink({ url, apiKey: 'key-of-seq', limits: { ...QUICK, ...limits }, onChange: (change) => changes.push(change) });
  sinks.push(sink);
  return sink;
}

const line = (n: number): string => JSON.stringify({ level: 'info', time: '2026-01-01T00:00:00.000Z', msg: `line ${n}` });
const messagesOf = (body: string): string[] => body.split('\n').map((event) => (JSON.parse(event) as { '@mt': string })['@mt']);
const arrived = (): string[] => seq.received.flatMap(({ body }) => messagesOf(body));
const numbers = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, at) => `line ${from + at}`);

test('lines arrive in order, in few requests, with the key', async () => {
  const sink = open({ batchMs: 20 });
  for (let n = 1; n <= 100; n += 1) sink.write(line(n));
  await until(() => arrived().length === 100);
  expect(arrived()).toEqual(numbers(1, 100));
  expect(seq.received).toHaveLength(1);
  expect(seq.received[0]).toMatchObject({ url: '/api/events/raw?clef', headers: { 'x-seq-apikey': 'key-of-seq' } });
  expect(changes).toEqual([]);
});

test('a path, and user and password for a proxy, are taken from the address', async () => {
  const sink = open({}, seq.url.replace('://', '://proxy:p%40ss@') + '/logs');
  sink.write(line(1));
  await until(() => seq.received.length === 1);
  const authorization = `Basic ${Buffer.from('proxy:p@ss').toString('base64')}`;
  expect(seq.received[0]).toMatchObject({ url: '/logs/api/events/raw?clef', headers: { authorization } });
});

test.each(['refused', 'hang', 500, 503, 429, 401] as const)(
  'lines wait for a Seq that is away (%s), and arrive in order when it is back',
  async (fault) => {
    if (fault === 'refused') await seq.stop();
    else seq.answer = () => fault;
    const sink = open(fault === 'hang' ? { requestMs: 50 } : {});
    for (let n = 1; n <= 20; n += 1) sink.write(line(n));
    await until(() => changes.length === 1);
    expect(changes[0]?.state).toBe('away');
    for (let n = 21; n <= 30; n += 1) sink.write(line(n));
    seq.received.length = 0;
    seq.answer = () => 201;
    if (fault === 'refused') await seq.listen();
    await until(() => changes.length >= 2 && arrived().includes('line 30'));
    expect(changes[1]).toEqual({ state: 'back', droppedLines: 0 });
    // One whose answer is late is sent again.
    expect(arrived().filter((message, at, all) => all.indexOf(message) === at)).toEqual(numbers(1, 30));
  },
);

test('memory is bounded: what does not fit is dropped, oldest first, and counted', async () => {
  await seq.stop();
  const one = line(1).length + 20;
  const sink = open({ maxQueuedChars: 10 * one });
  for (let n = 1; n <= 1000; n += 1) sink.write(line(n));
  await until(() => changes.length === 1);
  await seq.listen();
  await until(() => changes.length === 2);
  const messages = arrived();
  expect(messages.at(-1)).toBe('line 1000');
  expect(messages.length).toBeLessThanOrEqual(15);
  expect(changes[1]).toEqual({ state: 'back', droppedLines: 1000 - messages.length });
});

test('one line that Seq refuses is dropped alone, and counted', async () => {
  seq.answer = ({ body }) => (body.includes('line 7"') ? 400 : 200);
  const sink = open({ batchMs: 10 });
  for (let n = 1; n <= 12; n += 1) sink.write(line(n));
  const taken = (): string[] => seq.received.filter(({ body }) => !body.includes('line 7"')).flatMap(({ body }) => messagesOf(body));
  await until(() => taken().includes('line 12') && changes.length > 0);
  expect(taken()).toEqual(numbers(1, 12).filter((message) => message !== 'line 7'));
  expect(changes).toEqual([{ state: 'back', droppedLines: 1 }]);
});

test('a Seq that refuses everything is away: no line about a refused line is refused for ever', async () => {
  seq.answer = () => 400;
  const sink = open();
  for (let n = 1; n <= 5; n += 1) sink.write(line(n));
  await until(() => seq.received.length > 20 || changes.length > 0);
  expect(changes).toEqual([{ state: 'away', reason: 'it answers HTTP 400' }]);
});

test('the end sends what is left', async () => {
  const sink = open({ batchMs: 60_000, batchChars: 500 });
  for (let n = 1; n <= 50; n += 1) sink.write(line(n));
  await sink.close(60_000);
  expect(arrived()).toEqual(numbers(1, 50));
  sink.write(line(51));
  expect(arrived()).toHaveLength(50);
});

test.each(['before', 'at'] as const)('the end does not wait for a Seq that hangs %s it', async (moment) => {
  seq.answer = () => 'hang';
  const sink = open({ requestMs: 60_000, batchMs: moment === 'before' ? 1 : 60_000 });
  sink.write(line(1));
  if (moment === 'before') await until(() => seq.received.length === 1);
  await sink.close(100);
  expect(seq.received.length).toBeLessThanOrEqual(1);
});

test('the end tries once where no server listens', async () => {
  await seq.stop();
  const sink = open({ batchMs: 60_000 });
  sink.write(line(1));
  await sink.close(60_000);
  expect(changes).toEqual([]);
});
