import { WaypostError } from '@waypost/contracts';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import { RequestCoalescer } from './request-coalescer.js';
import { type PendingRequest } from '../manifests/pending-request.js';

interface StartedRun {
  requests: readonly PendingRequest[];
  signal: AbortSignal;
  finish: () => void;
  fail: (error: Error) => void;
}

const busy = (): WaypostError => new WaypostError('CENTRAL_BUSY');
const within = (ms = 60_000, signal = new AbortController().signal) => ({ until: performance.now() + ms, signal });
const manifestOf = (request: PendingRequest): IssuedManifest => ({ manifest: { manifestId: request.mac } as never, isNew: true });
const macsOf = ({ requests }: StartedRun): string[] => requests.map(({ mac }) => mac);
const nextTick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let coalescer: RequestCoalescer;
let runs: StartedRun[];
let left: Set<string>;

/** No request waits when a test is over. */
afterEach(async () => {
  left.clear();
  for (let at = 0; coalescer.inUse > 0; at += 1) {
    runs[at]?.finish();
    await nextTick();
  }
});

/** A coalescer whose runs the test ends by hand. Requests that are not settled by then get a manifest, but those whose MAC is in `left`. */
function startCoalescer({ permits = 1, maxRequests = 10 } = {}): void {
  runs = [];
  left = new Set();
  coalescer = new RequestCoalescer({
    permits,
    maxRequests,
    busy,
    run: (requests, signal) =>
      new Promise((resolve, reject) => {
        const finish = (): void => {
          for (const request of requests) if (!request.isSettled && !left.has(request.mac)) request.resolve(manifestOf(request));
          resolve();
        };
        runs.push({ requests, signal, finish, fail: reject });
      }),
  });
}

const join = (mac: string, scopeKey: string, of = within()): Promise<string> =>
  coalescer.answer({ mac, have: undefined }, scopeKey, of).then(({ manifest }) => manifest.manifestId);

test('waiting requests of one scope group share a run; a later one waits for the next run', async () => {
  startCoalescer();
  const first = join('a1', 'a');
  const rest = ['a2', 'b1', 'a3'].map((mac) => join(mac, mac[0] as string));
  expect(runs.map(macsOf)).toEqual([['a1']]);
  expect([coalescer.inUse, coalescer.waiting]).toEqual([1, 3]);
  runs[0]!.finish();
  expect(await first).toBe('a1');
  await nextTick();
  // By the oldest request: a2 came before b1.
  expect(runs.map(macsOf)).toEqual([['a1'], ['a2', 'a3']]);
  const late = join('a4', 'a');
  runs[1]!.finish();
  await nextTick();
  expect(runs.map(macsOf)).toEqual([['a1'], ['a2', 'a3'], ['b1']]);
  runs[2]!.finish();
  await nextTick();
  runs[3]!.finish();
  expect(await Promise.all([...rest, late])).toEqual(['a2', 'b1', 'a3', 'a4']);
  await nextTick();
  expect([coalescer.inUse, coalescer.waiting]).toEqual([0, 0]);
});

test('of each scope group one run goes on at a time, and others take the permits; a request past its soft deadline takes one, too', async () => {
  startCoalescer({ permits: 3 });
  void join('a1', 'a');
  void join('b1', 'b');
  const late = join('a2', 'a', within(200));
  expect(runs.map(macsOf)).toEqual([['a1'], ['b1']]);
  while (runs.length < 3) await nextTick();
  expect(macsOf(runs[2]!)).toEqual(['a2']);
  runs[2]!.finish();
  expect(await late).toBe('a2');
});

test('no more runs than permits, and no more requests in a run than the limit', async () => {
  startCoalescer({ permits: 2, maxRequests: 2 });
  for (const mac of ['a1', 'b1', 'c1', 'c2', 'c3']) void join(mac, mac[0] as string);
  expect(runs.map(macsOf)).toEqual([['a1'], ['b1']]);
  runs[0]!.finish();
  await nextTick();
  expect(runs.map(macsOf)).toEqual([['a1'], ['b1'], ['c1', 'c2']]);
});

test('a request that its run leaves waits again, in its old place; alone, if it must', async () => {
  startCoalescer();
  left.add('a1').add('a2');
  void join('x', 'x');
  const asked = ['a1', 'a2', 'a3', 'b1'].map((mac) => join(mac, mac[0] as string));
  runs[0]!.finish();
  await nextTick();
  expect(macsOf(runs[1]!)).toEqual(['a1', 'a2', 'a3']);
  const [one, two] = runs[1]!.requests as [PendingRequest, PendingRequest];
  [one.scopeKey, two.isAlone] = ['b', true];
  runs[1]!.finish();
  left.clear();
  for (const at of [2, 3]) {
    await nextTick();
    runs[at]!.finish();
  }
  expect(await Promise.all(asked)).toEqual(['a1', 'a2', 'a3', 'b1']);
  expect(runs.slice(2).map(macsOf)).toEqual([['a1', 'b1'], ['a2']]);
});

test('a client that disconnects does not disturb the others; a run without a waiting request is aborted', async () => {
  startCoalescer();
  const [here, waiting] = [new AbortController(), new AbortController()];
  const first = join('a1', 'a', within(60_000, here.signal));
  const second = join('a2', 'a', within(60_000, waiting.signal));
  const third = join('a3', 'a');
  waiting.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  expect(runs[0]!.signal.aborted).toBe(false);
  here.abort(new Error('gone, too'));
  await expect(first).rejects.toThrow('gone, too');
  expect(runs[0]!.signal.aborted).toBe(true);
  runs[0]!.fail(new Error('stopped'));
  await nextTick();
  expect(macsOf(runs[1]!)).toEqual(['a3']);
  runs[1]!.finish();
  expect(await third).toBe('a3');
});

test('a failure is that of all requests of its run, and of no other', async () => {
  startCoalescer();
  void join('x', 'x');
  const failing = ['a1', 'a2'].map((mac) => join(mac, 'a'));
  const fine = join('b1', 'b');
  runs[0]!.finish();
  await nextTick();
  runs[1]!.fail(new Error('disk full'));
  expect(await Promise.allSettled(failing)).toMatchObject([{ reason: { message: 'disk full' } }, { reason: { message: 'disk full' } }]);
  await nextTick();
  runs[2]!.finish();
  expect(await fine).toBe('b1');
});

test('the deadline counts while a request waits, not while it is answered', async () => {
  startCoalescer();
  const first = join('a1', 'a', within(20));
  const second = join('b1', 'b', within(20));
  await expect(second).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  runs[0]!.finish();
  expect(await first).toBe('a1');
  expect(coalescer.waiting).toBe(0);
});

test('a request that its run leaves after the deadline is told to come again', async () => {
  startCoalescer();
  left.add('a1');
  const first = join('a1', 'a', within(20));
  await expect(join('b1', 'b', within(60))).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  runs[0]!.finish();
  await expect(first).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
});
