import type { Manifest } from '@waypost/contracts';

/** What a manifest says of the data: two manifests of equal content mean the same state. */
export type ManifestContent = Omit<Manifest, 'manifestId' | 'generatedAt' | 'expiresAt' | 'sequence' | 'sha256'>;
