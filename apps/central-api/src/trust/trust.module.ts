import { type DynamicModule, Global, Module } from '@nestjs/common';
import { ManifestSigner } from './manifest-signer.js';
import { TrustKeeper } from './trust-keeper.js';
import { TRUST_OPTIONS, type TrustOptions } from './trust-options.js';

/** Which keys sign manifests. */
@Global()
@Module({ providers: [TrustKeeper, ManifestSigner], exports: [TrustKeeper, ManifestSigner] })
export class TrustModule {
  static forRoot(options: TrustOptions): DynamicModule {
    return { module: TrustModule, providers: [{ provide: TRUST_OPTIONS, useValue: options }] };
  }
}
