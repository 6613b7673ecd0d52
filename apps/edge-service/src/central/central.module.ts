import { Module } from '@nestjs/common';
import { CentralCircuit } from './central-circuit.js';
import { CentralClient } from './central-client.js';

@Module({
  providers: [CentralCircuit, CentralClient],
  exports: [CentralCircuit, CentralClient],
})
export class CentralModule {}
