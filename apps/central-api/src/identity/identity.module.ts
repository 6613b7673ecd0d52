import { type DynamicModule, Global, Module } from '@nestjs/common';
import { AccessTokens } from './access-tokens.js';
import { DeviceDirectory } from './device-directory.js';
import { DeviceJwts } from './device-jwts.js';
import { Enrollment } from './enrollment.js';
import { IDENTITY_OPTIONS, type IdentityOptions } from './identity-options.js';
import { TokenKeys } from './token-keys.js';

/** Who devices are. */
@Global()
@Module({
  providers: [TokenKeys, DeviceDirectory, DeviceJwts, AccessTokens, Enrollment],
  exports: [DeviceDirectory, AccessTokens, Enrollment, IDENTITY_OPTIONS],
})
export class IdentityModule {
  static forRoot(options: IdentityOptions): DynamicModule {
    return { module: IdentityModule, providers: [{ provide: IDENTITY_OPTIONS, useValue: options }] };
  }
}
