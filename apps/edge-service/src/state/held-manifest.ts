import { Inject, Injectable } from '@nestjs/common';
import { type Manifest, openManifest, WaypostError } from '@waypost/contracts';
import { LOGGER, queryPrepared } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import type { AppliedState } from './mirror-state.js';
import { READ_MANIFEST } from './state.sql.js';

/**
 * The manifest that the device holds, as it came: the transaction that applied it wrote it to waypost.edge_sync_state. It is read and its seal
 * checked once for each manifest and process.
 */
@Injectable()
export class HeldManifest {
  private last: Manifest | undefined;

  constructor(@Inject(LOGGER) private readonly logger: Logger) {}

  /** Undefined where it is missing, as after an update from a version that did not keep it, or is not what was applied: central sends it again. */
  async find(client: pg.ClientBase, applied: AppliedState): Promise<Manifest | undefined> {
    if (!this.last || !isOf(this.last, applied)) this.last = await this.read(client, applied);
    return this.last;
  }

  private async read(client: pg.ClientBase, applied: AppliedState): Promise<Manifest | undefined> {
    const [row] = await queryPrepared<{ value: string }>(client, 'manifest', READ_MANIFEST, []);
    if (!row) return undefined;
    try {
      const manifest = openManifest(JSON.parse(row.value));
      if (isOf(manifest, applied)) return manifest;
      throw new WaypostError('MANIFEST_INVALID', { detail: `The manifest that is stored is ${manifest.manifestId}.` });
    } catch (err) {
      this.logger.warn({ err, manifestId: applied.manifestId }, 'the manifest that is kept was altered: central is asked for it');
      return undefined;
    }
  }
}

function isOf({ manifestId, sha256 }: Manifest, applied: AppliedState): boolean {
  return manifestId === applied.manifestId && sha256 === applied.manifestSha256;
}
