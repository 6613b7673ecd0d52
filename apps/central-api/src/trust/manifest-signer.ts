import { Inject, Injectable } from '@nestjs/common';
import { type ManifestSignature, signManifest, WaypostError } from '@waypost/contracts';
import { LRUCache } from 'lru-cache';
import { TRUST_OPTIONS, type TrustOptions } from './trust-options.js';
import { TrustKeeper } from './trust-keeper.js';

/** Part of a manifest's life for which a signature is given again. Devices raise an alarm at a tenth. A signature costs some 35 µs, a poll in all some 250. */
const REUSED_FOR = 0.01;
const MIN_REUSE_MS = 1000;
/** Devices that are up to date ask for the same one: some 400 bytes each. */
const MAX_SIGNATURES = 20_000;

/** Signs what devices should hold. */
@Injectable()
export class ManifestSigner {
  private readonly made = new LRUCache<string, ManifestSignature>({ max: MAX_SIGNATURES });
  private readonly reusedForMs: number;

  constructor(
    private readonly trust: TrustKeeper,
    @Inject(TRUST_OPTIONS) { manifestTtlMs }: TrustOptions,
  ) {
    this.reusedForMs = Math.max(MIN_REUSE_MS, manifestTtlMs * REUSED_FOR);
  }

  /**
   * Says that this manifest is its device's last one, now.
   * @param sha256 the manifest's
   * @throws WaypostError STORAGE_FAILED where the key is not in central's database
   */
  async sign(sha256: string): Promise<ManifestSignature> {
    const { signed, signer } = await this.trust.current();
    const { fleet, version } = signed.document;
    if (!signer) {
      throw new WaypostError('STORAGE_FAILED', {
        detail: `The key that signs manifests, of trust document ${version}, is not in central’s database.`,
        hint: 'Make a new one: waypost keys rotate',
      });
    }
    const made = this.made.get(sha256);
    const now = Date.now();
    if (made?.kid === signer.kid && made.trust === version) {
      const ageMs = now - Date.parse(made.issuedAt);
      if (ageMs >= 0 && ageMs < this.reusedForMs) return made;
    }
    const signature = signManifest(signer, { fleet, sha256, issuedAt: new Date(now).toISOString(), trust: version });
    this.made.set(sha256, signature);
    return signature;
  }
}
