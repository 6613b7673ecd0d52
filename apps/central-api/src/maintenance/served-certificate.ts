import type { Server } from 'node:tls';
import { Inject, Injectable } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import { CertificateReloader, LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { MAINTENANCE_OPTIONS, type MaintenanceOptions } from './maintenance-options.js';

const HELP = 'When the certificate that central serves expires, as Unix time; NaN without TLS.';

/** The certificate that central's server has: reloaded where its files change, and exported with the time of its expiry. */
@Injectable()
export class ServedCertificate {
  private readonly reloader: CertificateReloader | undefined;

  constructor(
    @Inject(MAINTENANCE_OPTIONS) { tls }: MaintenanceOptions,
    private readonly host: HttpAdapterHost,
    metrics: SyncMetrics,
    @Inject(LOGGER) logger: Logger,
  ) {
    this.reloader = tls && new CertificateReloader(tls, logger);
    metrics.gauge('waypost_central_certificate_expires_timestamp_seconds', HELP, () => this.expiresAtS);
  }

  /** Whether central speaks TLS. */
  get isWanted(): boolean {
    return this.reloader !== undefined;
  }

  /** As CertificateReloader.check. */
  async reload(): Promise<void> {
    await this.reloader?.check(this.host.httpAdapter.getHttpServer() as Server);
  }

  private get expiresAtS(): number {
    const expiresAt = this.reloader?.expiresAt;
    return expiresAt ? expiresAt.getTime() / 1000 : NaN;
  }
}
