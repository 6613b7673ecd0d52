export interface ChunkStoreOptions {
  folder: string;
  /** Of all packs together; 0 for no limit. */
  limitBytes: number;
}

/** Injection token of ChunkStoreOptions. */
export const CHUNK_STORE_OPTIONS = Symbol('chunk store options');
