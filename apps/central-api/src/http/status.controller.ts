import { Controller, Get, Inject } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { METRICS_OPTIONS, type MetricsOptions } from '../metrics/metrics-options.js';

/** What `waypost status` tells of the fleet, for programs. */
@Controller('api/status')
export class StatusController {
  constructor(
    private readonly dataSource: DataSource,
    @Inject(METRICS_OPTIONS) private readonly options: MetricsOptions,
  ) {}

  @Get()
  async status(): Promise<object> {
    // The command's libraries, which central needs for nothing else.
    const { readFleetReport } = await import('../read-models/fleet-report.js');
    const { staleAfterMs: staleMs, silentAfterMs: silentMs } = this.options;
    return readFleetReport((text, values) => this.dataSource.query(text, values), { staleMs, silentMs });
  }
}
