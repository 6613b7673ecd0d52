import { type DynamicModule, Global, Module } from '@nestjs/common';
import { CentralCircuit, CIRCUIT_LIMITS, type CircuitLimits } from './central-circuit.js';
import { CentralClient } from './central-client.js';

/** Central's API. All requests share one circuit breaker, so there is one instance for the whole service. */
@Global()
@Module({})
export class CentralModule {
  static forRoot(limits: CircuitLimits): DynamicModule {
    return {
      module: CentralModule,
      providers: [{ provide: CIRCUIT_LIMITS, useValue: limits }, CentralCircuit, CentralClient],
      exports: [CentralCircuit, CentralClient],
    };
  }
}
