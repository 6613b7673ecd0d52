import { Global, Module } from '@nestjs/common';
import { ManifestTrust } from './manifest-trust.js';

/** Whose manifests this device believes. */
@Global()
@Module({ providers: [ManifestTrust], exports: [ManifestTrust] })
export class TrustModule {}
