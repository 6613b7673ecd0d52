import { type CanActivate, createParamDecorator, type ExecutionContext, Injectable } from '@nestjs/common';
import { normalizeMac, syncRequestSchema, ulidSchema, WaypostError } from '@waypost/contracts';
import type { FastifyRequest } from 'fastify';
import { auditOf, type Operation, type RequestFacts } from '../audit/request-audit.js';
import { operationOf } from './operation.js';

/** Who sends a request. It alone decides what a device may see, whatever else its message says. */
export interface DeviceIdentity {
  /** Normalized. */
  mac: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by DeviceGuard. */
    device?: DeviceIdentity;
  }
}

/** What a request says before it is validated. */
interface Claims {
  mac?: unknown;
  manifestId?: unknown;
}

/**
 * Identifies the device of each request to a DeviceOperation, and starts its audit facts. A body without a text for a MAC passes: its schema refuses it
 * and names the field.
 */
@Injectable()
export class DeviceGuard implements CanActivate {
  /** @throws WaypostError MAC_INVALID */
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const operation = operationOf(request);
    if (operation === undefined) return true;
    const facts = auditOf(request, operation);
    const { mac, manifestId } = claimsOf(request, operation);
    facts.claimMac(mac);
    try {
      if (isMacText(mac) || operation === 'download') request.device = { mac: facts.accept(identify(mac)) };
      return true;
    } catch (error) {
      // The audit of the refusal names the manifest; of a request that passes, its handler notes it.
      if (operation !== 'request' && ulidSchema.safeParse(manifestId).success) facts.manifestId = manifestId as string;
      throw error;
    }
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

function isMacText(mac: unknown): mac is string {
  return syncRequestSchema.shape.mac.safeParse(mac).success && (mac as string).isWellFormed() && !(mac as string).includes('\0');
}

function identify(mac: unknown): string {
  if (typeof mac === 'string') return normalizeMac(mac);
  throw new WaypostError('MAC_INVALID', {
    detail: `The query names ${mac === undefined ? 'no MAC address' : 'more than one MAC address'}.`,
  });
}
