import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { type SignedTrust, type Signer, WaypostError } from '@waypost/contracts';
import { LOGGER, queryOn, withClient, withTransaction } from '@waypost/runtime';
import type pg from 'pg';
import type { Logger } from 'pino';
import { IDENTITY_POOL } from '../database/pools.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { ensureTrust, findTrust, KEY_LIFE_MS, namesLedger, rotateTrust } from './rotate-trust.js';
import { onlineKeyOf, readSigningKeys } from './signing-keys.js';
import { READ_TRUST } from './trust.sql.js';

/** What is in force. */
export interface Trust {
  signed: SignedTrust;
  /** The key that central signs manifests with; undefined where its database does not hold it. */
  signer: Signer | undefined;
  /** When that key expires. */
  expiresAt: Date;
  /** Central can replace it by itself. */
  hasRoot: boolean;
}

interface Loaded extends Trust {
  loadedAtMs: number;
}

/** What a command or another replica changed is noticed after so long. */
const RELOAD_MS = 10_000;
/** Part of a key's life that is left when it is replaced, or when operators are told where central cannot. */
const RENEW_AT = 0.25;

const HELP = 'When the key that signs manifests expires, as Unix time; NaN before it is known.';

/**
 * The keys that manifests are signed with, shared by all replicas. Makes the first ones; replaces the online keys, that of the ledger too, in time where it
 * has the root key.
 */
@Injectable()
export class TrustKeeper implements OnApplicationBootstrap {
  private loaded: Loaded | undefined;
  private loading: Promise<Loaded> | undefined;

  constructor(
    @Inject(IDENTITY_POOL) private readonly pool: pg.Pool,
    @Inject(LOGGER) private readonly logger: Logger,
    metrics: SyncMetrics,
  ) {
    metrics.gauge('waypost_central_signing_key_expires_timestamp_seconds', HELP, () =>
      this.loaded ? this.loaded.expiresAt.getTime() / 1000 : NaN,
    );
  }

  /** So that keys are there before the first device asks. */
  async onApplicationBootstrap(): Promise<void> {
    await this.current().catch((err: unknown) => this.logger.warn({ err }, 'the keys of manifests could not be read yet'));
  }

  /** At most RELOAD_MS old. */
  async current(): Promise<Trust> {
    if (this.loaded && performance.now() - this.loaded.loadedAtMs < RELOAD_MS) return this.loaded;
    this.loading ??= this.load().finally(() => (this.loading = undefined));
    return this.loading;
  }

  /** @throws WaypostError TRUST_UNKNOWN */
  async get(version: number): Promise<SignedTrust> {
    const { loaded } = this;
    if (loaded?.signed.document.version === version) return loaded.signed;
    const [row] = await withClient(this.pool, (client) => queryOn(client)<{ signed: SignedTrust }>(READ_TRUST, [version]));
    if (row) {
      // Who has it may refuse what the keys before sign.
      if (version > (this.loaded?.signed.document.version ?? version)) this.loaded = undefined;
      return row.signed;
    }
    throw new WaypostError('TRUST_UNKNOWN', { detail: `Central has no trust document ${version}.` });
  }

  /** Whether the key ends soon, or has ended. */
  isDue({ signed: { document }, expiresAt }: Pick<Trust, 'signed' | 'expiresAt'>): boolean {
    const lifeMs = expiresAt.getTime() - Date.parse(document.issuedAt);
    return expiresAt.getTime() - Date.now() < RENEW_AT * lifeMs;
  }

  /** Whether central is to replace its keys, and can. */
  private mayRotate(trust: Trust): boolean {
    return trust.hasRoot && (this.isDue(trust) || !namesLedger(trust.signed.document));
  }

  private async load(): Promise<Loaded> {
    const loadedAtMs = performance.now();
    return withClient(this.pool, async (client) => {
      const query = queryOn(client);
      const by = 'central-api';
      const ensure = () => withTransaction(client, 'READ WRITE', () => ensureTrust(query, by));
      let trust = trustOf((await findTrust(query)) ?? (await ensure()), await readSigningKeys(query));
      if (this.mayRotate(trust)) {
        await withTransaction(client, 'READ WRITE', async () => {
          // Another replica may have been faster.
          const latest = trustOf(await ensureTrust(query, by), await readSigningKeys(query));
          if (this.mayRotate(latest)) await rotateTrust(query, { by, lifeMs: lifeOf(latest) });
        });
        trust = trustOf((await findTrust(query)) as SignedTrust, await readSigningKeys(query));
        this.logger.info(
          { trust: trust.signed.document.version },
          'central replaced its online keys: their end was near, or no trust document named that of the ledger',
        );
      }
      this.loaded = { ...trust, loadedAtMs };
      return this.loaded;
    });
  }
}

/** As long as the one before. One whose document is of another time than its key gets the default. */
function lifeOf({ signed: { document }, expiresAt }: Trust): number {
  const lifeMs = expiresAt.getTime() - Date.parse(document.issuedAt);
  return lifeMs > 0 ? lifeMs : KEY_LIFE_MS;
}

function trustOf(signed: SignedTrust, keys: Awaited<ReturnType<typeof readSigningKeys>>): Trust {
  const { document } = signed;
  const online = onlineKeyOf(document);
  return {
    signed,
    signer: keys.find(({ kid }) => kid === online?.kid),
    expiresAt: new Date(online?.expiresAt ?? document.issuedAt),
    hasRoot: keys.some(({ use, kid }) => use === 'root' && document.rootKeys.some((root) => root.kid === kid)),
  };
}
