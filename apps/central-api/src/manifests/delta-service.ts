import { Injectable } from '@nestjs/common';
import { Readable } from 'node:stream';
import { type ManifestTable, WaypostError } from '@waypost/contracts';
import { DataSource } from 'typeorm';
import { DeltaStore } from '../deltas/delta-store.js';
import { getManifest } from './find-manifest.js';

/** A delta stream, or the rest of one. */
export interface Delta {
  body: Readable;
  length: number;
  etag: string;
  contentRange?: string;
}

interface DeltaRange {
  /** Of `bytes=<from>-`. */
  from: number;
  /** Of what the device has of it. */
  etag: string | undefined;
  /** Nothing is to be sent, so nothing of it is read. */
  isHead: boolean;
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
   * @throws WaypostError MANIFEST_UNKNOWN, MANIFEST_NOT_YOURS of the base; DELTA_NONE, RANGE_INVALID, SNAPSHOT_MISSING
   */
  async find(table: ManifestTable, { base, mac }: { base: string; mac: string }, { isHead, ...range }: DeltaRange): Promise<Delta> {
    const held = (await getManifest(this.dataSource.manager, base, mac)).tables.find(({ name }) => name === table.name);
    if (!held) throw none(table, `the manifest ${base} has no such table`);
    if (held.format !== table.format) throw none(table, 'its rows are in another format than before');
    const delta = await this.deltas.get(held, table);
    if (typeof delta === 'string') throw none(table, delta);
    const { deltaId, bytes } = delta;
    const etag = `"${deltaId}"`;
    const from = range.etag === undefined || range.etag === etag ? range.from : 0;
    if (from >= bytes) throw new WaypostError('RANGE_INVALID', { detail: `The delta has ${bytes} bytes.` });
    const body = isHead ? Readable.from([]) : Readable.from(this.deltas.read(delta, from), { objectMode: false, highWaterMark: 1 });
    return { body, length: bytes - from, etag, ...(from > 0 ? { contentRange: `bytes ${from}-${bytes - 1}/${bytes}` } : {}) };
  }
}

function none({ name }: ManifestTable, why: string): WaypostError {
  return new WaypostError('DELTA_NONE', { detail: `There is no delta of ${name}: ${why}.` });
}
