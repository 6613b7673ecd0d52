import { Module } from '@nestjs/common';
import { CentralCircuit, CIRCUIT_LIMITS, DEFAULT_CIRCUIT_LIMITS } from './central-circuit.js';
import { CentralClient } from './central-client.js';

@Module({
  providers: [{ provide: CIRCUIT_LIMITS, useValue: DEFAULT_CIRCUIT_LIMITS }, CentralCircuit, CentralClient],
  exports: [CentralCircuit, CentralClient],
})
export class CentralModule {}
