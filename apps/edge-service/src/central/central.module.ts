import { type DynamicModule, Global, Module } from '@nestjs/common';
import { CentralAccess } from './access.js';
import { CentralCircuit } from './central-circuit.js';
import { CentralClient } from './central-client.js';
import { CentralHttp } from './central-http.js';
import { LastCheckpoint } from './last-checkpoint.js';
import { LedgerClient } from './ledger-client.js';
import { CENTRAL_OPTIONS, type CentralOptions } from './central-options.js';

/** Central's API. All requests share one circuit breaker, so there is one instance for the whole service. */
@Global()
@Module({
  providers: [CentralHttp, CentralAccess, CentralCircuit, CentralClient, LastCheckpoint, LedgerClient],
  exports: [CentralCircuit, CentralClient, LastCheckpoint, LedgerClient],
})
export class CentralModule {
  static forRoot(options: CentralOptions): DynamicModule {
    return { module: CentralModule, providers: [{ provide: CENTRAL_OPTIONS, useValue: options }] };
  }
}
