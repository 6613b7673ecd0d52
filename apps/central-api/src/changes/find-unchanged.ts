import { Inject, Injectable } from '@nestjs/common';
import type { Have, Manifest } from '@waypost/contracts';
import type { Ask } from '@waypost/runtime';
import type pg from 'pg';
import { DataSource } from 'typeorm';
import { CONFIG, type Config } from '../config.js';
import { EpochKeeper } from '../manifests/epoch-keeper.js';
import { livesOn } from '../manifests/issue-manifest.js';
import { ChangeWatch, type Watch } from './change-watch.js';
import { FIND_UNCHANGED, NOTE_SEEN, READ_SEEN } from './unchanged.sql.js';

/** Tells that a device is up to date without reading any of its tables. */
@Injectable()
export class FindUnchanged {
  private readonly ask: Ask;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly watch: ChangeWatch,
    private readonly epochs: EpochKeeper,
    dataSource: DataSource,
  ) {
    this.ask = (text, values) => dataSource.manager.query(text, values);
  }

  /**
   * The manifest that the device holds, if that is its last one, lives long enough, and no change to anything it came from was committed since.
   * Undefined in every case of doubt.
   */
  async find(mac: string, have: Have | undefined): Promise<Manifest | undefined> {
    if (!this.watch.isWanted || !have) return undefined;
    // Definitions first: what is altered after this is found by the next request.
    const watch = await this.watch.find(this.ask);
    if (!watch || !(await this.epochs.isInForce(this.ask, have))) return undefined;
    const [row] = await this.ask<{ document: Manifest; expiresAt: Date }>(FIND_UNCHANGED, [
      mac,
      have.manifestId,
      have.epoch,
      watch.fingerprint,
      watch.tables,
    ]);
    return row && livesOn(row, new Date(), this.config.MANIFEST_TTL) ? row.document : undefined;
  }

  /** What the transaction under way sees, to be noted with the manifest that comes of it. */
  async readSeen(client: pg.ClientBase): Promise<string> {
    const { rows } = await client.query<{ seen: string }>(READ_SEEN);
    return rows[0]!.seen;
  }

  /** From here on the manifest counts as what the device should hold, until a change that `seen` does not see. */
  async note(manifestId: string, seen: string, { fingerprint }: Watch): Promise<void> {
    await this.ask(NOTE_SEEN, [manifestId, seen, fingerprint]);
  }
}
