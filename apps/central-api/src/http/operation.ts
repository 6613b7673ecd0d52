import { RouteConfig } from '@nestjs/platform-fastify';
import type { FastifyRequest, RouteOptions } from 'fastify';
import type { Operation } from '../audit/request-audit.js';

/** Marks a route as an operation of devices: the audit and the metrics count its requests. Who may send them is in ROUTES. */
export const DeviceOperation = (operation: Operation, { maxBodyBytes }: { maxBodyBytes?: number } = {}): MethodDecorator =>
  RouteConfig({ operation, maxBodyBytes });

/** Hook for each route: its own limit of a body where it has one. */
export function limitBody(route: RouteOptions): void {
  const { maxBodyBytes } = (route.config ?? {}) as { maxBodyBytes?: number };
  if (maxBodyBytes !== undefined) route.bodyLimit = maxBodyBytes;
}

/** Undefined where the route is none of a device's. Known as soon as there is a route, before the body arrives. */
export function operationOf(request: FastifyRequest): Operation | undefined {
  return (request.routeOptions.config as { operation?: Operation } | undefined)?.operation;
}
