import { type CanActivate, createParamDecorator, type ExecutionContext, Injectable } from '@nestjs/common';
import { normalizeMac, syncRequestSchema, ulidSchema, WaypostError } from '@waypost/contracts';
import type { FastifyRequest } from 'fastify';
import { auditOf, type Operation, type RequestFacts } from '../audit/request-audit.js';
import { DeviceDirectory } from '../identity/device-directory.js';
import { operationOf } from './operation.js';
import { accessOf } from './routes.js';

/** Who sends a request. It alone decides what a device may see, whatever else its message says. */
export interface DeviceIdentity {
  /** Normalized. */
  mac: string;
  /** Of an enrolled device, with the thumbprint of the key that its access token was given for. */
  deviceId?: string;
  key?: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by Authenticator where the request carries an access token, else by DeviceGuard. */
    device?: DeviceIdentity;
  }
}

/** What a request says before it is validated. */
interface Claims {
  mac?: unknown;
  manifestId?: unknown;
}

/**
 * Holds what a request says of its device against the device that was identified. With AUTH=mac it identifies a device without an access token by the MAC
 * that it names. A body without a text for a MAC passes: its schema refuses it and names the field.
 */
@Injectable()
export class DeviceGuard implements CanActivate {
  constructor(private readonly directory: DeviceDirectory) {}

  /** @throws WaypostError MAC_INVALID, MANIFEST_NOT_YOURS, AUTH_REQUIRED */
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    if (accessOf(request) !== 'device') return true;
    const operation = operationOf(request) as Operation;
    const facts = auditOf(request, operation);
    const { mac, manifestId } = claimsOf(request, operation);
    try {
      if (request.device) mustName(request.device, mac);
      else {
        facts.claimMac(mac);
        if (isMacText(mac) || operation === 'download') request.device = { mac: facts.accept(await this.identify(mac)) };
      }
      return true;
    } catch (error) {
      // The audit of the refusal names the manifest; of a request that passes, its handler notes it.
      if (operation !== 'request' && ulidSchema.safeParse(manifestId).success) facts.manifestId = manifestId as string;
      throw error;
    }
  }

  private async identify(claimed: unknown): Promise<string> {
    const mac = macOf(claimed);
    if (await this.directory.needsKey(mac)) {
      throw new WaypostError('AUTH_REQUIRED', {
        detail: `The device ${mac} has enrolled, or was revoked: its MAC alone is not enough any more.`,
      });
    }
    return mac;
  }
}

/** The device of a request, for a handler's parameter. Where there is none, the pipe of the body has refused it: the handler is not called. */
export const Device = createParamDecorator(
  (_data: unknown, context: ExecutionContext) => context.switchToHttp().getRequest<FastifyRequest>().device,
);

/** What the audit knows of a request, for a handler's parameter. */
export const Facts = createParamDecorator((_data: unknown, context: ExecutionContext): RequestFacts => {
  const request = context.switchToHttp().getRequest<FastifyRequest>();
  return auditOf(request, operationOf(request) as Operation);
});

function claimsOf({ body, query, params }: FastifyRequest, operation: Operation): Claims {
  if (operation !== 'download') return body ?? {};
  return { mac: (query as Claims).mac, manifestId: (params as Claims).manifestId };
}

/** A message of an identified device need not name it, but names no other. */
function mustName(device: DeviceIdentity, claimed: unknown): void {
  if (claimed === undefined || typeof claimed !== 'string' || claimed === device.mac) return;
  const mac = normalizeMac(claimed);
  if (mac === device.mac) return;
  throw new WaypostError('MANIFEST_NOT_YOURS', { detail: `The message names the device ${mac}, but comes from ${device.mac}.` });
}

function isMacText(mac: unknown): mac is string {
  return syncRequestSchema.shape.mac.safeParse(mac).success && (mac as string).isWellFormed() && !(mac as string).includes('\0');
}

function macOf(claimed: unknown): string {
  if (typeof claimed === 'string') return normalizeMac(claimed);
  throw new WaypostError('MAC_INVALID', {
    detail: `The query names ${claimed === undefined ? 'no MAC address' : 'more than one MAC address'}.`,
  });
}
