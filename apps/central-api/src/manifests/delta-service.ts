import { Injectable } from '@nestjs/common';
import { type ManifestTable, sha256, WaypostError } from '@waypost/contracts';
import { DataSource } from 'typeorm';
import { DeltaStore } from '../deltas/delta-store.js';
import { getManifest } from './find-manifest.js';

/** A delta stream, or the rest of one. */
export interface Delta {
  body: Buffer;
  etag: string;
  contentRange?: string;
}

/** Finds what leads a device from the table that it holds to that of its manifest. */
@Injectable()
export class DeltaService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly deltas: DeltaStore,
  ) {}

  /**
   * @param table of the device's manifest
   * @param base the manifest that the device holds, one of its own
   * @param range `bytes=<start>-`, with the ETag of what the device has of it
   * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS of the base; DELTA_NONE, RANGE_INVALID, SNAPSHOT_MISSING
   */
  async find(
    table: ManifestTable,
    { base, mac }: { base: string; mac: string },
    range: { from: number; etag: string | undefined },
  ): Promise<Delta> {
    const held = (await getManifest(this.dataSource.manager, base, mac)).tables.find(({ name }) => name === table.name);
    if (!held) throw none(table, `the manifest ${base} has no such table`);
    if (held.format !== table.format) throw none(table, 'its rows are in another format than before');
    const delta = await this.deltas.get(held, table);
    if (typeof delta === 'string') throw none(table, delta);
    const etag = `"${sha256(delta).toString('hex')}"`;
    const from = range.etag === undefined || range.etag === etag ? range.from : 0;
    if (from === 0) return { body: delta, etag };
    if (from >= delta.length) throw new WaypostError('RANGE_INVALID', { detail: `The delta has ${delta.length} bytes.` });
    return { body: delta.subarray(from), etag, contentRange: `bytes ${from}-${delta.length - 1}/${delta.length}` };
  }
}

function none({ name }: ManifestTable, why: string): WaypostError {
  return new WaypostError('DELTA_NONE', { detail: `There is no delta of ${name}: ${why}.` });
}
