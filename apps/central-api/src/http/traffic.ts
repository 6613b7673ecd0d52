import type { Socket } from 'node:net';
import { Injectable } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { resetConnection } from '@waypost/runtime/service';
import { Counter, Gauge } from 'prom-client';
import type { Operation } from '../audit/request-audit.js';
import type { DeviceIdentity } from './device.guard.js';
import { operationOf } from './operation.js';
import { SyncMetrics } from '../metrics/sync-metrics.js';

const OPERATIONS: readonly Operation[] = ['request', 'download', 'ack', 'enroll', 'token'];

/** Where they are audited. */
const COUNTED_ELSEWHERE: ReadonlySet<Operation> = new Set(['request', 'enroll', 'token']);

/** An answer being sent. */
interface Exchange {
  operation: Operation;
  request: FastifyRequest;
  socket: Socket;
  /** Bytes of the socket that are counted already, or belong to earlier answers. */
  countedBytes: number;
  startedAt: number;
}

/** Counts what devices are being answered and how many bytes that takes on the wire; downloads count while they run, not at their end. */
@Injectable()
export class Traffic {
  private readonly underWay = new Set<Exchange>();
  private readonly sentBytes: Counter<'operation'>;

  constructor(private readonly metrics: SyncMetrics) {
    const { registry } = metrics;
    this.sentBytes = new Counter({
      name: 'waypost_central_sent_bytes_total',
      help: 'Bytes handed to the network for devices, headers included, before TLS.',
      labelNames: ['operation'],
      registers: [registry],
      collect: () => this.underWay.forEach((exchange) => this.count(exchange)),
    });
    const inFlight: Gauge<'operation'> = new Gauge({
      name: 'waypost_central_requests_in_flight',
      help: 'Requests of devices that are being answered.',
      labelNames: ['operation'],
      registers: [registry],
      collect: () => {
        for (const operation of OPERATIONS) inFlight.set({ operation }, this.countOf(operation));
      },
    });
    for (const operation of OPERATIONS) this.sentBytes.inc({ operation }, 0);
  }

  /** An onRequest hook of Fastify. */
  readonly watch = (request: FastifyRequest, reply: FastifyReply, done: () => void): void => {
    const operation = operationOf(request);
    if (operation) this.begin(operation, request, reply);
    done();
  };

  /** What devices have been answered for so long, and how to end it. */
  answeredFor(ms: number): { device: DeviceIdentity; abort: () => void }[] {
    const before = performance.now() - ms;
    return [...this.underWay].flatMap(({ startedAt, request: { device }, socket }) =>
      device && startedAt <= before ? [{ device, abort: () => resetConnection(socket) }] : [],
    );
  }

  private begin(operation: Operation, request: FastifyRequest, { raw }: FastifyReply): void {
    const { socket } = request.raw;
    const exchange = { operation, request, socket, countedBytes: socket.bytesWritten, startedAt: performance.now() };
    this.underWay.add(exchange);
    raw.once('close', () => {
      this.underWay.delete(exchange);
      this.count(exchange);
      // So are refusals.
      if (COUNTED_ELSEWHERE.has(operation) || !raw.headersSent || raw.statusCode >= 400) return;
      const status = raw.writableFinished ? 'Answered' : 'Broken';
      this.metrics.requested(operation, status, null, (performance.now() - exchange.startedAt) / 1000);
    });
  }

  private count(exchange: Exchange): void {
    const { bytesWritten } = exchange.socket;
    this.sentBytes.inc({ operation: exchange.operation }, Math.max(0, bytesWritten - exchange.countedBytes));
    exchange.countedBytes = bytesWritten;
  }

  private countOf(operation: Operation): number {
    return [...this.underWay].filter((exchange) => exchange.operation === operation).length;
  }
}
