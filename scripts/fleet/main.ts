import { parseArgs } from 'node:util';
import { withClient } from '../with-client.js';
import { fillFleet } from './fill-fleet.js';
import { DEFAULT_FLEET_SIZE, type FleetSize } from './fleet-size.js';
import { FLEET_TABLES } from './schema.js';
import { untilReady } from './until-ready.js';

const SIZES = Object.keys(DEFAULT_FLEET_SIZE) as (keyof FleetSize)[];

const USAGE = `Fills a database with the example fleet (see plans/fleet.yaml).

  npm run fleet -- --database-url postgres://… [options]

  --database-url URL   default: the environment's DATABASE_URL
${SIZES.map((name) => `  --${name} N`.padEnd(23) + `default: ${DEFAULT_FLEET_SIZE[name]}`).join('\n')}
  --replace            drop the example's tables first
  --wait SECONDS       how long to wait for a database that does not answer yet; default: 0
`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      ...Object.fromEntries(SIZES.map((name) => [name, { type: 'string' as const }])),
      'database-url': { type: 'string' },
      replace: { type: 'boolean' },
      wait: { type: 'string', default: '0' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const url = values['database-url'] ?? process.env['DATABASE_URL'];
  if (!url) throw new Error(`Which database? Give --database-url.\n\n${USAGE}`);

  const given = values as Record<string, string | boolean | undefined>;
  const size = Object.fromEntries(SIZES.filter((name) => given[name] !== undefined).map((name) => [name, wholeNumber(name, given[name])]));
  await untilReady(url, wholeNumber('wait', values.wait) * 1000);
  await withClient(url, async (client) => {
    const startedAt = performance.now();
    await fillFleet(client, { ...size, replace: values.replace ?? false });
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    const counts = FLEET_TABLES.map((table) => `SELECT '${table}' AS "table", count(*)::int AS rows FROM public.${table}`);
    console.table((await client.query<object>(counts.join(' UNION ALL '))).rows);
    console.log(`filled in ${seconds} s`);
    if (values.replace)
      console.log('The tables are new ones. To record what changes in them, run: npx waypost capture install --plan plans/fleet.yaml');
  });
}

function wholeNumber(name: string, text: unknown): number {
  const digits = String(text).replaceAll('_', '');
  if (!/^\d+$/.test(digits)) throw new Error(`--${name} takes a whole number, not ${JSON.stringify(text)}`);
  return Number(digits);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
