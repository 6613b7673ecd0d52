import { Controller, Get, Param } from '@nestjs/common';
import { type SignedTrust, WaypostError } from '@waypost/contracts';
import { TrustKeeper } from '../trust/trust-keeper.js';
import { Device, type DeviceIdentity } from './device.guard.js';
import { DeviceOperation } from './operation.js';

/** Ten digits and more are beyond PostgreSQL's int. */
const VERSION = /^[1-9]\d{0,8}$/;

/** The trust documents that devices follow, one version after another. */
@Controller('api/device-sync/trust')
export class TrustController {
  constructor(private readonly trust: TrustKeeper) {}

  @Get(':version')
  @DeviceOperation('download')
  async document(@Param('version') version: string, @Device() _device: DeviceIdentity): Promise<SignedTrust> {
    if (VERSION.test(version)) return this.trust.get(Number(version));
    throw new WaypostError('TRUST_UNKNOWN', { detail: 'The version of a trust document is a positive number.' });
  }
}
