import {
  type BorderKeys,
  BorderKeysBuilder,
  ChunkIndexBuilder,
  keyFieldsOf,
  type ManifestTable,
  parseTableName,
  quoteTable,
  sha256,
  type UserType,
} from '@waypost/contracts';
import {
  canonicalQuery,
  compress,
  describeTables,
  keyOrdersOf,
  pinSession,
  readChunks,
  TypeCatalog,
  typesOf,
  withTransaction,
} from '@waypost/runtime';
import type pg from 'pg';

/** A table of the source database as a manifest and a download have it. */
export interface TableStream {
  table: ManifestTable;
  bytes: Buffer;
  /** Where each part of `bytes` ends: the index, then each frame. */
  borders: number[];
  /** Where its chunks end. */
  keys: BorderKeys;
}

/** Reads tables as central would, all in one snapshot. */
export async function readStreams(client: pg.Client, names: readonly string[]): Promise<{ streams: TableStream[]; types: UserType[] }> {
  return withTransaction(client, 'ISOLATION LEVEL REPEATABLE READ READ ONLY', async () => {
    const described = await describeTables(
      client,
      names.map((name) => parseTableName(name)),
    );
    const all = typesOf(described.values());
    const catalog = await TypeCatalog.read(client, all);
    const streams: TableStream[] = [];
    await pinSession(client);
    for (const name of names) {
      const found = described.get(quoteTable(parseTableName(name)));
      if (!found) throw new Error(`the source has no table ${name}`);
      const columns = found.columns.filter(({ generated }) => !generated);
      const layout = { format: catalog.formatFor(typesOf([{ columns }])), columns, key: found.primaryKey };
      const query = canonicalQuery({ layout, table: quoteTable(parseTableName(name)), keyOrders: keyOrdersOf(columns) });
      const index = new ChunkIndexBuilder(layout.format);
      const frames: Buffer[] = [];
      const keys = new BorderKeysBuilder(keyFieldsOf(layout));
      const onChunk = (bytes: Buffer, rowCount: number, lastKey: () => Buffer): void => {
        keys.add(lastKey());
        const frame = compress(bytes);
        frames.push(frame);
        index.add({ digest: sha256(bytes), rowCount, rawBytes: bytes.length, frameBytes: frame.length });
      };
      await readChunks(client, { query, layout, onChunk });
      streams.push({ ...streamOf(name, layout, columns, index, frames), keys: keys.build() });
    }
    return { streams, types: catalog.userTypes(all) };
  });
}

function streamOf(
  name: string,
  { format, key }: Pick<ManifestTable, 'format' | 'key'>,
  columns: ManifestTable['columns'],
  builder: ChunkIndexBuilder,
  frames: Buffer[],
): Omit<TableStream, 'keys'> {
  const index = builder.build();
  const head = index.encode();
  const bytes = Buffer.concat([head, ...frames]);
  const borders = frames.reduce((ends, { length }) => [...ends, (ends.at(-1) as number) + length], [head.length]);
  const { rowCount, rawBytes, sha256: hash } = index.totals();
  const plain = columns.map((column) => ({ name: column.name, type: column.type, notNull: column.notNull }));
  return { table: { name, rowCount, sha256: hash, format, columns: plain, key, rawBytes, streamBytes: bytes.length }, bytes, borders };
}
