import { type Manifest, manifestSha256, sealManifest, WaypostError } from '@waypost/contracts';
import fc from 'fast-check';
import { checkExpectation } from '../chunk-source/check-index.js';
import { checkManifest, openOwnManifest } from './check-manifest.js';

/** Manifests that are not what central sealed. */

const SEED = 20_261_121;
const RUNS = { altered: 2000, resealed: 1500, bodies: 500 };
const MAC = '48:b0:2d:e9:c3:b7';

const ORIGINAL: Manifest = sealManifest({
  manifestId: '01J9ZK4Q8V5N6M7P8R9S0T1V2W',
  generatedAt: '2026-11-21T10:00:00.000Z',
  expiresAt: '2026-11-22T10:00:00.000Z',
  schemaVersion: 1,
  epoch: 'epoch-1',
  sequence: 7,
  device: { mac: MAC, id: '1' },
  filters: { location_id: '5', company_id: null },
  types: [{ name: 'mood', kind: 'enum', labels: ['good', 'bad'] }],
  tables: ['users', '"Odd Schema"."Select"'].map((name) => ({
    name,
    rowCount: 10,
    sha256: 'a'.repeat(64),
    format: 'binary' as const,
    columns: [
      { name: 'id', type: 'bigint', notNull: true },
      { name: 'mood', type: 'mood', notNull: false },
    ],
    key: ['id'],
    rawBytes: 1000,
    streamBytes: 600,
  })),
});
const APPLIED = {
  manifestId: ORIGINAL.manifestId,
  manifestSha256: ORIGINAL.sha256,
  epoch: 'epoch-1',
  sequence: 7,
  retiredEpochs: ['epoch-0'],
};

type Path = (string | number)[];
const PATHS = pathsOf(ORIGINAL);
const value = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom<unknown>(
      null,
      true,
      0,
      -1,
      1.5,
      2 ** 53,
      -0,
      1e300,
      '',
      '\0',
      '\ud800',
      [],
      {},
      '__proto__',
      '"',
      'epoch-0',
    ),
  },
  fc.string({ unit: 'binary' }),
  fc.jsonValue({ maxDepth: 3 }),
);
const change = fc.record({ path: fc.constantFrom(...PATHS), how: fc.constantFrom('set', 'remove', 'double', 'add'), value });
type Change = { path: Path; how: string; value: unknown };
const changes = fc.array(change, { minLength: 1, maxLength: 4 });

function pathsOf(node: unknown, path: Path = []): Path[] {
  const children = node !== null && typeof node === 'object' ? Object.entries(node) : [];
  const keyOf = (key: string): string | number => (Array.isArray(node) ? Number(key) : key);
  return [...(path.length > 0 ? [path] : []), ...children.flatMap(([key, child]) => pathsOf(child, [...path, keyOf(key)]))];
}

function altered(steps: readonly Change[]): unknown {
  const root = structuredClone(ORIGINAL) as unknown;
  for (const { path, how, value: given } of steps) {
    let parent = root as Record<string | number, unknown> | null | undefined;
    for (const key of path.slice(0, -1)) parent = parent?.[key] as typeof parent;
    const last = path.at(-1) as string | number;
    if (parent === null || typeof parent !== 'object') continue;
    if (how === 'remove') Reflect.deleteProperty(parent, last);
    else if (how === 'double' && Array.isArray(parent)) parent.push(parent[last as number]);
    else if (how === 'add') parent[`${last}x`] = given;
    else parent[last] = given;
  }
  return root;
}

/** All that the cycle asks of a manifest before it touches anything. */
function examine(received: unknown, expected: { applied?: typeof APPLIED } = {}): Manifest {
  const manifest = openOwnManifest(received, MAC);
  checkManifest(manifest, { schemaVersion: 1, applied: expected.applied as never, centralTime: new Date('2026-11-21T12:00:00Z') });
  manifest.tables.forEach(checkExpectation);
  return manifest;
}

function codeOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof WaypostError) return error.code;
    throw error;
  }
}

const REFUSALS = /^(MANIFEST_INVALID|MANIFEST_NOT_YOURS|MANIFEST_EXPIRED|MANIFEST_OUT_OF_ORDER|SCHEMA_VERSION_MISMATCH|NAME_INVALID)$/;

test('the manifest as it is passes', () => {
  expect(examine(ORIGINAL, { applied: APPLIED })).toEqual(ORIGINAL);
});

test(`${RUNS.altered} altered manifests are refused, unless nothing was altered`, () => {
  fc.assert(
    fc.property(changes, (steps) => {
      const received = altered(steps);
      const code = codeOf(() => examine(received));
      if (code === undefined) expect(JSON.stringify(received)).toBe(JSON.stringify(ORIGINAL));
      else expect(code).toMatch(/^(MANIFEST_INVALID|NAME_INVALID)$/);
    }),
    { numRuns: RUNS.altered, seed: SEED },
  );
});

test(`${RUNS.resealed} altered manifests with a hash that fits are refused with a reason, or are manifests for this device, of its order`, () => {
  fc.assert(
    fc.property(changes, fc.boolean(), (steps, again) => {
      const received = altered(steps) as Manifest;
      let sealed: unknown;
      try {
        sealed = { ...received, sha256: manifestSha256(received) };
      } catch {
        return; // what canonical JSON cannot hold, central cannot seal
      }
      const code = codeOf(() => examine(sealed, again ? { applied: APPLIED } : {}));
      if (code !== undefined) {
        expect(code).toMatch(REFUSALS);
        return;
      }
      const manifest = sealed as Manifest;
      expect(manifest.device.mac.toLowerCase().replace(/[^0-9a-f]/g, '')).toBe(MAC.replaceAll(':', ''));
      expect(manifest.schemaVersion).toBe(1);
      if (again && manifest.epoch === APPLIED.epoch) expect(manifest.sequence).toBeGreaterThanOrEqual(APPLIED.sequence);
      expect(manifest.epoch).not.toBe(again ? 'epoch-0' : undefined);
    }),
    { numRuns: RUNS.resealed, seed: SEED },
  );
});

test(`${RUNS.bodies} bodies that are no manifests are refused`, () => {
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fc.anything()), (received) => {
      expect(codeOf(() => examine(received))).toBe('MANIFEST_INVALID');
    }),
    { numRuns: RUNS.bodies, seed: SEED },
  );
});
