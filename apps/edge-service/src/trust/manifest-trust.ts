import { Injectable, Inject } from '@nestjs/common';
import {
  checkManifestSignature,
  ledgerKeysOf,
  type Manifest,
  manifestSignatureSchema,
  openSuccessor,
  openTrust,
  type SignedTrust,
  type TrustDocument,
  WaypostError,
} from '@waypost/contracts';
import { faultPoint, LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { CentralCircuit } from '../central/central-circuit.js';
import { CentralClient } from '../central/central-client.js';
import { refusalCode } from '../central/central-errors.js';
import { IdentityFiles } from '../identity/identity-files.js';
import { Metrics } from '../metrics/metrics.js';
import type { SignedBy } from '../state/mirror-state.js';

/** A manifest whose signature is right. */
export interface Vouched {
  signedBy: SignedBy;
  /**
   * What was applied before does not count for the order: no key that is trusted now signed it. So a sequence or an epoch that a stolen key made up locks no
   * device out once the key is revoked.
   */
  startsOrder: boolean;
}

interface Asked {
  manifest: Manifest;
  /** What claims to be its signature. */
  signature: unknown;
  /** Central's clock, if its answer has it. */
  centralTime: Date | undefined;
  /** Who signed what is applied; undefined where nothing is, or it was not verified. */
  before: SignedBy | undefined;
}

/** The last time that central signed, and when that was here, on the monotonic clock. */
interface Anchor extends SignedBy {
  atMs: number;
}

/** For GET /api/sync/status and /health. */
export type TrustReport =
  | { verified: false; message: string }
  | { verified: true; version: number; fleet: string; keys: { kid: string; use: string; expiresAt: string }[]; signedAt: string | null };

export const UNVERIFIED = 'manifests are not verified: this device has not enrolled';

/** A device follows so many rotations in one cycle; the next one goes on. */
const MAX_STEPS = 100;
/** Part of a manifest's life after which a signature is stale. Central makes a new one after a hundredth. */
const STALE_AFTER = 0.1;
/** Of manifests that live for minutes. */
const MIN_STALE_MS = 60_000;

/**
 * Decides whose manifests this device believes. A device that has enrolled has a pinned trust document and takes no manifest that a key of it did not sign; one
 * that never enrolled takes what its MAC gets, unverified.
 */
@Injectable()
export class ManifestTrust {
  private anchor: Anchor | undefined;
  private staleSince: Date | undefined;
  private staleText = '';

  constructor(
    private readonly files: IdentityFiles,
    private readonly central: CentralClient,
    private readonly circuit: CentralCircuit,
    private readonly metrics: Metrics,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Follows central's trust documents where there are newer ones, then checks the signature.
   * @returns undefined for a device that has not enrolled
   * @throws WaypostError MANIFEST_UNTRUSTED; IDENTITY_UNREADABLE; what central refuses with
   */
  async check({ manifest, signature, centralTime, before }: Asked, signal: AbortSignal): Promise<Vouched | undefined> {
    if (!(await this.isEnrolled())) return undefined;
    const signed = manifestSignatureSchema.safeParse(signature).data;
    if (!signed) throw unsigned(signature);
    const trusted = await this.follow(signed.trust, signal);
    const [floor] = [this.anchor, before && { ...before, atMs: performance.now() }].filter(
      (anchor) => anchor && isNamed(trusted, anchor.kid),
    );
    const time = new Date(Math.max(centralTime?.getTime() ?? 0, floor ? timeOf(floor) : 0));
    checkManifestSignature(trusted, { sha256: manifest.sha256, signature: signed, time });
    const { kid, issuedAt } = signed;
    if (!floor || Date.parse(issuedAt) > timeOf(floor)) this.anchor = { kid, issuedAt, atMs: performance.now() };
    else this.anchor = floor;
    this.judgeAge(manifest, issuedAt, time);
    return { signedBy: { kid, issuedAt }, startsOrder: before === undefined || !isNamed(trusted, before.kid) };
  }

  /** The keys that sign the fleet's ledger, as the trust document says; undefined where it names none, or the device has none. */
  async ledgerKeys(): Promise<ReturnType<typeof ledgerKeysOf>> {
    const signed = await this.files.trust();
    return signed && ledgerKeysOf(signed.document, new Date(this.anchor ? timeOf(this.anchor) : 0));
  }

  /** Follows trust documents that no answer has named yet: a process of central may learn of a rotation some seconds after another. */
  async followNewest(signal: AbortSignal): Promise<void> {
    if (!(await this.files.trust())) return;
    try {
      await this.follow(Infinity, signal);
    } catch (error) {
      if (refusalCode(error) !== 'TRUST_UNKNOWN') throw error;
    }
  }

  /** MANIFEST_STALE while central's newest signature is too old, though it is right. */
  get alert(): { error: WaypostError; since: Date } | undefined {
    return this.staleSince && { error: new WaypostError('MANIFEST_STALE', { detail: this.staleText }), since: this.staleSince };
  }

  async report(): Promise<TrustReport> {
    const signed = await this.files.trust();
    if (!signed)
      return {
        verified: false,
        message: (await this.files.identity()) ? 'no trust document is here yet: the next cycle fetches it' : UNVERIFIED,
      };
    const { version, fleet, keys } = signed.document;
    return {
      verified: true,
      version,
      fleet,
      keys: keys.map(({ kid, use, expiresAt }) => ({ kid, use, expiresAt })),
      signedAt: this.anchor?.issuedAt ?? null,
    };
  }

  private async isEnrolled(): Promise<boolean> {
    return ((await this.files.trust()) ?? (await this.files.identity())) !== undefined;
  }

  /** @returns the newest document that can be believed; older than `version` only after MAX_STEPS */
  private async follow(version: number, signal: AbortSignal): Promise<TrustDocument> {
    let { document } = (await this.files.trust()) ?? (await this.pinFirst(version, signal));
    for (let steps = 0; document.version < version && steps < MAX_STEPS; steps += 1) {
      const received = await this.fetch(document.version + 1, signal);
      const successor = openSuccessor(document, received);
      await faultPoint('edge.trust-received');
      await this.files.storeTrust(successor);
      await faultPoint('edge.trust-stored');
      document = successor.document;
      this.logger.info({ trust: document.version }, 'the device follows a new trust document');
    }
    this.metrics.trustVersion.set(document.version);
    return document;
  }

  /** A device that enrolled before there were trust documents: it believes what central gives it for its access token. */
  private async pinFirst(version: number, signal: AbortSignal): Promise<SignedTrust> {
    const identity = await this.files.identity();
    const signed = openTrust(await this.fetch(version, signal));
    const { fleet } = signed.document;
    if (fleet !== identity?.fleet) {
      throw new WaypostError('MANIFEST_UNTRUSTED', {
        detail: `Central’s trust document is of the fleet ${fleet}; this device belongs to ${identity?.fleet}.`,
      });
    }
    await this.files.storeTrust(signed);
    this.logger.info({ trust: signed.document.version, fleet }, 'the device trusts the keys of its fleet from now on');
    return signed;
  }

  private async fetch(version: number, signal: AbortSignal): Promise<unknown> {
    return this.circuit.run(() => this.central.fetchTrust(version, signal), signal);
  }

  private judgeAge({ generatedAt, expiresAt, manifestId }: Manifest, issuedAt: string, time: Date): void {
    const ageMs = Math.max(0, time.getTime() - Date.parse(issuedAt));
    this.metrics.signatureAgeSeconds.set(ageMs / 1000);
    const limitMs = Math.max(MIN_STALE_MS, STALE_AFTER * (Date.parse(expiresAt) - Date.parse(generatedAt)));
    if (ageMs <= limitMs) return void (this.staleSince = undefined);
    this.staleText = `Central’s signature of manifest ${manifestId} is ${Math.round(ageMs / 60_000)} min old; it should be younger than ${Math.round(limitMs / 60_000)} min.`;
    if (!this.staleSince) this.logger.error({ manifestId, ageMs, limitMs }, 'central’s signature is older than it should be');
    this.staleSince ??= new Date();
  }
}

/** Central's time at least: what it signed last, and what has passed since. */
function timeOf({ issuedAt, atMs }: Anchor): number {
  return Date.parse(issuedAt) + performance.now() - atMs;
}

function isNamed({ keys }: TrustDocument, kid: string): boolean {
  return keys.some((key) => key.kid === kid);
}

function unsigned(signature: unknown): WaypostError {
  return new WaypostError('MANIFEST_UNTRUSTED', {
    detail: signature === undefined ? 'Central’s answer has no signature.' : 'Central’s answer has a signature that is malformed.',
    hint: 'Update central first if it is of an earlier version. Otherwise something between device and central alters answers. The device keeps what it has.',
  });
}
