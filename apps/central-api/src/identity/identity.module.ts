import { type DynamicModule, Global, Inject, Module, type OnApplicationBootstrap } from '@nestjs/common';
import { LOGGER } from '@waypost/runtime';
import type { Logger } from 'pino';
import { Gauge } from 'prom-client';
import { SyncMetrics } from '../metrics/sync-metrics.js';
import { AccessTokens } from './access-tokens.js';
import { ApiKeys } from './api-keys.js';
import { DeviceAuthorities } from './device-authorities.js';
import { DeviceDirectory } from './device-directory.js';
import { DeviceJwts } from './device-jwts.js';
import { Enrollment } from './enrollment.js';
import { IDENTITY_OPTIONS, type IdentityOptions, MAC_WARNING } from './identity-options.js';
import { TokenKeys } from './token-keys.js';

/** Who devices are, and programs. */
@Global()
@Module({
  providers: [TokenKeys, DeviceAuthorities, DeviceDirectory, DeviceJwts, AccessTokens, Enrollment, ApiKeys],
  exports: [DeviceAuthorities, DeviceDirectory, AccessTokens, Enrollment, ApiKeys, IDENTITY_OPTIONS],
})
export class IdentityModule implements OnApplicationBootstrap {
  static forRoot(options: IdentityOptions): DynamicModule {
    return { module: IdentityModule, providers: [{ provide: IDENTITY_OPTIONS, useValue: options }] };
  }

  constructor(
    @Inject(IDENTITY_OPTIONS) private readonly options: IdentityOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    { registry }: SyncMetrics,
  ) {
    new Gauge({
      name: 'waypost_central_identity_by_mac',
      help: '1 with AUTH=mac: a device that has never enrolled is known by its MAC alone; else 0.',
      registers: [registry],
    }).set(options.mode === 'mac' ? 1 : 0);
  }

  onApplicationBootstrap(): void {
    if (this.options.mode === 'mac') this.logger.warn(MAC_WARNING);
  }
}
