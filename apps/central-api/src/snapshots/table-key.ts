import { canonicalJson, type ManifestColumn, sha256Hex } from '@waypost/contracts';
import type { RowLayout } from '@waypost/runtime';
import type { Scope } from '../scopes/resolve-scope.js';

/** How rows become chunks and frames. Raised when that changes: what was stored before must not be taken for the same. */
const FORMAT_VERSION = 1;

interface KeyedRead {
  /** The canonical query, its parameters as settings. */
  query: string;
  /** Names of the parameters that it uses. */
  parameters: readonly string[];
  layout: Omit<RowLayout, 'columns'> & { columns: readonly Pick<ManifestColumn, 'name' | 'type'>[] };
}

/** Names all that decides the bytes of a table, but the rows in the database and the definitions in its catalog. */
export function tableKey({ query, parameters, layout: { columns, key, format } }: KeyedRead, scope: Scope): string {
  const values = parameters.map((name) => [name, scope.get(name) ?? null]);
  return sha256Hex(
    canonicalJson({ form: FORMAT_VERSION, query, values, columns: columns.map(({ name, type }) => [name, type]), key, format }),
  );
}
