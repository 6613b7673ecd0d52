import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { queryOn, withClient } from '@waypost/runtime';
import type pg from 'pg';
import { type CertifiedDevice, readDeviceCertificate } from '../certificates/read-device-certificate.js';
import { IDENTITY_POOL } from '../database/pools.js';
import { privateKeyOf } from './ed25519.js';
import { MAKE_DEVICE_AUTHORITY, NOTE_CERTIFICATE, READ_DEVICE_AUTHORITIES } from './identity.sql.js';

interface Authority {
  privateKey: KeyObject;
  publicKey: KeyObject;
  maySign: boolean;
}

/** Another replica's new authority, or one that an operator deleted, is noticed after so long. */
const RELOAD_MS = 60_000;
/** Certificates of strangers must not cost a query each. */
const RELOAD_FOR_UNKNOWN_MS = 1000;

/** The keys that sign client certificates of devices: shared by all replicas, and replaced every year. */
@Injectable()
export class DeviceAuthorities {
  private loaded: { authorities: readonly Authority[]; atMs: number } | undefined;

  constructor(@Inject(IDENTITY_POOL) private readonly pool: pg.Pool) {}

  /** @param csr PKCS#10 in PEM @returns PEM @throws WaypostError REQUEST_INVALID */
  async issue(csr: string, { deviceId, thumbprint }: CertifiedDevice): Promise<string> {
    const authority = await this.signing();
    // Its library takes a tenth of a start, and most fleets need none.
    const { issueDeviceCertificate } = await import('../certificates/issue-device-certificate.js');
    const certificate = await issueDeviceCertificate({ authority, csr, deviceId, thumbprint });
    await withClient(this.pool, (client) => queryOn(client)(NOTE_CERTIFICATE, [thumbprint, new X509Certificate(certificate).validToDate]));
    return certificate;
  }

  /** Whom central made this certificate for; undefined where it did not. Dates are not looked at. */
  async read(certificate: X509Certificate): Promise<CertifiedDevice | undefined> {
    const read = (authorities: readonly Authority[]) =>
      readDeviceCertificate(
        certificate,
        authorities.map(({ publicKey }) => publicKey),
      );
    return read(await this.get(RELOAD_MS)) ?? read(await this.get(RELOAD_FOR_UNKNOWN_MS));
  }

  private async signing(): Promise<KeyObject> {
    const newest = (await this.get(RELOAD_MS)).find(({ maySign }) => maySign);
    if (newest) return newest.privateKey;
    await withClient(this.pool, (client) => queryOn(client)(MAKE_DEVICE_AUTHORITY));
    this.loaded = undefined;
    return this.signing();
  }

  private async get(maxAgeMs: number): Promise<readonly Authority[]> {
    if (this.loaded && performance.now() - this.loaded.atMs < maxAgeMs) return this.loaded.authorities;
    const atMs = performance.now();
    const rows = await withClient(this.pool, (client) => queryOn(client)<{ seed: Buffer; maySign: boolean }>(READ_DEVICE_AUTHORITIES));
    const authorities = rows.map(authorityOf);
    this.loaded = { authorities, atMs };
    return authorities;
  }
}

function authorityOf({ seed, maySign }: { seed: Buffer; maySign: boolean }): Authority {
  const privateKey = privateKeyOf(seed);
  return { privateKey, publicKey: createPublicKey(privateKey), maySign };
}
