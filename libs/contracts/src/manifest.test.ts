import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { keyFieldsOf, type Manifest, manifestSha256, openManifest, sealManifest } from './manifest.js';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const unsealed = JSON.parse(readFileSync(new URL('../golden/manifest.json', import.meta.url), 'utf8')) as Omit<Manifest, 'sha256'>;
const refused = expect.objectContaining({ code: 'MANIFEST_INVALID' }) as Error;

/** What arrives at the other end of the wire. */
function transmitted(manifest: object): Record<string, Json> {
  return JSON.parse(JSON.stringify(manifest)) as Record<string, Json>;
}

/** Seals whatever it is, as a sender would that makes a wrong manifest on purpose. */
function sealAnything(manifest: object): object {
  return { ...manifest, sha256: manifestSha256(manifest as Manifest) };
}

/** Every leaf and every container below `value`, by the path to it. */
function paths(value: Json, path: (string | number)[] = []): (string | number)[][] {
  if (typeof value !== 'object' || value === null) return [path];
  const below = Object.entries(value).flatMap(([key, member]) => paths(member, [...path, Array.isArray(value) ? Number(key) : key]));
  return path.length === 0 ? below : [path, ...below];
}

/** Calls `change` with the container that holds the value at the path, and its key there. */
function at(root: Json, path: readonly (string | number)[], change: (parent: Record<string | number, Json>, key: string | number) => void) {
  let parent = root as Record<string | number, Json>;
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<string | number, Json>;
  change(parent, path.at(-1) as string | number);
}

describe('a sealed manifest', () => {
  const sealed = sealManifest(unsealed);
  const anyPath = fc.constantFrom(...paths(transmitted(sealed)));

  test('opens as what was sealed, whatever the order of its fields', () => {
    expect(openManifest(transmitted(sealed))).toEqual(sealed);
    expect(openManifest(Object.fromEntries(Object.entries(transmitted(sealed)).reverse()))).toEqual(sealed);
  });

  test('is refused after any change of any value', () => {
    fc.assert(
      fc.property(anyPath, fc.jsonValue() as fc.Arbitrary<Json>, (path, value) => {
        const received = transmitted(sealed);
        at(received, path, (parent, key) => {
          fc.pre(JSON.stringify(parent[key]) !== JSON.stringify(value));
          parent[key] = value;
        });
        expect(() => openManifest(received)).toThrow(refused);
      }),
      { numRuns: 500 },
    );
  });

  test('is refused after a change that keeps each field’s form', () => {
    const nudge = (value: Json): Json => {
      if (typeof value === 'number') return value - 1;
      if (typeof value === 'boolean') return !value;
      if (value === null) return 'x';
      if (typeof value !== 'string') return [];
      return /[0-9a-z]/i.test(value) ? value.replace(/[0-9a-z]/i, (digit) => (digit === '1' ? '2' : '1')) : `${value}x`;
    };
    for (const path of paths(transmitted(sealed))) {
      const received = transmitted(sealed);
      at(received, path, (parent, key) => {
        parent[key] = nudge(parent[key] as Json);
      });
      expect(() => openManifest(received)).toThrow(refused);
    }
  });

  test('is refused after the loss of any field or element', () => {
    for (const path of paths(transmitted(sealed))) {
      const received = transmitted(sealed);
      at(received, path, (parent, key) => {
        if (Array.isArray(parent)) parent.splice(key as number, 1);
        else delete parent[key];
      });
      expect(() => openManifest(received)).toThrow(refused);
    }
  });

  test('is refused when a field that this version does not know was added, at any depth', () => {
    const objects = paths(transmitted(sealed)).filter((path) => typeof path.at(-1) === 'string');
    fc.assert(
      fc.property(fc.constantFrom(...objects), (path) => {
        const received = transmitted(sealed);
        at(received, path, (parent) => {
          parent['aFieldOfTheFuture'] = 'x';
        });
        expect(() => openManifest(received)).toThrow(refused);
      }),
    );
  });

  test('is refused when two tables were exchanged', () => {
    const received = transmitted(sealed);
    (received['tables'] as Json[]).reverse();
    expect(() => openManifest(received)).toThrow(refused);
  });

  test('may hold fields of a newer version, which its hash covers and which stay in it, so that it can be checked again', () => {
    const newer = sealAnything({ ...unsealed, signature: { by: 'central' } });
    expect(openManifest(openManifest(transmitted(newer)))).toEqual(newer);
    const received = transmitted(newer);
    (received['signature'] as Record<string, Json>)['by'] = 'a stranger';
    expect(() => openManifest(received)).toThrow(refused);
  });

  test.each<[string, (manifest: Omit<Manifest, 'sha256'>) => object]>([
    ['names a table twice', (manifest) => ({ ...manifest, tables: [manifest.tables[0], manifest.tables[0]] })],
    ['has a key that is no column', ({ tables, ...manifest }) => ({ ...manifest, tables: [{ ...tables[0], key: ['id', 'gone'] }] })],
    ['has a table without a key', ({ tables, ...manifest }) => ({ ...manifest, tables: [{ ...tables[0], key: [] }] })],
    [
      'has a column twice',
      ({ tables, ...manifest }) => ({ ...manifest, tables: [{ ...tables[1], columns: [tables[1]?.columns[0], tables[1]?.columns[0]] }] }),
    ],
    ['has no sequence above zero', (manifest) => ({ ...manifest, sequence: 0 })],
    ['has a sequence that JSON numbers cannot hold', (manifest) => ({ ...manifest, sequence: 2 ** 53 })],
    ['has a manifestId that is no ULID', (manifest) => ({ ...manifest, manifestId: 'I1J9ZK4Q8V5N6M7P8R9S0T1V2W' })],
    ['has a date that is none', (manifest) => ({ ...manifest, expiresAt: '2026-02-30T10:00:00Z' })],
    ['has a negative row count', ({ tables, ...manifest }) => ({ ...manifest, tables: [{ ...tables[0], rowCount: -1 }] })],
    ['has an unknown row format', ({ tables, ...manifest }) => ({ ...manifest, tables: [{ ...tables[0], format: 'csv' }] })],
  ])('is refused although its hash is right when it %s', (_, change) => {
    expect(() => openManifest(transmitted(sealAnything(change(unsealed))))).toThrow(refused);
  });

  test.each([
    ['half of a surrogate pair', '\ud800'],
    ['more levels than anybody needs', JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) as Json],
  ])('is refused when an unknown member holds %s', (_, member) => {
    expect(() => openManifest({ ...sealManifest(unsealed), member })).toThrow(refused);
  });

  test.each([null, undefined, 7, 'manifest', [], {}])('is not %j', (received) => {
    expect(() => openManifest(received)).toThrow(refused);
  });
});

test('key fields are the positions of the key’s columns, in key order', () => {
  const columns = ['a', 'b', 'c'].map((name) => ({ name, type: 'integer', notNull: true }));
  expect(keyFieldsOf({ columns, key: ['c', 'a'] })).toEqual([2, 0]);
});

describe('indexes of a table', () => {
  const key = { column: 'id', operatorClass: 'int8_ops' };
  const index = { name: 'i', method: 'btree', keys: [key] };
  const withIndexes = (indexes: object[]): object => {
    const [first, ...others] = transmitted(unsealed)['tables'] as object[];
    return sealAnything({ ...unsealed, tables: [{ ...first, indexes }, ...others] });
  };

  test.each<[string, object[]]>([
    ['a column', [index]],
    ['an expression', [{ ...index, keys: [{ expression: 'lower(name)', operatorClass: 'text_ops', descending: true, nulls: 'last' }] }]],
    ['64 of them', Array<object>(64).fill(index)],
  ])('%s is taken', (_, indexes) => {
    expect(openManifest(withIndexes(indexes)).tables[0]?.indexes).toEqual(indexes);
  });

  test.each<[string, object[]]>([
    ['none, in a list', []],
    ['65 of them', Array<object>(65).fill(index)],
    ['neither column nor expression', [{ ...index, keys: [{ operatorClass: 'int8_ops' }] }]],
    ['both', [{ ...index, keys: [{ ...key, expression: 'id' }] }]],
    ['no key', [{ ...index, keys: [] }]],
    ['a predicate that is too long', [{ ...index, predicate: 'x'.repeat(4097) }]],
  ])('%s is refused', (_, indexes) => {
    expect(() => openManifest(withIndexes(indexes))).toThrow(refused);
  });
});
