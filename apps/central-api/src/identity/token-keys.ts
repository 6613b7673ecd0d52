import type { KeyObject } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { IDENTITY_POOL } from '../database/pools.js';
import { privateKeyOf, publicKeyOf, rawPublicKey, thumbprintOf } from './ed25519.js';
import { MAKE_TOKEN_KEY, READ_FLEET, READ_TOKEN_KEYS } from './identity.sql.js';

/** A key of central's that signs access tokens, by its thumbprint. */
interface TokenKey {
  kid: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
  maySign: boolean;
}

interface Loaded {
  fleet: string;
  keys: readonly TokenKey[];
  loadedAtMs: number;
}

/** Another replica's new key, or one that an operator deleted, is noticed after so long. */
const RELOAD_MS = 60_000;
/** A forged `kid` must not cost a query each. */
const RELOAD_FOR_UNKNOWN_MS = 1000;

/** The keys that access tokens are signed with: shared by all replicas, and replaced every week. */
@Injectable()
export class TokenKeys {
  private loaded: Loaded | undefined;
  private loading: Promise<Loaded> | undefined;

  constructor(@Inject(IDENTITY_POOL) private readonly pool: pg.Pool) {}

  /** ULID of the fleet that this database is the centre of. */
  async fleet(): Promise<string> {
    return (await this.get(RELOAD_MS)).fleet;
  }

  async signing(): Promise<TokenKey> {
    const { keys } = await this.get(RELOAD_MS);
    const [newest] = keys.filter(({ maySign }) => maySign);
    if (newest) return newest;
    this.loaded = undefined;
    return this.signing();
  }

  /** @returns undefined for a key that central does not have */
  async find(kid: string): Promise<KeyObject | undefined> {
    const find = ({ keys }: Loaded) => keys.find((key) => key.kid === kid)?.publicKey;
    return find(await this.get(RELOAD_MS)) ?? find(await this.get(RELOAD_FOR_UNKNOWN_MS));
  }

  private async get(maxAgeMs: number): Promise<Loaded> {
    if (this.loaded && performance.now() - this.loaded.loadedAtMs < maxAgeMs) return this.loaded;
    this.loading ??= this.load().finally(() => (this.loading = undefined));
    return this.loading;
  }

  private async load(): Promise<Loaded> {
    const loadedAtMs = performance.now();
    return withClient(this.pool, async (client) => {
      const query = queryOn(client);
      const read = () => query<{ seed: Buffer; maySign: boolean }>(READ_TOKEN_KEYS);
      let rows = await read();
      if (!rows.some(({ maySign }) => maySign)) {
        await query(MAKE_TOKEN_KEY);
        rows = await read();
      }
      const [state] = await query<{ fleet: string }>(READ_FLEET);
      this.loaded = { fleet: (state as { fleet: string }).fleet, keys: rows.map(keyOf), loadedAtMs };
      return this.loaded;
    });
  }
}

function keyOf({ seed, maySign }: { seed: Buffer; maySign: boolean }): TokenKey {
  const privateKey = privateKeyOf(seed);
  const raw = rawPublicKey(privateKey);
  return { kid: thumbprintOf(raw), privateKey, publicKey: publicKeyOf(raw), maySign };
}
