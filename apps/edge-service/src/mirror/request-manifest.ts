import { Inject, Injectable } from '@nestjs/common';
import { databaseFingerprint, type Have, type Manifest } from '@waypost/contracts';
import { databaseIsCentrals, faultPoint, addContext } from '@waypost/runtime';
import type pg from 'pg';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { Database } from '../database/database.js';
import type { LiveDownload } from '../download/live-download.js';
import { ManifestTrust } from '../trust/manifest-trust.js';
import { HeldManifest } from '../state/held-manifest.js';
import type { AppliedState } from '../state/mirror-state.js';
import { checkManifest, openOwnManifest } from './check-manifest.js';
import type { Cycle } from '../phase/cycle.js';
import { FirstSync } from './first-sync.js';
import { MIRROR_OPTIONS, type MirrorOptions } from './mirror-options.js';

/** A manifest that this device may apply. */
export interface RequestedManifest {
  manifest: Manifest;
  /** It is the one that the device holds. */
  isHeld: boolean;
  /** Deltas that came with it, from the manifest that the device holds, by table, unchecked. */
  deltas?: ReadonlyMap<string, Buffer>;
}

/** What central sent, unchecked. */
export interface ReceivedManifest {
  manifest: unknown;
  signature: unknown;
  /** Central's clock, if it sends the time. */
  centralTime: Date | undefined;
}

/** Asks central what the device should hold. Where that is what it holds, central need not repeat the manifest. */
@Injectable()
export class RequestManifest {
  constructor(
    @Inject(MIRROR_OPTIONS) private readonly options: MirrorOptions,
    private readonly central: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly held: HeldManifest,
    private readonly trust: ManifestTrust,
    private readonly firstSync: FirstSync,
    private readonly database: Database,
  ) {}

  /**
   * @returns a manifest that this device may apply, or rows that come before it, for a device that holds nothing
   * @throws WaypostError as `accept`; WRONG_DATABASE; CENTRAL_UNREACHABLE, CENTRAL_REFUSED, CENTRAL_BUSY
   */
  async manifest(cycle: Cycle, client: pg.PoolClient, before: AppliedState | undefined): Promise<RequestedManifest | LiveDownload> {
    const held = before && (await this.held.find(client, before));
    if (before) await this.firstSync.tidy(cycle);
    const takesLive = !before && (await this.firstSync.isEnabled());
    const answer = takesLive ? await this.askLive(cycle.stop) : await this.ask(before, held, cycle.stop);
    await faultPoint('edge.request-answered');
    if (answer.database === databaseFingerprint(this.database.identity.identity)) {
      if ('live' in answer) answer.live.on('error', () => undefined).destroy();
      throw databaseIsCentrals('central says that it serves this very database');
    }
    if ('live' in answer) return (await this.firstSync.open(answer, cycle)) ?? this.manifest(cycle, client, before);
    const manifest = await this.accept(cycle, answer, before, held);
    return { manifest, isHeld: manifest.sha256 === held?.sha256, deltas: answer.deltas };
  }

  /** Notes in the cycle who signed it. @throws WaypostError when this device must not apply it */
  async accept(
    cycle: Cycle,
    { manifest: received, signature, centralTime }: ReceivedManifest,
    before: AppliedState | undefined,
    held?: Manifest,
  ): Promise<Manifest> {
    const { progress, log } = cycle;
    // The seal of the one that is held was checked when it was read.
    const manifest = held !== undefined && received === held ? held : openOwnManifest(received, this.options.deviceMac);
    Object.assign(progress, { manifestId: manifest.manifestId, epoch: manifest.epoch, sequence: manifest.sequence });
    addContext({ manifestId: manifest.manifestId });
    cycle.vouched = await this.trust.check({ manifest, signature, centralTime, before: before?.signedBy }, cycle.stop);
    const applied = cycle.vouched?.startsOrder ? undefined : before;
    checkManifest(manifest, { schemaVersion: this.options.schemaVersion, applied, centralTime });
    if (before && before.epoch !== manifest.epoch) {
      log.warn(
        { manifestId: manifest.manifestId, from: before.epoch, to: manifest.epoch },
        'central started a new epoch: it was restored or replaced',
      );
    }
    await faultPoint('edge.manifest-checked');
    return manifest;
  }

  private async askLive(stop: AbortSignal) {
    return this.circuit.run(() => this.central.requestLive(stop), stop);
  }

  /** @returns what claims to be a manifest, or the very one that is held, where central says that nothing has changed */
  private async ask(before: AppliedState | undefined, held: Manifest | undefined, stop: AbortSignal) {
    const have = before && haveOf(before);
    const request = (isMinimal: boolean) => this.circuit.run(() => this.central.requestManifest(have, isMinimal, stop), stop);
    const answer = await request(held !== undefined);
    const { unchanged } = answer;
    if (!unchanged) return answer;
    if (held && unchanged.manifestId === held.manifestId && unchanged.sha256 === held.sha256) return { ...answer, manifest: held };
    // Central names another manifest than the held one: it must send it in full.
    return request(false);
  }
}

function haveOf({ epoch, sequence, manifestId, receipt }: AppliedState): Have {
  return { epoch, sequence, manifestId, ...(receipt === undefined ? {} : { receipt }) };
}
