import { Inject, Injectable } from '@nestjs/common';
import { WaypostError } from '@waypost/contracts';
import { describeSpan, LOGGER, addContext, traced } from '@waypost/runtime';
import type { Logger } from 'pino';
import { DataSource } from 'typeorm';
import { CHECKED_PLAN, type CheckedPlan } from '../plan/check-plan.js';
import { type IssuedManifest, issueManifests, type Recipient } from './issue-manifests.js';
import { MANIFEST_OPTIONS, type ManifestOptions } from './manifest-options.js';
import type { PendingRequest } from './pending-request.js';

type SnapshotFacts = Pick<Parameters<typeof issueManifests>[2], 'epoch' | 'snapshot' | 'seen'>;

/** Gives each pending request its manifest of a snapshot. */
@Injectable()
export class ManifestIssuer {
  constructor(
    private readonly dataSource: DataSource,
    @Inject(CHECKED_PLAN) private readonly plan: CheckedPlan,
    @Inject(MANIFEST_OPTIONS) private readonly options: ManifestOptions,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Rejects the requests whose device is held back (SHARE_SHRANK). From here on all log lines and spans of each request name its manifest.
   * @returns the manifests of the others, which are not settled yet
   */
  async issue(recipients: ReadonlyMap<PendingRequest, Recipient>, facts: SnapshotFacts): Promise<Map<PendingRequest, IssuedManifest>> {
    return traced('manifest', {}, async () => {
      const present = [...recipients].filter(([request]) => !request.isSettled);
      const answers = await issueManifests(
        this.dataSource.manager,
        present.map(([, recipient]) => recipient),
        {
          ...facts,
          schemaVersion: this.plan.schemaVersion,
          onRemoved: this.plan.file.plan.onRemoved,
          ttlMs: this.options.ttlMs,
          maxShrink: this.options.maxShrink,
        },
      );
      const issued = new Map<PendingRequest, IssuedManifest>();
      for (const [at, [request]] of present.entries()) {
        const answer = answers[at] as (typeof answers)[number];
        if (answer instanceof WaypostError) request.reject(answer);
        else issued.set(request, answer);
      }
      for (const [request, manifest] of issued) request.within(() => this.report(request, manifest));
      const [first] = issued.values();
      if (first) describeSpan({ 'waypost.is_new': first.isNew });
      return issued;
    });
  }

  /** Which version, how much, proven by which hash; and what the device had until then. */
  private report({ mac, have }: PendingRequest, { manifest, isNew }: IssuedManifest): void {
    addContext({ manifestId: manifest.manifestId });
    const { sequence, epoch, schemaVersion, sha256, tables } = manifest;
    const rows = tables.reduce((sum, table) => sum + table.rowCount, 0);
    const facts = { mac, isNew, sequence, epoch, schemaVersion, sha256, tables: tables.length, rows, haveSequence: have?.sequence };
    this.logger.info(facts, 'manifest issued');
  }
}
