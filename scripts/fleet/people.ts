import type { CopyValue } from './copy-text.js';
import type { FleetSize } from './fleet-size.js';
import type { Places } from './places.js';
import { Random } from './random.js';
import { seededFaker } from './seeded-faker.js';
import { date, DAY_MS, timestamp, TODAY_MS } from './time.js';

/** Faker takes about 2 µs per field and this bounds it: a million people are combined from so many names. */
const POOL_SIZE = 2_000;
const ROLES = ['viewer', 'viewer', 'viewer', 'viewer', 'technician', 'technician', 'manager', 'admin', 'owner'];
const LANGUAGES = ['en-US', 'en-GB', 'de-DE', 'es-MX', 'fr-CA', 'ja-JP'];
const HOLDS_COMPANY_WIDE_GROUP = 0.1;

/** The users, streamed: about 200 bytes each. */
export function* userRows(size: FleetSize, places: Places): Generator<CopyValue[]> {
  const pools = makePools(size.seed);
  const random = new Random(size.seed, 'users');
  for (const { id, companyId } of assignments(size, places)) {
    const first = random.pick(pools.firstNames);
    const last = random.pick(pools.lastNames);
    const created = TODAY_MS - (1 + random.below(2500)) * DAY_MS + random.below(DAY_MS);
    yield [
      id,
      companyId,
      `${mailName(first)}.${mailName(last)}.${id}@${places.companies[companyId - 1]?.domain}`,
      `${first} ${last}`,
      random.pick(ROLES),
      random.chance(0.8) ? random.pick(pools.jobTitles) : null,
      random.chance(0.7) ? `+1${2_000_000_000 + random.below(7_999_999_999)}` : null,
      random.chance(0.9) ? (15 + random.below(12_000) / 100).toFixed(2) : null,
      random.chance(0.97),
      random.pick(pools.preferences),
      random.chance(0.85) ? timestamp(TODAY_MS - random.below(60 * DAY_MS), random.below(1000)) : null,
      timestamp(created, random.below(1000)),
    ];
  }
}

/** Who belongs to which group, streamed: the staff of their location, and for one in ten a company-wide group. */
export function* groupMemberRows(size: FleetSize, places: Places): Generator<CopyValue[]> {
  const random = new Random(size.seed, 'group_members');
  for (const { id, staffGroupId, companyWideGroupId } of assignments(size, places)) {
    const joined = date(TODAY_MS - random.below(1500) * DAY_MS);
    yield [staffGroupId, id, joined];
    if (companyWideGroupId !== undefined) yield [companyWideGroupId, id, joined];
  }
}

/** Deals each user a location, the same at every call. */
function* assignments(size: FleetSize, { companies, locations }: Places) {
  const random = new Random(size.seed, 'assignments');
  for (let id = 1; id <= size.users; id += 1) {
    const { companyId, staffGroupId } = random.pick(locations);
    const wide = companies[companyId - 1]?.companyWideGroupIds ?? [];
    yield { id, companyId, staffGroupId, companyWideGroupId: random.chance(HOLDS_COMPANY_WIDE_GROUP) ? random.pick(wide) : undefined };
  }
}

function makePools(seed: number) {
  const faker = seededFaker(seed);
  const pool = (make: () => string): string[] => Array.from({ length: POOL_SIZE }, make);
  const preferences = LANGUAGES.flatMap((language) =>
    ['dark', 'light'].flatMap((theme) => [['email'], ['email', 'push'], []].map((alerts) => JSON.stringify({ language, theme, alerts }))),
  );
  return {
    firstNames: pool(() => faker.person.firstName()),
    lastNames: pool(() => faker.person.lastName()),
    jobTitles: pool(() => faker.person.jobTitle()),
    preferences,
  };
}

function mailName(name: string): string {
  return name.toLowerCase().replace(/[^a-z]/g, '');
}
