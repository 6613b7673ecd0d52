import { type DynamicModule, Global, Module } from '@nestjs/common';
import { STATUS_OPTIONS, type StatusOptions } from './status-options.js';
import { SyncStatus } from './sync-status.js';

@Global()
@Module({ providers: [SyncStatus], exports: [SyncStatus] })
export class StatusModule {
  static forRoot(options: StatusOptions): DynamicModule {
    return { module: StatusModule, providers: [{ provide: STATUS_OPTIONS, useValue: options }] };
  }
}
