import { Inject, Injectable } from '@nestjs/common';
import { ERROR_KINDS } from '@waypost/contracts';
import { TtlCache, LOGGER } from '@waypost/runtime';
import { toWaypostError } from '@waypost/runtime/service';
import type { Logger } from 'pino';
import { Gauge } from 'prom-client';
import { DataSource } from 'typeorm';
import { ACK_HOURS, AGE_BOUNDS_S, DEVICE_STATES, FLEET, FLEET_ERRORS } from './fleet.sql.js';
import { METRICS_OPTIONS, type MetricsOptions } from './metrics-options.js';
import { SyncMetrics } from './sync-metrics.js';

/** A scrape waits no longer for the database, and the database works no longer for a scrape. */
const TIMEOUT_MS = 3000;
const STATEMENT_TIMEOUT_MS = 2500;
/** Shorter than the usual intervals of scrapes, so that only several Prometheus share an answer. */
const TTL_MS = 10_000;

const PREFIX = 'waypost_central_fleet_';
/** Part of what failed is told by devices: what is no code of ours becomes no label of ours. */
const OTHER_CODE = 'other';

interface Fleet {
  /** By the columns of FLEET. */
  numbers: Record<string, number | null>;
  errors: { code: string; devices: number }[];
}

/**
 * How the devices are, as far as central knows, without a label per device. While the database is away the series are left out, and
 * waypost_central_fleet_scrape_success is 0: what is not known is not told.
 */
@Injectable()
export class FleetMetrics {
  private readonly fleet = new TtlCache(() => this.read(), { ttlMs: TTL_MS, timeoutMs: TIMEOUT_MS });

  constructor(
    private readonly dataSource: DataSource,
    @Inject(METRICS_OPTIONS) private readonly options: MetricsOptions,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly metrics: SyncMetrics,
  ) {
    this.number('scrape_success', '1 when the fleet’s numbers could be read from the database, else 0.', (fleet) => (fleet ? 1 : 0));
    this.number(
      'oldest_verified_age_seconds',
      'Age of the oldest last verified state in the fleet; NaN without any.',
      (fleet) => fleet?.numbers['oldest'] ?? NaN,
    );
    this.number(
      'repeatedly_failing_devices',
      'Devices that failed three times or more since their last verified state; NaN if unknown.',
      (fleet) => fleet?.numbers['repeated'] ?? NaN,
    );
    this.number(
      'held_devices',
      'Devices held back because a table of their share lost more rows than MAX_SHRINK allows; NaN if unknown.',
      (fleet) => fleet?.numbers['held'] ?? NaN,
    );
    this.byLabel('devices', 'Devices by state; docs/observability.md says what each means.', 'state', ({ numbers }) =>
      DEVICE_STATES.map((state) => [state, numbers[state]]),
    );
    this.byLabel(
      'devices_without_ack',
      'Devices that for so many hours neither acknowledged a success nor confirmed that they still hold it.',
      'hours',
      ({ numbers }) => ACK_HOURS.map((hours) => [String(hours), numbers[`without ${hours}`]]),
    );
    this.byLabel(
      'failing_devices',
      'Devices that failed since their last verified state, by the last failure’s code.',
      'code',
      ({ errors }) => errors.map(({ code, devices }) => [Object.hasOwn(ERROR_KINDS, code) ? code : OTHER_CODE, devices]),
    );
    const ages = this.byLabel(
      'verified_age_devices',
      'Devices whose last verified state is at most so many seconds old, as central knows it.',
      'le',
      ({ numbers }) => [...AGE_BOUNDS_S, '+Inf'].map((bound) => [String(bound), numbers[`le ${bound}`]]),
    );
    // A histogram that also goes down: Prometheus’ text format has no type for it, and reserves this label for histograms.
    Object.assign(ages, { type: 'untyped' });
  }

  private number(name: string, help: string, read: (fleet: Fleet | undefined) => number): void {
    const gauge: Gauge = new Gauge({
      name: PREFIX + name,
      help,
      registers: [this.metrics.registry],
      collect: async () => gauge.set(read(await this.fleet.get())),
    });
  }

  private byLabel(
    name: string,
    help: string,
    label: string,
    read: (fleet: Fleet) => [value: string, devices: number | null | undefined][],
  ): Gauge {
    const gauge: Gauge = new Gauge({
      name: PREFIX + name,
      help,
      labelNames: [label],
      registers: [this.metrics.registry],
      collect: async () => {
        const fleet = await this.fleet.get();
        gauge.reset();
        if (fleet) for (const [value, devices] of read(fleet)) gauge.inc({ [label]: value }, devices ?? 0);
      },
    });
    return gauge;
  }

  private async read(): Promise<Fleet> {
    try {
      return await this.dataSource.transaction(async (manager) => {
        await manager.query(`SET TRANSACTION READ ONLY`);
        await manager.query(`SET LOCAL statement_timeout = ${STATEMENT_TIMEOUT_MS}`);
        const thresholds = [this.options.staleAfterMs / 1000, this.options.silentAfterMs / 1000];
        const [numbers] = await manager.query<Fleet['numbers'][]>(FLEET, thresholds);
        const errors = await manager.query<Fleet['errors']>(FLEET_ERRORS);
        return { numbers: numbers ?? {}, errors };
      });
    } catch (error) {
      this.logger.warn({ reason: toWaypostError(error).message }, 'the fleet’s numbers could not be read');
      throw error;
    }
  }
}
