import { Inject, Injectable } from '@nestjs/common';
import { queryPrepared, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { Batcher } from '../database/batcher.js';
import { IDENTITY_POOL } from '../database/pools.js';
import { FIND_KEYED_MACS, FIND_KEYS } from './identity.sql.js';

/** A key in force, and its device. */
export interface DeviceKey {
  thumbprint: string;
  /** Ed25519, 32 bytes. */
  publicKey: Buffer;
  deviceId: string;
  mac: string;
  /** False while an operator has to approve it: it opens nothing. */
  isApproved: boolean;
}

/** One statement's work. */
const MAX_BATCH = 500;

/** Who is enrolled. Nothing is kept: a revocation counts from the next request on, also after a restore of the database. Requests that come together are looked up together. */
@Injectable()
export class DeviceDirectory {
  private readonly keys = new Batcher<string, DeviceKey | undefined>((thumbprints) => this.findKeys(thumbprints), MAX_BATCH);
  private readonly macs = new Batcher<string, boolean>((macs) => this.findKeyedMacs(macs), MAX_BATCH);

  constructor(@Inject(IDENTITY_POOL) private readonly pool: pg.Pool) {}

  /** @returns undefined for a key that is unknown or retired, or whose device was revoked */
  findKey(thumbprint: string): Promise<DeviceKey | undefined> {
    return this.keys.do(thumbprint);
  }

  /** Whether the device with this MAC is reached with its key alone: it has enrolled, or was revoked. */
  needsKey(mac: string): Promise<boolean> {
    return this.macs.do(mac);
  }

  private async findKeys(thumbprints: string[]): Promise<(DeviceKey | undefined)[]> {
    const rows = await withClient(this.pool, (client) => queryPrepared<DeviceKey>(client, 'device keys', FIND_KEYS, [thumbprints]));
    const found = new Map(rows.map((row) => [row.thumbprint, row]));
    return thumbprints.map((thumbprint) => found.get(thumbprint));
  }

  private async findKeyedMacs(macs: string[]): Promise<boolean[]> {
    const rows = await withClient(this.pool, (client) => queryPrepared<{ mac: string }>(client, 'keyed macs', FIND_KEYED_MACS, [macs]));
    const found = new Set(rows.map(({ mac }) => mac));
    return macs.map((mac) => found.has(mac));
  }
}
