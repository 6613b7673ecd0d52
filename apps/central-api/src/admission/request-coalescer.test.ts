import { WaypostError } from '@waypost/contracts';
import type { IssuedManifest } from '../manifests/issue-manifests.js';
import { Flights, type Member } from './request-coalescer.js';

interface Flown {
  members: readonly Member[];
  signal: AbortSignal;
  land: () => void;
  crash: (error: Error) => void;
}

const busy = (): WaypostError => new WaypostError('CENTRAL_BUSY');
const patience = (ms = 60_000, signal = new AbortController().signal) => ({ until: performance.now() + ms, signal });
const manifestOf = (member: Member): IssuedManifest => ({ manifest: { manifestId: member.mac } as never, isNew: true });
const macsOf = ({ members }: Flown): string[] => members.map(({ mac }) => mac);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let flights: Flights;
let flown: Flown[];
let left: Set<string>;

/** Nobody waits any more when a test is over. */
afterEach(async () => {
  left.clear();
  for (let at = 0; flights.inUse > 0; at += 1) {
    flown[at]?.land();
    await turn();
  }
});

/** Flights that the test lands by hand; all who are not settled by then get a manifest, but those whose MAC is in `left`. */
function startFlights({ places = 1, maxMembers = 10 } = {}): void {
  flown = [];
  left = new Set();
  flights = new Flights({
    places,
    maxMembers,
    busy,
    fly: (members, signal) =>
      new Promise((resolve, reject) => {
        const land = (): void => {
          for (const member of members) if (!member.isSettled && !left.has(member.mac)) member.resolve(manifestOf(member));
          resolve();
        };
        flown.push({ members, signal, land, crash: reject });
      }),
  });
}

const join = (mac: string, share: string, of = patience()): Promise<string> =>
  flights.join({ mac, have: undefined }, share, of).then(({ manifest }) => manifest.manifestId);

test('those of one share that wait fly together; who comes later waits for the next flight', async () => {
  startFlights();
  const first = join('a1', 'a');
  const rest = ['a2', 'b1', 'a3'].map((mac) => join(mac, mac[0] as string));
  expect(flown.map(macsOf)).toEqual([['a1']]);
  expect([flights.inUse, flights.waiting]).toEqual([1, 3]);
  flown[0]!.land();
  expect(await first).toBe('a1');
  await turn();
  // By the oldest member: a2 came before b1.
  expect(flown.map(macsOf)).toEqual([['a1'], ['a2', 'a3']]);
  const late = join('a4', 'a');
  flown[1]!.land();
  await turn();
  expect(flown.map(macsOf)).toEqual([['a1'], ['a2', 'a3'], ['b1']]);
  flown[2]!.land();
  await turn();
  flown[3]!.land();
  expect(await Promise.all([...rest, late])).toEqual(['a2', 'b1', 'a3', 'a4']);
  await turn();
  expect([flights.inUse, flights.waiting]).toEqual([0, 0]);
});

test('of each share one flies at a time, others take the places; who has waited for half of its patience takes one, too', async () => {
  startFlights({ places: 3 });
  void join('a1', 'a');
  void join('b1', 'b');
  const impatient = join('a2', 'a', patience(200));
  expect(flown.map(macsOf)).toEqual([['a1'], ['b1']]);
  while (flown.length < 3) await turn();
  expect(macsOf(flown[2]!)).toEqual(['a2']);
  flown[2]!.land();
  expect(await impatient).toBe('a2');
});

test('no more than so many fly at one time, and no more than so many together', async () => {
  startFlights({ places: 2, maxMembers: 2 });
  for (const mac of ['a1', 'b1', 'c1', 'c2', 'c3']) void join(mac, mac[0] as string);
  expect(flown.map(macsOf)).toEqual([['a1'], ['b1']]);
  flown[0]!.land();
  await turn();
  expect(flown.map(macsOf)).toEqual([['a1'], ['b1'], ['c1', 'c2']]);
});

test('whoever is left by a flight waits again, in its old place; alone, if it has to', async () => {
  startFlights();
  left.add('a1').add('a2');
  void join('x', 'x');
  const asked = ['a1', 'a2', 'a3', 'b1'].map((mac) => join(mac, mac[0] as string));
  flown[0]!.land();
  await turn();
  expect(macsOf(flown[1]!)).toEqual(['a1', 'a2', 'a3']);
  const [one, two] = flown[1]!.members as [Member, Member];
  [one.share, two.isAlone] = ['b', true];
  flown[1]!.land();
  left.clear();
  for (const at of [2, 3]) {
    await turn();
    flown[at]!.land();
  }
  expect(await Promise.all(asked)).toEqual(['a1', 'a2', 'a3', 'b1']);
  expect(flown.slice(2).map(macsOf)).toEqual([['a1', 'b1'], ['a2']]);
});

test('one who goes away leaves the others alone; a flight that nobody waits for any more is told so', async () => {
  startFlights();
  const [here, waiting] = [new AbortController(), new AbortController()];
  const first = join('a1', 'a', patience(60_000, here.signal));
  const second = join('a2', 'a', patience(60_000, waiting.signal));
  const third = join('a3', 'a');
  waiting.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  expect(flown[0]!.signal.aborted).toBe(false);
  here.abort(new Error('gone, too'));
  await expect(first).rejects.toThrow('gone, too');
  expect(flown[0]!.signal.aborted).toBe(true);
  flown[0]!.crash(new Error('stopped'));
  await turn();
  expect(macsOf(flown[1]!)).toEqual(['a3']);
  flown[1]!.land();
  expect(await third).toBe('a3');
});

test('a failure is that of all members, and of nobody else', async () => {
  startFlights();
  void join('x', 'x');
  const failing = ['a1', 'a2'].map((mac) => join(mac, 'a'));
  const fine = join('b1', 'b');
  flown[0]!.land();
  await turn();
  flown[1]!.crash(new Error('disk full'));
  expect(await Promise.allSettled(failing)).toMatchObject([{ reason: { message: 'disk full' } }, { reason: { message: 'disk full' } }]);
  await turn();
  flown[2]!.land();
  expect(await fine).toBe('b1');
});

test('patience ends while one waits, not while one is answered', async () => {
  startFlights();
  const first = join('a1', 'a', patience(20));
  const second = join('b1', 'b', patience(20));
  await expect(second).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  flown[0]!.land();
  expect(await first).toBe('a1');
  expect(flights.waiting).toBe(0);
});

test('whoever is left by a flight after its patience has ended is told to come again', async () => {
  startFlights();
  left.add('a1');
  const first = join('a1', 'a', patience(20));
  await expect(join('b1', 'b', patience(60))).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
  flown[0]!.land();
  await expect(first).rejects.toMatchObject({ code: 'CENTRAL_BUSY' });
});
