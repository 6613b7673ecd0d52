import { Random } from '../scripts/fleet/random.js';
import type { ApplicationSchema } from './schemas/application-schema.js';
import { BLOG } from './schemas/blog.js';
import { RENTAL } from './schemas/rental.js';
import { SEATING } from './schemas/seating.js';
import { ApplicationPair, type SyncAnswer } from './support/application-pair.js';
import { startTestServer, type TestServer } from './support/postgres.js';

/**
 * Random changes at central, in schemas whose tables act on each other, under a device that has the same schema and tables of its own beside it.
 * SCHEMA_ROUNDS and SCHEMA_SEED choose how many, and which: the seed of a failure is part of the test's name.
 */

const ROUNDS = Number(process.env['SCHEMA_ROUNDS'] ?? 10);
const SEED = Number(process.env['SCHEMA_SEED'] ?? 1);

let server: TestServer;

beforeAll(async () => {
  server = await startTestServer();
});
afterAll(async () => {
  await server?.[Symbol.asyncDispose]();
});

const SETUPS = [
  { strategy: 'auto', captured: true, preloaded: false },
  { strategy: 'merge', captured: false, preloaded: false },
  { strategy: 'auto', captured: true, preloaded: true },
  { strategy: 'merge', captured: false, preloaded: true },
] as const;

describe.each([RENTAL, BLOG, SEATING])('$name', (schema: ApplicationSchema) => {
  test.each(SETUPS)(
    `LOAD_STRATEGY=$strategy, captured: $captured, preloaded: $preloaded: after each of ${ROUNDS} rounds from seed ${SEED} SQL finds the mirror equal, and own rows as they were`,
    async (setup) => {
      await using pair = await ApplicationPair.start({ server, schema, ...setup });
      const random = new Random(SEED, JSON.stringify([schema.name, setup]));
      expect(await pair.sync()).toMatchObject({ status: 'Success' });
      expect(await pair.mirror()).toEqual(await pair.share());
      if (setup.preloaded) await pair.createOwnTables();
      for (let round = 0; round < ROUNDS; round += 1) await playRound(pair, schema, random);
    },
    60_000 + ROUNDS * 5_000,
  );
});

async function playRound(pair: ApplicationPair, schema: ApplicationSchema, random: Random): Promise<void> {
  await pair.addOwnRows(random);
  const changes: string[] = [];
  while (changes.length === 0 || random.chance(0.4)) {
    const change = random.pick(schema.changes)(random);
    if (await pair.changeCentral(change)) changes.push(change);
  }
  const before = { mirror: await pair.mirror(), own: await pair.own() };
  const answer = await pair.sync();
  const after = { mirror: await pair.mirror(), own: await pair.own() };
  if (answer.status === 'Success' || answer.status === 'Unchanged') {
    expect({ changes, ...after }).toEqual({ changes, mirror: await pair.share(), own: before.own });
    return;
  }
  expect({ changes, answer, ...after }).toEqual({ changes, answer, ...before });
  await removeReferences(pair, { changes, answer });
}

/** A refusal names own tables whose rows stand in the way; without those rows the next sync must succeed. */
async function removeReferences(pair: ApplicationPair, { changes, answer }: { changes: string[]; answer: SyncAnswer }): Promise<void> {
  let last = answer;
  while (last.status !== 'Success') {
    expect({ changes, ...last }).toMatchObject({
      changes,
      code: 'LOCAL_REFERENCE',
      hint: expect.stringContaining('Remove the references'),
    });
    const own = await pair.own();
    const removed = await pair.removeReferences(last.detail ?? '');
    // Each refusal names a table that still has rows, so this ends.
    expect({ changes, last, rows: removed.flatMap((table) => own[table]!).length }).not.toMatchObject({ rows: 0 });
    last = await pair.sync();
  }
  expect({ changes, mirror: await pair.mirror() }).toEqual({ changes, mirror: await pair.share() });
}
